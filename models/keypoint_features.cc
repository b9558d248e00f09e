#include "models/keypoint_features.h"

#include <algorithm>

#include "ops/point_query.h"

namespace kd {
namespace {

namespace nn = torch::nn;
using torch::Tensor;

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

FramedPoints RawPoints(const FirstStage& first) {
  const Tensor frame = first.points.select(1, 0).to(torch::kCPU, torch::kInt64).contiguous();
  FramedPoints points{.xyz = first.points.slice(1, 1, 4).cpu().contiguous(), .features = first.points.slice(1, 4)};
  points.starts.assign(first.batch_size + 1, 0);
  for (int64_t i = 0; i < frame.size(0); ++i) ++points.starts[frame.data_ptr<int64_t>()[i] + 1];
  for (int64_t b = 0; b < first.batch_size; ++b) points.starts[b + 1] += points.starts[b];
  return points;
}

}  // namespace

KeypointFeaturesImpl::KeypointFeaturesImpl(const TwoStageOptions& options) : options_(options) {
  const KeypointSources& sources = options.keypoint_sources;
  nn::ModuleList layers;
  if (sources.bev) gathered_width_ += options.bev_channels;
  for (const size_t map : sources.x_conv) {
    maps_.push_back(Abstraction(kMaps[map], options.map_channels[map]));
    layers->push_back(maps_.back());
    gathered_width_ += 2 * kMaps[map].width;
  }
  register_module("SA_layers", layers);
  if (sources.raw_points) {
    raw_ = register_module("SA_rawpoints", Abstraction(kRaw, options.num_point_features - 3));
    gathered_width_ += 2 * kRaw.width;
  }
  fusion_ = register_module("vsa_point_feature_fusion",
                            nn::Sequential(nn::Linear(nn::LinearOptions(gathered_width_, kKeypointWidth).bias(false)),
                                           nn::BatchNorm1d(kKeypointWidth), nn::ReLU()));
}

Keypoints KeypointFeaturesImpl::forward(const FirstStage& first) {
  const FramedPoints raw = RawPoints(first);
  Keypoints keypoints{.xyz = Choose(raw)};
  std::vector<Tensor> parts;
  if (options_.keypoint_sources.bev) parts.push_back(OfMap(first.bev, keypoints.xyz));
  if (raw_) parts.push_back(raw_->forward(raw, keypoints.xyz));
  for (size_t i = 0; i < maps_.size(); ++i)
    parts.push_back(maps_[i]->forward(VoxelCentres(first, options_.keypoint_sources.x_conv[i]), keypoints.xyz));
  keypoints.gathered = torch::cat(parts, 1);
  keypoints.features = fusion_->forward(keypoints.gathered);
  return keypoints;
}

// B x K x 3.
Tensor KeypointFeaturesImpl::Choose(const FramedPoints& raw) const {
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

Tensor KeypointFeaturesImpl::OfMap(const Tensor& bev, const Tensor& keypoints) const {
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

FramedPoints KeypointFeaturesImpl::VoxelCentres(const FirstStage& first, size_t map) const {
  const SparseTensor& tensor = first.maps.x_conv[map];
  FramedPoints points = SiteCentres(tensor, int64_t{1} << map,
                                    {options_.range[0], options_.range[1], options_.range[2]}, options_.voxel_size);
  // Which neighbours come before the cap depends on the order: submanifold layers keep that of the voxels.
  if (map == 0) ReorderSites(points, first.coords, tensor.sites->shape());
  return points;
}

}  // namespace kd
