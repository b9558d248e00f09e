// Second stages against OpenPCDet's own code on given RoIs: tests/golden/second_stages/make.py.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/safetensors.h"
#include "gtest/gtest.h"
#include "models/detector.h"
#include "models/framed_points.h"
#include "models/keypoint_features.h"
#include "models/two_stage.h"
#include "models/unet_decoder.h"
#include "models/voxel_backbone.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using torch::Tensor;

struct Case {
  nlohmann::json hyper;
  std::map<std::string, Tensor> tensors;

  const Tensor& at(const std::string& name) const { return tensors.at(name); }
};

Case ReadCase(const std::string& name) {
  const std::string path = SourceDir() + "/tests/golden/second_stages/" + name;
  Case c{.hyper = nlohmann::json::parse(*ReadFile(path + ".json")).at("hyper")};
  const SafeTensorsFile file = *ParseSafeTensors(*ReadFile(path + ".safetensors"));
  for (const auto& [key, tensor] : file.tensors) c.tensors[key] = ToTorch(tensor);
  return c;
}

uint32_t Finalised(uint32_t h) {
  h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
  h = (h ^ (h >> 13)) * 0xC2B2AE35u;
  return h ^ (h >> 16);
}

// Every float parameter and buffer by its name, as the generator fills them.
void Fill(torch::nn::Module& module) {
  torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : StateOf(module)) {
    if (!tensor.is_floating_point()) continue;
    uint32_t hashed = 0x811C9DC5u;
    for (const char c : name) hashed = (hashed ^ static_cast<unsigned char>(c)) * 0x01000193u;
    const int64_t count = tensor.numel();
    const double bound = tensor.dim() > 1 ? std::sqrt(6.0 / static_cast<double>(count / tensor.size(0))) : 0;
    const bool scale = name.ends_with(".weight"), variance = name.ends_with(".running_var");
    Tensor filled = torch::empty({count});
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t h = Finalised(hashed + static_cast<uint32_t>(i) * 0x9E3779B9u);
      const double u = static_cast<double>(h >> 8) / (1 << 24);
      filled.data_ptr<float>()[i] = static_cast<float>(bound > 0  ? (2 * u - 1) * bound
                                                       : scale    ? 0.75 + u / 2
                                                       : variance ? 0.5 + u
                                                                  : (2 * u - 1) / 4);
    }
    tensor.copy_(filled.view(tensor.sizes()));
  }
}

// The 3D backbone and the second stage of a detector, which alone read the case's inputs.
struct Network : torch::nn::Module {
  Network(const Case& c, std::unique_ptr<SecondStage> (*make)(const TwoStageOptions&)) {
    TwoStageOptions options{.num_point_features = c.hyper.at("point_features"),
                            .num_keypoints = c.hyper.at("num_keypoints"),
                            .pool_size = c.hyper.value("pool_size", 12)};
    for (size_t i = 0; i < 6; ++i) options.range[i] = c.hyper.at("point_cloud_range").at(i);
    for (size_t i = 0; i < 3; ++i) {
      options.voxel_size[i] = c.hyper.at("voxel_size").at(i);
      shape[2 - i] =
          static_cast<int32_t>(std::lround((options.range[i + 3] - options.range[i]) / options.voxel_size[i]));
    }
    ++shape[0];
    options.keypoint_sources = {.bev = false, .raw_points = false, .x_conv = {}};
    for (const std::string source : c.hyper.at("features_source")) {
      if (source == "bev") options.keypoint_sources.bev = true;
      if (source == "raw_points") options.keypoint_sources.raw_points = true;
      if (source.starts_with("x_conv")) options.keypoint_sources.x_conv.push_back(source.back() - '1');
    }
    VoxelBackboneOptions voxels{.in_channels = options.num_point_features};
    voxels.widths = WidthPerSubModule(voxels.layer_nums, {16, 16, 32, 64, 64, 128});
    backbone = register_module("backbone_3d", VoxelBackbone(voxels));
    stage = make(options);
    stage->RegisterPointFeatures(*this);
    stage->RegisterHeads(*this);
    Fill(*this);
    eval();
    if (!c.hyper.contains("score_scale")) return;
    torch::NoGradGuard no_grad;
    for (Tensor& parameter : Part<torch::nn::SequentialImpl>("point_head.cls_layers")->parameters())
      parameter *= c.hyper.at("score_scale").get<double>();
  }

  FirstStage First(const Case& c) {
    const int64_t frames = c.at("in.rois").size(0);
    FirstStage first{.coords = c.at("in.coords"), .points = c.at("in.points"), .batch_size = frames};
    first.maps = backbone->forward(MakeSparseTensor(c.at("in.voxel_features"), first.coords, frames, shape));
    first.bev = CompressHeight(first.maps.encoded);
    return first;
  }

