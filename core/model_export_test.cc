#include "core/model_export.h"

#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/detector_config.h"
#include "core/folded_weights.h"
#include "core/network_graph.h"
#include "core/onnx_model.h"
#include "core/pcdet_config.h"
#include "core/safetensors.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "onnx/checker.h"
#include "onnx/shape_inference/implementation.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

std::string Golden(const std::string& file) { return *ReadFile(SourceDir() + "/tests/golden/models/" + file); }

// A small detector of the released code, with its weights.
struct Trained {
  v1::Detector detector;
  SafeTensorsFile file;

  std::string Bytes() const {
    SafeTensorsFile named = file;
    google::protobuf::util::JsonPrintOptions options;
    options.preserve_proto_field_names = true;
    (void)google::protobuf::util::MessageToJsonString(detector, &named.metadata[kWeightsDetectorKey], options);
    return SerializeSafeTensors(named);
  }
};

Trained GoldenDetector(const std::string& name) {
  const Json hyper = Json::parse(Golden(name + ".json")).at("hyper");
  PcdetData data{.class_names = {"Vehicle", "Pedestrian", "Cyclist"}};
  for (size_t i = 0; i < 6; ++i) data.point_cloud_range[i] = hyper.at("point_cloud_range").at(i);
  for (size_t i = 0; i < 3; ++i) data.voxel_size[i] = hyper.at("voxel_size").at(i);
  Trained trained{.detector = *DetectorFromPcdetModel(hyper.at("model").dump(), data)};
  const std::string prefix = "param.";
  const SafeTensorsFile golden = *ParseSafeTensors(Golden(name + ".safetensors"));
  for (const auto& [key, tensor] : golden.tensors) {
    if (absl::StartsWith(key, prefix)) trained.file.tensors[key.substr(prefix.size())] = tensor;
  }
  return trained;
}

const std::string& FileOf(const std::vector<ExportFile>& files, const std::string& name) {
  for (const ExportFile& file : files) {
    if (file.name == name) return file.bytes;
  }
  ADD_FAILURE() << "no " << name;
  static const std::string kNothing;
  return kNothing;
}

onnx::ModelProto OnnxOf(const Trained& trained) {
  const auto files = ExportModel({.weights = trained.Bytes()}, ExportTarget::kOnnx);
  onnx::ModelProto model;
  EXPECT_THAT(files.status(), IsOk());
  EXPECT_TRUE(files.ok() && model.ParseFromString(FileOf(*files, "model.onnx")));
  return model;
}

constexpr char kPairYaml[] = R"(apiVersion: kd/v1
kind: Pair
metadata: {name: cp-half}
teacher: {weights: "registry://teachers/cp:v1"}
student: {}
data: {format: waymo, root: /data/waymo, class_names: [Vehicle, Pedestrian, Cyclist]}
distill:
  - {method: pivotal_logits, weight: 15, top_k: 500}
train: {epochs: 5, batch_size: 4, lr: 1.0e-2}
output: {name: students/cp-half, tag: v3}
)";

SafeTensor Floats(std::vector<int64_t> shape, const std::vector<float>& values) {
  SafeTensor tensor{.dtype = "F32", .shape = std::move(shape)};
  tensor.bytes.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return tensor;
}

TEST(FoldedWeightsTest, BatchNormGoesIntoWeightAndBias) {
  SafeTensorsFile file;
  file.tensors = {{"up.weight", Floats({1, 2, 1, 2}, {1, 2, 3, 4})},
                  {"up.bias", Floats({2}, {0.5f, 1})},
                  {"norm.weight", Floats({2}, {3, -2})},
                  {"norm.bias", Floats({2}, {1, 7})},
                  {"norm.running_mean", Floats({2}, {1.5f, 0})},
                  {"norm.running_var", Floats({2}, {8, 3})},
                  {"norm.num_batches_tracked", {.dtype = "I64", .shape = {}, .bytes = std::string(8, '\0')}}};
  FoldedWeights folded(file);
  // Standard deviations are 3 and 2, so the factors are 1 and -1. Outputs lie along the second axis.
  folded.Add({.weight = "up.weight",
              .shape = {1, 2, 1, 2},
              .output_axis = 1,
              .bias = "up.bias",
              .norm = "norm",
              .norm_eps = 1},
             "up.folded");
  ASSERT_THAT(folded.Check(), IsOk());
  const auto weights = folded.Take();
  EXPECT_EQ(weights.at("up.weight").bytes, Floats({}, {1, 2, -3, -4}).bytes);
  EXPECT_EQ(weights.at("up.weight").shape, (std::vector<int64_t>{1, 2, 1, 2}));
  EXPECT_EQ(weights.at("up.folded").bytes, Floats({}, {0, 6}).bytes);
}

