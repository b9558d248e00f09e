#include "core/folded_weights.h"

#include <string>
#include <utility>
#include <vector>

#include "base/status_matchers.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

SafeTensor Floats(std::vector<int64_t> shape, const std::vector<float>& values) {
  SafeTensor tensor{.dtype = "F32", .shape = std::move(shape)};
  tensor.bytes.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return tensor;
}

TEST(FoldedWeightsTest, BatchNormGoesIntoWeightAndBias) {
  SafeTensorsFile file;
  file.tensors = {{"up.weight", Floats({1, 2, 1, 2}, {1, 2, 3, 4})},
                  {"up.bias", Floats({2}, {0.5f, 1})},
                  {"norm.weight", Floats({2}, {3, -2})},
                  {"norm.bias", Floats({2}, {1, 7})},
                  {"norm.running_mean", Floats({2}, {1.5f, 0})},
                  {"norm.running_var", Floats({2}, {8, 3})},
                  {"norm.num_batches_tracked", {.dtype = "I64", .shape = {}, .bytes = std::string(8, '\0')}}};
  FoldedWeights folded(file);
  // Standard deviations are 3 and 2, so the factors are 1 and -1. Outputs lie along the second axis.
  folded.Add({.weight = "up.weight",
              .shape = {1, 2, 1, 2},
              .output_axis = 1,
              .bias = "up.bias",
              .norm = "norm",
              .norm_eps = 1},
             "up.folded");
  ASSERT_THAT(folded.Check(), IsOk());
  const auto weights = folded.Take();
  EXPECT_EQ(weights.at("up.weight").bytes, Floats({}, {1, 2, -3, -4}).bytes);
  EXPECT_EQ(weights.at("up.weight").shape, (std::vector<int64_t>{1, 2, 1, 2}));
  EXPECT_EQ(weights.at("up.folded").bytes, Floats({}, {0, 6}).bytes);
}

TEST(FoldedWeightsTest, ReadsHalfPrecision) {
  SafeTensorsFile file;
  // 1.5 and -2 as binary16 and as bfloat16.
  file.tensors = {{"a.weight", {.dtype = "F16", .shape = {2, 1}, .bytes = std::string("\x00\x3e\x00\xc0", 4)}},
                  {"b.weight", {.dtype = "BF16", .shape = {2, 1}, .bytes = std::string("\xc0\x3f\x00\xc0", 4)}}};
  FoldedWeights folded(file);
  for (const char* name : {"a.weight", "b.weight"}) folded.Add({.weight = name, .shape = {2, 1}}, "");
  ASSERT_THAT(folded.Check(), IsOk());
  for (const auto& [name, tensor] : folded.Take()) EXPECT_EQ(tensor.bytes, Floats({}, {1.5f, -2}).bytes) << name;
}

}  // namespace
}  // namespace kd
