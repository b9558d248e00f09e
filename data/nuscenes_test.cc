#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/nuscenes_dataset.h"
#include "data/nuscenes_splits.h"
#include "data/nuscenes_tables.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kVersion[] = "v1.0-mini";

std::string GoldenFolder() { return SourceDir() + "/tests/golden/nuscenes/n01_small"; }

// A copy of a golden data set whose tables a test may damage.
class NuscenesTablesTest : public testing::Test {
 protected:
  NuscenesTablesTest() { std::filesystem::copy(GoldenFolder(), folder_.path(), std::filesystem::copy_options::recursive); }

  std::string Table(const std::string& name) const { return folder_ / absl::StrCat(kVersion, "/", name, ".json"); }
  Json Load(const std::string& name) const { return Json::parse(*ReadFile(Table(name))); }
  void Store(const std::string& name, const std::string& text) const { std::ofstream(Table(name), std::ios::binary) << text; }
  absl::Status Open() const { return NuscenesTables::Open(folder_.path(), kVersion).status(); }

  // Damages one record of a table, opens the tables and expects an error of one line with these words in it.
  void Refuses(const std::string& name, const std::function<void(Json&)>& damage, const std::vector<std::string>& words) const {
    const Json before = Load(name);
    Json table = before;
    damage(table);
    Store(name, table.dump());
    const absl::Status status = Open();
    Store(name, before.dump());
    EXPECT_FALSE(status.ok()) << name << " " << words[0];
    EXPECT_THAT(std::string(status.message()), IsOneLine());
    for (const std::string& word : words) EXPECT_THAT(std::string(status.message()), HasSubstr(word));
  }

  const TemporaryFolder folder_;
};

TEST_F(NuscenesTablesTest, SplitsHoldTheirOwnScenes) {
  const auto tables = NuscenesTables::Open(folder_.path(), kVersion);
  ASSERT_THAT(tables, IsOk());
  const auto val = tables->SplitSamples("mini_val"), train = tables->SplitSamples("mini_train");
  ASSERT_THAT(val, IsOk());
  ASSERT_THAT(train, IsOk());
  EXPECT_FALSE(val->empty());
  for (const int32_t sample : *train) EXPECT_EQ(std::count(val->begin(), val->end(), sample), 0);
  EXPECT_THAT(tables->SplitSamples("nothing").status(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("mini_val")));
}

TEST_F(NuscenesTablesTest, OfficialSplitsHaveTheirSizes) {
  const std::pair<const char*, size_t> sizes[] = {{"train", 700}, {"val", 150}, {"test", 150}, {"mini_train", 8}, {"mini_val", 2}};
  for (const auto& [split, size] : sizes) EXPECT_EQ(NuscenesSplitScenes(split)->size(), size) << split;
}

TEST_F(NuscenesTablesTest, DamagedTablesAreNamedWithRecordAndField) {
  ASSERT_THAT(Open(), IsOk());
  const std::string nobody(32, 'b');
  Refuses("sample", [&](Json& t) { t[0]["scene_token"] = nobody; }, {"sample.json", "scene_token", nobody});
  Refuses("sample_annotation", [&](Json& t) { t[1]["instance_token"] = nobody; }, {"sample_annotation.json", "instance_token"});
  Refuses("sample_annotation", [](Json& t) { t[1]["size"] = "large"; }, {"sample_annotation.json", "size"});
  Refuses("sample_annotation", [](Json& t) { t[1].erase("rotation"); }, {"sample_annotation.json", "rotation"});
  Refuses("ego_pose", [](Json& t) { t[0]["translation"] = {1, 2}; }, {"ego_pose.json", "translation"});
  Refuses("sample_data", [](Json& t) { t[0]["timestamp"] = -1.5; }, {"sample_data.json", "timestamp"});
  Refuses("instance", [&](Json& t) { t[0]["category_token"] = nobody; }, {"instance.json", "category_token"});
  Refuses("sample", [](Json& t) { t[1]["token"] = t[0]["token"]; }, {"sample.json", "token"});
}