TEST(FoldedWeightsTest, ReadsHalfPrecision) {
  SafeTensorsFile file;
  // 1.5 and -2 as binary16 and as bfloat16.
  file.tensors = {{"a.weight", {.dtype = "F16", .shape = {2, 1}, .bytes = std::string("\x00\x3e\x00\xc0", 4)}},
                  {"b.weight", {.dtype = "BF16", .shape = {2, 1}, .bytes = std::string("\xc0\x3f\x00\xc0", 4)}}};
  FoldedWeights folded(file);
  for (const char* name : {"a.weight", "b.weight"}) folded.Add({.weight = name, .shape = {2, 1}}, "");
  ASSERT_THAT(folded.Check(), IsOk());
  for (const auto& [name, tensor] : folded.Take()) EXPECT_EQ(tensor.bytes, Floats({}, {1.5f, -2}).bytes) << name;
}

// Names and shapes of the released models are the whole contract between a weights file and a network.
TEST(NetworkGraphTest, TakesEveryTensorOfTheReleasedModels) {
  const std::pair<const char*, const char*> models[] = {
      {"centerpoint_pillar", "cp-pillar_sparsekd"},
      {"pointpillar_kitti", "pointpillar_openpcdet"},
      {"second_kitti", "second_openpcdet"},
      {"centerpoint_voxel", "cp-voxel_sparsekd"},
      {"centerpoint_voxel_nuscenes", "cbgs_voxel0075_res3d_centerpoint_openpcdet"}};
  for (const auto& [built_in, manifest] : models) {
    SafeTensorsFile file;
    const Json parsed = Json::parse(Golden(absl::StrCat("manifest_", manifest, ".json")));
    for (const Json& entry : parsed.at("state")) {
      if (entry.at(0) == "global_step") continue;  // of the trainer
      SafeTensor& tensor = file.tensors[entry.at(0)];
      tensor = {.dtype = entry.at(1) == "float32" ? "F32" : "I64", .shape = entry.at(2)};
      size_t size = static_cast<size_t>(SafeTensorElementSize(tensor.dtype));
      for (const int64_t extent : tensor.shape) size *= static_cast<size_t>(extent);
      tensor.bytes.assign(size, '\0');
    }
    const auto graph = BuildNetworkGraph(*BuiltInDetector(built_in), file);
    ASSERT_THAT(graph.status(), IsOk()) << built_in;
    std::set<std::string> used;
    for (const GraphNode& node : graph->nodes) used.insert({node.weight, node.bias});
    used.erase("");
    EXPECT_EQ(used.size(), graph->weights.size()) << built_in;
  }
}

// Shapes of detectors.md section 3 for KITTI.
TEST(NetworkGraphTest, KnowsTheGridsOfTheReleasedVoxelBackbone) {
  v1::Detector detector = *BuiltInDetector("second_kitti");
  Trained trained = GoldenDetector("detector_second_a");
  *detector.mutable_backbone_3d() = trained.detector.backbone_3d();
  *detector.mutable_backbone_2d() = trained.detector.backbone_2d();
  const auto graph = BuildNetworkGraph(detector, trained.file);
  ASSERT_THAT(graph.status(), IsOk());
  using Grid = std::vector<int64_t>;
  EXPECT_EQ(graph->Find("vfe.means")->grid, (Grid{41, 1600, 1408}));
  EXPECT_EQ(graph->Find("backbone_3d.conv2.0")->grid, (Grid{21, 800, 704}));
  EXPECT_EQ(graph->Find("backbone_3d.conv3.0")->grid, (Grid{11, 400, 352}));
  EXPECT_EQ(graph->Find("backbone_3d.conv4.2")->grid, (Grid{5, 200, 176}));
  EXPECT_EQ(graph->Find("backbone_3d.conv_out")->grid, (Grid{2, 200, 176}));
  EXPECT_EQ(graph->Find("backbone_3d.map")->shape, (Grid{1, 16, 200, 176}));
  EXPECT_EQ(graph->Find("box_preds")->shape, (Grid{1, 200, 176, 42}));
}

