#include "client/json.h"

#include <cmath>

#include "google/protobuf/timestamp.pb.h"
#include "gtest/gtest.h"
#include "kd/v1/coordinator.pb.h"
#include "yaml-cpp/yaml.h"

namespace kd {
namespace {

v1::Job SomeJob() {
  v1::Job job;
  job.set_id("a-1");
  job.set_state(v1::JOB_STATE_RUNNING);
  job.set_reason("line: one\n\"two\"");
  job.mutable_created()->set_seconds(1'700'000'000);
  job.mutable_created()->set_nanos(5'000'000);
  job.mutable_pair()->set_api_version("kd/v1");
  job.mutable_pair()->mutable_data()->add_class_names("Car");
  job.mutable_pair()->mutable_student()->mutable_compress()->mutable_width()->set_pfn(0.1f);
  job.mutable_progress()->set_step(uint64_t{1} << 40);
  (*job.mutable_progress()->mutable_losses())["hm"] = 0.25;
  (*job.mutable_progress()->mutable_losses())["loc"] = std::nan("");
  return job;
}

TEST(JsonTest, NumbersAreNumbersAndStatesAreWords) {
  const auto json = MessageToJson(SomeJob());
  EXPECT_EQ(json["state"], "RUNNING");
  EXPECT_EQ(json["progress"]["step"], uint64_t{1} << 40);
  EXPECT_EQ(json["pair"]["student"]["compress"]["width"]["pfn"], 0.1);
  EXPECT_EQ(json["created"], "2023-11-14T22:13:20.005Z");
  EXPECT_EQ(json["progress"]["losses"]["hm"], 0.25);
}

TEST(JsonTest, APairReadsLikeItsFile) {
  const auto json = MessageToJson(SomeJob());
  EXPECT_EQ(json["pair"]["apiVersion"], "kd/v1");
  EXPECT_EQ(json["pair"]["data"]["class_names"][0], "Car");
}

TEST(JsonTest, ScalarsAreAlwaysThereAndAbsentMessagesAreNot) {
  const auto json = MessageToJson(SomeJob());
  EXPECT_EQ(json["generation"], 0);
  EXPECT_FALSE(json.contains("outcome"));
}

TEST(JsonTest, WhatIsNoJsonNumberIsText) { EXPECT_EQ(MessageToJson(SomeJob())["progress"]["losses"]["loc"], "nan"); }

TEST(JsonTest, BytesThatAreNotTextAreReplaced) {
  EXPECT_EQ(JsonToText({{"a", "\xff"}}), "{\n  \"a\": \"\xef\xbf\xbd\"\n}\n");
}

TEST(JsonTest, YamlReadsBackAsTheSameValues) {
  const auto json = MessageToJson(SomeJob());
  const YAML::Node node = YAML::Load(JsonToYaml(json));
  EXPECT_EQ(node["reason"].as<std::string>(), json["reason"].get<std::string>());
  EXPECT_EQ(node["progress"]["step"].as<uint64_t>(), uint64_t{1} << 40);
  EXPECT_EQ(node["pair"]["data"]["class_names"][0].as<std::string>(), "Car");
}

TEST(JsonTest, YamlQuotesTextThatLooksLikeSomethingElse) {
  EXPECT_EQ(JsonToYaml({{"a", "true"}, {"b", "1e3"}, {"c", ""}, {"d", "no"}, {"e", "a: b"}}),
            "a: \"true\"\nb: \"1e3\"\nc: \"\"\nd: \"no\"\ne: \"a: b\"\n");
}

}  // namespace
}  // namespace kd
