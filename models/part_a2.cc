// Part-A2's second stage: where each voxel lies within its object, pooled by the cells of proposals (detectors.md
// section 7.4).
#include "models/all_cores.h"
#include "models/convolution_head.h"
#include "models/framed_points.h"
#include "models/two_stage.h"
#include "models/unet_decoder.h"
#include "ops/roi_aware_pool.h"

namespace kd {
namespace {

namespace nn = torch::nn;
using torch::Tensor;

constexpr int64_t kWidth = 64;  // of both branches
// Columns: intra-object part location x, y, z, each in [0, 1] of the object's size, and the foreground score.
constexpr int64_t kPart = 4;
// Below this score the part location is 0.
constexpr double kForeground = 0.3;
// OpenPCDet takes the first cell of every box where a batch has fewer filled cells. Here each frame decides for itself,
// so that its answers do not depend on others.
constexpr int64_t kFewestCells = 3;

// Two convolutions that keep sites.
struct BranchImpl : nn::Module {
  explicit BranchImpl(int64_t in) {
    for (const int64_t from : {in, kWidth}) {
      layers.push_back(std::make_shared<SparseConvBlock>(
          SparseConvOptions{.in_channels = from, .out_channels = kWidth, .indice_key = "cells"}, SparseNorm()));
      register_module(std::to_string(layers.size() - 1), layers.back());
    }
  }
  Tensor forward(const SparseTensor& cells) { return layers[1]->forward(layers[0]->forward(cells)).features; }

  std::vector<std::shared_ptr<SparseConvBlock>> layers;
};
TORCH_MODULE(Branch);

Tensor Rows(const std::vector<float>& values, int64_t channels) { return torch::tensor(values).view({-1, channels}); }

class PartA2Stage : public SecondStage {
 public:
  explicit PartA2Stage(const TwoStageOptions& options)
      : options_(options),
        grid_{.cells = options.pool_size},
        decoder_(options.map_channels, options.voxel_norm),
        point_cls_(nn::Linear(options.map_channels[0], 1)),
        part_reg_(nn::Linear(options.map_channels[0], 3)),
        conv_part_(kPart),
        conv_rpn_(options.map_channels[0]),
        shared_(NewConvolutionHead(2 * kWidth * grid_.cells * grid_.cells * grid_.cells, 3, 0)),
        cls_(NewConvolutionHead(kHeadWidth, 2, 1)),
        reg_(NewConvolutionHead(kHeadWidth, 2, 7)) {
    point_head_->register_module("cls_layers", point_cls_.ptr());
    point_head_->register_module("part_reg_layers", part_reg_.ptr());
    roi_head_->register_module("conv_part", conv_part_.ptr());
    roi_head_->register_module("conv_rpn", conv_rpn_.ptr());
    roi_head_->register_module("shared_fc_layer", shared_.ptr());
    roi_head_->register_module("cls_layers", cls_.ptr());
    roi_head_->register_module("reg_layers", reg_.ptr());
  }

  void RegisterPointFeatures(nn::Module& detector) override {
    decoder_.RegisterIn(*detector.named_children()["backbone_3d"]);
  }
  void RegisterHeads(nn::Module& detector) override {
    detector.register_module("point_head", point_head_);
    detector.register_module("roi_head", roi_head_);
  }

  std::unique_ptr<State> Prepare(const FirstStage& first) override {
    const SparseTensor voxels = decoder_.Decode(first.maps);
    auto state = std::make_unique<Voxels>();
    state->points =
        SiteCentres(voxels, 1, {options_.range[0], options_.range[1], options_.range[2]}, options_.voxel_size);
    ReorderSites(state->points, first.coords, voxels.sites->shape());
    Tensor& features = state->points.features;
    const Tensor score = torch::sigmoid(point_cls_->forward(features));
    const Tensor location = torch::sigmoid(part_reg_->forward(features)).masked_fill(score < kForeground, 0);
    // Under autocast they are of a smaller type.
    state->part = torch::cat({location, score}, 1).to(torch::kCPU, torch::kFloat32).contiguous();
    features = features.to(torch::kCPU, torch::kFloat32).contiguous();
    return state;
  }