TEST(NetworkGraphTest, NamesTensorsThatDoNotFit) {
  Trained trained = GoldenDetector("detector_pointpillar_a");
  trained.file.tensors.erase("dense_head.conv_cls.bias");
  trained.file.tensors["backbone_2d.blocks.0.2.running_mean"].shape = {4, 2};
  trained.file.tensors["extra"] = trained.file.tensors["dense_head.conv_box.bias"];
  EXPECT_THAT(
      BuildNetworkGraph(trained.detector, trained.file).status(),
      StatusIs(kInvalid, AllOf(HasSubstr("3 tensors"), HasSubstr("missing dense_head.conv_cls.bias"),
                               HasSubstr("unexpected extra"),
                               HasSubstr("backbone_2d.blocks.0.2.running_mean has shape [4, 2], expected [8]"))));
}

TEST(NetworkGraphTest, RefusesNumbersThatAreNotFinite) {
  Trained trained = GoldenDetector("detector_pointpillar_a");
  const float not_a_number = std::nanf("");
  std::memcpy(trained.file.tensors["vfe.pfn_layers.1.norm.bias"].bytes.data(), &not_a_number, sizeof(float));
  // A variance below zero has no root.
  const float negative = -1;
  std::memcpy(trained.file.tensors["backbone_2d.blocks.0.2.running_var"].bytes.data(), &negative, sizeof(float));
  EXPECT_THAT(BuildNetworkGraph(trained.detector, trained.file).status(),
              StatusIs(kInvalid, AllOf(HasSubstr("vfe.pfn_layers.1.linear.bias has numbers that are not finite"),
                                       HasSubstr("backbone_2d.blocks.0.1.weight has numbers that are not finite"))));
}

TEST(NetworkGraphTest, RefusesMapsOfUnequalSizes) {
  Trained trained = GoldenDetector("detector_pointpillar_a");
  trained.detector.mutable_backbone_2d()->set_upsample_strides(1, 1);
  EXPECT_THAT(BuildNetworkGraph(trained.detector, trained.file).status(),
              StatusIs(kInvalid, AllOf(HasSubstr("level 1 ends in a map of 5 x 6 and level 0 in one of 10 x 12"),
                                       HasSubstr("upsample_strides"))));
}

TEST(NetworkGraphTest, RefusesResidualBlocksThatChangeTheWidth) {
  Trained trained = GoldenDetector("detector_centerpoint_voxel_a");
  trained.detector.mutable_backbone_3d()->set_num_filters(1, 5);
  EXPECT_THAT(BuildNetworkGraph(trained.detector, trained.file).status(),
              StatusIs(kInvalid, HasSubstr("backbone_3d.conv1.0 is a residual block of width 5 behind a width of 4")));
}

TEST(NetworkGraphTest, RefusesOddWidthsThatAreHalved) {
  Trained trained = GoldenDetector("detector_pointpillar_a");
  trained.detector.mutable_vfe()->set_num_filters(0, 7);
  EXPECT_THAT(BuildNetworkGraph(trained.detector, trained.file).status(),
              StatusIs(kInvalid, HasSubstr("vfe.num_filters[0] is 7")));
}

