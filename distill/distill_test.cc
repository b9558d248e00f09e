#include <cmath>
#include <map>

#include "base/status_matchers.h"
#include "core/detector_config.h"
#include "data/simulator.h"
#include "data/view.h"
#include "distill/inherit.h"
#include "distill/label_merge.h"
#include "distill/logit_loss.h"
#include "distill/method.h"
#include "distill/teacher_model.h"
#include "gtest/gtest.h"
#include "models/center_head.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

DetectorModel RandomDetector(int seed) {
  torch::manual_seed(seed);
  DetectorModel model(*BuiltInDetector("centerpoint_pillar_sim"));
  model->eval();
  return model;
}

Response Decode(const std::vector<std::string>& records) {
  Response response;
  for (const std::string& bytes : records) {
    DecodedRecord record = *DecodeRecord(bytes);
    const std::string name = record.header.tensor();
    response.emplace(name, std::move(record));
  }
  return response;
}

TEST(FeatureRoiTest, FramesWithoutObjectsCostNothing) {
  DetectorModel teacher = RandomDetector(1), student = RandomDetector(2);
  Frame empty = SimulateFrame(1).frame;
  empty.boxes.clear();
  torch::NoGradGuard no_grad;
  const Batch batch = MakeBatch({&empty}, teacher->config(), false);
  v1::DistillMethod spec;
  spec.set_method("feature_roi");
  spec.set_weight(1);
  spec.set_grid_size(4);
  const auto method = *MakeMethod(spec, teacher->config(), student->config());
  const std::vector<Response> responses = {
      Decode(*EncodeResponse(method->Plan(), *teacher, teacher->Forward(batch), 0, empty, 0))};
  const Predictions own = student->Forward(batch);
  const std::vector<torch::Tensor> probabilities;
  const StepContext step{own, probabilities, responses, batch.gt_boxes, student->config(), teacher->config()};
  EXPECT_EQ(method->Loss(step).at("feature_roi").item<float>(), 0);
}

// The sparse form, as sent, must equal the dense loss of the paper when the record holds every cell with weight.
TEST(PivotalLogitsTest, SparseRecordsGiveTheDenseLossAndGradient) {
  DetectorModel teacher = RandomDetector(1), student = RandomDetector(2);
  const Frame a = SimulateFrame(1).frame, b = SimulateFrame(2).frame;
  const Batch batch = MakeBatch({&a, &b}, teacher->config(), false);
  Predictions theirs;
  {
    torch::NoGradGuard no_grad;
    theirs = teacher->Forward(batch);
  }
  v1::DistillMethod spec;
  spec.set_method("pivotal_logits");
  spec.set_weight(3);
  spec.set_top_k(100000);
  const auto method = *MakeMethod(spec, teacher->config(), student->config());
  std::vector<Response> responses;
  for (int64_t i = 0; i < 2; ++i) {
    responses.push_back(Decode(*EncodeResponse(method->Plan(), *teacher, theirs, i, i == 0 ? a : b, 0)));
  }
  const Predictions own = student->Forward(batch);
  torch::Tensor p = ClampedSigmoid(own.heads[0].at("hm")).detach().requires_grad_();
  const std::vector<torch::Tensor> probabilities = {p};
  const StepContext step{own, probabilities, responses, batch.gt_boxes, student->config(), teacher->config()};
  const torch::Tensor sparse = method->Loss(step).at("pivotal_logits");

  const auto targets = AssignTargets(teacher->config(), batch.gt_boxes);
  const torch::Tensor pt = ClampedSigmoid(theirs.heads[0].at("hm"));
  const auto masks = PositionMasks({pt}, {targets[0].heatmaps}, {.soft = true, .foreground = true});
  const torch::Tensor dense = MaskedProbabilityLoss(p, pt, masks[0], PointLoss::kSquare) * 3;
  EXPECT_GT(dense.item<float>(), 0);
  EXPECT_NEAR(sparse.item<float>(), dense.item<float>(), 1e-5 * dense.item<float>());
  const torch::Tensor g1 = torch::autograd::grad({sparse}, {p}, {}, true)[0],
                      g2 = torch::autograd::grad({dense}, {p})[0];
  EXPECT_LT((g1 - g2).abs().max().item<float>(), 1e-6 * (1 + g2.abs().max().item<float>()));
}

