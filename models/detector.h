// Detectors as they are trained and served. Shapes: B frames, C classes, H x W cells of the output map (row = y).
#ifndef KD_MODELS_DETECTOR_H_
#define KD_MODELS_DETECTOR_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/safetensors.h"
#include "data/frame.h"
#include "kd/v1/detector.pb.h"
#include "models/anchor_head.h"
#include "models/two_stage.h"
#include "ops/voxelize.h"
#include "torch/torch.h"

namespace kd {

// Frames of one step, voxelised for one detector.
struct Batch {
  // Undefined for detectors on dynamic pillars, which make these of `points`.
  torch::Tensor voxels;      // V x P x F float32
  torch::Tensor coords;      // V x 4 int64: frame, z, y, x
  torch::Tensor num_points;  // V int64
  torch::Tensor gt_boxes;    // B x M x 10 float32: x y z dx dy dz yaw vx vy label (from 1), zero rows pad
  // N x (1 + F): frame, x, y, z, ... in range along x and y. Of detectors with two stages or dynamic pillars; undefined
  // otherwise.
  torch::Tensor points;
  int64_t batch_size = 0;
};

// Voxelises `views` for `detector`; `training` chooses the voxel cap and keeps to the calling thread. Thread-safe.
Batch MakeBatch(const std::vector<const Frame*>& views, const v1::Detector& detector, bool training);

// The same batch in the memory of `device`.
Batch ToDevice(const Batch& batch, const torch::Device& device);

// The boxes alone, as Batch::gt_boxes.
torch::Tensor BoxTensor(const std::vector<const Frame*>& views);

// Raw outputs of one CenterHead group, each B x channels x H x W: "center", "center_z", "dim", "rot"[, "vel"], "hm"[,
// "iou"].
using HeadOutputs = std::map<std::string, torch::Tensor>;

struct Predictions {
  torch::Tensor spatial_features_2d;  // B x Cf x H x W: output of the BEV backbone
  // Of a CenterHead, one per group of classes; otherwise empty.
  std::vector<HeadOutputs> heads;
  // Of an anchor head; otherwise undefined.
  AnchorOutputs anchors;
  // Of a second stage, in evaluation mode.
  Proposals proposals;
  Refinement refinement;
};

// Targets of one head (detectors.md section 6).
struct HeadTargets {
  torch::Tensor heatmaps;      // B x C x H x W
  torch::Tensor target_boxes;  // B x K x codes: x and y offset, z, log dx dy dz, cos, sin[, velocity]
  torch::Tensor inds;          // B x K int64: y * W + x
  torch::Tensor masks;         // B x K int64
};

// Targets for `gt_boxes` (B x M x (8 or 10), as AssignCenterTargets takes them) on the output map of a detector with a
// CenterHead.
std::vector<HeadTargets> AssignTargets(const v1::Detector& detector, const torch::Tensor& gt_boxes);

// Regression branches of a head joined in code order, B x codes x H x W.
torch::Tensor RegressionMap(const v1::Detector& detector, const HeadOutputs& head);

// What the detection loss compares with: one of the two, as the detector's head asks for.
struct DetectionTargets {
  std::vector<HeadTargets> heads;
  AnchorBatchTargets anchors;
};

// A detector: PillarVFE or DynamicPillarVFE and scatter, or mean features and a sparse 3D backbone; the BEV backbone; a
// CenterHead or an anchor head; and perhaps a second stage, which works in evaluation mode only: such detectors teach
// and are not trained here. Parameter names are OpenPCDet's: vfe.pfn_layers.*, backbone_3d.*, pfe.*, backbone_2d.*,
// dense_head.*, point_head.*, roi_head.*. Not thread-safe; forward passes of different objects may run at once.
class DetectorModelImpl : public torch::nn::Module {
 public:
  explicit DetectorModelImpl(const v1::Detector& detector);
  ~DetectorModelImpl() override;

  // `batch` lies on device().
  Predictions Forward(const Batch& batch);

  // Targets for `gt_boxes` (B x M x (8 or 10)), in the memory of device().
  DetectionTargets Targets(const torch::Tensor& gt_boxes) const;

  // Detection loss and its weighted terms by name: "hm" and "loc", summed over heads, or "cls", "loc" and "dir" of
  // anchors. Also returns, per CenterHead group, its own two terms and the clamped sigmoid of the heat map, which the
  // distillation losses reuse.
  struct HeadLoss {
    torch::Tensor hm, loc;
  };
  struct Loss {
    torch::Tensor total;
    std::map<std::string, torch::Tensor> terms;
    std::vector<HeadLoss> heads;
    std::vector<torch::Tensor> probabilities;
  };
  Loss DetectionLoss(const Predictions& predictions, const DetectionTargets& targets) const;

  // Final boxes per frame: decoded, thresholded, suppressed (unless `nms` is false, as label distillation wants them).
  // Detection::label counts from 0.
  std::vector<std::vector<Detection>> Decode(const Predictions& predictions, bool nms = true) const;

  const v1::Detector& config() const { return config_; }
  // Where its parameters are.
  torch::Device device() const;

 private:
  const v1::Detector config_;
  struct Parts;
  std::unique_ptr<Parts> parts_;
};
TORCH_MODULE(DetectorModel);

// Parameters and buffers under their full names, in the order of PyTorch's state dictionaries: a module's own, then its
// children's.
std::vector<std::pair<std::string, torch::Tensor>> StateOf(torch::nn::Module& module);

// The same as a file's content.
SafeTensorsFile StateDict(torch::nn::Module& module);

// The state dictionary of `module` with the detector message under metadata "kd.detector".
std::string SaveWeights(DetectorModelImpl& module);

struct LoadedDetector {
  DetectorModel module{nullptr};
  std::string digest;  // of the file
};
// A detector from a weights file of ours, in evaluation mode.
// INVALID_ARGUMENT: no detector message, or names and shapes that do not match it (the first of them listed).
absl::StatusOr<LoadedDetector> LoadDetector(absl::string_view safetensors_bytes);

// INVALID_ARGUMENT unless every parameter and buffer has an entry of its name, shape and kind of number, and no entry
// is left over; lists the first that do not fit.
absl::Status FitsStateDict(const SafeTensorsFile& file, torch::nn::Module& module);

// Copies every tensor of `file` into the entry of the same name. Errors as above; nothing is changed then.
absl::Status LoadStateDict(const SafeTensorsFile& file, torch::nn::Module& module);

// Safetensors <-> torch. The result owns its memory.
torch::Tensor ToTorch(const SafeTensor& tensor);
SafeTensor FromTorch(const torch::Tensor& tensor);

}  // namespace kd

#endif  // KD_MODELS_DETECTOR_H_
