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
using ::testing::ContainsRegex;
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

class NuscenesScoresTest : public testing::TestWithParam<const char*> {};

TEST_P(NuscenesScoresTest, ScoresAreTheOfficialOnes) {
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

INSTANTIATE_TEST_SUITE_P(Cases, NuscenesScoresTest,
                         testing::Values("n01_small", "n02_ties", "n03_racks_points", "n04_velocity_attr",
                                         "n05_empty_predictions"),
                         [](const auto& info) { return std::string(info.param); });

// A change of make_submissions.py, beside the cases.
void Apply(const Json& change, const std::vector<std::string>& tokens, nlohmann::ordered_json& submission) {
  const Json& at = change["at"];
  nlohmann::ordered_json* node = &submission;
  const bool in_results = at[0].is_number();
  if (in_results) node = &submission["results"];
  for (size_t i = 0; i < at.size(); ++i) {
    const bool is_last = i + 1 == at.size();
    if (at[i].is_number() && !(in_results && i == 0)) {
      node = &(*node)[at[i].get<size_t>()];
      continue;
    }
    const std::string key = i == 0 && in_results ? tokens[at[i].get<size_t>()] : at[i].get<std::string>();
    if (is_last && !change.contains("to")) {
      node->erase(key);
      return;
    }
    node = &(*node)[key];
  }
  *node = change["to"];
}

absl::StatusOr<NuscenesScores> ScoreText(const NuscenesTables& tables, const std::string& text) {
  const TemporaryFolder folder;
  const std::string path = folder / "submission.json";
  std::ofstream(path, std::ios::binary) << text;
  auto detections = ReadNuscenesSubmission(path, tables, *tables.SplitSamples("mini_val"));
  if (!detections.ok()) return detections.status();
  return EvaluateNuscenes(tables, *std::move(detections));
}

TEST(NuscenesGoldenTest, WhatTheDevkitTakesIsTakenAndScoresTheSame) {
  const NuscenesTables tables = GoldenTables("n01_small");
  const auto original = nlohmann::ordered_json::parse(*ReadFile(CaseFolder("n01_small") + "/submission.json"));
  std::vector<std::string> tokens;
  for (const auto& [token, boxes] : original["results"].items()) tokens.push_back(token);
  size_t taken = 0, refused = 0;
  for (const Json& test_case : Json::parse(*ReadFile(CaseFolder("submissions.json")))) {
    SCOPED_TRACE(test_case["name"]);
    nlohmann::ordered_json submission = original;
    for (const Json& change : test_case["changes"]) Apply(change, tokens, submission);
    const auto scores = ScoreText(tables, absl::StrReplaceAll(submission.dump(), {{"\"@NaN\"", "NaN"},
                                                                                  {"\"@Infinity\"", "Infinity"},
                                                                                  {"\"@-Infinity\"", "-Infinity"},
                                                                                  {"\"@1e999\"", "1e999"}}));
    if (test_case.contains("refused")) {
      ++refused;
      EXPECT_THAT(scores, StatusIs(absl::StatusCode::kInvalidArgument, IsOneLine())) << test_case["refused"];
      continue;
    }
    ++taken;
    EXPECT_THAT(scores, IsOk());
    if (!scores.ok()) continue;
    Json got = Json::parse(NuscenesScoresToJson(*scores));
    got["pred"] = got["boxes_after_filter"]["pred"];
    for (const auto& [key, value] : test_case["scores"].items()) {
      double largest = 0;
      Compare(got[key], value, key, largest);
      EXPECT_LE(largest, 1e-9) << key;
    }
  }
  EXPECT_EQ(taken, 46u);
  EXPECT_EQ(refused, 39u);
}

TEST(NuscenesGoldenTest, WhatCannotBeScoredIsToldWithItsPlace) {
  const NuscenesTables tables = GoldenTables("n01_small");
  const auto original = nlohmann::ordered_json::parse(*ReadFile(CaseFolder("n01_small") + "/submission.json"));
  nlohmann::ordered_json submission = original;
  for (auto& [token, boxes] : submission["results"].items()) {
    for (auto& box : boxes) box["size"][1] = 0;
  }
  EXPECT_THAT(ScoreText(tables, submission.dump()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::MatchesRegex("sample \"[0-9a-f]{32}\": the [a-z_]+ of score 0[.][0-9]+ is [0-9.]+ x 0 "
                                             "x [0-9.]+ m large and matches a label; sizes must be above 0")));
  submission = original;
  for (auto& [token, boxes] : submission["results"].items()) {
    for (auto& box : boxes) box.erase("detection_score");
  }
  EXPECT_THAT(ScoreText(tables, submission.dump()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("class "), HasSubstr("below 0"), HasSubstr("detection_score"))));
}

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
  refused([&] { FirstBox()["detection_score"] = nullptr; }, {"detection_score", token_});
  refused([&] { FirstBox()["size"] = {1, "2", 1}; }, {"size", token_});
  refused([&] { FirstBox()["translation"] = {1, 2}; }, {"translation", token_});
  refused([&] { FirstBox()["rotation"] = {1, 0, 0}; }, {"rotation", token_});
  refused([&] { FirstBox()["num_pts"] = nullptr; }, {"num_pts", token_});
  refused([&] { FirstBox()["ego_translation"] = {1, 2}; }, {"ego_translation", token_});
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
  refused([&] { submission_.erase("meta"); }, {"meta"});
  refused([&] { submission_["meta"] = nullptr; }, {"meta", "object"});
  refused([&] { submission_["results"].clear(); }, {"missing"});
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