TEST(PivotalLogitsTest, TopKKeepsTheHeaviestCells) {
  DetectorModel teacher = RandomDetector(1);
  const Frame frame = SimulateFrame(1).frame;
  torch::NoGradGuard no_grad;
  const Predictions theirs = teacher->Forward(MakeBatch({&frame}, teacher->config(), false));
  v1::DistillMethod spec;
  spec.set_method("pivotal_logits");
  spec.set_top_k(10);
  const auto method = *MakeMethod(spec, teacher->config(), teacher->config());
  const Response response = Decode(*EncodeResponse(method->Plan(), *teacher, theirs, 0, frame, 77));
  const DecodedRecord& record = response.at("hm.0");
  EXPECT_EQ(record.indices.size(), 10u);
  EXPECT_EQ(record.header.view_crc32c(), 77u);
  EXPECT_TRUE(std::is_sorted(record.indices.begin(), record.indices.end()));
}

TEST(PivotalLogitsTest, ARecordOfMoreCellsGivesTheLossOfThoseAskedFor) {
  DetectorModel teacher = RandomDetector(1), student = RandomDetector(2);
  const Frame a = SimulateFrame(1).frame, b = SimulateFrame(2).frame;
  const Batch batch = MakeBatch({&a, &b}, teacher->config(), false);
  torch::NoGradGuard no_grad;
  const Predictions theirs = teacher->Forward(batch), own = student->Forward(batch);
  const std::vector<torch::Tensor> probabilities = {ClampedSigmoid(own.heads[0].at("hm"))};
  v1::DistillMethod spec;
  spec.set_method("pivotal_logits");
  spec.set_weight(1);
  spec.set_top_k(10);
  const auto method = *MakeMethod(spec, teacher->config(), student->config());
  const auto loss = [&](uint32_t sent) {
    v1::ResponsePlan plan = method->Plan();
    plan.mutable_items(0)->set_top_k(sent);
    std::vector<Response> responses;
    for (int64_t i = 0; i < 2; ++i)
      responses.push_back(Decode(*EncodeResponse(plan, *teacher, theirs, i, i == 0 ? a : b, 0)));
    return method->Loss({own, probabilities, responses, batch.gt_boxes, student->config(), teacher->config()})
        .at("pivotal_logits")
        .item<float>();
  };
  EXPECT_GT(loss(10), 0);
  EXPECT_EQ(loss(500), loss(10));
}

