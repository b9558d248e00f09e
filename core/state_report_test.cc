// Names and shapes are those of released configurations (tests/golden/models/manifest_*).
#include "core/state_report.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr char kSecond[] = "manifest_second_openpcdet";

std::string Folder() { return SourceDir() + "/tests/golden/models/"; }

// The state dictionary of a manifest, global_step included.
std::vector<StateEntry> Manifest(const std::string& name) {
  const absl::StatusOr<std::string> text = ReadFile(Folder() + name + ".json");
  EXPECT_THAT(text.status(), IsOk());
  std::vector<StateEntry> state;
  const auto manifest = nlohmann::json::parse(*text);
  for (const auto& entry : manifest.at("state")) {
    state.push_back({entry[0], entry[1] == "float32" ? "F32" : "I64", entry[2].get<std::vector<int64_t>>()});
  }
  return state;
}

// What a detector has of it.
std::vector<StateEntry> Wanted(const std::string& name) {
  std::vector<StateEntry> state = Manifest(name);
  std::erase_if(state, [](const StateEntry& entry) { return entry.name == "global_step"; });
  return state;
}

using Weights = std::map<std::string, SafeTensor>;

// Numbers counted up within each tensor; as 2 or 8 bytes they are enough to tell elements apart.
SafeTensor Counted(const StateEntry& entry) {
  SafeTensor tensor{.dtype = entry.dtype, .shape = entry.shape};
  int64_t elements = 1;
  for (const int64_t extent : entry.shape) elements *= extent;
  const int size = SafeTensorElementSize(entry.dtype);
  tensor.bytes.resize(static_cast<size_t>(elements * size));
  for (int64_t i = 0; i < elements; ++i)
    std::memcpy(tensor.bytes.data() + i * size, &i, static_cast<size_t>(std::min(size, 8)));
  return tensor;
}

Weights Checkpoint(const std::string& name) {
  Weights weights;
  for (const StateEntry& entry : Manifest(name)) weights[entry.name] = Counted(entry);
  return weights;
}

// The same kernel in another order of axes: axis d of the result is axis `order[d]` of (out, kz, ky, kx, in).
SafeTensor Permuted(const SafeTensor& kernel, const std::array<size_t, 5>& order) {
  SafeTensor result = kernel;
  std::array<int64_t, 5> stride{};
  for (int64_t step = 1, d = 4; d >= 0; --d) {
    stride[static_cast<size_t>(d)] = step;
    step *= kernel.shape[static_cast<size_t>(d)];
  }
  for (size_t d = 0; d < 5; ++d) result.shape[d] = kernel.shape[order[d]];
  const auto& s = result.shape;
  int64_t to = 0;
  for (int64_t a = 0; a < s[0]; ++a)
    for (int64_t b = 0; b < s[1]; ++b)
      for (int64_t c = 0; c < s[2]; ++c)
        for (int64_t d = 0; d < s[3]; ++d)
          for (int64_t e = 0; e < s[4]; ++e, ++to) {
            const int64_t from = a * stride[order[0]] + b * stride[order[1]] + c * stride[order[2]] +
                                 d * stride[order[3]] + e * stride[order[4]];
            std::memcpy(result.bytes.data() + to * 4, kernel.bytes.data() + from * 4, 4);
          }
  return result;
}
constexpr std::array<size_t, 5> kSpconv1 = {1, 2, 3, 4, 0}, kNative = {1, 2, 3, 0, 4};

void PermuteKernels(Weights& weights, const std::array<size_t, 5>& order) {
  for (auto& [name, tensor] : weights) {
    if (tensor.shape.size() == 5) tensor = Permuted(tensor, order);
  }
}

TEST(StateReportTest, EveryReleasedStateFitsItself) {
  int manifests = 0;
  for (const auto& file : std::filesystem::directory_iterator(Folder())) {
    const std::string name = file.path().stem();
    if (!absl::StartsWith(name, "manifest_") || file.path().extension() != ".json") continue;
    ++manifests;
    Weights weights = Checkpoint(name);
    const std::vector<StateEntry> wanted = Wanted(name);
    const StateReport report = FitState(wanted, weights);
    EXPECT_TRUE(report.Fits()) << name << "\n" << StateReportToText(report);
    EXPECT_EQ(report.matched, wanted.size()) << name;
    EXPECT_EQ(weights.size(), wanted.size()) << name;
    EXPECT_THAT(report.converted, IsEmpty()) << name;
    EXPECT_THAT(report.ignored, testing::ElementsAre("global_step")) << name;
  }
  EXPECT_GT(manifests, 20);
}

