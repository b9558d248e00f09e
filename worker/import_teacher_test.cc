// Real torch wrote what the reader is tested with (core/torch_checkpoint_test.cc); here a detector's own weights go out
// and come back.
#include "worker/import_teacher.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "base/status_matchers.h"
#include "core/detector_config.h"
#include "core/torch_checkpoint.h"
#include "gtest/gtest.h"
#include "models/detector.h"

namespace kd {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// A checkpoint as spconv 1 has it: kernels (kz, ky, kx, in, out).
SafeTensorsFile AsSpconv1(SafeTensorsFile file) {
  for (auto& [name, tensor] : file.tensors) {
    if (tensor.shape.size() == 5) tensor = FromTorch(ToTorch(tensor).permute({1, 2, 3, 4, 0}));
  }
  return file;
}

SafeTensorsFile Trained(const v1::Detector& detector) {
  torch::manual_seed(7);
  DetectorModel model(detector);
  return StateDict(*model);
}

TEST(ImportTeacherTest, ASpconv1CheckpointBecomesTheSameTeacher) {
  const v1::Detector detector = *BuiltInDetector("second_kitti");
  const SafeTensorsFile trained = Trained(detector);
  const auto bytes = SerializeTorchCheckpoint(AsSpconv1(trained));
  ASSERT_THAT(bytes.status(), IsOk());
  auto checkpoint = ParseTorchCheckpoint(*bytes);
  ASSERT_THAT(checkpoint.status(), IsOk());
  const auto imported = ImportTeacher(detector, std::move(checkpoint->weights), /*allowed=*/{});
  ASSERT_THAT(imported.status(), IsOk());
  EXPECT_THAT(imported->report.converted, SizeIs(12));
  auto loaded = LoadDetector(imported->file);
  ASSERT_THAT(loaded.status(), IsOk());
  EXPECT_EQ(SerializeSafeTensors(StateDict(*loaded->module)), SerializeSafeTensors(trained));
}

TEST(ImportTeacherTest, WhatDoesNotFitIsRefusedOrStartsTheSameEveryTime) {
  const v1::Detector detector = *BuiltInDetector("centerpoint_pillar_sim");
  SafeTensorsFile weights = Trained(detector);
  std::erase_if(weights.tensors, [](const auto& entry) { return absl::StrContains(entry.first, ".hm."); });
  const auto refused = ImportTeacher(detector, weights, /*allowed=*/{});
  ASSERT_THAT(refused.status(), IsOk());
  EXPECT_FALSE(refused->report.missing.empty());
  EXPECT_THAT(refused->file, IsEmpty());
  torch::rand({3});
  const auto others = ImportTeacher(detector, weights, {"dense_head.*.hm.*.bias"});
  ASSERT_THAT(others.status(), IsOk());
  EXPECT_THAT(others->refused, Contains("dense_head.heads_list.0.hm.1.weight"));
  EXPECT_THAT(others->refused, Not(Contains("dense_head.heads_list.0.hm.1.bias")));
  EXPECT_THAT(others->file, IsEmpty());
  const auto allowed = ImportTeacher(detector, weights, {"dense_head.*.hm.*"});
  ASSERT_THAT(allowed.status(), IsOk());
  auto loaded = LoadDetector(allowed->file);
  ASSERT_THAT(loaded.status(), IsOk());
  const SafeTensorsFile state = StateDict(*loaded->module);
  EXPECT_EQ(state.tensors.at("vfe.pfn_layers.0.linear.weight").bytes,
            weights.tensors.at("vfe.pfn_layers.0.linear.weight").bytes);
  EXPECT_EQ(ImportTeacher(detector, weights, {"*"})->file, allowed->file);
}

TEST(ImportTeacherTest, ATeacherOfInitialValuesAloneIsNoTeacher) {
  SafeTensorsFile weights;
  for (auto& [name, tensor] : Trained(*BuiltInDetector("centerpoint_pillar_sim")).tensors)
    weights.tensors["other." + name] = std::move(tensor);
  const auto imported = ImportTeacher(*BuiltInDetector("centerpoint_pillar_sim"), weights, {"*"});
  ASSERT_THAT(imported.status(), IsOk());
  EXPECT_EQ(imported->report.matched, 0u);
  EXPECT_THAT(imported->refused, IsEmpty());
  EXPECT_THAT(imported->file, IsEmpty());
}

}  // namespace
}  // namespace kd
