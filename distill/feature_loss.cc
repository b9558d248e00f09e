#include "distill/feature_loss.h"

namespace kd {
namespace {

torch::Tensor Elementwise(const torch::Tensor& a, const torch::Tensor& b, PointLoss loss) {
  return loss == PointLoss::kSquare ? torch::pow(a - b, 2) : torch::smooth_l1_loss(a, b, at::Reduction::None, 1.0);
}

}  // namespace

torch::Tensor FeatureMapLoss(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& mask,
                             PointLoss loss) {
  const torch::Tensor error = Elementwise(student, teacher, loss);
  if (!mask.defined()) return error.mean();
  return (error * mask.unsqueeze(1)).sum() / (mask.sum() * student.size(1) + 1e-6);
}

torch::Tensor AttentionLoss(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& mask,
                            PointLoss loss) {
  const torch::Tensor error = Elementwise(student.abs().mean(1), teacher.abs().mean(1), loss);
  return (error * mask).sum() / (mask.sum() + 1e-6);
}

torch::Tensor RotatedGridPool(const torch::Tensor& map, const torch::Tensor& rois, int64_t grid,
                              const MapGeometry& geometry) {
  const int64_t height = map.size(2), width = map.size(3);
  const torch::Tensor boxes = rois.to(map.options().requires_grad(false)).detach();
  const torch::Tensor unit = (torch::arange(grid, boxes.options()) + 0.5) / static_cast<double>(grid) - 0.5;
  std::vector<torch::Tensor> pooled;
  for (int64_t b = 0; b < map.size(0); ++b) {
    const torch::Tensor valid = boxes[b].index({boxes[b].select(1, 3) != 0});
    const int64_t count = valid.size(0);
    if (count == 0) continue;
    const auto column = [&](int64_t i) { return valid.select(1, i).view({-1, 1, 1}); };
    const torch::Tensor cx = (column(0) - geometry.low[0]) / geometry.cell[0],
                        cy = (column(1) - geometry.low[1]) / geometry.cell[1];
    const torch::Tensor along = unit.view({1, 1, -1}) * (column(3) / geometry.cell[0]);
    const torch::Tensor across = unit.view({1, -1, 1}) * (column(4) / geometry.cell[1]);
    const torch::Tensor c = torch::cos(column(6)), s = torch::sin(column(6));
    const torch::Tensor px = cx + along * c - across * s, py = cy + along * s + across * c;
    // grid_sample's normalised coordinates for "corners aligned" positions, sampled with half-pixel centres.
    const torch::Tensor at =
        torch::stack({px / static_cast<double>(width - 1) * 2 - 1, py / static_cast<double>(height - 1) * 2 - 1}, 3);
    pooled.push_back(torch::grid_sampler(map[b].unsqueeze(0).expand({count, -1, -1, -1}), at, /*bilinear*/ 0,
                                         /*zeros*/ 0,
                                         /*align_corners=*/false));
  }
  if (pooled.empty()) return torch::zeros({0, map.size(1), grid, grid}, map.options());
  return torch::cat(pooled);
}

torch::Tensor RelationLoss(const torch::Tensor& student, const torch::Tensor& teacher,
                           const std::vector<int64_t>& rois_per_frame) {
  torch::Tensor total = torch::zeros({}, student.options());
  int64_t row = 0;
  for (const int64_t count : rois_per_frame) {
    const auto relation = [&](const torch::Tensor& pooled) {
      const torch::Tensor rows = pooled.slice(0, row, row + count).flatten(1);
      const torch::Tensor distance = torch::pow(rows.unsqueeze(0) - rows.unsqueeze(1), 2).sum(2);
      return distance / distance.mean();
    };
    if (count > 1) total = total + torch::smooth_l1_loss(relation(student), relation(teacher));
    row += count;
  }
  return total / static_cast<double>(rois_per_frame.size());
}

torch::Tensor AffinityLoss(const torch::Tensor& student, const torch::Tensor& teacher, PointLoss loss) {
  const auto affinity = [](const torch::Tensor& pooled) {
    const torch::Tensor columns = pooled.flatten(2);  // R x C x kk
    const torch::Tensor norm = columns.norm(2, {1}, /*keepdim=*/true);
    const torch::Tensor product = torch::bmm(columns.transpose(1, 2), columns);
    return product / torch::bmm(norm.transpose(1, 2), norm).clamp_min(1e-6);
  };
  return Elementwise(affinity(student), affinity(teacher), loss).mean();
}

}  // namespace kd
