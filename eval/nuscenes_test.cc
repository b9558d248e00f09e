#include "eval/nuscenes.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "eval/nuscenes_submission.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

std::string CaseFolder(const std::string& name) { return SourceDir() + "/tests/golden/nuscenes/" + name; }

NuscenesTables GoldenTables(const std::string& name) { return *NuscenesTables::Open(CaseFolder(name), "v1.0-mini"); }

// Largest difference of numbers; structure and nulls must agree.
void Compare(const Json& got, const Json& want, const std::string& at, double& largest) {
  if (want.is_object()) {
    ASSERT_TRUE(got.is_object()) << at;
    ASSERT_EQ(got.size(), want.size()) << at;
    for (const auto& [key, value] : want.items()) {
      ASSERT_TRUE(got.contains(key)) << at << "/" << key;
      Compare(got[key], value, absl::StrCat(at, "/", key), largest);
    }
  } else if (want.is_number()) {
    ASSERT_TRUE(got.is_number()) << at;
    largest = std::max(largest, std::abs(got.get<double>() - want.get<double>()));
  } else {
    ASSERT_EQ(got, want) << at;
  }
}

class NuscenesGoldenTest : public testing::TestWithParam<const char*> {};

TEST_P(NuscenesGoldenTest, ScoresAreTheOfficialOnes) {
  const NuscenesTables tables = GoldenTables(GetParam());
  const auto samples = tables.SplitSamples("mini_val");
  ASSERT_THAT(samples, IsOk());
  auto detections = ReadNuscenesSubmission(CaseFolder(GetParam()) + "/submission.json", tables, *samples);
  ASSERT_THAT(detections, IsOk());
  const auto scores = EvaluateNuscenes(tables, *std::move(detections));
  ASSERT_THAT(scores, IsOk());
  double largest = 0;
  Compare(Json::parse(NuscenesScoresToJson(*scores)), Json::parse(*ReadFile(CaseFolder(GetParam()) + "/expected.json")),
          "", largest);
  EXPECT_LE(largest, 1e-9);
  EXPECT_THAT(NuscenesScoresToTable(*scores), HasSubstr("NDS"));
}

INSTANTIATE_TEST_SUITE_P(Cases, NuscenesGoldenTest,
                         testing::Values("n01_small", "n02_ties", "n03_racks_points", "n04_velocity_attr",
                                         "n05_empty_predictions"),
                         [](const auto& info) { return std::string(info.param); });

class SubmissionTest : public testing::Test {
 protected:
  SubmissionTest() : tables_(GoldenTables("n01_small")), samples_(*tables_.SplitSamples("mini_val")) {
    submission_ = Json::parse(*ReadFile(CaseFolder("n01_small") + "/submission.json"));
    for (auto& [token, boxes] : submission_["results"].items()) {
      if (!boxes.empty() && token_.empty()) token_ = token;
    }
  }

  absl::Status Read(const std::string& text) {
    const std::string path = folder_ / "submission.json";
    std::ofstream(path, std::ios::binary) << text;
    return ReadNuscenesSubmission(path, tables_, samples_).status();
  }
  absl::Status Read() { return Read(submission_.dump()); }
  Json& FirstBox() { return submission_["results"][token_][0]; }

  const TemporaryFolder folder_;
  const NuscenesTables tables_;
  const std::vector<int32_t> samples_;
  Json submission_;
  std::string token_;
};