TEST_F(SubmissionTest, NumbersThatPythonDoesNotWriteAreRefused) {
  for (const char* field : {"detection_score", "translation", "size", "rotation", "velocity"}) {
    for (const char* number : {"nan", "-NaN", "inf", "+Infinity", "infinity", "NaNs", "1e", "-"}) {
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

// What the devkit takes because Python does not look.
TEST_F(SubmissionTest, WhatIsNoSubmissionByAccidentAloneIsRefused) {
  const auto refused = [&](const std::function<void()>& damage, const std::string& word) {
    const Json before = submission_;
    damage();
    EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(word)));
    submission_ = before;
  };
  refused([&] { FirstBox()["detection_score"] = "0.5"; }, "detection_score");
  refused([&] { FirstBox()["detection_score"] = true; }, "detection_score");
  refused([&] { FirstBox()["num_pts"] = "3"; }, "num_pts");
  refused([&] { FirstBox()["translation"][0] = true; }, "translation");
  refused([&] { FirstBox()["velocity"] = {nullptr, nullptr}; }, "velocity");
  refused([&] { submission_["results"][token_] = Json::object(); }, "list");
  refused([&] { submission_["meta"] = Json::array(); }, "meta");
  refused([&] { FirstBox()["sample_token"] = FormatNuscenesToken(tables_.samples()[samples_.back()].token); },
          "sample_token");
  const std::string twice = absl::StrReplaceAll(submission_.dump(), {{"\"size\":", "\"size\":[1,1,1],\"size\":"}});
  EXPECT_THAT(Read(twice), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("size")));
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

TEST_F(SubmissionTest, BrokenTextIsToldWithItsByte) {
  const std::string text = submission_.dump();
  const auto told = [&](const std::string& broken, const std::string& problem, size_t byte) {
    EXPECT_THAT(Read(broken),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(problem), ContainsRegex(absl::StrCat("at byte ", byte, "( |$)")))));
  };
  const auto with = [&](size_t at, const std::string& more) { return text.substr(0, at) + more + text.substr(at); };
  // A colon that is none.
  const size_t size = text.find("\"size\":") + 6;
  std::string colon = text;
  colon[size] = ' ';
  told(colon, "broken JSON", size + 1);
  const size_t results = text.find("\"results\"");
  told(with(results, "7,"), "broken JSON", results);
  told(text + " {}", "more text follows", text.size() + 1);
  told(text.substr(0, text.size() - 1), "broken JSON", text.size() - 1);
  // Quotes and characters, which are looked at before the rest.
  const size_t name = text.find("detection_name");
  told(with(name, "\n"), "broken JSON", name);
  told(with(name, "\x01"), "broken JSON", name);
  told(with(name, "\xff"), "broken JSON", name);
  told(with(name, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x9a\x97\xc3"), "broken JSON", name + 9);
  told(text.substr(0, text.rfind('"')), "broken JSON", text.rfind('"', text.rfind('"') - 1));
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
  const auto scores = ScoreNuscenes(samples);
  ASSERT_THAT(scores, IsOk());
  EXPECT_NEAR(scores->mean_ap, 1, 1e-12);
  EXPECT_NEAR(scores->nds, 1, 1e-12);
}

}  // namespace
}  // namespace kd
