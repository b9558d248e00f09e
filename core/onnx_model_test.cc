#include "core/onnx_model.h"

#include "base/status_matchers.h"
#include "core/export_testing.h"
#include "core/network_graph.h"
#include "gtest/gtest.h"
#include "onnx/checker.h"
#include "onnx/onnx_pb.h"
#include "onnx/shape_inference/implementation.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

onnx::ModelProto OnnxOf(const Trained& trained) {
  onnx::ModelProto model;
  const auto graph = BuildNetworkGraph(trained.detector, trained.file);
  EXPECT_THAT(graph.status(), IsOk());
  if (!graph.ok()) return model;
  const auto bytes = OnnxModel(*graph, {});
  EXPECT_THAT(bytes.status(), IsOk());
  EXPECT_TRUE(bytes.ok() && model.ParseFromString(*bytes));
  return model;
}

TEST(OnnxModelTest, PassesTheCheckerAndInfersTheShapesThatItDeclares) {
  for (const char* name : {"detector_centerpoint_pillar_a", "detector_pointpillar_a"}) {
    onnx::ModelProto model = OnnxOf(GoldenDetector(name));
    EXPECT_NO_THROW(onnx::checker::check_model(model)) << name;
    onnx::ModelProto bare = model;
    for (auto& output : *bare.mutable_graph()->mutable_output())
      output.mutable_type()->mutable_tensor_type()->clear_shape();
    onnx::shape_inference::InferShapes(bare, onnx::OpSchemaRegistry::Instance(),
                                       {/*check_type=*/true, /*error_mode=*/1, /*data_propagation=*/true});
    ASSERT_EQ(bare.graph().output_size(), model.graph().output_size());
    for (int i = 0; i < model.graph().output_size(); ++i) {
      EXPECT_EQ(bare.graph().output(i).DebugString(), model.graph().output(i).DebugString());
    }
  }
}

// TensorRT drops a reduction without a word.
TEST(OnnxModelTest, ScattersWithoutReductionAndUsesPlainOperatorsOnly) {
  const onnx::ModelProto model = OnnxOf(GoldenDetector("detector_centerpoint_pillar_a"));
  ASSERT_EQ(model.opset_import_size(), 1);
  EXPECT_EQ(model.opset_import(0).domain(), "");
  EXPECT_EQ(model.opset_import(0).version(), 13);
  int scatters = 0;
  for (const onnx::NodeProto& node : model.graph().node()) {
    EXPECT_EQ(node.domain(), "");
    EXPECT_NE(node.op_type(), "BatchNormalization");
    if (node.op_type() != "ScatterND") continue;
    ++scatters;
    EXPECT_EQ(node.attribute_size(), 0);
  }
  EXPECT_EQ(scatters, 1);
}

TEST(OnnxModelTest, LinearLayersNeedNoBias) {
  NetworkGraph graph;
  graph.inputs = {{.name = "in", .shape = {1, 1, 2}}};
  graph.nodes = {
      {.op = GraphOp::kLinear, .inputs = {"in"}, .output = {.name = "out", .shape = {1, 1, 1}}, .weight = "w"}};
  graph.outputs = {"out"};
  graph.weights["w"] = {.dtype = "F32", .shape = {1, 2}, .bytes = std::string(8, '\0')};
  const auto bytes = OnnxModel(graph, {});
  ASSERT_THAT(bytes.status(), IsOk());
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(*bytes));
  EXPECT_NO_THROW(onnx::checker::check_model(model));
  EXPECT_EQ(model.graph().node_size(), 1);
}

TEST(OnnxModelTest, RefusesWhatItCannotExpressByName) {
  NetworkGraph graph;
  graph.inputs = {{.name = "in", .shape = {1, 2, 4, 4}}};
  graph.nodes = {{.op = GraphOp::kToDense, .inputs = {"in"}, .output = {.name = "map"}}};
  EXPECT_THAT(OnnxModel(graph, {}).status(), StatusIs(kInvalid, HasSubstr("to_dense (map)")));
  graph.nodes = {{.op = GraphOp::kConcat, .inputs = {"in", "nothing"}, .output = {.name = "map"}}};
  EXPECT_THAT(OnnxModel(graph, {}).status(),
              StatusIs(kInvalid, HasSubstr("nothing makes \"nothing\", which map reads")));
  graph.nodes = {{.op = GraphOp::kConv2d, .inputs = {"in"}, .output = {.name = "map"}, .weight = "w"}};
  EXPECT_THAT(OnnxModel(graph, {}).status(), StatusIs(kInvalid, HasSubstr("no weight \"w\", which map names")));
  graph.nodes.clear();
  graph.outputs = {"map"};
  EXPECT_THAT(OnnxModel(graph, {}).status(), StatusIs(kInvalid, HasSubstr("no node makes the output \"map\"")));
}

}  // namespace
}  // namespace kd
