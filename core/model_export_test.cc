#include "core/model_export.h"

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "base/digest.h"
#include "base/rng.h"
#include "base/status_matchers.h"
#include "core/detector_config.h"
#include "core/export_testing.h"
#include "core/safetensors.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "onnx/onnx_pb.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

const std::string& FileOf(const std::vector<ExportFile>& files, const std::string& name) {
  for (const ExportFile& file : files) {
    if (file.name == name) return file.bytes;
  }
  ADD_FAILURE() << "no " << name;
  static const std::string kNothing;
  return kNothing;
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

TEST(ModelExportTest, TheManifestSaysWhatOwnIntensitiesAreDividedBy) {
  const std::string weights = GoldenDetector("detector_pointpillar_a").Bytes();
  const auto columns = [&](const char* data) {
    const std::string pair = absl::StrReplaceAll(kPairYaml, {{"format: waymo", data}});
    const auto files = ExportModel({.weights = weights, .pair_yaml = pair}, ExportTarget::kOnnx);
    return files.ok() ? Json::parse(FileOf(*files, "manifest.json"))["points"]["columns"] : Json();
  };
  EXPECT_EQ(columns("format: custom"), Json({"x", "y", "z", "intensity, 0 to 1"}));
  EXPECT_EQ(columns("format: custom, intensity_scale: 255"), Json({"x", "y", "z", "intensity / 255"}));
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
