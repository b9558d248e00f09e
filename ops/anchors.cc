#include "ops/anchors.h"

#include <algorithm>
#include <cmath>

#include "ops/rotated_iou.h"

namespace kd {
namespace {

// Positions of the anchors of one class along one axis.
std::vector<double> Positions(double low, double high, int64_t cells, bool align_center) {
  const double step = align_center ? (high - low) / static_cast<double>(cells)
                      : cells > 1  ? (high - low) / static_cast<double>(cells - 1)
                                   : 0;
  std::vector<double> positions(cells);
  for (int64_t i = 0; i < cells; ++i) positions[i] = low + (static_cast<double>(i) + (align_center ? 0.5 : 0)) * step;
  return positions;
}

// Half the side of the square that holds the box however it is turned.
float Reach(const float* box) { return 0.5f * std::hypot(box[3], box[4]); }

struct Overlap {
  size_t anchor;
  // Among the class's ground truths.
  size_t gt;
  float value;
};

// Overlaps that are not zero, between the anchors [first, first + count) of every cell and `gts`.
std::vector<Overlap> FindOverlaps(const AnchorGrid& grid, int64_t first, int64_t count,
                                  const std::vector<const float*>& gts, bool match_height) {
  std::vector<Overlap> overlaps;
  const std::vector<float>& boxes = grid.boxes();
  const int64_t row_stride = grid.width() * grid.per_cell();
  for (size_t g = 0; g < gts.size(); ++g) {
    const float* const gt = gts[g];
    const auto nearest = NearestAlignedBox(gt);
    for (int64_t a = first; a < first + count; ++a) {
      // Anchors of one kind differ in position only, so rows and columns that can touch are known.
      const float reach = Reach(gt) + Reach(&boxes[a * 7]);
      for (int64_t iy = 0; iy < grid.height(); ++iy) {
        if (std::abs(boxes[(iy * row_stride + a) * 7 + 1] - gt[1]) > reach) continue;
        for (int64_t ix = 0; ix < grid.width(); ++ix) {
          const size_t anchor = static_cast<size_t>(iy * row_stride + ix * grid.per_cell() + a);
          const float* const box = &boxes[anchor * 7];
          if (std::abs(box[0] - gt[0]) > reach) continue;
          const float value =
              match_height ? static_cast<float>(Iou3d(box, gt)) : AlignedIou(NearestAlignedBox(box), nearest);
          if (value > 0) overlaps.push_back({anchor, g, value});
        }
      }
    }
  }
  return overlaps;
}

}  // namespace

AnchorGrid::AnchorGrid(std::vector<AnchorClass> classes, const std::array<float, 6>& range, int64_t height,
                       int64_t width)
    : classes_(std::move(classes)), height_(height), width_(width) {
  struct Kind {
    const AnchorClass* of;
    std::array<float, 3> size;
    float rotation;
    std::vector<double> xs, ys;
  };
  std::vector<Kind> kinds;
  for (const AnchorClass& c : classes_) {
    for (const auto& size : c.sizes) {
      for (const float rotation : c.rotations) {
        kinds.push_back({&c, size, rotation, Positions(range[0], range[3], width, c.align_center),
                         Positions(range[1], range[4], height, c.align_center)});
      }
    }
  }
  per_cell_ = static_cast<int64_t>(kinds.size());
  boxes_.reserve(height * width * per_cell_ * 7);
  for (int64_t iy = 0; iy < height; ++iy) {
    for (int64_t ix = 0; ix < width; ++ix) {
      for (const Kind& kind : kinds) {
        const auto [dx, dy, dz] = kind.size;
        for (const float value : {static_cast<float>(kind.xs[ix]), static_cast<float>(kind.ys[iy]),
                                  kind.of->bottom_height + dz / 2, dx, dy, dz, kind.rotation}) {
          boxes_.push_back(value);
        }
      }
    }
  }
}

AnchorTargets AssignAnchors(const AnchorGrid& grid, const float* gt_boxes, size_t count,
                            const AnchorTargetOptions& options) {
  const int code_size = options.coder.code_size();
  AnchorTargets targets{.labels = std::vector<int64_t>(grid.size(), 0),
                        .codes = std::vector<float>(grid.size() * code_size, 0)};
  std::vector<float> best(grid.size(), 0);
  std::vector<size_t> best_gt(grid.size(), 0);
  int64_t first = 0;
  for (size_t c = 0; c < grid.classes().size(); first += grid.classes()[c++].per_cell()) {
    std::vector<const float*> gts;
    for (size_t g = 0; g < count; ++g) {
      if (static_cast<size_t>(gt_boxes[g * 8 + 7]) == c + 1) gts.push_back(gt_boxes + g * 8);
    }
    const AnchorClass& anchors = grid.classes()[c];
    const std::vector<Overlap> overlaps = FindOverlaps(grid, first, anchors.per_cell(), gts, options.match_height);
    std::vector<float> best_of_gt(gts.size(), 0);
    for (const Overlap& o : overlaps) {
      // The first of equal boxes wins, as they come in order.
      if (o.value > best[o.anchor]) {
        best[o.anchor] = o.value;
        best_gt[o.anchor] = o.gt;
      }
      best_of_gt[o.gt] = std::max(best_of_gt[o.gt], o.value);
    }
    const auto label = static_cast<int64_t>(c + 1);
    // Anchors that overlap nothing keep 0, like those below the lower threshold.
    for (const Overlap& o : overlaps) {
      const float overlap = best[o.anchor];
      int64_t& to = targets.labels[o.anchor];
      if (to != label)
        to = overlap >= anchors.matched_threshold ? label : overlap < anchors.unmatched_threshold ? 0 : -1;
      if (o.value == best_of_gt[o.gt]) to = label;
    }
    for (const Overlap& o : overlaps) {
      if (targets.labels[o.anchor] != label || o.gt != best_gt[o.anchor]) continue;
      options.coder.Encode(gts[o.gt], &grid.boxes()[o.anchor * 7], &targets.codes[o.anchor * code_size]);
    }
  }
  return targets;
}

}  // namespace kd
