#include "core/safetensors.h"

#include <cstring>
#include <string>

#include "base/rng.h"
#include "base/status_matchers.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

std::string WithHeader(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

SafeTensorsFile Example() {
  SafeTensorsFile file;
  file.metadata["kd.detector"] = "{}";
  file.tensors["b"] = {.dtype = "F32", .shape = {1, 2}, .bytes = std::string("\0\0\x80\x3f\0\0\0\x40", 8)};
  file.tensors["a"] = {.dtype = "I64", .shape = {}, .bytes = std::string(8, '\1')};
  return file;
}

TEST(SafeTensorsTest, WhatWasWrittenIsRead) {
  const auto file = ParseSafeTensors(SerializeSafeTensors(Example()));
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(file->metadata, Example().metadata);
  EXPECT_EQ(file->tensors.at("b").bytes, Example().tensors.at("b").bytes);
  EXPECT_EQ(file->tensors.at("b").shape, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(file->tensors.at("a").shape, std::vector<int64_t>{});
}

// The example of the format's own description: one F32 tensor of shape [2].
TEST(SafeTensorsTest, AFileWrittenByHandIsRead) {
  const auto file = ParseSafeTensors(WithHeader(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "12345678"));
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(file->tensors.at("w").bytes, "12345678");
}

TEST(SafeTensorsTest, ImpossibleHeadersAreRefused) {
  for (const auto& [header, data, problem] : {
           std::tuple{R"([])", "", "not a JSON object"},
           {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}})", "12345678", "lie outside"},
           {R"({"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "12345678", "do not match"},
           {R"({"w":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}})", "12345678", "unknown dtype"},
           {R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}})", "12345678", "not a list of sizes"},
           {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "12345678", "leaves a gap"},
           {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "12345678", "after the last"},
           {R"({"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", "12345678", "do not match"},
           {R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "1", "twice"},
       }) {
    EXPECT_THAT(ParseSafeTensors(WithHeader(header, data)), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(problem)))
        << header;
  }
  EXPECT_THAT(ParseSafeTensors("1234"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseSafeTensors(std::string(16, '\xff')), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseSafeTensors(WithHeader(std::string(100000, '['), "")), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(SafeTensorsTest, NoMutationCrashesTheParser) {
  const std::string good = SerializeSafeTensors(Example());
  CounterRng rng(3);
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good.substr(0, rng.Below(4) == 0 ? rng.Below(good.size() + 1) : good.size());
    for (uint64_t i = rng.Below(4); i > 0 && !bytes.empty(); --i) bytes[rng.Below(bytes.size())] = static_cast<char>(rng.Next());
    refused += !ParseSafeTensors(bytes).ok();
  }
  EXPECT_GT(refused, 5000);
}

}  // namespace
}  // namespace kd