TEST(StateReportTest, KernelsOfOtherLayoutsAreConverted) {
  const Weights ours = Checkpoint(kSecond);
  for (const auto& [order, layout] :
       {std::pair{kSpconv1, "spconv 1 (kz, ky, kx, in, out)"}, {kNative, "spconv 2 native (kz, ky, kx, out, in)"}}) {
    Weights weights = ours;
    PermuteKernels(weights, order);
    ASSERT_NE(weights.at("backbone_3d.conv1.0.0.weight").bytes, ours.at("backbone_3d.conv1.0.0.weight").bytes);
    const StateReport report = FitState(Wanted(kSecond), weights);
    EXPECT_TRUE(report.Fits()) << StateReportToText(report);
    EXPECT_THAT(report.converted, SizeIs(12));
    EXPECT_THAT(report.kernels, HasSubstr(layout));
    EXPECT_THAT(report.kernels, HasSubstr("backbone_3d.conv_input.0.weight [3, 3, 3,"));
    for (const auto& [name, tensor] : weights) {
      EXPECT_EQ(tensor.shape, ours.at(name).shape) << name;
      EXPECT_EQ(tensor.bytes, ours.at(name).bytes) << name;
    }
  }
}

// With one width everywhere but in the layer that tells, every kernel but that one looks like both layouts.
TEST(StateReportTest, OneLayerDecidesForAllAndThreeChannelsDecideNothing) {
  const std::vector<StateEntry> wanted = {{"a.weight", "F32", {3, 3, 3, 3, 4}},
                                          {"b.weight", "F32", {16, 3, 3, 3, 16}},
                                          {"c.weight", "F32", {32, 3, 3, 3, 16}}};
  Weights ours;
  for (const StateEntry& entry : wanted) ours[entry.name] = Counted(entry);
  Weights weights = ours;
  PermuteKernels(weights, kNative);
  StateReport report = FitState(wanted, weights);
  EXPECT_TRUE(report.Fits());
  EXPECT_THAT(report.kernels, HasSubstr("c.weight"));
  EXPECT_EQ(weights.at("b.weight").bytes, ours.at("b.weight").bytes);

  // Without the layer that tells, nothing is guessed.
  const std::vector<StateEntry> square = {wanted[1]};
  weights = {{"b.weight", Permuted(ours.at("b.weight"), kNative)}};
  report = FitState(square, weights);
  ASSERT_THAT(report.mismatched, SizeIs(1));
  EXPECT_THAT(report.mismatched[0].cause, HasSubstr("cannot be told"));

  // A file whose layers contradict each other.
  weights = ours;
  weights.at("c.weight") = Permuted(ours.at("c.weight"), kSpconv1);
  weights.at("a.weight") = Permuted(ours.at("a.weight"), kSpconv1);
  report = FitState(wanted, weights);
  EXPECT_THAT(report.converted, SizeIs(2));
  ASSERT_THAT(report.mismatched, SizeIs(1));
  EXPECT_THAT(report.mismatched[0].cause, HasSubstr("other kernels of the file have the layout of spconv 1"));
}

// The report of a checkpoint of `from`, changed by `change`, for the detector of `to`.
template <typename Change>
StateReport ReportOf(const std::string& from, const std::string& to, const Change& change) {
  Weights weights = Checkpoint(from);
  change(weights);
  return FitState(Wanted(to), weights);
}
StateReport ReportOf(const std::string& from, const std::string& to) {
  return ReportOf(from, to, [](Weights&) {});
}
void Resize(Weights& weights, const std::string& name, std::vector<int64_t> shape) {
  weights.at(name) = Counted({name, "F32", std::move(shape)});
}

