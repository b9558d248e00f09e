// Exported detectors say what the detectors say: ONNX in onnxruntime, graphs in an interpreter of their documentation.
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/detector_config.h"
#include "core/model_export.h"
#include "data/simulator.h"
#include "gtest/gtest.h"
#include "models/detector.h"
#include "tests/graph_interpreter.h"

namespace kd {
namespace {

constexpr double kTolerance = 1e-4;
// Exit status of tests/onnx_run.
constexpr int kNoRuntime = 77;

template <typename T>
void Set(google::protobuf::RepeatedField<T>* field, std::initializer_list<T> values) {
  field->Assign(values.begin(), values.end());
}

// A built-in detector in a small street, with narrow layers of unequal widths.
v1::Detector Small(const std::string& built_in) {
  v1::Detector d = *BuiltInDetector(built_in);
  Set(d.mutable_point_cloud_range(), {0.0f, -9.6f, -3.0f, 19.2f, 9.6f, 2.0f});
  if (d.has_backbone_3d()) Set(d.mutable_voxel_size(), {0.15f, 0.15f, 0.125f});
  if (!d.has_backbone_3d()) Set(d.mutable_voxel_size(), {0.3f, 0.3f, 5.0f});
  if (d.has_vfe()) Set(d.mutable_vfe()->mutable_num_filters(), {12u});
  if (d.has_backbone_3d()) Set(d.mutable_backbone_3d()->mutable_num_filters(), {6u, 6u, 8u, 10u, 10u, 12u});
  uint32_t width = 8;
  v1::BevBackbone* const b = d.mutable_backbone_2d();
  for (auto& filters : *b->mutable_num_filters()) filters = width += 2;
  for (auto& filters : *b->mutable_num_upsample_filters()) filters = width += 2;
  for (auto& layers : *b->mutable_layer_nums()) layers = 1;
  if (d.has_dense_head()) d.mutable_dense_head()->set_shared_conv_channel(10);
  return d;
}

// Several heads with every branch, three convolutions each, and five numbers a point.
v1::Detector ManyHeads() {
  v1::Detector d = Small("centerpoint_pillar");
  d.set_num_point_features(5);
  Set(d.mutable_vfe()->mutable_num_filters(), {8u, 14u, 12u});
  d.mutable_vfe()->set_with_distance(true);
  v1::CenterHead* const head = d.mutable_dense_head();
  head->add_class_names_each_head()->add_class_names("Pedestrian");
  v1::CenterHead::Group* const group = head->add_class_names_each_head();
  for (const char* name : {"Vehicle", "Cyclist"}) group->add_class_names(name);
  head->set_with_velocity(true);
  head->set_with_iou(true);
  head->set_num_conv(3);
  head->set_use_bias_before_norm(false);
  return d;
}

// One level; no batch norm in the encoder; one convolution a branch.
v1::Detector Plain() {
  v1::Detector d = Small("centerpoint_pillar_sim");
  d.mutable_vfe()->set_use_norm(false);
  v1::BevBackbone* const b = d.mutable_backbone_2d();
  Set(b->mutable_layer_nums(), {2u});
  Set(b->mutable_layer_strides(), {2u});
  Set(b->mutable_num_filters(), {9u});
  Set(b->mutable_upsample_strides(), {1.0f});
  Set(b->mutable_num_upsample_filters(), {7u});
  d.mutable_dense_head()->set_num_conv(1);
  return d;
}

// A point's own place is left out of the encoder's input, but not its distance.
v1::Detector WithoutPlaces() {
  v1::Detector d = Small("centerpoint_pillar");
  d.mutable_vfe()->set_use_absolute_xyz(false);
  d.mutable_vfe()->set_with_distance(true);
  return d;
}

// A level that is made coarser instead of finer, as nuScenes's pillars have.
v1::Detector Coarser() {
  v1::Detector d = Small("centerpoint_pillar_kitti");
  Set(d.mutable_backbone_2d()->mutable_upsample_strides(), {0.5f, 1.0f, 2.0f});
  d.mutable_dense_head()->set_feature_map_stride(4);
  return d;
}

v1::Detector AnchorsWithoutDirections() {
  v1::Detector d = Small("pointpillar_kitti");
  d.mutable_anchor_head()->set_use_direction_classifier(false);
  d.mutable_anchor_head()->set_with_iou(true);
  return d;
}

// A width for every sub-module, as CaKDP's students have.
v1::Detector OwnWidths() {
  v1::Detector d = Small("centerpoint_voxel_kitti");
  Set(d.mutable_backbone_3d()->mutable_num_filters(), {4u, 5u, 6u, 7u, 8u, 9u, 8u, 7u, 6u, 5u, 4u, 6u});
  return d;
}

struct Case {
  const char* name;
  v1::Detector detector;
};

std::vector<Case> Pillars() {
  return {{"sim", *BuiltInDetector("centerpoint_pillar_sim")},
          {"center", Small("centerpoint_pillar")},
          {"many_heads", ManyHeads()},
          {"plain", Plain()},
          {"without_places", WithoutPlaces()},
          {"coarser", Coarser()},
          {"anchors", Small("pointpillar_kitti")},
          {"anchors_without_directions", AnchorsWithoutDirections()}};
}

std::vector<Case> PillarsAndVoxels() {
  std::vector<Case> cases = Pillars();
  cases.push_back({"voxels", Small("centerpoint_voxel_kitti")});
  cases.push_back({"residual_voxels", Small("centerpoint_voxel")});
  cases.push_back({"many_heads_on_voxels", Small("centerpoint_voxel_nuscenes")});
  cases.push_back({"own_widths", OwnWidths()});
  cases.push_back({"second", Small("second_kitti")});
  return cases;
}

// Weights under which every layer matters, as after training: nothing is zero, one, or close to vanishing.
DetectorModel RandomDetector(const v1::Detector& config) {
  torch::manual_seed(7);
  DetectorModel model(config);
  torch::NoGradGuard no_grad;
  for (auto [name, tensor] : StateOf(*model)) {
    if (!tensor.is_floating_point()) continue;
    if (absl::EndsWith(name, "running_var")) {
      tensor.uniform_(0.5, 2);
    } else if (tensor.dim() > 1) {
      tensor.normal_(0, std::sqrt(2.0 * static_cast<double>(tensor.size(0)) / static_cast<double>(tensor.numel())));
    } else if (absl::EndsWith(name, ".weight")) {
      tensor.uniform_(0.5, 1.4);
    } else {
      tensor.normal_(0, 0.3);
    }
  }
  model->eval();
  return model;
}

// A simulated frame with as many numbers a point as `detector` reads.
Frame FrameFor(const v1::Detector& detector, uint64_t seed) {
  Frame frame = SimulateFrame(seed).frame;
  const int columns = static_cast<int>(detector.num_point_features());
  std::vector<float> points;
  for (size_t i = 0; i < frame.num_points(); ++i) {
    for (int c = 0; c < columns; ++c) {
      points.push_back(c < 4 ? frame.points[i * 4 + static_cast<size_t>(c)] : 0.1f * static_cast<float>(i % 5));
    }
  }
  frame.points = points;
  frame.num_features = columns;
  return frame;
}

using TensorMap = std::map<std::string, torch::Tensor>;

// Under the names of the exports.
TensorMap OutputsOf(const Predictions& predictions) {
  TensorMap outputs;
  for (size_t h = 0; h < predictions.heads.size(); ++h) {
    const std::string prefix = predictions.heads.size() == 1 ? "" : absl::StrCat("head", h, ".");
    for (const auto& [name, map] : predictions.heads[h]) outputs[prefix + name] = map;
  }
  const AnchorOutputs& a = predictions.anchors;
  const std::pair<const char*, torch::Tensor> maps[] = {{"cls_preds", a.cls_preds},
                                                        {"box_preds", a.box_preds},
                                                        {"dir_cls_preds", a.dir_cls_preds},
                                                        {"iou_preds", a.iou_preds}};
  for (const auto& [name, map] : maps) {
    if (map.defined()) outputs[name] = map;
  }
  return outputs;
}

// Numbers that are not finite are failures.
double LargestDifference(const TensorMap& got, const TensorMap& want) {
  double largest = 0;
  EXPECT_EQ(got.size(), want.size());
  for (const auto& [name, expected] : want) {
    const auto found = got.find(name);
    if (found == got.end() || found->second.sizes() != expected.sizes()) {
      ADD_FAILURE() << name << " is missing or has another shape";
      continue;
    }
    const double difference = (found->second - expected).abs().max().item<double>();
    EXPECT_TRUE(std::isfinite(difference)) << name;
    largest = std::max(largest, difference);
  }
  return largest;
}

TensorMap InputsOf(const Batch& batch) {
  return {{"voxels", batch.voxels},
          {"num_points", batch.num_points.to(torch::kInt32)},
          {"coords", batch.coords.to(torch::kInt32)}};
}

// Runs the files in a folder. UNAVAILABLE: the runtime is not on this machine, and why.
using Runtime = std::function<absl::StatusOr<TensorMap>(const std::string& folder, const TensorMap& inputs)>;

absl::StatusOr<TensorMap> RunInOnnxruntime(const std::string& folder, const TensorMap& inputs) {
  SafeTensorsFile file;
  for (const auto& [name, tensor] : inputs) file.tensors[name] = FromTorch(tensor);
  KD_RETURN_IF_ERROR(WriteFileAtomically(folder + "/in", SerializeSafeTensors(file)));
  const std::string command = absl::StrCat("python3 '", SourceDir(), "/tests/onnx_run' ", folder, "/model.onnx ",
                                           folder, "/in ", folder, "/out 2>", folder, "/err");
  const int status = std::system(command.c_str());
  KD_ASSIGN_OR_RETURN(const std::string reason, ReadFile(folder + "/err"));
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoRuntime) return absl::UnavailableError(reason);
  if (status != 0) return absl::InternalError(absl::StrCat(command, ": ", reason));
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(folder + "/out"));
  KD_ASSIGN_OR_RETURN(const SafeTensorsFile results, ParseSafeTensors(bytes));
  TensorMap outputs;
  for (const auto& [name, tensor] : results.tensors) outputs[name] = ToTorch(tensor);
  return outputs;
}