TEST(NetworkGraphTest, RefusesTwoStages) {
  EXPECT_THAT(BuildNetworkGraph(*BuiltInDetector("pv_rcnn_kitti"), {}).status(),
              StatusIs(kInvalid, AllOf(HasSubstr("pv_rcnn has two stages"), HasSubstr("one stage"))));
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

std::vector<float> Numbers(const Json& json) { return json.get<std::vector<float>>(); }

TEST(ModelExportTest, TheManifestSaysWhatARuntimeNeeds) {
  const Trained trained = GoldenDetector("detector_pointpillar_a");
  const std::string weights = trained.Bytes();
  const auto files = ExportModel({.weights = weights, .pair_yaml = kPairYaml}, ExportTarget::kOnnx);
  ASSERT_THAT(files.status(), IsOk());
  const Json manifest = Json::parse(FileOf(*files, "manifest.json"));
  const Json released = Json::parse(Golden("detector_pointpillar_a.json"))["hyper"];
  EXPECT_EQ(manifest["format"], "kdfleet-export/1");
  EXPECT_EQ(manifest["weights_digest"], Sha256Digest(weights));
  EXPECT_EQ(manifest["files"]["model.onnx"]["digest"], Sha256Digest(FileOf(*files, "model.onnx")));
  EXPECT_EQ(manifest["class_names"], Json({"Vehicle", "Pedestrian", "Cyclist"}));
  EXPECT_EQ(Numbers(manifest["point_cloud_range"]), Numbers(released["point_cloud_range"]));
  EXPECT_EQ(Numbers(manifest["voxel_size"]), Numbers(released["voxel_size"]));
  EXPECT_EQ(manifest["grid_size"], released["grid_size"]);
  EXPECT_EQ(manifest["points"]["columns"], Json({"x", "y", "z", "tanh(intensity)"}));
  EXPECT_EQ(manifest["head"]["anchors"][1]["sizes"], Json::parse("[0.8, 0.8, 1.7]"));
  // Decimals as somebody wrote them, not the doubles next to the floats.
  EXPECT_EQ(manifest["head"]["dir_offset"], 0.78539);
  EXPECT_EQ(manifest["post_processing"]["nms_thresh"],
            released["model"]["POST_PROCESSING"]["NMS_CONFIG"]["NMS_THRESH"]);
  EXPECT_EQ(manifest["inputs"][0], Json::parse(R"({"name": "voxels", "dtype": "F32", "shape": ["V", 5, 4]})"));
  EXPECT_EQ(manifest["lineage"]["teacher"], "registry://teachers/cp:v1");
  EXPECT_EQ(manifest["lineage"]["student"], "students/cp-half:v3");
  EXPECT_EQ(manifest["lineage"]["pair_digest"], Sha256Digest(kPairYaml));
}

// A model that lost its manifest still says all of it.
TEST(ModelExportTest, EveryFactOfTheManifestStandsInTheFilesAsWell) {
  const Trained pillars = GoldenDetector("detector_centerpoint_pillar_a");
  const auto onnx_files = ExportModel({.weights = pillars.Bytes(), .pair_yaml = kPairYaml}, ExportTarget::kOnnx);
  const Trained voxels = GoldenDetector("detector_centerpoint_voxel_a");
  const auto graph_files = ExportModel({.weights = voxels.Bytes()}, ExportTarget::kGraph);
  ASSERT_THAT(onnx_files.status(), IsOk());
  ASSERT_THAT(graph_files.status(), IsOk());
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(FileOf(*onnx_files, "model.onnx")));
  std::map<std::string, std::string> in_onnx;
  for (const auto& entry : model.metadata_props()) in_onnx[entry.key()] = entry.value();
  const std::string graph_weights = FileOf(*graph_files, "weights.safetensors");
  const auto in_weights = ParseSafeTensors(graph_weights)->metadata;
  const Json graph = Json::parse(FileOf(*graph_files, "graph.json"));
  EXPECT_EQ(graph["weights"]["digest"], Sha256Digest(graph_weights));

  const auto expect_facts = [](const std::string& text, const std::map<std::string, std::string>& metadata) {
    Json manifest = Json::parse(text);
    for (const char* about_files : {"format", "files"}) manifest.erase(about_files);
    EXPECT_GE(manifest.size(), 13u);
    for (const auto& [key, value] : manifest.items()) {
      const auto found = metadata.find("kd." + key);
      const std::string fact = found == metadata.end() ? "null" : found->second;
      EXPECT_EQ(value.is_string() ? Json(fact) : Json::parse(fact), value) << key;
    }
    return manifest;
  };
  expect_facts(FileOf(*onnx_files, "manifest.json"), in_onnx);
  EXPECT_EQ(expect_facts(FileOf(*graph_files, "manifest.json"), in_weights), graph["metadata"]);
  EXPECT_EQ(in_onnx.at("kd.detector"), ParseSafeTensors(pillars.Bytes())->metadata.at("kd.detector"));
}

