#include "core/safetensors.h"

#include <cstring>
#include <string>

#include "base/hostile_input.h"
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
  const auto file =
      ParseSafeTensors(WithHeader(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "12345678"));
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(file->tensors.at("w").bytes, "12345678");
}

TEST(SafeTensorsTest, ImpossibleHeadersAreRefused) {
  for (
      const auto& [header, data, problem] : {
          std::tuple{R"([])", "", "not a JSON object"},
          {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}})", "12345678", "lie outside"},
          {R"({"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "12345678", "do not match"},
          {R"({"w":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}})", "12345678", "unknown dtype"},
          {R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}})", "12345678", "not a list of sizes"},
          {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "12345678", "leaves a gap"},
          {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "12345678", "after the last"},
          {R"({"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", "12345678", "do not match"},
          {R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
           "1", "twice"},
      }) {
    EXPECT_THAT(ParseSafeTensors(WithHeader(header, data)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(problem)))
        << header;
  }
  EXPECT_THAT(ParseSafeTensors("1234"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseSafeTensors(std::string(16, '\xff')), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseSafeTensors(WithHeader(std::string(100000, '['), "")), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(SafeTensorsTest, HostileBytesAreRefusedInOneLineOrHoldWhatTheyDeclare) {
  int read = 0, refused = 0;
  ForHostileInput(SerializeSafeTensors(Example()), 20000, [&](const std::string& bytes) {
    const auto file = ParseSafeTensors(bytes);
    if (!file.ok()) {
      ++refused;
      ASSERT_THAT(file, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a safetensors file")));
      ASSERT_THAT(file.status().message(), IsOneLine());
      return;
    }
    ++read;
    for (const auto& [name, tensor] : file->tensors) {
      size_t size = SafeTensorElementSize(tensor.dtype);
      for (const int64_t extent : tensor.shape) size *= static_cast<size_t>(extent);
      ASSERT_EQ(tensor.bytes.size(), size) << name;
    }
    ASSERT_THAT(ParseSafeTensors(SerializeSafeTensors(*file)), IsOk());
  });
  EXPECT_GT(read, 500);
  EXPECT_GT(refused, 5000);
}

}  // namespace
}  // namespace kd