TEST_F(SubmissionTest, MistakesAreNamedWithTheirPlace) {
  ASSERT_THAT(Read(), IsOk());
  const auto refused = [&](const std::function<void()>& damage, const std::vector<std::string>& words) {
    const Json before = submission_;
    damage();
    const absl::Status status = Read();
    submission_ = before;
    EXPECT_FALSE(status.ok()) << words[0];
    EXPECT_THAT(std::string(status.message()), IsOneLine());
    for (const std::string& word : words) EXPECT_THAT(std::string(status.message()), HasSubstr(word));
  };
  refused([&] { FirstBox()["detection_name"] = "tank"; }, {"tank", token_});
  refused([&] { FirstBox()["detection_score"] = 1.5; }, {"detection_score", token_});
  refused([&] { FirstBox()["size"] = {1, -2, 1}; }, {"size", token_});
  refused([&] { FirstBox()["translation"] = {1, 2}; }, {"translation", token_});
  refused([&] { FirstBox()["rotation"] = {0, 0, 0, 0}; }, {"rotation", token_});
  refused([&] { FirstBox()["attribute_name"] = "vehicle.flying"; }, {"attribute_name", token_});
  refused([&] { FirstBox().erase("velocity"); }, {"velocity", token_});
  refused([&] { FirstBox()["sample_token"] = std::string(32, '0'); }, {"sample_token"});
  refused([&] { submission_["results"].erase(token_); }, {token_});
  refused([&] { submission_["results"][std::string(32, 'a')] = Json::array(); }, {std::string(32, 'a')});
  refused(
      [&] {
        Json& boxes = submission_["results"][token_];
        const Json box = boxes[0];
        while (boxes.size() <= 500) boxes.push_back(box);
      },
      {"500", token_});
  refused([&] { submission_.erase("results"); }, {"results"});
  refused([&] { submission_["meta"]["use_lidar"] = 1; }, {"meta", "use_lidar"});
  refused([&] { submission_["results"][token_] = Json::object(); }, {token_, "list"});
  const auto box = [&](size_t i) -> Json& { return submission_["results"][token_][i]; };
  ASSERT_GT(submission_["results"][token_].size(), 2u);
  refused([&] { box(2)["detection_score"] = "high"; }, {"detection_score", "box 2", token_, "high"});
  refused([&] { box(1)["detection_name"] = 5; }, {"detection_name", "box 1", token_});
  refused([&] { box(1)["velocity"] = {1, nullptr}; }, {"velocity", "box 1", token_});
  refused([&] { box(1) = 7; }, {"box 1", token_});
  // A sample of another split.
  const std::string other = FormatNuscenesToken(tables_.samples()[(*tables_.SplitSamples("mini_train"))[0]].token);
  refused([&] { submission_["results"][other] = Json::array(); }, {other, "split"});
}

TEST_F(SubmissionTest, FiveHundredBoxesAreNotTooMany) {
  Json& boxes = submission_["results"][token_];
  const Json box = boxes[0];
  while (boxes.size() < 500) boxes.push_back(box);
  EXPECT_THAT(Read(), IsOk());
  boxes.push_back(box);
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("500"), HasSubstr(token_))));
}

TEST_F(SubmissionTest, NumbersMustBeFinite) {
  for (const char* field : {"detection_score", "translation", "size", "rotation", "velocity"}) {
    for (const char* number : {"NaN", "nan", "Infinity", "-Infinity", "1e999"}) {
      const Json before = FirstBox()[field];
      Json& value = before.is_array() ? FirstBox()[field][0] : FirstBox()[field];
      value = "HERE";
      const absl::Status status = Read(absl::StrReplaceAll(submission_.dump(), {{"\"HERE\"", number}}));
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(token_), HasSubstr("box 0"))))
          << field << " " << number;
      FirstBox()[field] = before;
    }
  }
}

TEST_F(SubmissionTest, ASampleMayStandOnce) {
  const std::string again = absl::StrCat("\"results\":{\"", token_, "\":[],");
  const absl::Status status = Read(absl::StrReplaceAll(submission_.dump(), {{"\"results\":{", again}}));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(token_), HasSubstr("twice"))));
}

TEST_F(SubmissionTest, BrokenTextIsAnError) {
  const std::string text = submission_.dump();
  EXPECT_FALSE(Read("").ok());
  EXPECT_FALSE(Read(text.substr(0, text.size() / 2)).ok());
  EXPECT_FALSE(Read(absl::StrReplaceAll(text, {{"\"results\"", "\"results\": {}, \"results\""}})).ok());
}

TEST_F(SubmissionTest, HostileTextNeverCrashes) {
  // One sample's boxes, so that a run stays short.
  Json small = submission_;
  for (auto& [token, boxes] : small["results"].items()) {
    if (token != token_) boxes = Json::array();
    if (boxes.size() > 2) boxes.erase(boxes.begin() + 2, boxes.end());
  }
  size_t refused = 0;
  ForHostileInput(small.dump(), 2000, [&](const std::string& text) {
    const absl::Status status = Read(text);
    if (status.ok()) return;
    ++refused;
    EXPECT_THAT(std::string(status.message()), IsOneLine());
  });
  EXPECT_GT(refused, 100u);
}

TEST(ScoreNuscenesTest, TheLabelsThemselvesScoreFully) {
  std::vector<NuscenesEvalSample> samples(1);
  for (int8_t label = 0; label < 10; ++label) {
    NuscenesBox box{.center = {label * 5.0, 1, 0},
                    .size = {2, 4, 1.5},
                    .yaw = 0.3,
                    .velocity = {1, 2},
                    .label = label,
                    .attribute = 0};
    samples[0].labels.push_back(box);
    box.score = 0.5;
    samples[0].detections.push_back(box);
  }
  const NuscenesScores scores = ScoreNuscenes(samples);
  EXPECT_NEAR(scores.mean_ap, 1, 1e-12);
  EXPECT_NEAR(scores.nds, 1, 1e-12);
}

}  // namespace
}  // namespace kd