  // Frame by frame: cells of proposals take much memory, and a frame's answers do not depend on others.
  Refinement Refine(const State& of, const Tensor& boxes) override {
    const auto& state = static_cast<const Voxels&>(of);
    std::vector<Tensor> cls, reg;
    for (int64_t b = 0; b < boxes.size(0); ++b) {
      const SparseTensor cells = PooledCells(state, b, boxes[b].cpu().contiguous(), boxes.device());
      const Tensor part = conv_part_->forward(cells.With(cells.features.slice(1, 0, kPart))),
                   rpn = conv_rpn_->forward(cells.With(cells.features.slice(1, kPart)));
      // Channel-major: channel * cells^3 + cell, x slowest.
      const Tensor all = cells.With(torch::cat({rpn, part}, 1)).Dense().flatten(1);
      const Tensor shared = shared_->forward(all.unsqueeze(2));
      cls.push_back(cls_->forward(shared).flatten());
      reg.push_back(reg_->forward(shared).squeeze(2));
    }
    return {.cls = torch::stack(cls), .reg = torch::stack(reg)};
  }

 private:
  struct Voxels : State {
    FramedPoints points;  // features float32, on the CPU
    Tensor part;          // N x kPart float32, on the CPU
  };

  // Cells with points as sites (box, x, y, z): means of `part`, then maxima of the features.
  SparseTensor PooledCells(const Voxels& voxels, int64_t frame, const Tensor& boxes,
                           const torch::Device& device) const {
    const int64_t begin = voxels.points.starts[frame], channels = voxels.points.features.size(1);
    const RoiCells cells = SortIntoRoiCells(
        voxels.points.xyz.data_ptr<float>() + begin * 3, static_cast<size_t>(voxels.points.starts[frame + 1] - begin),
        boxes.data_ptr<float>(), static_cast<size_t>(boxes.size(0)), grid_, OnAllCores);
    const Tensor part =
        Rows(AverageOfRoiCells(cells, voxels.part.data_ptr<float>() + begin * kPart, kPart, OnAllCores), kPart);
    const Tensor rpn = Rows(MaximumOfRoiCells(cells, voxels.points.features.data_ptr<float>() + begin * channels,
                                              static_cast<size_t>(channels), OnAllCores),
                            channels);
    std::vector<int64_t> rows;
    for (const RoiCell& cell : cells.cells) {
      for (const int64_t value : {cell.box, cell.x, cell.y, cell.z}) rows.push_back(value);
    }
    Tensor coords = torch::tensor(rows, torch::kInt64).view({-1, 4});
    Tensor features = torch::cat({part, rpn}, 1);
    const Tensor filled = torch::nonzero(part.sum(1)).squeeze(1);
    if (filled.size(0) < kFewestCells) {
      const Tensor first = torch::nonzero((coords.slice(1, 1) == 0).all(1)).squeeze(1);
      const Tensor of_first =
          torch::zeros({boxes.size(0), features.size(1)})
              .index_copy(0, coords.select(1, 0).index_select(0, first), features.index_select(0, first));
      coords = torch::zeros({boxes.size(0), 4}, torch::kInt64);
      coords.select(1, 0).copy_(torch::arange(boxes.size(0)));
      features = of_first;
    } else {
      coords = coords.index_select(0, filled);
      features = features.index_select(0, filled);
    }
    return MakeSparseTensor(features.to(device), coords.to(device), boxes.size(0),
                            {grid_.cells, grid_.cells, grid_.cells});
  }

  const TwoStageOptions options_;
  const RoiGrid grid_;
  std::shared_ptr<nn::Module> point_head_ = std::make_shared<nn::Module>(), roi_head_ = std::make_shared<nn::Module>();
  UnetDecoder decoder_;
  nn::Sequential point_cls_, part_reg_;
  Branch conv_part_, conv_rpn_;
  nn::Sequential shared_, cls_, reg_;
};

}  // namespace

std::unique_ptr<SecondStage> NewPartA2Stage(const TwoStageOptions& options) {
  return std::make_unique<PartA2Stage>(options);
}

}  // namespace kd
