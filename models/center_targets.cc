#include <algorithm>
#include <cmath>

#include "models/center_head.h"
#include "ops/gaussian.h"

namespace kd {
namespace {

// One frame of one head, written straight into the target tensors' memory.
struct FrameTargets {
  float* heatmaps;
  float* boxes;
  int64_t* inds;
  int64_t* masks;
};

void AssignBox(const float* box, int64_t slot, int64_t class_in_head, const CenterTargetOptions& o, FrameTargets& out) {
  const float dx = box[3] / o.voxel_size[0] / static_cast<float>(o.stride);
  const float dy = box[4] / o.voxel_size[1] / static_cast<float>(o.stride);
  if (!(dx > 0 && dy > 0)) return;
  const auto cell_of = [&](int axis, int64_t cells) {
    const float position = (box[axis] - o.range[axis]) / o.voxel_size[axis] / static_cast<float>(o.stride);
    return std::clamp(position, 0.0f, static_cast<float>(cells) - 0.5f);
  };
  const float cx = cell_of(0, o.width), cy = cell_of(1, o.height);
  const auto ix = static_cast<int64_t>(cx), iy = static_cast<int64_t>(cy);
  const auto radius = std::max<int64_t>(static_cast<int64_t>(GaussianRadius(dx, dy, o.gaussian_overlap)), o.min_radius);
  DrawGaussian(out.heatmaps + class_in_head * o.height * o.width, static_cast<int>(o.height), static_cast<int>(o.width),
               static_cast<int>(ix), static_cast<int>(iy), static_cast<int>(radius));
  out.inds[slot] = iy * o.width + ix;
  out.masks[slot] = 1;
  float* code = out.boxes + slot * o.code_size;
  code[0] = cx - static_cast<float>(ix);
  code[1] = cy - static_cast<float>(iy);
  code[2] = box[2];
  for (int i = 3; i < 6; ++i) code[i] = std::log(box[i]);
  code[6] = std::cos(box[6]);
  code[7] = std::sin(box[6]);
  std::copy(box + 7, box + 7 + (o.code_size - 8), code + 8);
}

}  // namespace

std::vector<HeadTargets> AssignCenterTargets(const torch::Tensor& gt_boxes, const CenterTargetOptions& o) {
  const torch::Tensor boxes = gt_boxes.to(torch::kCPU, torch::kFloat32).contiguous();
  const int64_t batch = boxes.size(0), rows = boxes.size(1), columns = boxes.size(2);
  std::vector<HeadTargets> targets;
  for (const std::vector<int64_t>& classes : o.heads) {
    HeadTargets head;
    const auto num_classes = static_cast<int64_t>(classes.size());
    head.heatmaps = torch::zeros({batch, num_classes, o.height, o.width});
    head.target_boxes = torch::zeros({batch, o.num_max_objs, o.code_size});
    head.inds = torch::zeros({batch, o.num_max_objs}, torch::kInt64);
    head.masks = torch::zeros({batch, o.num_max_objs}, torch::kInt64);
    for (int64_t b = 0; b < batch; ++b) {
      FrameTargets frame{.heatmaps = head.heatmaps.data_ptr<float>() + b * num_classes * o.height * o.width,
                         .boxes = head.target_boxes.data_ptr<float>() + b * o.num_max_objs * o.code_size,
                         .inds = head.inds.data_ptr<int64_t>() + b * o.num_max_objs,
                         .masks = head.masks.data_ptr<int64_t>() + b * o.num_max_objs};
      int64_t slot = 0;
      for (int64_t m = 0; m < rows && slot < o.num_max_objs; ++m) {
        const float* box = boxes.data_ptr<float>() + (b * rows + m) * columns;
        const auto label = static_cast<int64_t>(box[columns - 1]) - 1;
        const auto found = std::find(classes.begin(), classes.end(), label);
        if (found == classes.end()) continue;
        AssignBox(box, slot++, found - classes.begin(), o, frame);
      }
    }
    for (torch::Tensor* tensor : {&head.heatmaps, &head.target_boxes, &head.inds, &head.masks})
      *tensor = tensor->to(gt_boxes.device());
    targets.push_back(std::move(head));
  }
  return targets;
}

}  // namespace kd