absl::StatusOr<TensorMap> RunInInterpreter(const std::string& folder, const TensorMap& inputs) {
  std::map<std::string, GraphValue> values;
  for (const auto& [name, tensor] : inputs) {
    const torch::Tensor numbers = tensor.to(torch::kFloat64).contiguous();
    const double* const from = numbers.data_ptr<double>();
    values[name] = {.shape = numbers.sizes().vec(), .data = {from, from + numbers.numel()}};
  }
  TensorMap outputs;
  for (auto& [name, value] : RunGraph(folder, std::move(values))) {
    outputs[name] = torch::tensor(value.data).view(value.shape);
  }
  return outputs;
}

// Exports the case's detector and compares on frames with unequal numbers of voxels.
void ExpectParity(const Case& c, ExportTarget target, const Runtime& run) {
  torch::NoGradGuard no_grad;
  ASSERT_THAT(ValidateDetector(c.detector), IsOk());
  DetectorModel model = RandomDetector(c.detector);
  const auto files = ExportModel({.weights = SaveWeights(*model)}, target);
  ASSERT_THAT(files.status(), IsOk());
  TemporaryFolder folder;
  for (const ExportFile& file : *files) ASSERT_THAT(WriteFileAtomically(folder / file.name, file.bytes), IsOk());

  Frame nothing;
  nothing.num_features = static_cast<int>(c.detector.num_point_features());
  const std::vector<Frame> frames = {FrameFor(c.detector, 11), FrameFor(c.detector, 12), nothing};
  std::vector<TensorMap> expected;
  double largest = 0, largest_number = 0;
  for (const Frame& frame : frames) {
    const Batch batch = MakeBatch({&frame}, c.detector, /*training=*/false);
    expected.push_back(OutputsOf(model->Forward(batch)));
    const absl::StatusOr<TensorMap> got = run(folder.path(), InputsOf(batch));
    if (absl::IsUnavailable(got.status()) && std::getenv("CI") == nullptr) GTEST_SKIP() << got.status().message();
    ASSERT_THAT(got.status(), IsOk());
    largest = std::max(largest, LargestDifference(*got, expected.back()));
    for (const auto& [name, map] : *got) largest_number = std::max(largest_number, map.abs().max().item<double>());
  }
  std::printf("%s: largest difference %.2g, largest number %.3g\n", c.name, largest, largest_number);
  EXPECT_LE(largest, kTolerance);
  // Agreement on maps that say the same of every frame would mean little.
  EXPECT_GT(LargestDifference(expected[0], expected[1]), 1000 * kTolerance);
}

std::string NameOf(const testing::TestParamInfo<Case>& info) { return info.param.name; }

class OnnxTest : public testing::TestWithParam<Case> {};
TEST_P(OnnxTest, OnnxruntimeAgreesWithTheDetector) { ExpectParity(GetParam(), ExportTarget::kOnnx, RunInOnnxruntime); }
INSTANTIATE_TEST_SUITE_P(Pillars, OnnxTest, testing::ValuesIn(Pillars()), NameOf);

class GraphTest : public testing::TestWithParam<Case> {};
TEST_P(GraphTest, TheDocumentedGraphAgreesWithTheDetector) {
  ExpectParity(GetParam(), ExportTarget::kGraph, RunInInterpreter);
}
INSTANTIATE_TEST_SUITE_P(All, GraphTest, testing::ValuesIn(PillarsAndVoxels()), NameOf);

}  // namespace
}  // namespace kd
