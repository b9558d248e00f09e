#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>

#include "base/file.h"
#include "base/rng.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/detector_config.h"
#include "data/simulator.h"
#include "gtest/gtest.h"
#include "models/adam_onecycle.h"
#include "models/box_suppression.h"
#include "models/center_head.h"
#include "models/detector.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using ::testing::HasSubstr;

DetectorModel SimDetector() {
  torch::manual_seed(1);
  return DetectorModel(*BuiltInDetector("centerpoint_pillar_sim"));
}

TEST(DetectorTest, NamesAndShapesAreThoseOfTheReleasedConfiguration) {
  const auto manifest =
      nlohmann::json::parse(*ReadFile(SourceDir() + "/tests/golden/models/manifest_cp-pillar_sparsekd.json"));
  DetectorModel model(*BuiltInDetector("centerpoint_pillar"));
  const SafeTensorsFile state = StateDict(*model);
  std::set<std::string> wanted;
  for (const auto& entry : manifest["state"]) {
    const std::string name = entry[0];
    if (name == "global_step") continue;  // OpenPCDet's counter of the trainer
    wanted.insert(name);
    ASSERT_TRUE(state.tensors.count(name)) << name;
    EXPECT_EQ(state.tensors.at(name).shape, entry[2].get<std::vector<int64_t>>()) << name;
  }
  EXPECT_EQ(state.tensors.size(), wanted.size());
  int64_t parameters = 0;
  for (const auto& parameter : model->parameters()) parameters += parameter.numel();
  EXPECT_EQ(parameters, manifest["trainable_parameters"].get<int64_t>());
}

TEST(DetectorTest, WeightsComeBackWithTheirDetector) {
  DetectorModel model = SimDetector();
  const std::string bytes = SaveWeights(*model);
  auto loaded = LoadDetector(bytes);
  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ(SaveWeights(*loaded->module), bytes);
  EXPECT_FALSE(loaded->module->is_training());
}

TEST(DetectorTest, WeightsOfAnotherWidthAreRefusedByName) {
  DetectorModel model = SimDetector();
  SafeTensorsFile file = StateDict(*model);
  file.tensors.erase("vfe.pfn_layers.0.norm.bias");
  file.tensors["dense_head.extra"] = file.tensors["vfe.pfn_layers.0.norm.weight"];
  file.tensors["vfe.pfn_layers.0.norm.weight"].shape = {16};
  EXPECT_THAT(LoadStateDict(file, *model), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    ::testing::AllOf(HasSubstr("missing vfe.pfn_layers.0.norm.bias"),
                                                                     HasSubstr("unexpected dense_head.extra"),
                                                                     HasSubstr("has shape [16], expected [32]"))));
}

TEST(DetectorTest, PerfectPredictionsDecodeToTheLabels) {
  DetectorModel model = SimDetector();
  const Frame frame = SimulateFrame(5).frame;
  ASSERT_GT(frame.boxes.size(), 3u);
  const Batch batch = MakeBatch({&frame}, model->config(), false);
  const DetectionTargets all_targets = model->Targets(batch.gt_boxes);
  const std::vector<HeadTargets>& targets = all_targets.heads;
  Predictions perfect;
  HeadOutputs head;
  head["hm"] = torch::logit(targets[0].heatmaps.clamp(1e-4, 1 - 1e-4)) * (targets[0].heatmaps == 1) -
               9.2 * (targets[0].heatmaps < 1);
  const int64_t h = head["hm"].size(2), w = head["hm"].size(3);
  torch::Tensor map = torch::zeros({1, 8, h * w});
  for (int64_t k = 0; k < targets[0].inds.size(1); ++k) {
    if (targets[0].masks[0][k].item<int64_t>())
      map.select(2, targets[0].inds[0][k].item<int64_t>())[0] = targets[0].target_boxes[0][k];
  }
  map = map.view({1, 8, h, w});
  head["center"] = map.slice(1, 0, 2);
  head["center_z"] = map.slice(1, 2, 3);
  head["dim"] = map.slice(1, 3, 6);
  head["rot"] = map.slice(1, 6, 8);
  perfect.heads = {head};
  const std::vector<Detection> detections = model->Decode(perfect)[0];
  for (const LabeledBox& want : frame.boxes) {
    double nearest = 1e9;
    for (const Detection& got : detections) {
      if (got.label == want.label)
        nearest = std::min<double>(nearest, std::hypot(got.box.x - want.box.x, got.box.y - want.box.y));
    }
    EXPECT_LT(nearest, 0.01);
  }
  EXPECT_LT(model->DetectionLoss(perfect, all_targets).terms["loc"].item<float>(), 1e-5);
}