TEST(ModelExportTest, EqualSourcesGiveEqualBytes) {
  const std::string weights = GoldenDetector("detector_centerpoint_pillar_a").Bytes();
  for (const ExportTarget target : {ExportTarget::kOnnx, ExportTarget::kGraph}) {
    const auto once = ExportModel({.weights = weights}, target), again = ExportModel({.weights = weights}, target);
    ASSERT_THAT(once.status(), IsOk());
    ASSERT_THAT(again.status(), IsOk());
    for (const ExportFile& file : *once) EXPECT_EQ(file.bytes, FileOf(*again, file.name)) << file.name;
  }
}

TEST(ModelExportTest, VoxelsGoToTheGraphOnly) {
  EXPECT_THAT(ExportModel({.weights = GoldenDetector("detector_second_a").Bytes()}, ExportTarget::kOnnx).status(),
              StatusIs(kInvalid, AllOf(HasSubstr("no sparse 3D convolutions"), HasSubstr("--target graph"))));
}

TEST(ModelExportTest, RefusesThePairOfOtherWeights) {
  Trained trained = GoldenDetector("detector_pointpillar_a");
  trained.detector.set_class_names(2, "Tram");
  trained.detector.mutable_anchor_head()->mutable_anchors(2)->set_class_name("Tram");
  EXPECT_THAT(
      ExportModel({.weights = trained.Bytes(), .pair_yaml = kPairYaml}, ExportTarget::kOnnx).status(),
      StatusIs(kInvalid, AllOf(HasSubstr("Vehicle, Pedestrian, Cyclist"), HasSubstr("Vehicle, Pedestrian, Tram"))));
  EXPECT_THAT(ExportModel({.weights = trained.Bytes(), .pair_yaml = "kind: Pear"}, ExportTarget::kOnnx).status(),
              StatusIs(kInvalid, HasSubstr("pair.yaml:1")));
}

TEST(ModelExportTest, RefusesWhatIsNotADetector) {
  EXPECT_THAT(ExportModel({.weights = "not weights"}, ExportTarget::kOnnx).status(),
              StatusIs(kInvalid, HasSubstr("not a safetensors file")));
  EXPECT_THAT(ExportModel({.weights = SerializeSafeTensors({})}, ExportTarget::kOnnx).status(),
              StatusIs(kInvalid, HasSubstr("kd.detector")));
  EXPECT_THAT(ParseExportTarget("tensorrt").status(),
              StatusIs(kInvalid, AllOf(HasSubstr("\"tensorrt\""), HasSubstr("onnx, graph"))));
}

TEST(ModelExportTest, SurvivesDetectorsThatWereTamperedWith) {
  Trained trained = GoldenDetector("detector_pointpillar_a");
  const std::string good = ParseSafeTensors(trained.Bytes())->metadata.at("kd.detector");
  // Any message that passes the checks must do no harm; the weights stay what they are, and most no longer fit.
  CounterRng rng(RngKeyBuilder().Add("tampered detectors").key());
  int accepted = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string json = good;
    for (uint64_t i = 1 + rng.Below(3); i > 0; --i) {
      const size_t digit = json.find_first_of("0123456789", rng.Below(json.size()));
      if (digit != std::string::npos) json[digit] = static_cast<char>('0' + rng.Below(10));
    }
    SafeTensorsFile file = trained.file;
    file.metadata[kWeightsDetectorKey] = json;
    const auto files = ExportModel({.weights = SerializeSafeTensors(file)}, ExportTarget::kOnnx);
    if (files.ok()) ++accepted;
    EXPECT_TRUE(files.ok() || files.status().code() == kInvalid) << files.status();
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace kd
