// PV-RCNN's keypoints and what they gather from the first stage (detectors.md section 7.3).
#ifndef KD_MODELS_KEYPOINT_FEATURES_H_
#define KD_MODELS_KEYPOINT_FEATURES_H_

#include <vector>

#include "models/set_abstraction.h"
#include "models/two_stage.h"
#include "torch/torch.h"

namespace kd {

// B frames of K keypoints.
struct Keypoints {
  torch::Tensor xyz;       // B x K x 3
  torch::Tensor gathered;  // (B * K) x gathered_width(): bev, raw points, then the maps in the order of their layers
  torch::Tensor features;  // (B * K) x kKeypointWidth: `gathered`, fused
};
constexpr int64_t kKeypointWidth = 128;

// VoxelSetAbstraction: points of a frame that are far from each other, with features of all sources around them.
// Parameters SA_layers.{i}, SA_rawpoints, vsa_point_feature_fusion.{0,1}.
class KeypointFeaturesImpl : public torch::nn::Module {
 public:
  explicit KeypointFeaturesImpl(const TwoStageOptions& options);
  Keypoints forward(const FirstStage& first);
  int64_t gathered_width() const { return gathered_width_; }

 private:
  torch::Tensor Choose(const FramedPoints& raw) const;
  torch::Tensor OfMap(const torch::Tensor& bev, const torch::Tensor& keypoints) const;
  FramedPoints VoxelCentres(const FirstStage& first, size_t map) const;

  const TwoStageOptions options_;
  int64_t gathered_width_ = 0;
  std::vector<SetAbstraction> maps_;
  SetAbstraction raw_{nullptr};
  torch::nn::Sequential fusion_;
};
TORCH_MODULE(KeypointFeatures);

}  // namespace kd

#endif  // KD_MODELS_KEYPOINT_FEATURES_H_