TEST(StateReportTest, MismatchesNameTheirCause) {
  const auto cause = [](const StateReport& report, const std::string& name) {
    const auto found = std::find_if(report.mismatched.begin(), report.mismatched.end(),
                                    [&](const StateFinding& finding) { return finding.name == name; });
    return found == report.mismatched.end() ? "(" + name + " is not listed)" : found->cause;
  };
  const char kPillar[] = "manifest_pointpillar_openpcdet", kLinear[] = "vfe.pfn_layers.0.linear.weight";
  EXPECT_THAT(cause(ReportOf(kPillar, kPillar, [&](Weights& w) { Resize(w, kLinear, {64, 9}); }), kLinear),
              HasSubstr("the checkpoint has 9 inputs per point, the configuration 10: trained without the height in "
                        "the pillar (mmdetection3d's use_voxel_center_z=false)"));
  EXPECT_THAT(cause(ReportOf(kPillar, kPillar, [&](Weights& w) { Resize(w, kLinear, {64, 11}); }), kLinear),
              HasSubstr("WITH_DISTANCE: True"));
  EXPECT_THAT(cause(ReportOf(kPillar, kPillar, [&](Weights& w) { Resize(w, kLinear, {64, 7}); }), kLinear),
              HasSubstr("USE_ABSLOTE_XYZ: False"));
  EXPECT_THAT(
      cause(ReportOf(kSecond, kSecond, [&](Weights& w) { Resize(w, "dense_head.conv_cls.weight", {2, 512, 1, 1}); }),
            "dense_head.conv_cls.weight"),
      HasSubstr("the checkpoint's head knows 1 class, the configuration's 3 classes (CLASS_NAMES"));
  const std::string heat_map = "dense_head.heads_list.0.hm.1.weight";
  EXPECT_THAT(cause(ReportOf("manifest_centerpoint_openpcdet", "manifest_centerpoint_openpcdet",
                             [&](Weights& w) { Resize(w, heat_map, {1, 64, 3, 3}); }),
                    heat_map),
              HasSubstr("has 1 class in this group, the configuration 3 ("));
  const std::string input = "backbone_3d.conv_input.0.weight";
  EXPECT_THAT(cause(ReportOf(kSecond, kSecond, [&](Weights& w) { Resize(w, input, {16, 3, 3, 3, 5}); }), input),
              HasSubstr("used_feature_list"));
  const std::string bias = "dense_head.conv_box.bias";
  EXPECT_THAT(cause(ReportOf(kSecond, kSecond, [&](Weights& w) { w.at(bias).dtype = "I32"; }), bias),
              HasSubstr("numbers of type I32, expected F32"));
}

TEST(StateReportTest, OneSidedNamesNameTheirCause) {
  const StateReport stage = ReportOf("manifest_pv_rcnn_openpcdet", kSecond);
  ASSERT_THAT(stage.unexpected, Not(IsEmpty()));
  EXPECT_THAT(StateReportToText(stage), HasSubstr("the checkpoint has a second stage, the configuration has none"));
  EXPECT_THAT(StateReportToText(ReportOf(kSecond, "manifest_pv_rcnn_openpcdet")),
              HasSubstr("the configuration has a second stage, the checkpoint has none"));
  EXPECT_THAT(StateReportToText(ReportOf(kSecond, "manifest_part_a2_openpcdet")),
              HasSubstr("the configuration has UNetV2, the checkpoint VoxelBackBone8x"));
  const char kPart[] = "manifest_part_a2_openpcdet";
  EXPECT_THAT(StateReportToText(ReportOf(kPart, kPart, [](Weights& w) { w.erase("backbone_3d.conv_out.0.weight"); })),
              HasSubstr("the configuration has RETURN_ENCODED_TENSOR True, the checkpoint False"));
  const std::string heads = StateReportToText(ReportOf("manifest_centerpoint_openpcdet", kSecond));
  EXPECT_THAT(heads, HasSubstr("the checkpoint has a CenterHead, the configuration an AnchorHeadSingle"));
  EXPECT_THAT(heads, HasSubstr("the configuration has an AnchorHeadSingle, the checkpoint a CenterHead"));
  EXPECT_THAT(heads, HasSubstr("the checkpoint has VoxelResBackBone8x, the configuration VoxelBackBone8x"));
  const std::string other_data = StateReportToText(
      ReportOf("manifest_cbgs_voxel0075_res3d_centerpoint_openpcdet", "manifest_centerpoint_openpcdet"));
  EXPECT_THAT(other_data,
              HasSubstr("the checkpoint has 6 groups of classes, the configuration 1 (CLASS_NAMES_EACH_HEAD)"));
  EXPECT_THAT(StateReportToText(ReportOf("manifest_pointpillar_openpcdet", kSecond)),
              HasSubstr("the checkpoint has PillarVFE, the configuration has not"));
}