// Small detectors of the other kinds, on simulated frames.
v1::Detector Small(const std::string& name) {
  v1::Detector d = *BuiltInDetector(name);
  const auto set = [](auto* field, auto values) {
    field->Clear();
    for (const auto value : values) field->Add(value);
  };
  set(d.mutable_point_cloud_range(), std::vector<float>{0, -19.2f, -3, 38.4f, 19.2f, 2});
  const bool voxels = d.has_backbone_3d();
  set(d.mutable_voxel_size(), voxels ? std::vector<float>{0.15f, 0.15f, 0.125f} : std::vector<float>{0.3f, 0.3f, 5});
  d.set_num_point_features(4);
  d.mutable_post_processing()->clear_post_center_limit_range();
  if (voxels) set(d.mutable_backbone_3d()->mutable_num_filters(), std::vector<uint32_t>{8, 8, 8, 16, 16, 16});
  if (!voxels) set(d.mutable_vfe()->mutable_num_filters(), std::vector<uint32_t>{16});
  for (auto& width : *d.mutable_backbone_2d()->mutable_num_filters()) width = 16;
  for (auto& width : *d.mutable_backbone_2d()->mutable_num_upsample_filters()) width = 16;
  if (d.has_dense_head()) d.mutable_dense_head()->set_shared_conv_channel(16);
  return d;
}

class EveryDetectorTest : public testing::TestWithParam<const char*> {};

TEST_P(EveryDetectorTest, LearnsAFrameByHeart) {
  torch::manual_seed(1);
  DetectorModel model(Small(GetParam()));
  const Frame frame = SimulateFrame(5).frame;
  const Batch batch = MakeBatch({&frame}, model->config(), true);
  const DetectionTargets targets = model->Targets(batch.gt_boxes);
  torch::optim::AdamW optimizer(model->parameters(), torch::optim::AdamWOptions(1e-2));
  float first = 0, last = 0;
  for (int step = 0; step < 30; ++step) {
    optimizer.zero_grad();
    const auto loss = model->DetectionLoss(model->Forward(batch), targets);
    loss.total.backward();
    optimizer.step();
    last = loss.total.item<float>();
    if (step == 0) first = last;
  }
  EXPECT_LT(last, 0.5f * first);
  EXPECT_EQ(model->Decode(model->Forward(batch)).size(), 1u);
}

TEST_P(EveryDetectorTest, ItsWeightsLoadAsTheyWereSaved) {
  torch::manual_seed(2);
  DetectorModel model(Small(GetParam()));
  model->eval();
  const auto loaded = LoadDetector(SaveWeights(*model));
  ASSERT_THAT(loaded.status(), IsOk());
  const Frame frame = SimulateFrame(6).frame;
  const Batch batch = MakeBatch({&frame}, model->config(), false);
  torch::NoGradGuard no_grad;
  DetectorModel again = loaded->module;
  EXPECT_TRUE(torch::equal(model->Forward(batch).spatial_features_2d, again->Forward(batch).spatial_features_2d));
}

