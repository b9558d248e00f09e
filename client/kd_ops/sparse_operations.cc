// Sparse convolution and the 3D backbones made of it.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/kd_ops/module_case.h"
#include "client/kd_ops/operation.h"
#include "models/sparse_conv.h"
#include "models/voxel_backbone.h"

namespace kd {
namespace {

SparseShape Shape(const std::vector<int32_t>& values) { return {values.at(0), values.at(1), values.at(2)}; }

void AddMap(const std::string& prefix, const SparseTensor& map, TensorMap& results) {
  results[prefix + "coords"] = map.sites->Coordinates();
  results[prefix + "features"] = map.features;
  const SparseShape& shape = map.sites->shape();
  results[prefix + "spatial_shape"] = torch::tensor(std::vector<int64_t>(shape.begin(), shape.end()));
}

TensorMap SparseConvCase(const OperationCase& c) {
  const nlohmann::json& h = c.hyper;
  const auto kind = h.at("kind").get<std::string>();
  TORCH_CHECK(kind == "submanifold" || kind == "sparse" || kind == "inverse", "kind \"", kind, "\" is not known");
  TORCH_CHECK(kind != "inverse", "an inverse convolution needs the layer before it");
  const auto triple = [&](const char* key) { return h.at(key).get<std::array<int32_t, 3>>(); };
  const torch::Tensor& weight = c.parameters.at("weight");
  SparseConv3d conv(SparseConvOptions{
      .kind = kind == "submanifold" ? SparseConvOptions::Kind::kSubmanifold : SparseConvOptions::Kind::kStrided,
      .in_channels = weight.size(4),
      .out_channels = weight.size(0),
      .kernel = triple("kernel"),
      .stride = triple("stride"),
      .padding = triple("padding"),
      .bias = h.at("bias").get<bool>()});
  LoadParameters(c, *conv);
  torch::Tensor features = c.in("features").clone().requires_grad_();
  const SparseTensor input = MakeSparseTensor(features, c.in("coords"), h.at("batch_size").get<int64_t>(),
                                              Shape(h.at("spatial_shape").get<std::vector<int32_t>>()));
  const SparseTensor output = conv->forward(input);
  TensorMap results;
  AddMap("out.", output, results);
  auto inputs = ParametersOf(*conv);
  inputs.emplace_back("features", features);
  AddGradients(torch::pow(output.Dense(), 2).mean(), inputs, results);
  return results;
}

TensorMap VoxelBackboneCase(const OperationCase& c, bool residual) {
  const nlohmann::json& h = c.hyper;
  VoxelBackboneOptions options{.in_channels = h.at("in_channels").get<int64_t>(), .residual = residual};
  if (h.contains("layer_nums") && !h.at("layer_nums").is_null()) {
    options.layer_nums = h.at("layer_nums").get<std::array<int64_t, 6>>();
  } else if (residual) {
    options.layer_nums[1] = 2;
  }
  const double width = h.contains("width") && !h.at("width").is_null() ? h.at("width").get<double>() : 1.0;
  std::vector<int64_t> filters = h.at("num_filters").get<std::vector<int64_t>>();
  for (int64_t& count : filters) count = static_cast<int64_t>(static_cast<double>(count) * width);
  if (filters.size() == 6) {
    std::array<int64_t, 6> stages;
    std::copy(filters.begin(), filters.end(), stages.begin());
    filters = WidthPerSubModule(options.layer_nums, stages);
  }
  options.widths = filters;
  VoxelBackbone backbone(options);
  LoadParameters(c, *backbone);
  backbone->train(h.value("training", false));
  const auto grid = h.at("grid_size").get<std::vector<int32_t>>();
  torch::Tensor features = c.in("voxel_features").clone().requires_grad_();
  const SparseTensor input = MakeSparseTensor(features, c.in("coords"), h.at("batch_size").get<int64_t>(),
                                              {grid.at(2) + 1, grid.at(1), grid.at(0)});
  const VoxelBackboneImpl::Maps maps = backbone->forward(input);
  TensorMap results;
  for (size_t i = 0; i < maps.x_conv.size(); ++i)
    AddMap(absl::StrCat("out.x_conv", i + 1, "."), maps.x_conv[i], results);
  AddMap("out.encoded.", maps.encoded, results);
  results["out.bev"] = CompressHeight(maps.encoded);
  AddRunning(*backbone, results);
  auto inputs = ParametersOf(*backbone);
  inputs.emplace_back("voxel_features", features);
  AddGradients((results["out.bev"] * c.in("cotangent")).sum(), inputs, results);
  return results;
}

}  // namespace

void AddSparseOperations(OperationTable& table) {
  table["model.sparse_conv"] = SparseConvCase;
  table["model.voxel_backbone"] = [](const OperationCase& c) { return VoxelBackboneCase(c, /*residual=*/false); };
  table["model.voxel_res_backbone"] = [](const OperationCase& c) { return VoxelBackboneCase(c, /*residual=*/true); };
}

}  // namespace kd