TEST(MethodTest, ImpossiblePairsAreRefusedWithTheReason) {
  const v1::Detector detector = *BuiltInDetector("centerpoint_pillar_sim");
  v1::Detector other = detector;
  other.set_class_names(0, "Truck");
  v1::DistillMethod spec;
  spec.set_method("pivotal_logits");
  EXPECT_THAT(MakeMethod(spec, detector, other),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("same classes")));
  v1::StudentSpec coarse;
  coarse.mutable_compress()->set_resolution(0.5f);
  spec.set_reg_weight(1);
  EXPECT_THAT(MakeMethod(spec, detector, *MakeStudentDetector(detector, coarse)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reg_weight: 0")));
}

TEST(TeacherModelTest, AnswersCarryTheViewsChecksumAndBatchesDoNotMatter) {
  const auto teacher = TeacherModel::Create(SaveWeights(*RandomDetector(4)));
  ASSERT_THAT(teacher, IsOk());
  v1::ResponsePlan plan;
  auto* item = plan.add_items();
  item->set_tensor("boxes");
  item->set_selection(v1::SELECTION_OBJECTS);
  item->set_dtype(v1::DATA_TYPE_FLOAT32);
  const Frame frame = SimulateFrame(6).frame;
  const auto answers = (*teacher)->Answer({&frame}, plan);
  ASSERT_THAT(answers, IsOk());
  EXPECT_EQ(ParseRecord((*answers)[0][0])->header.view_crc32c(), ViewChecksum(frame));
  item->set_tensor("no_such_tensor");
  EXPECT_THAT((*teacher)->Answer({&frame}, plan),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no_such_tensor")));
  EXPECT_TRUE((*teacher)->AnswersAreBatchInvariant());
}

TEST(LabelMergeTest, TeacherBoxesAboveTheirThresholdComeFirst) {
  const std::vector<LabeledBox> truth = {{.box = {.x = 1, .dx = 4, .dy = 2, .dz = 1}, .label = 0},
                                         {.box = {}, .label = 0}};
  const std::vector<Detection> found = {{.box = {.x = 5, .dx = 1, .dy = 1, .dz = 1}, .label = 1, .score = 0.51f},
                                        {.box = {.x = 6, .dx = 1, .dy = 1, .dz = 1}, .label = 1, .score = 0.5f}};
  const MergedLabels merged = MergeLabels(truth, found, {.thresholds = {0.6f, 0.5f}});
  ASSERT_EQ(merged.boxes.size(), 2u);
  EXPECT_EQ(merged.num_teacher_boxes, 1);
  EXPECT_EQ(merged.boxes[0].box.x, 5);
  EXPECT_EQ(merged.boxes[1].box.x, 1);
}

TEST(LabelMergeTest, ShareOfBoxesOnLabelsCountsCentres) {
  const std::vector<LabeledBox> labels = {{.box = {.x = 1}}};
  EXPECT_DOUBLE_EQ(ShareOfBoxesOnLabels({{.box = {.x = 1.4f}}, {.box = {.x = 3}}}, labels, 0.5), 0.5);
  EXPECT_DOUBLE_EQ(ShareOfBoxesOnLabels({}, labels, 0.5), 1);
}

// A student of the teacher's own size is the teacher.
TEST(InheritTest, EqualShapesAreCopiedBitForBit) {
  DetectorModel teacher = RandomDetector(1), student = RandomDetector(2);
  const ConcatenatedSources sources = SourcesOf(teacher->config());
  for (const auto strategy : {InheritStrategy::kFirstChannels, InheritStrategy::kFnav1, InheritStrategy::kMatch}) {
    const SafeTensorsFile state = InheritWeights(StateDict(*teacher), StateDict(*student), strategy, sources, sources);
    EXPECT_EQ(SerializeSafeTensors(state), SerializeSafeTensors(StateDict(*teacher)));
  }
}

TEST(InheritTest, FirstChannelsAreTakenFromEverySource) {
  SafeTensorsFile teacher, student;
  SafeTensor& wide = teacher.tensors["dense_head.shared_conv.0.weight"];
  wide = {.dtype = "U8", .shape = {2, 4}, .bytes = "abcdefgh"};
  student.tensors["dense_head.shared_conv.0.weight"] = {.dtype = "U8", .shape = {1, 2}, .bytes = "??"};
  const ConcatenatedSources of_teacher = {{"dense_head.shared_conv.0.weight", {2, 2}}},
                            of_student = {{"dense_head.shared_conv.0.weight", {1, 1}}};
  EXPECT_EQ(InheritWeights(teacher, student, InheritStrategy::kFirstChannels, of_teacher, of_student)
                .tensors.begin()
                ->second.bytes,
            "ac");
  EXPECT_EQ(
      InheritWeights(teacher, student, InheritStrategy::kFnav1, of_teacher, of_student).tensors.begin()->second.bytes,
      "ab");
  EXPECT_EQ(
      InheritWeights(teacher, student, InheritStrategy::kMatch, of_teacher, of_student).tensors.begin()->second.bytes,
      "??");
}

}  // namespace
}  // namespace kd
