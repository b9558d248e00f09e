// PV-RCNN's second stage: keypoints with features of every scale, a foreground score each, and grid pooling of
// proposals (detectors.md section 7.3).
#include "models/convolution_head.h"
#include "models/keypoint_features.h"
#include "models/set_abstraction.h"
#include "models/two_stage.h"

namespace kd {
namespace {

namespace nn = torch::nn;
using torch::Tensor;

constexpr int64_t kFc = 256, kGrid = 6;
constexpr int64_t kGridWidth = 64;

// Two linear layers without bias, with batch norm and rectifier, and one with bias alone.
nn::Sequential PointScore(int64_t in) {
  nn::Sequential layers;
  for (const int64_t from : {in, kFc}) {
    layers->push_back(nn::Linear(nn::LinearOptions(from, kFc).bias(false)));
    layers->push_back(nn::BatchNorm1d(kFc));
    layers->push_back(nn::ReLU());
  }
  layers->push_back(nn::Linear(kFc, 1));
  return layers;
}

class PvRcnnStage : public SecondStage {
 public:
  explicit PvRcnnStage(const TwoStageOptions& options) : keypoints_(options) {
    point_cls_ = PointScore(keypoints_->gathered_width());
    point_head_->register_module("cls_layers", point_cls_.ptr());

    pool_ = SetAbstraction(SetAbstractionOptions{kKeypointWidth, kGridWidth, {0.8f, 1.6f}, {16, 16}});
    shared_ = NewConvolutionHead(2 * kGridWidth * kGrid * kGrid * kGrid, 2, 0);
    cls_ = NewConvolutionHead(kHeadWidth, 2, 1);
    reg_ = NewConvolutionHead(kHeadWidth, 2, 7);
    roi_head_->register_module("roi_grid_pool_layer", pool_.ptr());
    roi_head_->register_module("shared_fc_layer", shared_.ptr());
    roi_head_->register_module("cls_layers", cls_.ptr());
    roi_head_->register_module("reg_layers", reg_.ptr());
  }

  void RegisterPointFeatures(nn::Module& detector) override { detector.register_module("pfe", keypoints_.ptr()); }
  void RegisterHeads(nn::Module& detector) override {
    detector.register_module("point_head", point_head_);
    detector.register_module("roi_head", roi_head_);
  }

  std::unique_ptr<State> Prepare(const FirstStage& first) override {
    const Keypoints keypoints = keypoints_->forward(first);
    auto state = std::make_unique<ScoredKeypoints>();
    state->xyz = keypoints.xyz;
    state->features = keypoints.features * torch::sigmoid(point_cls_->forward(keypoints.gathered));
    return state;
  }

  Refinement Refine(const State& of, const Tensor& boxes) override {
    const auto& state = static_cast<const ScoredKeypoints&>(of);
    const int64_t batch = boxes.size(0), proposals = boxes.size(1), keypoints = state.xyz.size(1);
    FramedPoints points{.xyz = state.xyz.cpu().reshape({-1, 3}).contiguous(), .features = state.features};
    for (int64_t b = 0; b <= batch; ++b) points.starts.push_back(b * keypoints);
    const Tensor grid = BoxGridPoints(boxes.reshape({-1, 7}), kGrid).view({batch, -1, 3});
    const Tensor pooled = pool_->forward(points, grid).view({batch * proposals, kGrid * kGrid * kGrid, -1});
    // Channel-major: channel * 216 + grid point.
    const Tensor shared = shared_->forward(pooled.transpose(1, 2).reshape({batch * proposals, -1, 1}));
    return {.cls = cls_->forward(shared).view({batch, proposals}),
            .reg = reg_->forward(shared).view({batch, proposals, 7})};
  }

 private:
  struct ScoredKeypoints : State {
    Tensor xyz;       // B x K x 3
    Tensor features;  // (B * K) x kKeypointWidth, times the probability of foreground
  };

  KeypointFeatures keypoints_;
  std::shared_ptr<nn::Module> point_head_ = std::make_shared<nn::Module>(), roi_head_ = std::make_shared<nn::Module>();
  SetAbstraction pool_{nullptr};
  nn::Sequential point_cls_, shared_, cls_, reg_;
};

}  // namespace

std::unique_ptr<SecondStage> NewPvRcnnStage(const TwoStageOptions& options) {
  return std::make_unique<PvRcnnStage>(options);
}

}  // namespace kd