TEST_P(EveryDetectorTest, FoldedNormsChangeNothingButRounding) {
  torch::manual_seed(4);
  v1::Detector config = Small(GetParam());
  // Two layers, of which the first hands its maximum on.
  if (config.has_vfe()) config.mutable_vfe()->add_num_filters(16);
  DetectorModel model(config);
  model->eval();
  {
    torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) {
      if (parameter.dim() == 1) parameter.add_(torch::rand_like(parameter) - 0.5);
    }
    for (auto& buffer : model->named_buffers()) {
      if (buffer.key().find("running_mean") != std::string::npos) buffer.value().uniform_(-0.5, 0.5);
      if (buffer.key().find("running_var") != std::string::npos) buffer.value().uniform_(0.5, 1.5);
    }
  }
  const Frame a = SimulateFrame(6).frame, b = SimulateFrame(7).frame;
  const Batch batch = MakeBatch({&a, &b}, config, false);
  const auto outputs_of = [](const Predictions& p) {
    std::vector<torch::Tensor> outputs = {p.spatial_features_2d};
    for (const HeadOutputs& head : p.heads) {
      for (const auto& [name, map] : head) outputs.push_back(map);
    }
    if (p.anchors.cls_preds.defined())
      outputs.insert(outputs.end(), {p.anchors.cls_preds, p.anchors.box_preds, p.anchors.dir_cls_preds});
    return outputs;
  };
  const std::vector<torch::Tensor> plain = outputs_of(model->Forward(batch));
  torch::NoGradGuard no_grad;
  const std::vector<torch::Tensor> folded = outputs_of(model->Forward(batch));
  ASSERT_EQ(folded.size(), plain.size());
  for (size_t i = 0; i < plain.size(); ++i) {
    ASSERT_TRUE(plain[i].requires_grad());
    EXPECT_LT((folded[i] - plain[i]).abs().max().item<float>(), 1e-5 * plain[i].abs().max().item<float>()) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryDetectorTest,
                         testing::Values("centerpoint_pillar_kitti", "centerpoint_pillar_nuscenes", "centerpoint_voxel",
                                         "centerpoint_voxel_kitti", "pointpillar_kitti", "second_kitti"),
                         [](const auto& info) { return std::string(info.param); });

class DynamicPillarsTest : public testing::Test {
 protected:
  DynamicPillarsTest() {
    torch::manual_seed(5);
    model_ = DetectorModel(Small("centerpoint_pillar_nuscenes"));
    model_->eval();
  }
  torch::Tensor Map(const std::vector<const Frame*>& frames) {
    torch::NoGradGuard no_grad;
    return model_->Forward(MakeBatch(frames, model_->config(), false)).spatial_features_2d;
  }

  DetectorModel model_{nullptr};
};

TEST_F(DynamicPillarsTest, AnswersDoNotDependOnOtherFramesOrTheOrderOfPoints) {
  const Frame a = SimulateFrame(7).frame, b = SimulateFrame(8).frame;
  Frame reversed = b;
  const auto columns = static_cast<size_t>(b.num_features);
  for (size_t i = 0; i < b.num_points(); ++i) {
    std::copy_n(&b.points[i * columns], columns, &reversed.points[(b.num_points() - 1 - i) * columns]);
  }
  const torch::Tensor both = Map({&a, &b}), alone = Map({&b});
  // Bit for bit, or a teacher's answers could not be kept.
  EXPECT_TRUE(torch::equal(both[1], alone[0]));
  EXPECT_LT((Map({&reversed}) - alone).abs().max().item<float>(), 1e-4f * alone.abs().max().item<float>());
  EXPECT_GT((both[0] - both[1]).abs().max().item<float>(), 0);
}

// A thousand points in one pillar, more than any cap: the last one counts.
TEST_F(DynamicPillarsTest, EveryPointCounts) {
  Frame frame;
  frame.num_features = 4;
  for (int i = 0; i < 1000; ++i) frame.points.insert(frame.points.end(), {10.1f, 0.1f, -1.0f, 0.1f});
  const torch::Tensor before = Map({&frame});
  frame.points[4 * 999 + 3] = 0.9f;
  EXPECT_GT((Map({&frame}) - before).abs().max().item<float>(), 0);
}

TEST_F(DynamicPillarsTest, FramesOfNoPointAndOfOneAreLegal) {
  Frame none, one;
  none.num_features = one.num_features = 4;
  one.points = {10, 0, -1, 0.5f};
  for (const Frame* frame : {&none, &one}) {
    model_->eval();
    EXPECT_TRUE(torch::isfinite(Map({frame})).all().item<bool>());
    model_->train();
    const Batch batch = MakeBatch({frame}, model_->config(), true);
    const auto loss = model_->DetectionLoss(model_->Forward(batch), model_->Targets(batch.gt_boxes));
    loss.total.backward();
    for (const auto& item : model_->named_parameters()) {
      ASSERT_TRUE(item.value().grad().defined()) << item.key();
      EXPECT_TRUE(torch::isfinite(item.value().grad()).all().item<bool>()) << item.key();
    }
    for (const auto& item : model_->named_buffers())
      EXPECT_TRUE(torch::isfinite(item.value().to(torch::kFloat32)).all().item<bool>()) << item.key();
  }
}

