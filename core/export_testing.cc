#include "core/export_testing.h"

#include "absl/strings/match.h"
#include "base/file.h"
#include "base/testing.h"
#include "core/detector_config.h"
#include "core/pcdet_config.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace kd {

using Json = nlohmann::json;

std::string Golden(const std::string& file) { return *ReadFile(SourceDir() + "/tests/golden/models/" + file); }

std::string Trained::Bytes() const {
  SafeTensorsFile named = file;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  (void)google::protobuf::util::MessageToJsonString(detector, &named.metadata[kWeightsDetectorKey], options);
  return SerializeSafeTensors(named);
}

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

}  // namespace kd
