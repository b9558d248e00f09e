#include "distill/teacher_model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "data/simulator.h"
#include "data/view.h"
#include "distill/method.h"
#include "models/detector.h"
#include "models/device.h"
#include "models/torch_status.h"

namespace kd {

struct TeacherModel::Network {
  DetectorModel module{nullptr};
};

TeacherModel::~TeacherModel() = default;

absl::StatusOr<std::unique_ptr<TeacherModel>> TeacherModel::Create(absl::string_view safetensors_bytes) {
  return CatchTorch("the teacher's weights", [safetensors_bytes] { return Load(safetensors_bytes); });
}

absl::StatusOr<std::unique_ptr<TeacherModel>> TeacherModel::Load(absl::string_view safetensors_bytes) {
  KD_ASSIGN_OR_RETURN(LoadedDetector loaded, LoadDetector(safetensors_bytes));
  std::unique_ptr<TeacherModel> model(new TeacherModel);
  model->detector_ = loaded.module->config();
  model->digest_ = loaded.digest;
  loaded.module->to(ChooseDevice());
  for (const torch::Tensor& parameter : loaded.module->parameters()) torch::Tensor(parameter).set_requires_grad(false);
  model->network_ = std::make_unique<Network>(Network{loaded.module});
  return model;
}

absl::StatusOr<std::vector<std::vector<std::string>>> TeacherModel::Answer(const std::vector<const Frame*>& views,
                                                                           const v1::ResponsePlan& plan) {
  return CatchTorch("the teacher's network", [&] { return Forward(views, plan); });
}

absl::StatusOr<std::vector<std::vector<std::string>>> TeacherModel::Forward(const std::vector<const Frame*>& views,
                                                                            const v1::ResponsePlan& plan) {
  torch::NoGradGuard no_grad;
  for (const Frame* view : views) {
    if (view->num_features != static_cast<int>(detector_.num_point_features())) {
      return absl::InvalidArgumentError(absl::StrCat("frame ", view->sample, " has ", view->num_features,
                                                     " columns a point, the teacher takes ",
                                                     detector_.num_point_features()));
    }
  }
  const Predictions predictions =
      network_->module->Forward(ToDevice(MakeBatch(views, detector_, /*training=*/false), network_->module->device()));
  std::vector<std::vector<std::string>> answers;
  for (size_t i = 0; i < views.size(); ++i) {
    KD_ASSIGN_OR_RETURN(answers.emplace_back(),
                        EncodeResponse(plan, *network_->module, predictions, static_cast<int64_t>(i), *views[i],
                                       ViewChecksum(*views[i])));
  }
  return answers;
}

bool TeacherModel::AnswersAreBatchInvariant() {
  constexpr int kFrames = 3;
  v1::ResponsePlan plan;
  v1::ResponsePlan::Item* item = plan.add_items();
  item->set_tensor(detector_.has_dense_head() ? "hm.0" : "spatial_features_2d");
  item->set_selection(v1::SELECTION_ALL);
  item->set_dtype(v1::DATA_TYPE_FLOAT32);
  std::vector<Frame> frames;
  for (int i = 0; i < kFrames; ++i) {
    frames.push_back(SimulateFrame(static_cast<uint64_t>(i)).frame);
    Frame& frame = frames.back();
    // Probe points get zeros in columns that the simulator does not have.
    const int columns = static_cast<int>(detector_.num_point_features());
    std::vector<float> points(frame.num_points() * columns);
    for (size_t p = 0; p < frame.num_points(); ++p) std::copy_n(&frame.points[p * 4], 4, &points[p * columns]);
    frame.points = std::move(points);
    frame.num_features = columns;
    // Labels of the simulator mean nothing to a teacher with other classes.
    frame.boxes.clear();
  }
  const auto forward = Answer({&frames[0], &frames[1], &frames[2]}, plan);
  const auto backward = Answer({&frames[2], &frames[1], &frames[0]}, plan);
  if (!forward.ok() || !backward.ok()) return false;
  for (int i = 0; i < kFrames; ++i) {
    const auto alone = Answer({&frames[i]}, plan);
    if (!alone.ok() || (*alone)[0] != (*forward)[i] || (*alone)[0] != (*backward)[kFrames - 1 - i]) return false;
  }
  return true;
}

}  // namespace kd