class TwoStageDetectorTest : public testing::TestWithParam<const char*> {
 protected:
  TwoStageDetectorTest() {
    torch::manual_seed(3);
    v1::Detector config = Small(GetParam());
    config.mutable_roi_head()->set_num_keypoints(256);
    config.mutable_roi_head()->set_nms_post_maxsize(20);
    config.mutable_post_processing()->set_score_thresh(0);
    model_ = DetectorModel(config);
    model_->eval();
  }
  Predictions Predict(const std::vector<const Frame*>& frames) {
    torch::NoGradGuard no_grad;
    return model_->Forward(MakeBatch(frames, model_->config(), false));
  }

  DetectorModel model_{nullptr};
};

TEST_P(TwoStageDetectorTest, AnswersDoNotDependOnOtherFrames) {
  const Frame a = SimulateFrame(7).frame, b = SimulateFrame(8).frame;
  const Predictions both = Predict({&a, &b}), alone = Predict({&b});
  ASSERT_EQ(both.refinement.cls.sizes(), (std::vector<int64_t>{2, 20}));
  EXPECT_LT((both.refinement.cls[1] - alone.refinement.cls[0]).abs().max().item<float>(), 1e-4);
  EXPECT_LT((both.refinement.reg[1] - alone.refinement.reg[0]).abs().max().item<float>(), 1e-4);
  EXPECT_GT((both.refinement.cls[0] - both.refinement.cls[1]).abs().max().item<float>(), 0);
  EXPECT_FALSE(model_->Decode(both)[1].empty());
}

// Alone, such a frame is below the number of cells that Part-A2 takes.
TEST_P(TwoStageDetectorTest, AFrameOfOnePointHasTheSameAnswersBesideAFullOne) {
  const Frame a = SimulateFrame(7).frame;
  Frame b = SimulateFrame(8).frame;
  b.points.resize(b.num_features);
  const Predictions both = Predict({&a, &b}), alone = Predict({&b});
  EXPECT_LT((both.refinement.cls[1] - alone.refinement.cls[0]).abs().max().item<float>(), 1e-4);
  EXPECT_LT((both.refinement.reg[1] - alone.refinement.reg[0]).abs().max().item<float>(), 1e-4);
}

