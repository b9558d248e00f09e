// PV-RCNN's second stage: keypoints with features of every scale, a foreground score each, and grid pooling of
// proposals (detectors.md section 7.3).
#include <algorithm>

#include "models/set_abstraction.h"
#include "models/two_stage.h"
#include "ops/point_query.h"

namespace kd {
namespace {

namespace nn = torch::nn;
using torch::Tensor;

constexpr int64_t kFused = 128, kFc = 256, kGrid = 6;
constexpr int64_t kGridWidth = 64;

struct Scale {
  int64_t width;
  std::vector<float> radii;
  std::vector<int> samples;
};
const Scale kRaw = {16, {0.4f, 0.8f}, {16, 16}};
const Scale kMaps[] = {{16, {0.4f, 0.8f}, {16, 16}},
                       {32, {0.8f, 1.2f}, {16, 32}},
                       {64, {1.2f, 2.4f}, {16, 32}},
                       {64, {2.4f, 4.8f}, {16, 32}}};

SetAbstraction Abstraction(const Scale& scale, int64_t in_channels) {
  return SetAbstraction(SetAbstractionOptions{in_channels, scale.width, scale.radii, scale.samples});
}

// Linear layers without bias, with batch norm and rectifier; the last one alone and with bias.
nn::Sequential FullyConnected(std::vector<int64_t> widths, bool last_alone) {
  nn::Sequential layers;
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    const bool alone = last_alone && i + 2 == widths.size();
    layers->push_back(nn::Linear(nn::LinearOptions(widths[i], widths[i + 1]).bias(alone)));
    if (alone) break;
    layers->push_back(nn::BatchNorm1d(widths[i + 1]));
    layers->push_back(nn::ReLU());
  }
  return layers;
}

// 1-wide convolutions 0 and 4 with batch norm and rectifier, dropout between; entry 7 the answer, if any.
nn::Sequential ConvolutionHead(int64_t in, int64_t out) {
  nn::Sequential layers;
  const auto block = [&](int64_t from) {
    layers->push_back(nn::Conv1d(nn::Conv1dOptions(from, kFc, 1).bias(false)));
    layers->push_back(nn::BatchNorm1d(kFc));
    layers->push_back(nn::ReLU());
  };
  block(in);
  layers->push_back(nn::Dropout(nn::DropoutOptions(0.3)));
  block(kFc);
  if (out > 0) layers->push_back(nn::Conv1d(nn::Conv1dOptions(kFc, out, 1)));
  return layers;
}

// Values of a map B x C x H x W at places (x, y in cells) of frame b: P x C. Neighbours are clamped to the border and
// weights follow the clamped ones, so that a place on or beyond the last row or column gets 0.
Tensor SampleMap(const Tensor& map, const Tensor& x, const Tensor& y) {
  const int64_t height = map.size(1), width = map.size(2);
  const auto corner = [](const Tensor& place, int64_t shift, int64_t extent) {
    return (torch::floor(place).to(torch::kInt64) + shift).clamp(0, extent - 1);
  };
  const Tensor x0 = corner(x, 0, width), x1 = corner(x, 1, width), y0 = corner(y, 0, height), y1 = corner(y, 1, height);
  const auto at = [&](const Tensor& iy, const Tensor& ix, const Tensor& weight) {
    return map.flatten(1).index_select(1, iy * width + ix).t() * weight.unsqueeze(1);
  };
  const Tensor left = x1.to(x.dtype()) - x, right = x - x0.to(x.dtype()), up = y1.to(y.dtype()) - y,
               down = y - y0.to(y.dtype());
  return at(y0, x0, left * up) + at(y1, x0, left * down) + at(y0, x1, right * up) + at(y1, x1, right * down);
}

class PvRcnnStage : public SecondStage {
 public:
  explicit PvRcnnStage(const TwoStageOptions& options) : options_(options) {
    nn::ModuleList layers;
    int64_t channels = options.bev_channels;
    for (size_t i = 0; i < maps_.size(); ++i) {
      maps_[i] = Abstraction(kMaps[i], options.map_channels[i]);
      layers->push_back(maps_[i]);
      channels += 2 * kMaps[i].width;
    }
    raw_ = Abstraction(kRaw, options.num_point_features - 3);
    channels += 2 * kRaw.width;
    fusion_ = FullyConnected({channels, kFused}, /*last_alone=*/false);
    pfe_->register_module("SA_layers", layers.ptr());
    pfe_->register_module("SA_rawpoints", raw_.ptr());
    pfe_->register_module("vsa_point_feature_fusion", fusion_.ptr());

    point_cls_ = FullyConnected({channels, kFc, kFc, 1}, /*last_alone=*/true);
    point_head_->register_module("cls_layers", point_cls_.ptr());

    pool_ = SetAbstraction(SetAbstractionOptions{kFused, kGridWidth, {0.8f, 1.6f}, {16, 16}});
    shared_ = ConvolutionHead(2 * kGridWidth * kGrid * kGrid * kGrid, 0);
    cls_ = ConvolutionHead(kFc, 1);
    reg_ = ConvolutionHead(kFc, 7);
    roi_head_->register_module("roi_grid_pool_layer", pool_.ptr());
    roi_head_->register_module("shared_fc_layer", shared_.ptr());
    roi_head_->register_module("cls_layers", cls_.ptr());
    roi_head_->register_module("reg_layers", reg_.ptr());
  }

  void RegisterPointFeatures(nn::Module& detector) override { detector.register_module("pfe", pfe_); }
  void RegisterHeads(nn::Module& detector) override {
    detector.register_module("point_head", point_head_);
    detector.register_module("roi_head", roi_head_);
  }