TEST_F(NuscenesTablesTest, MissingAndBrokenFilesAreErrors) {
  const std::string whole = *ReadFile(Table("sample"));
  Store("sample", whole.substr(0, whole.size() / 2));
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("sample.json")));
  std::filesystem::remove(Table("sample"));
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("sample.json")));
  EXPECT_THAT(NuscenesTables::Open(folder_.path(), "v9").status(), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(NuscenesTablesTest, HostileTablesNeverCrash) {
  for (const char* name : {"calibrated_sensor", "sample"}) {
    Json table = Load(name);
    table.erase(table.begin() + 1, table.end());
    const std::string whole = *ReadFile(Table(name));
    ForHostileInput(table.dump(), 100, [&](const std::string& text) {
      Store(name, text);
      const absl::Status status = Open();
      EXPECT_THAT(status.ok() ? "fine" : std::string(status.message()), IsOneLine());
    });
    Store(name, whole);
  }
}

// Facts of the real key frames, made with the public devkit.
TEST(NuscenesRealTest, KeyFramesAreTheOnesOnRecord) {
  const std::string facts_path = SharedPath("golden/nuscenes/readers.json"), root = SharedPath("data/nuscenes");
  KD_REQUIRE_FILE(facts_path);
  KD_REQUIRE_FILE(root);
  std::vector<std::string> classes;
  for (const NuscenesClass& c : kNuscenesClasses) classes.emplace_back(c.name);
  const auto alone = NuscenesDataset::Open(root, "v1.0-trainval", classes, 1), all = NuscenesDataset::Open(root, "v1.0-trainval", classes);
  ASSERT_THAT(alone.status(), IsOk());
  ASSERT_THAT(all.status(), IsOk());
  const Json all_facts = Json::parse(*ReadFile(facts_path));
  for (const auto& [token, facts] : all_facts.items()) {
    const auto frame = (*all)->ReadKeyFrame(token);
    ASSERT_THAT(frame.status(), IsOk());
    const std::vector<float>& points = frame->frame.points;
    EXPECT_NEAR(static_cast<double>(frame->frame.num_points()), facts["sweeps"]["points"].get<double>(), 2) << token;
    double sums[3] = {};
    for (size_t i = 0; i < points.size(); i += 5) {
      for (int axis = 0; axis < 3; ++axis) sums[axis] += points[i + axis];
    }
    for (int axis = 0; axis < 3; ++axis) EXPECT_NEAR(sums[axis], facts["sweeps"]["sum_xyz"][axis].get<double>(), 1) << token;

    // Boxes of the ten classes, by the annotation that they come from.
    size_t found = 0;
    for (const Json& want : facts["boxes_lidar"]) {
      for (const LabeledBox& box : frame->frame.boxes) {
        const auto& centre = want["center"];
        if (std::abs(box.box.x - centre[0].get<double>()) > 1e-3 || std::abs(box.box.y - centre[1].get<double>()) > 1e-3) continue;
        ++found;
        EXPECT_NEAR(box.box.z, centre[2].get<double>(), 1e-4);
        EXPECT_NEAR(box.box.dx, want["wlh"][1].get<double>(), 1e-4);
        EXPECT_NEAR(box.box.dy, want["wlh"][0].get<double>(), 1e-4);
        EXPECT_NEAR(std::remainder(box.box.yaw - want["yaw"].get<double>(), 2 * M_PI), 0, 1e-4);
        break;
      }
    }
    EXPECT_EQ(found, frame->frame.boxes.size()) << token;

    const auto key = (*alone)->ReadKeyFrame(token);
    ASSERT_THAT(key.status(), IsOk());
    const auto cameras = (*alone)->Cameras(token);
    ASSERT_THAT(cameras.status(), IsOk());
    EXPECT_EQ(cameras->size(), facts["cameras"].size());
  }
}

TEST(NuscenesRealTest, PointFilesMustHoldWholeRows) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.pcd.bin";
  std::ofstream(path, std::ios::binary) << std::string(39, '\0');
  EXPECT_THAT(ReadNuscenesPoints(path).status(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("20")));
  std::ofstream(path, std::ios::binary) << "";
  EXPECT_FALSE(ReadNuscenesPoints(path).ok());
}

}  // namespace
}  // namespace kd