TEST_P(TwoStageDetectorTest, AFrameWithoutPointsIsLegal) {
  Frame frame;
  EXPECT_TRUE(torch::isfinite(Predict({&frame}).refinement.reg).all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Kinds, TwoStageDetectorTest,
                         testing::Values("part_a2_kitti", "pv_rcnn_kitti", "voxel_rcnn_kitti"),
                         [](const auto& info) { return std::string(info.param); });

TEST(TwoStageTest, ZeroCodesLeaveAProposalAndGridPointsFillIt) {
  const torch::Tensor box = torch::tensor({10.0f, -2.0f, 0.5f, 4.0f, 2.0f, 1.5f, 0.7f}).view({1, 1, 7});
  EXPECT_LT((ApplyRefinement(box, torch::zeros({1, 1, 7})) - box).abs().max().item<float>(), 1e-6);
  // A step along the box's own x axis moves along its heading.
  torch::Tensor code = torch::zeros({1, 1, 7});
  code[0][0][0] = 1;
  const torch::Tensor moved = ApplyRefinement(box, code)[0][0];
  const float diagonal = std::sqrt(20.0f);
  EXPECT_NEAR(moved[0].item<float>(), 10 + diagonal * std::cos(0.7f), 1e-4);
  EXPECT_NEAR(moved[1].item<float>(), -2 + diagonal * std::sin(0.7f), 1e-4);

  const torch::Tensor grid = BoxGridPoints(box.view({1, 7}), 6)[0];
  EXPECT_LT((grid.mean(0) - box[0][0].slice(0, 0, 3)).abs().max().item<float>(), 1e-5);
  // z runs fastest, x slowest.
  EXPECT_NEAR((grid[1] - grid[0])[2].item<float>(), 0.25f, 1e-5);
  EXPECT_NEAR((grid[36] - grid[0]).norm().item<float>(), 4.0f / 6, 1e-5);
}

TEST(DetectorTest, AFrameWithoutPointsIsLegal) {
  DetectorModel model = SimDetector();
  model->eval();
  Frame frame;
  const Batch batch = MakeBatch({&frame}, model->config(), false);
  const Predictions predictions = model->Forward(batch);
  EXPECT_EQ(predictions.heads[0].at("hm").size(2), 64);
  EXPECT_TRUE(torch::isfinite(model->DetectionLoss(predictions, model->Targets(batch.gt_boxes)).total).item<bool>());
}

TEST(DetectorTest, AnchorsThatAllScoreLowAreNoDetections) {
  DetectorModel model(*BuiltInDetector("pointpillar_kitti"));
  model->eval();
  for (auto& parameter : model->named_parameters()) {
    if (parameter.key() == "dense_head.conv_cls.bias") parameter.value().data().fill_(-100);
  }
  Frame frame;
  frame.num_features = 4;
  const torch::NoGradGuard no_grad;
  const auto detections = model->Decode(model->Forward(MakeBatch({&frame}, model->config(), /*training=*/false)));
  ASSERT_EQ(detections.size(), 1u);
  EXPECT_TRUE(detections[0].empty());
}

// OpenPCDet's order comes from topk and sort, which are free to choose among equal scores: the same calls must choose.
TEST(SuppressBoxesTest, EqualScoresComeInTheOrderOfTopkAndSort) {
  const int64_t count = 200, most = 120;
  torch::Tensor boxes = torch::ones({count, 9});
  boxes.select(1, 0).copy_(torch::arange(count) * 10);
  const torch::Tensor scores = torch::floor(torch::arange(count) / 50.0).to(torch::kFloat32);
  const torch::Tensor best = std::get<1>(scores.topk(most));
  const torch::Tensor want = best.index_select(0, std::get<1>(scores.index_select(0, best).sort(0, true)));
  const torch::Tensor got = SuppressBoxes(boxes, scores, {.iou_threshold = 0.1, .pre_max = most, .post_max = count});
  EXPECT_TRUE(torch::equal(got, want));
}

TEST(HeatmapFocalLossTest, GradientMatchesFiniteDifferences) {
  torch::manual_seed(2);
  const auto options = torch::TensorOptions().dtype(torch::kFloat64);
  torch::Tensor p = (torch::rand({1, 2, 3, 3}, options) * 0.8 + 0.1).requires_grad_();
  torch::Tensor target = torch::rand({1, 2, 3, 3}, options);
  target[0][0][1][1] = 1;
  HeatmapFocalLoss(p, target).backward();
  torch::NoGradGuard no_grad;
  for (int64_t i = 0; i < p.numel(); ++i) {
    torch::Tensor up = p.detach().clone(), down = p.detach().clone();
    up.view(-1)[i] += 1e-6;
    down.view(-1)[i] -= 1e-6;
    const double numeric = (HeatmapFocalLoss(up, target) - HeatmapFocalLoss(down, target)).item<double>() / 2e-6;
    EXPECT_NEAR(p.grad().view(-1)[i].item<double>(), numeric, 1e-5);
  }
}

TEST(AdamOneCycleTest, StateRestoresTheNextStepBitForBit) {
  const AdamOneCycleOptions options{.total_steps = 10, .lr = 0.1};
  torch::Tensor a = torch::ones({3}).requires_grad_();
  AdamOneCycle first({{"a", a}}, options);
  const auto step = [](AdamOneCycle& optimizer, torch::Tensor& x) {
    optimizer.ZeroGrad();
    (x * x).sum().backward();
    optimizer.Step();
  };
  for (int i = 0; i < 4; ++i) step(first, a);
  SafeTensorsFile saved;
  first.SaveTo(saved);
  torch::Tensor b = a.detach().clone().requires_grad_();
  AdamOneCycle second({{"a", b}}, options);
  ASSERT_THAT(second.LoadFrom(saved, 4), IsOk());
  step(first, a);
  step(second, b);
  EXPECT_TRUE(torch::equal(a.detach(), b.detach()));
  EXPECT_THAT(second.LoadFrom(SafeTensorsFile{}, 4), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace kd