  std::unique_ptr<State> Prepare(const FirstStage& first) override {
    auto state = std::make_unique<Keypoints>();
    const FramedPoints raw = RawPoints(first);
    state->xyz = ChooseKeypoints(raw);
    std::vector<Tensor> parts = {BevFeatures(first.bev, state->xyz), raw_->forward(raw, state->xyz)};
    int64_t stride = 1;
    for (size_t i = 0; i < maps_.size(); ++i, stride *= 2) {
      parts.push_back(maps_[i]->forward(VoxelPoints(first.maps.x_conv[i], stride), state->xyz));
    }
    const Tensor all = torch::cat(parts, 1);
    state->features = fusion_->forward(all);
    state->scores = torch::sigmoid(point_cls_->forward(all)).squeeze(1);
    return state;
  }

  Refinement Refine(const State& of, const Tensor& boxes) override {
    const auto& state = static_cast<const Keypoints&>(of);
    const int64_t batch = boxes.size(0), proposals = boxes.size(1), keypoints = state.xyz.size(1);
    FramedPoints points{.xyz = state.xyz.cpu().reshape({-1, 3}).contiguous(),
                        .features = state.features * state.scores.unsqueeze(1)};
    for (int64_t b = 0; b <= batch; ++b) points.starts.push_back(b * keypoints);
    const Tensor grid = BoxGridPoints(boxes.reshape({-1, 7}), kGrid).view({batch, -1, 3});
    const Tensor pooled = pool_->forward(points, grid).view({batch * proposals, kGrid * kGrid * kGrid, -1});
    // Channel-major: channel * 216 + grid point.
    const Tensor shared = shared_->forward(pooled.transpose(1, 2).reshape({batch * proposals, -1, 1}));
    return {.cls = cls_->forward(shared).view({batch, proposals}),
            .reg = reg_->forward(shared).view({batch, proposals, 7})};
  }

 private:
  struct Keypoints : State {
    Tensor xyz;       // B x K x 3
    Tensor features;  // (B * K) x kFused
    Tensor scores;    // B * K, probability of foreground
  };

  static FramedPoints RawPoints(const FirstStage& first) {
    const Tensor frame = first.points.select(1, 0).to(torch::kCPU, torch::kInt64).contiguous();
    FramedPoints points{.xyz = first.points.slice(1, 1, 4).cpu().contiguous(), .features = first.points.slice(1, 4)};
    points.starts.assign(first.batch_size + 1, 0);
    for (int64_t i = 0; i < frame.size(0); ++i) ++points.starts[frame.data_ptr<int64_t>()[i] + 1];
    for (int64_t b = 0; b < first.batch_size; ++b) points.starts[b + 1] += points.starts[b];
    return points;
  }

  // B x K x 3.
  Tensor ChooseKeypoints(const FramedPoints& raw) const {
    const auto batch = static_cast<int64_t>(raw.starts.size()) - 1;
    Tensor keypoints = torch::zeros({batch, options_.num_keypoints, 3});
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t begin = raw.starts[b], count = raw.starts[b + 1] - begin;
      if (count == 0) continue;
      const auto rows = FarthestPoints(raw.xyz.data_ptr<float>() + begin * 3, static_cast<size_t>(count),
                                       static_cast<size_t>(options_.num_keypoints));
      keypoints[b] = raw.xyz.index_select(0, torch::tensor(rows, torch::kInt64) + begin);
    }
    return keypoints.to(raw.features.device());
  }

  Tensor BevFeatures(const Tensor& bev, const Tensor& keypoints) const {
    constexpr float kStride = 8;
    std::vector<Tensor> rows;
    for (int64_t b = 0; b < keypoints.size(0); ++b) {
      const auto cells = [&](int axis) {
        return (keypoints[b].select(1, axis) - options_.range[axis]) / options_.voxel_size[axis] / kStride;
      };
      rows.push_back(SampleMap(bev[b], cells(0), cells(1)));
    }
    return torch::cat(rows);
  }

  // Centres of voxels with their features.
  FramedPoints VoxelPoints(const SparseTensor& map, int64_t stride) const {
    FramedPoints points{.xyz = torch::empty({map.sites->size(), 3}), .features = map.features};
    points.starts.assign(map.sites->batch() + 1, 0);
    float* to = points.xyz.data_ptr<float>();
    for (const Site& site : map.sites->OnCpu().sites()) {
      const int32_t cell[3] = {site.x, site.y, site.z};
      for (int axis = 0; axis < 3; ++axis) {
        *to++ = (static_cast<float>(cell[axis]) + 0.5f) * options_.voxel_size[axis] * static_cast<float>(stride) +
                options_.range[axis];
      }
      ++points.starts[site.frame + 1];
    }
    for (size_t b = 1; b < points.starts.size(); ++b) points.starts[b] += points.starts[b - 1];
    return points;
  }

  const TwoStageOptions options_;
  std::shared_ptr<nn::Module> pfe_ = std::make_shared<nn::Module>(), point_head_ = std::make_shared<nn::Module>(),
                              roi_head_ = std::make_shared<nn::Module>();
  std::array<SetAbstraction, 4> maps_{nullptr, nullptr, nullptr, nullptr};
  SetAbstraction raw_{nullptr}, pool_{nullptr};
  nn::Sequential fusion_, point_cls_, shared_, cls_, reg_;
};

}  // namespace

std::unique_ptr<SecondStage> NewPvRcnnStage(const TwoStageOptions& options) {
  return std::make_unique<PvRcnnStage>(options);
}

}  // namespace kd
