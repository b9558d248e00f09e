#include "models/pillar_vfe.h"

#include <optional>
#include <string>
#include <utility>

#include "models/folded_norm.h"

namespace kd {

int64_t PillarVfeOptions::input_width() const {
  return num_point_features + (use_absolute_xyz ? 6 : 3) + (with_distance ? 1 : 0);
}

PillarVfeImpl::PillarVfeImpl(const PillarVfeOptions& options) : options_(options) {
  torch::nn::ModuleList layers;
  int64_t in = options.input_width();
  for (size_t i = 0; i < options.num_filters.size(); ++i) {
    // A layer that is not last appends the pillar's maximum to every point, so it computes half of its width.
    const bool last = i + 1 == options.num_filters.size();
    const int64_t out = last ? options.num_filters[i] : options.num_filters[i] / 2;
    auto layer = torch::nn::ModuleDict();
    linear_.push_back(torch::nn::Linear(torch::nn::LinearOptions(in, out).bias(!options.use_norm)));
    layer->update({{"linear", linear_.back().ptr()}});
    if (options.use_norm) {
      norm_.push_back(
          torch::nn::BatchNorm1d(torch::nn::BatchNorm1dOptions(out).eps(options.bn_eps).momentum(options.bn_momentum)));
      layer->update({{"norm", norm_.back().ptr()}});
    }
    layers->push_back(layer.ptr());
    in = options.num_filters[i];
  }
  register_module("pfn_layers", layers);
}

torch::Tensor PillarVfeImpl::RunLayer(size_t layer, const torch::Tensor& rows) {
  if (options_.use_norm && MayFold(*this)) {
    const FoldedLayer folded = FoldNorm(linear_[layer]->weight, linear_[layer]->bias, *norm_[layer], 0);
    return torch::linear(rows, folded.weight, folded.bias).relu_();
  }
  const torch::Tensor x = linear_[layer]->forward(rows);
  if (!options_.use_norm) return torch::relu(x);
  torch::nn::BatchNorm1d& norm = norm_[layer];
  if (norm->is_training() && x.size(0) < 2) {
    // Frames without points have no statistics; the running ones serve.
    return torch::relu(torch::batch_norm(x, norm->weight, norm->bias, norm->running_mean, norm->running_var,
                                         /*training=*/false, options_.bn_momentum, options_.bn_eps,
                                         /*cudnn_enabled=*/false));
  }
  return torch::relu(norm->forward(x));
}

torch::Tensor PillarVfeImpl::Columns(const torch::Tensor& points, const torch::Tensor& mean,
                                     const torch::Tensor& centre, const torch::Tensor& used) const {
  const torch::Tensor xyz = points.slice(-1, 0, 3), raw = options_.use_absolute_xyz ? points : points.slice(-1, 3);
  std::vector<torch::Tensor> columns = {raw, xyz - mean, xyz - centre};
  if (options_.with_distance) columns.push_back(torch::norm(xyz, 2, {-1}, /*keepdim=*/true));
  return torch::cat(columns, -1) * used.unsqueeze(-1).to(points.dtype());
}

torch::Tensor PillarVfeImpl::forward(const torch::Tensor& voxels, const torch::Tensor& num_points,
                                     const torch::Tensor& coords) {
  const int64_t pillars = voxels.size(0), slots = voxels.size(1);
  const bool fold = MayFold(*this);
  std::optional<torch::NoGradGuard> no_grad(std::in_place);
  const torch::Tensor mean = voxels.slice(2, 0, 3).sum(1) / num_points.to(voxels.dtype()).unsqueeze(1);
  const auto& [dx, dy, dz] = options_.voxel_size;
  const torch::Tensor size = torch::tensor({dx, dy, dz}, voxels.options());
  const torch::Tensor low = torch::tensor({options_.range[0], options_.range[1], options_.range[2]}, voxels.options());
  const torch::Tensor xyz_cell = torch::stack({coords.select(1, 3), coords.select(1, 2), coords.select(1, 1)}, 1);
  const torch::Tensor centre = xyz_cell.to(voxels.dtype()) * size + (size / 2 + low);
  const torch::Tensor slot = torch::arange(slots, num_points.options());
  if (fold) {
    // Padded slots are all alike: one of them stands for the rest.
    const torch::Tensor lengths = (num_points + 1).clamp_max(slots);
    const torch::Tensor rows = torch::nonzero((slot < lengths.unsqueeze(1)).view(-1)).squeeze(1);
    const torch::Tensor pillar = torch::floor_divide(rows, slots);
    const torch::Tensor used = rows - pillar * slots < num_points.index_select(0, pillar);
    const torch::Tensor points = voxels.reshape({pillars * slots, -1}).index_select(0, rows);
    torch::Tensor x = Columns(points, mean.index_select(0, pillar), centre.index_select(0, pillar), used);
    for (size_t i = 0; i < linear_.size(); ++i) {
      x = RunLayer(i, x);
      const torch::Tensor maximum = torch::segment_reduce(x, "max", lengths);
      x = i + 1 == linear_.size() ? maximum : torch::cat({x, maximum.index_select(0, pillar)}, 1);
    }
    return x;
  }
  torch::Tensor x = Columns(voxels, mean.unsqueeze(1), centre.unsqueeze(1), slot < num_points.unsqueeze(1));
  x = x.view({pillars * slots, -1});
  no_grad.reset();
  for (size_t i = 0; i < linear_.size(); ++i) {
    x = RunLayer(i, x).view({pillars, slots, -1});
    const torch::Tensor maximum = std::get<0>(x.max(1));
    if (i + 1 == linear_.size()) return maximum;
    x = torch::cat({x, maximum.unsqueeze(1).expand({-1, slots, -1})}, 2).view({pillars * slots, -1});
  }
  return x;
}

PillarVfeImpl::Pillars PillarVfeImpl::ForwardDynamic(const torch::Tensor& points, std::array<int64_t, 2> cells) {
  const auto [nx, ny] = cells;
  const auto low = torch::tensor({options_.range[0], options_.range[1]}, points.options());
  const auto size = torch::tensor({options_.voxel_size[0], options_.voxel_size[1]}, points.options());
  const torch::Tensor all_cells = torch::floor((points.slice(1, 1, 3) - low) / size).to(torch::kInt64);
  const torch::Tensor limit = torch::tensor({nx, ny}, all_cells.options());
  const torch::Tensor inside = ((all_cells >= 0) & (all_cells < limit)).all(1);
  const torch::Tensor kept = points.index({inside});
  const torch::Tensor cell = all_cells.index({inside});
  const torch::Tensor id = kept.select(1, 0).to(torch::kInt64) * (nx * ny) + cell.select(1, 0) * ny + cell.select(1, 1);
  const auto [unique, inverse, counts] =
      torch::_unique2(id, /*sorted=*/true, /*return_inverse=*/true, /*return_counts=*/true);

  const torch::Tensor xyz = kept.slice(1, 1, 4);
  const torch::Tensor mean = torch::zeros({unique.size(0), 3}, points.options()).index_add_(0, inverse, xyz) /
                             counts.to(points.dtype()).unsqueeze(1);
  const torch::Tensor centre_xy = cell.to(points.dtype()) * size + (size / 2 + low);
  const torch::Tensor centre_z =
      torch::full({kept.size(0), 1}, options_.voxel_size[2] / 2 + options_.range[2], points.options());
  std::vector<torch::Tensor> columns = {options_.use_absolute_xyz ? kept.slice(1, 1) : kept.slice(1, 4),
                                        xyz - mean.index_select(0, inverse),
                                        xyz - torch::cat({centre_xy, centre_z}, 1)};
  if (options_.with_distance) columns.push_back(torch::norm(xyz, 2, {1}, /*keepdim=*/true));
  torch::Tensor x = torch::cat(columns, 1);
  for (size_t i = 0; i < linear_.size(); ++i) {
    x = RunLayer(i, x);
    const torch::Tensor at = inverse.unsqueeze(1).expand({-1, x.size(1)});
    const torch::Tensor maximum =
        torch::zeros({unique.size(0), x.size(1)}, x.options()).scatter_reduce(0, at, x, "amax", /*include_self=*/false);
    x = i + 1 == linear_.size() ? maximum : torch::cat({x, maximum.index_select(0, inverse)}, 1);
  }
  const torch::Tensor frame = torch::floor_divide(unique, nx * ny);
  const torch::Tensor rest = unique - frame * (nx * ny);
  const torch::Tensor column = torch::floor_divide(rest, ny);
  return {.features = x, .coords = torch::stack({frame, torch::zeros_like(frame), rest - column * ny, column}, 1)};
}

torch::Tensor ScatterPillars(const torch::Tensor& features, const torch::Tensor& coords, int64_t batch, int64_t ny,
                             int64_t nx) {
  const torch::Tensor at = (coords.select(1, 0) * ny + coords.select(1, 2)) * nx + coords.select(1, 3);
  const torch::Tensor canvas = torch::zeros({batch * ny * nx, features.size(1)}, features.options());
  return canvas.index_copy(0, at, features).view({batch, ny, nx, features.size(1)}).permute({0, 3, 1, 2});
}

}  // namespace kd
