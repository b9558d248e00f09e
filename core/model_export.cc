#include "core/model_export.h"

#include <map>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/version.h"
#include "core/detector_config.h"
#include "core/export_facts.h"
#include "core/network_graph.h"
#include "core/onnx_model.h"
#include "core/pair.h"
#include "core/safetensors.h"

namespace kd {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kGraphFormat[] = "kdfleet-graph/1";
constexpr char kManifestFormat[] = "kdfleet-export/1";
constexpr char kGraphWeights[] = "weights.safetensors";

struct TargetName {
  ExportTarget target;
  const char* name;
};
constexpr TargetName kTargets[] = {{ExportTarget::kOnnx, "onnx"}, {ExportTarget::kGraph, "graph"}};

std::string Text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

// Where the weights come from.
Json Lineage(const ExportSource& source, const v1::Pair& pair) {
  Json lineage = {{"job", pair.metadata().name()},
                  {"pair_digest", Sha256Digest(source.pair_yaml)},
                  {"data_format", pair.data().format()}};
  if (!pair.output().name().empty()) lineage["student"] = absl::StrCat(pair.output().name(), ":", pair.output().tag());
  if (pair.has_teacher()) lineage["teacher"] = pair.teacher().weights();
  for (const v1::DistillMethod& method : pair.distill()) lineage["methods"].push_back(method.method());
  return lineage;
}

// One text for each fact, for formats that hold nothing but texts; the keys of kdfleet's own files start like this,
// too.
std::map<std::string, std::string> AsMetadata(const Json& facts, const SafeTensorsFile& file) {
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : facts.items()) {
    std::string text = value.is_string() ? value.get<std::string>() : Text(value, -1);
    if (text.back() == '\n') text.pop_back();
    metadata[absl::StrCat("kd.", key)] = std::move(text);
  }
  metadata[kWeightsDetectorKey] = file.metadata.at(kWeightsDetectorKey);
  return metadata;
}

Json NodeJson(const GraphNode& node) {
  Json json = {{"op", std::string(GraphOpName(node.op))}, {"inputs", node.inputs}, {"output", TensorJson(node.output)}};
  if (!node.weight.empty()) json["weight"] = node.weight;
  if (!node.bias.empty()) json["bias"] = node.bias;
  if (!node.kernel.empty()) json["kernel"] = node.kernel;
  if (!node.stride.empty()) json["stride"] = node.stride;
  if (!node.padding.empty()) json["padding"] = node.padding;
  if (!node.indice_key.empty()) json["indice_key"] = node.indice_key;
  if (node.op == GraphOp::kPillarPoints) {
    json["voxel_size"] = node.voxel_size;
    json["first_centre"] = node.first_centre;
    json["with_distance"] = node.with_distance;
    json["use_absolute_xyz"] = node.use_absolute_xyz;
  }
  if (node.relu) json["relu"] = true;
  return json;
}

std::vector<ExportFile> GraphFiles(NetworkGraph graph, const Json& facts, const SafeTensorsFile& file) {
  Json nodes = Json::array();
  for (const GraphNode& node : graph.nodes) nodes.push_back(NodeJson(node));
  std::string weights =
      SerializeSafeTensors({.metadata = AsMetadata(facts, file), .tensors = std::move(graph.weights)});
  const Json json = {{"format", kGraphFormat},
                     {"weights", {{"file", kGraphWeights}, {"digest", Sha256Digest(weights)}}},
                     {"metadata", facts},
                     {"nodes", std::move(nodes)}};
  return {{"graph.json", Text(json, 1)}, {kGraphWeights, std::move(weights)}};
}

absl::StatusOr<std::vector<ExportFile>> TargetFiles(NetworkGraph graph, ExportTarget target, const Json& facts,
                                                    const SafeTensorsFile& file) {
  if (target == ExportTarget::kGraph) return GraphFiles(std::move(graph), facts, file);
  absl::StatusOr<std::string> model = OnnxModel(graph, AsMetadata(facts, file));
  if (!model.ok())
    return absl::Status(model.status().code(),
                        absl::StrCat(model.status().message(), "; export it with --target graph"));
  return std::vector<ExportFile>{{"model.onnx", *std::move(model)}};
}

absl::StatusOr<std::optional<v1::Pair>> PairOf(const ExportSource& source, const v1::Detector& detector) {
  if (source.pair_yaml.empty()) return std::nullopt;
  KD_ASSIGN_OR_RETURN(v1::Pair pair, ParsePair(source.pair_yaml, "pair.yaml"));
  const auto& trained = detector.class_names();
  const auto& named = pair.data().class_names();
  if (!std::equal(trained.begin(), trained.end(), named.begin(), named.end())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "pair.yaml belongs to other weights: its classes are ", absl::CHexEscape(absl::StrJoin(named, ", ")),
        ", those of the weights ", absl::CHexEscape(absl::StrJoin(trained, ", "))));
  }
  return pair;
}

}  // namespace

std::vector<std::string> ExportTargetNames() {
  std::vector<std::string> names;
  for (const TargetName& entry : kTargets) names.emplace_back(entry.name);
  return names;
}

absl::StatusOr<ExportTarget> ParseExportTarget(absl::string_view name) {
  for (const TargetName& entry : kTargets) {
    if (name == entry.name) return entry.target;
  }
  return absl::InvalidArgumentError(absl::StrCat("no export target \"", absl::CHexEscape(name), "\"; there are ",
                                                 absl::StrJoin(ExportTargetNames(), ", ")));
}

absl::StatusOr<std::vector<ExportFile>> ExportModel(const ExportSource& source, ExportTarget target) {
  KD_ASSIGN_OR_RETURN(const SafeTensorsFile file, ParseSafeTensors(source.weights));
  KD_ASSIGN_OR_RETURN(const v1::Detector detector, DetectorOf(file));
  KD_ASSIGN_OR_RETURN(const std::optional<v1::Pair> pair, PairOf(source, detector));
  KD_ASSIGN_OR_RETURN(NetworkGraph graph, BuildNetworkGraph(detector, file));
  Json facts = {{"producer", absl::StrCat("kdfleet ", kVersion)}, {"weights_digest", Sha256Digest(source.weights)}};
  if (pair.has_value()) facts["lineage"] = Lineage(source, *pair);
  facts.update(ExportFacts(detector, graph, pair.has_value() ? &*pair : nullptr));

  KD_ASSIGN_OR_RETURN(std::vector<ExportFile> files, TargetFiles(std::move(graph), target, facts, file));
  Json manifest = {{"format", kManifestFormat}};
  manifest.update(facts);
  for (const ExportFile& written : files)
    manifest["files"][written.name] = {{"digest", Sha256Digest(written.bytes)}, {"size", written.bytes.size()}};
  files.push_back({"manifest.json", Text(manifest, 1)});
  return files;
}

}  // namespace kd