TEST(StateReportTest, NamesOfOtherCodeAreRecognised) {
  const auto renamed = [](const std::string& prefix) {
    Weights weights;
    for (auto& [name, tensor] : Checkpoint(kSecond)) weights[prefix + name] = tensor;
    return StateReportToText(FitState(Wanted(kSecond), weights));
  };
  EXPECT_THAT(renamed("model."), HasSubstr("names have \"model.\" before them"));
  EXPECT_THAT(renamed("a.b."), HasSubstr("names have \"a.b.\" before them"));
  EXPECT_THAT(renamed("x"), HasSubstr("no name in common: \"xbackbone_2d."));
  EXPECT_THAT(renamed("x"), Not(HasSubstr("mmdetection3d")));
  Weights nothing;
  EXPECT_EQ(FitState(Wanted(kSecond), nothing).missing.size(), Wanted(kSecond).size());
}

TEST(StateReportTest, Mmdetection3dIsNamedWithTheWayOut) {
  const auto report = [](std::initializer_list<const char*> names) {
    Weights weights;
    for (const char* name : names) weights[name] = Counted({name, "F32", {2}});
    return FitState(Wanted(kSecond), weights);
  };
  // CenterPoint's and PointPillars' names there.
  const StateReport center = report({"pts_voxel_encoder.pfn_layers.0.linear.weight", "pts_backbone.blocks.0.0.weight",
                                     "pts_neck.deblocks.0.0.weight", "pts_bbox_head.shared_conv.conv.weight",
                                     "pts_bbox_head.task_heads.0.reg.1.weight"});
  const std::string text = StateReportToText(center);
  EXPECT_THAT(text, HasSubstr("looks like a checkpoint of mmdetection3d: its names start with pts_backbone, "
                              "pts_bbox_head, pts_neck, pts_voxel_encoder. "));
  EXPECT_THAT(text, HasSubstr("Take weights that OpenPCDet trained"));
  EXPECT_THAT(center.unexpected, SizeIs(5));
  EXPECT_THAT(StateReportToText(report({"voxel_encoder.pfn_layers.0.norm.weight", "backbone.blocks.0.0.weight",
                                        "bbox_head.conv_cls.weight"})),
              HasSubstr("its names start with backbone, bbox_head, voxel_encoder. "));
}

TEST(StateReportTest, BatchCountersMayBeAbsentAndNumbersMayBeNarrow) {
  const StateReport report = ReportOf(kSecond, kSecond, [](Weights& weights) {
    std::erase_if(weights, [](const auto& entry) { return absl::EndsWith(entry.first, ".num_batches_tracked"); });
    SafeTensor& bias = weights.at("dense_head.conv_box.bias");
    bias.dtype = "F16";
    bias.bytes.resize(bias.bytes.size() / 2);
  });
  EXPECT_TRUE(report.Fits()) << StateReportToText(report);
  EXPECT_GT(report.ignored.size(), 10u);
}

TEST(StateReportTest, PatternsNameWhatMayNotFit) {
  const std::string bias = "dense_head.conv_dir_cls.bias", weight = "dense_head.conv_dir_cls.weight";
  const StateReport report = ReportOf(kSecond, kSecond, [&](Weights& weights) {
    weights.erase(bias);
    Resize(weights, weight, {2, 2, 1, 1});
    weights["dense_head.other"] = Counted({"dense_head.other", "F32", {2}});
  });
  EXPECT_THAT(UnfitNames(report, {}), UnorderedElementsAre(bias, weight, "dense_head.other"));
  EXPECT_THAT(UnfitNames(report, {"dense_head.conv_dir_cls.*"}), ElementsAre("dense_head.other"));
  EXPECT_THAT(UnfitNames(report, {"*.weight", bias}), ElementsAre("dense_head.other"));
  EXPECT_THAT(UnfitNames(report, {"dense_head"}), SizeIs(3));
  EXPECT_THAT(UnfitNames(report, {"*"}), IsEmpty());
}

TEST(StateReportTest, TheTextIsShortAndTheJsonWhole) {
  const StateReport report = ReportOf("manifest_pv_rcnn_openpcdet", kSecond);
  const std::string text = StateReportToText(report);
  EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 40) << text;
  EXPECT_THAT(text, HasSubstr(absl::StrCat("unexpected in the checkpoint ", report.unexpected.size())));
  const auto json = nlohmann::json::parse(StateReportToJson(report));
  EXPECT_EQ(json.at("fits"), false);
  EXPECT_EQ(json.at("unexpected").size(), report.unexpected.size());
  EXPECT_EQ(json.at("unexpected")[0].at("name"), report.unexpected[0].name);
}

}  // namespace
}  // namespace kd
