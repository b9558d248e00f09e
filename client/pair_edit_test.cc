#include "client/pair_edit.h"

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::StatusOr<v1::Pair> Edit(const std::vector<std::string>& assignments) {
  const std::string path = SourceDir() + "/examples/student-sim-all.yaml";
  absl::StatusOr<YamlNode> tree = ParseYamlTree(*ReadFile(path), "pair.yaml");
  if (!tree.ok()) return tree.status();
  for (const std::string& assignment : assignments) {
    if (absl::Status status = SetByPath(assignment, *tree); !status.ok()) return status;
  }
  return ParsePair(*tree, "pair.yaml");
}

TEST(SetByPathTest, ReplacesAValue) {
  const auto pair = Edit({"train.epochs=7"});
  ASSERT_THAT(pair, IsOk());
  EXPECT_EQ(pair->train().epochs(), 7u);
  EXPECT_EQ(pair->train().batch_size(), 4u);
}

TEST(SetByPathTest, AddsAKeyThatTheFileLacks) {
  const auto pair = Edit({"student.compress.resolution=0.5", "eval.metric=center_distance"});
  ASSERT_THAT(pair, IsOk());
  EXPECT_EQ(pair->student().compress().resolution(), 0.5f);
  EXPECT_EQ(pair->eval().metric(), "center_distance");
}

TEST(SetByPathTest, ReachesItemsOfAListInBothSpellings) {
  const auto pair = Edit({"distill[0].weight=3", "distill.0.top_k=9"});
  ASSERT_THAT(pair, IsOk());
  EXPECT_EQ(pair->distill(0).weight(), 3);
  EXPECT_EQ(pair->distill(0).top_k(), 9u);
}

TEST(SetByPathTest, TheLastOfTwoAssignmentsCounts) {
  const auto pair = Edit({"train.epochs=7", "train.epochs=8"});
  ASSERT_THAT(pair, IsOk());
  EXPECT_EQ(pair->train().epochs(), 8u);
}

TEST(SetByPathTest, TakesListsAndEmptyText) {
  const auto pair = Edit({"distill=[]", "metadata.owner="});
  ASSERT_THAT(pair, IsOk());
  EXPECT_EQ(pair->distill_size(), 0);
  EXPECT_EQ(pair->metadata().owner(), "");
}

TEST(SetByPathTest, TheValidatorsMessagesNameTheAssignment) {
  EXPECT_THAT(Edit({"train.epcohs=7"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--set train.epcohs=7: unknown key \"epcohs\" in train; did you mean \"epochs\"?"));
  EXPECT_THAT(Edit({"train.epochs=x"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("--set train.epochs=x: train.epochs is \"x\", expected a whole number")));
  EXPECT_THAT(Edit({"train={epochs: x}"}),
              StatusIs(absl::StatusCode::kInvalidArgument, StartsWith("--set train={epochs: x}: train.epochs is")));
  EXPECT_THAT(Edit({"train.epochs.more=1"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("train.epochs is a group of keys, expected")));
}

TEST(SetByPathTest, WhatIsNoAssignmentIsRefused) {
  EXPECT_THAT(Edit({"train.epochs"}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected PATH=VALUE")));
  EXPECT_THAT(Edit({"=1"}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected PATH=VALUE")));
  EXPECT_THAT(Edit({"train..epochs=1"}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is empty")));
  EXPECT_THAT(Edit({"distill[9].weight=1"}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no item \"9\"")));
  EXPECT_THAT(Edit({"train.epochs=[1"}),
              StatusIs(absl::StatusCode::kInvalidArgument, StartsWith("--set train.epochs=[1")));
}

TEST(MakePathsAbsoluteTest, FoldersAndFilesButNoReferences) {
  v1::Pair pair;
  pair.mutable_data()->set_root("out/../sim");
  pair.mutable_teacher()->set_weights("t.safetensors");
  MakePathsAbsolute(pair);
  const std::string here = std::filesystem::current_path().string();
  EXPECT_EQ(pair.data().root(), here + "/sim");
  EXPECT_FALSE(pair.data().has_augmentation());
  EXPECT_EQ(pair.teacher().weights(), here + "/t.safetensors");

  pair.mutable_data()->set_root("/data/kitti");
  pair.mutable_data()->mutable_augmentation()->set_objects("sim/objects");
  pair.mutable_teacher()->set_weights("registry://teachers/sim:v1");
  MakePathsAbsolute(pair);
  EXPECT_EQ(pair.data().root(), "/data/kitti");
  EXPECT_EQ(pair.data().augmentation().objects(), here + "/sim/objects");
  EXPECT_EQ(pair.teacher().weights(), "registry://teachers/sim:v1");
}

}  // namespace
}  // namespace kd
