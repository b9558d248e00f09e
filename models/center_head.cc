#include "models/center_head.h"

#include "models/folded_norm.h"

namespace kd {
namespace {

namespace nn = torch::nn;

struct BranchShape {
  const char* name;
  int64_t channels;
};
constexpr BranchShape kRegression[] = {{"center", 2}, {"center_z", 1}, {"dim", 3}, {"rot", 2}};
constexpr BranchShape kVelocity = {"vel", 2};
constexpr float kHeatmapBias = -2.19f;

// A sequence that can stand inside another one.
struct InnerSequentialImpl : nn::SequentialImpl {
  using nn::SequentialImpl::SequentialImpl;
  torch::Tensor forward(torch::Tensor x) { return nn::SequentialImpl::forward(x); }
};
TORCH_MODULE(InnerSequential);

template <typename Sequence>
Sequence ConvNormRelu(int64_t in, int64_t out, const CenterHeadOptions& options) {
  return Sequence(nn::Conv2d(nn::Conv2dOptions(in, out, 3).padding(1).bias(options.use_bias_before_norm)),
                  nn::BatchNorm2d(nn::BatchNorm2dOptions(out).eps(options.bn_eps).momentum(options.bn_momentum)),
                  nn::ReLU(nn::ReLUOptions(/*inplace=*/true)));
}

nn::Sequential MakeBranch(int64_t out, bool heatmap, const CenterHeadOptions& options) {
  nn::Sequential branch;
  const int64_t width = options.shared_channels;
  for (int64_t i = 0; i + 1 < options.num_conv; ++i) {
    InnerSequential inner = ConvNormRelu<InnerSequential>(width, width, options);
    if (!heatmap) {
      const auto conv = inner->ptr(0)->as<nn::Conv2dImpl>();
      nn::init::kaiming_normal_(conv->weight);
      if (conv->bias.defined()) nn::init::zeros_(conv->bias);
    }
    branch->push_back(inner);
  }
  nn::Conv2d last(nn::Conv2dOptions(width, out, 3).padding(1).bias(true));
  if (heatmap) {
    nn::init::constant_(last->bias, kHeatmapBias);
  } else {
    nn::init::kaiming_normal_(last->weight);
    nn::init::zeros_(last->bias);
  }
  branch->push_back(last);
  return branch;
}

}  // namespace

std::vector<std::string> RegressionBranches(bool with_velocity) {
  std::vector<std::string> names;
  for (const BranchShape& branch : kRegression) names.emplace_back(branch.name);
  if (with_velocity) names.emplace_back(kVelocity.name);
  return names;
}

CenterHeadModuleImpl::CenterHeadModuleImpl(const CenterHeadOptions& options) {
  shared_ = register_module("shared_conv",
                            ConvNormRelu<nn::Sequential>(options.in_channels, options.shared_channels, options));
  nn::ModuleList list;
  for (const std::vector<int64_t>& classes : options.heads) {
    nn::ModuleDict dictionary;
    std::vector<Branch> branches;
    const auto add = [&](const char* name, int64_t channels, bool heatmap) {
      branches.push_back({name, MakeBranch(channels, heatmap, options)});
      dictionary->update({{name, branches.back().layers.ptr()}});
    };
    for (const BranchShape& branch : kRegression) add(branch.name, branch.channels, false);
    if (options.with_velocity) add(kVelocity.name, kVelocity.channels, false);
    add("hm", static_cast<int64_t>(classes.size()), true);
    if (options.with_iou) add("iou", static_cast<int64_t>(classes.size()), true);
    list->push_back(dictionary);
    heads_.push_back(std::move(branches));
  }
  register_module("heads_list", list);
}

std::vector<HeadOutputs> CenterHeadModuleImpl::forward(const torch::Tensor& features) {
  const bool fold = MayFold(*this);
  const torch::Tensor shared = fold ? ForwardFolded(*shared_, features) : shared_->forward(features);
  std::vector<HeadOutputs> outputs;
  for (std::vector<Branch>& branches : heads_) {
    HeadOutputs& head = outputs.emplace_back();
    for (Branch& branch : branches) {
      head[branch.name] = fold ? ForwardFolded(*branch.layers, shared) : branch.layers->forward(shared);
    }
  }
  return outputs;
}

}  // namespace kd