  template <typename Impl>
  std::shared_ptr<Impl> Part(const std::string& name) const {
    return std::dynamic_pointer_cast<Impl>(named_modules("", /*include_self=*/false)[name]);
  }

  SparseShape shape{};
  VoxelBackbone backbone{nullptr};
  std::unique_ptr<SecondStage> stage;
};

// Sums of up to 221184 products in another order, through over 30 layers, leave about 1e-6 of the largest value. One
// neighbour more or less changes hundredths of it, a point more in one of Part-A2's cells 4e-5.
void ExpectNear(const Tensor& got, const Tensor& want, const std::string& name) {
  ASSERT_EQ(got.sizes(), want.sizes()) << name;
  EXPECT_LT((got - want).abs().max().item<float>(), 2e-5f * want.abs().max().item<float>()) << name;
}

// As the files keep rows, to stay small.
Tensor EveryThird(const Tensor& rows) { return rows.slice(0, 0, rows.size(0), 3); }

void ExpectRefinement(Network& network, const FirstStage& first, const Case& c) {
  const Refinement got = network.stage->Refine(*network.stage->Prepare(first), c.at("in.rois"));
  ExpectNear(got.cls, c.at("out.cls"), "cls");
  ExpectNear(got.reg, c.at("out.reg"), "reg");
  ExpectNear(ApplyRefinement(c.at("in.rois"), got.reg), c.at("out.boxes"), "boxes");
}

class PvRcnnTest : public testing::TestWithParam<const char*> {};

TEST_P(PvRcnnTest, KeypointsScoresAndRefinementsAreOpenPcdets) {
  const torch::NoGradGuard no_grad;
  const Case c = ReadCase(GetParam());
  Network network(c, NewPvRcnnStage);
  const FirstStage first = network.First(c);
  const Keypoints keypoints = network.Part<KeypointFeaturesImpl>("pfe")->forward(first);
  EXPECT_TRUE(torch::equal(keypoints.xyz, c.at("out.keypoints")));
  ExpectNear(EveryThird(keypoints.gathered), c.at("out.features_before_fusion"), "features before fusion");
  ExpectNear(EveryThird(keypoints.features), c.at("out.features"), "features");
  const Tensor scores =
      torch::sigmoid(network.Part<torch::nn::SequentialImpl>("point_head.cls_layers")->forward(keypoints.gathered));
  ExpectNear(scores.squeeze(1), c.at("out.scores"), "scores");
  ExpectRefinement(network, first, c);
}

INSTANTIATE_TEST_SUITE_P(Sources, PvRcnnTest, testing::Values("pv_rcnn_a", "pv_rcnn_waymo_a", "pv_rcnn_order_a"),
                         [](const auto& info) { return std::string(info.param); });

TEST(VoxelRcnnTest, RefinementsAreOpenPcdets) {
  const torch::NoGradGuard no_grad;
  const Case c = ReadCase("voxel_rcnn_a");
  Network network(c, NewVoxelRcnnStage);
  ExpectRefinement(network, network.First(c), c);
}

// The frame of the second case holds two filled cells, too few to be taken; that of the third just enough.
class PartA2Test : public testing::TestWithParam<const char*> {};

TEST_P(PartA2Test, PointsScoresPartsAndRefinementsAreOpenPcdets) {
  const torch::NoGradGuard no_grad;
  const Case c = ReadCase(GetParam());
  Network network(c, NewPartA2Stage);
  const FirstStage first = network.First(c);
  ExpectRefinement(network, first, c);

  // The same weights again, by their names.
  UnetDecoder decoder({16, 32, 64, 64}, SparseNorm());
  torch::nn::Module detector;
  decoder.RegisterIn(*detector.register_module("backbone_3d", std::make_shared<torch::nn::Module>()));
  Fill(detector);
  detector.eval();
  const SparseTensor voxels = decoder.Decode(first.maps);
  FramedPoints points = SiteCentres(voxels, 1, {}, {1, 1, 1});
  ReorderSites(points, first.coords, network.shape);
  ExpectNear(EveryThird(points.features), c.at("out.features"), "features");
  const auto of_points = [&](const char* layers) {
    return torch::sigmoid(network.Part<torch::nn::SequentialImpl>(layers)->forward(points.features));
  };
  ExpectNear(of_points("point_head.cls_layers").squeeze(1), c.at("out.scores"), "scores");
  ExpectNear(of_points("point_head.part_reg_layers"), c.at("out.parts"), "parts");
}

INSTANTIATE_TEST_SUITE_P(Boxes, PartA2Test,
                         testing::Values("part_a2_a", "part_a2_empty_a", "part_a2_three_cells_a", "part_a2_waymo_a"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace kd
