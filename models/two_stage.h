// Second stages of PV-RCNN, Voxel R-CNN and Part-A2 (detectors.md section 7): a proposal's score and box from features
// around it. B frames of R proposals each.
#ifndef KD_MODELS_TWO_STAGE_H_
#define KD_MODELS_TWO_STAGE_H_

#include <array>
#include <memory>
#include <vector>

#include "models/box_suppression.h"
#include "models/sparse_blocks.h"
#include "models/voxel_backbone.h"
#include "torch/torch.h"

namespace kd {

// What the first stage leaves for the second. Everything that a second stage reads hangs on it, so that proposals may
// be asked for later (CaKDP, kd-methods.md section 4.1).
struct FirstStage {
  VoxelBackboneImpl::Maps maps;
  torch::Tensor coords;  // V x 4 int64: frame, z, y, x of the voxels in the order that they were made in
  torch::Tensor bev;     // B x C x H x W: the height-compressed map
  torch::Tensor points;  // N x (1 + F): frame, x, y, z, ...
  int64_t batch_size = 0;
};

struct Proposals {
  torch::Tensor boxes;   // B x R x 7, zero rows pad
  torch::Tensor labels;  // B x R int64, from 1; 0 pads

  // Those of one frame, with B = 1.
  Proposals Frame(int64_t frame) const;
};

// Best boxes per frame by their largest class logit, suppressed without regard to class. boxes B x N x 7, logits B x N
// x C.
Proposals ProposeBoxes(const torch::Tensor& boxes, const torch::Tensor& logits, const NmsOptions& options);

struct Refinement {
  torch::Tensor cls;  // B x R: raw logit, no matter of class
  torch::Tensor reg;  // B x R x 7: residual codes in the frame of the proposal

  Refinement Frame(int64_t frame) const;
};

// Boxes B x R x 7 that codes turn proposals into.
torch::Tensor ApplyRefinement(const torch::Tensor& proposals, const torch::Tensor& codes);

// Points of a G^3 grid in each box (rows of 7): rows x G^3 x 3; x slowest, z fastest.
torch::Tensor BoxGridPoints(const torch::Tensor& boxes, int64_t grid_size);

// What keypoints gather features from.
struct KeypointSources {
  bool bev = true, raw_points = true;
  // Of x_conv1 ... x_conv4, from 0, in the order of their layers.
  std::vector<size_t> x_conv{0, 1, 2, 3};
};

struct TwoStageOptions {
  int64_t num_point_features = 4;
  std::array<float, 6> range{};
  std::array<float, 3> voxel_size{};
  // PV-RCNN's.
  int64_t num_keypoints = 2048;
  KeypointSources keypoint_sources;
  // Channels of the height-compressed map and of x_conv1 ... x_conv4.
  int64_t bev_channels = 256;
  std::array<int64_t, 4> map_channels{16, 32, 64, 64};
  // Part-A2's: cells of a proposal along each of its axes.
  int32_t pool_size = 12;
  // The 3D backbone's, which Part-A2 continues.
  SparseNorm voxel_norm;
};

// A second stage, whose modules stand at the top level of the detector.
class SecondStage {
 public:
  virtual ~SecondStage() = default;

  // Register modules in the detector where OpenPCDet has them: "pfe", or more of "backbone_3d", after the 3D
  // backbone; "point_head" and "roi_head" after the dense head.
  virtual void RegisterPointFeatures(torch::nn::Module& detector) = 0;
  virtual void RegisterHeads(torch::nn::Module& detector) = 0;

  // What it reads of the first stage, made once per batch.
  struct State {
    virtual ~State() = default;
  };
  virtual std::unique_ptr<State> Prepare(const FirstStage& first) = 0;
  // boxes B x R x 7.
  virtual Refinement Refine(const State& state, const torch::Tensor& boxes) = 0;
};

std::unique_ptr<SecondStage> NewPvRcnnStage(const TwoStageOptions& options);
std::unique_ptr<SecondStage> NewVoxelRcnnStage(const TwoStageOptions& options);
std::unique_ptr<SecondStage> NewPartA2Stage(const TwoStageOptions& options);

}  // namespace kd

#endif  // KD_MODELS_TWO_STAGE_H_
