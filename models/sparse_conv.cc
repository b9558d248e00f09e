#include "models/sparse_conv.h"

#include <cmath>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "models/folded_norm.h"
#include "models/sparse_product.h"

namespace kd {

struct SparseIndices {
  ConvGeometry geometry;
  std::shared_ptr<const SparseSites> input, output;
  Rulebook pairs;

  // The pairs with input and output exchanged, made when first asked for. Safe from any thread.
  const Rulebook& reversed() {
    std::call_once(once_, [this] { reversed_ = Transposed(pairs); });
    return reversed_;
  }

 private:
  std::once_flag once_;
  Rulebook reversed_;
};

namespace {

using torch::Tensor;

// Carries one convolution through autograd's saved data.
struct CallHolder : torch::CustomClassHolder {
  CallHolder(std::shared_ptr<SparseIndices> indices, const SparseConvOptions& options)
      : indices(std::move(indices)), inverse(options.kind == SparseConvOptions::Kind::kInverse) {
    const bool submanifold = options.kind == SparseConvOptions::Kind::kSubmanifold;
    const Rulebook& forth = inverse ? this->indices->reversed() : this->indices->pairs;
    // A submanifold rulebook is its own reverse with mirrored positions.
    const Rulebook& back = inverse || submanifold ? this->indices->pairs : this->indices->reversed();
    product = {.pairs = &forth, .reversed = &back, .mirrored = submanifold, .in_channels = options.in_channels, .out_channels = options.out_channels};
  }
  const std::shared_ptr<SparseIndices> indices;
  const bool inverse;
  SparseProduct product;
};

struct Convolve : torch::autograd::Function<Convolve> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& features, const Tensor& weight,
                        const std::optional<Tensor>& bias, const c10::intrusive_ptr<CallHolder>& holder) {
    const Tensor rows = features.contiguous(), kernel = weight.contiguous();
    context->save_for_backward({rows, kernel});
    context->saved_data["call"] = c10::IValue::make_capsule(holder);
    context->saved_data["bias"] = bias.has_value();
    if (rows.is_cpu()) return holder->product.Forward(rows, kernel, bias);
    return holder->product.GatheredForward(rows, kernel, bias);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto capsule = context->saved_data["call"].toCapsule();
    const SparseProduct& product = static_cast<CallHolder*>(capsule.get())->product;
    const auto saved = context->get_saved_variables();
    const Tensor& features = saved[0];
    const Tensor& weight = saved[1];
    const Tensor gradient = gradients[0].contiguous();
    const bool cpu = features.is_cpu();
    Tensor to_features, to_weight, to_bias;
    if (context->needs_input_grad(0)) {
      to_features = cpu ? product.InputGradient(gradient, weight) : product.GatheredInputGradient(gradient, weight);
    }
    if (context->needs_input_grad(1)) {
      to_weight = cpu ? product.WeightGradient(features, gradient, weight) : product.GatheredWeightGradient(features, gradient, weight);
    }
    if (context->saved_data["bias"].toBool() && context->needs_input_grad(2)) to_bias = gradient.sum(0);
    return {to_features, to_weight, to_bias, Tensor()};
  }
};

}  // namespace

Tensor SparseTensor::Coordinates() const {
  Tensor coords = torch::empty({static_cast<int64_t>(sites->size()), 4}, torch::kInt64);
  int64_t* to = coords.data_ptr<int64_t>();
  for (const Site& site : sites->sites()) {
    for (const int32_t value : {site.frame, site.z, site.y, site.x}) *to++ = value;
  }
  return coords;
}

Tensor SparseTensor::Dense() const {
  const auto [depth, height, width] = sites->shape();
  const Tensor coords = Coordinates().to(features.device());
  const Tensor cell = (coords.select(1, 0) * height + coords.select(1, 2)) * width + coords.select(1, 3);
  const int64_t channels = features.size(1);
  // Cells of the map with all their (channel, z): what HeightCompression wants, without another copy.
  Tensor canvas = torch::zeros({int64_t{sites->batch()} * height * width, channels, depth}, features.options());
  return canvas.index_put_({cell, torch::indexing::Slice(), coords.select(1, 1)}, features)
      .view({sites->batch(), height, width, channels, depth})
      .permute({0, 3, 4, 1, 2});
}

SparseTensor MakeSparseTensor(const Tensor& features, const Tensor& coords, int64_t batch, const SparseShape& shape) {
  const Tensor rows = coords.to(torch::kCPU, torch::kInt32).contiguous();
  std::vector<Site> sites(rows.size(0));
  const int32_t* from = rows.data_ptr<int32_t>();
  for (Site& site : sites) {
    site = {from[0], from[1], from[2], from[3]};
    from += 4;
  }
  auto sorted = SparseSites::Sort(sites, static_cast<int32_t>(batch), shape);
  TORCH_CHECK(sorted.ok(), std::string(sorted.status().message()));
  const Tensor order = torch::tensor(sorted->rows, torch::kInt64).to(features.device());
  return {.features = features.index_select(0, order),
          .sites = std::make_shared<const SparseSites>(std::move(sorted->sites)),
          .indices = std::make_shared<std::map<std::string, std::shared_ptr<SparseIndices>>>()};
}

SparseConv3dImpl::SparseConv3dImpl(const SparseConvOptions& options) : options_(options) {
  const auto [kz, ky, kx] = options.kernel;
  weight_ = register_parameter("weight", torch::empty({options.out_channels, kz, ky, kx, options.in_channels}));
  // Kaiming uniform with a = sqrt(5) over all inputs of a site, as spconv starts.
  const double bound = 1 / std::sqrt(static_cast<double>(kz * ky * kx * options.in_channels));
  torch::nn::init::uniform_(weight_, -bound, bound);
  if (!options.bias) return;
  bias_ = register_parameter("bias", torch::empty({options.out_channels}));
  torch::nn::init::uniform_(*bias_, -bound, bound);
}

SparseTensor SparseConv3dImpl::forward(const SparseTensor& input) { return Convolved(input, weight_, bias_); }

SparseTensor SparseConv3dImpl::ForwardFolded(const SparseTensor& input, const torch::nn::BatchNorm1dImpl& norm) {
  TORCH_CHECK(options_.kernel != (std::array<int32_t, 3>{1, 1, 1}),
              "the memory of a 1x1x1 kernel has no axis of outputs to fold a norm into");
  const FoldedLayer folded = FoldNorm(weight_, bias_.value_or(Tensor()), norm, 0);
  return Convolved(input, folded.weight, folded.bias);
}

SparseTensor SparseConv3dImpl::Convolved(const SparseTensor& input, const Tensor& weight,
                                         const std::optional<Tensor>& bias) {
  using Kind = SparseConvOptions::Kind;
  TORCH_CHECK(input.features.size(1) == options_.in_channels, "sparse convolution \"", options_.indice_key, "\": the input has ",
              input.features.size(1), " channels, expected ", options_.in_channels);
  std::shared_ptr<SparseIndices> indices;
  const auto found = input.indices->find(options_.indice_key);
  if (found != input.indices->end() && !options_.indice_key.empty()) {
    indices = found->second;
  } else {
    TORCH_CHECK(options_.kind != Kind::kInverse, "inverse convolution: no layer with the key \"", options_.indice_key, "\" came before");
    indices = std::make_shared<SparseIndices>();
    const bool stays = options_.kind == Kind::kSubmanifold;
    indices->geometry = stays ? ConvGeometry::Submanifold(options_.kernel) : ConvGeometry{options_.kernel, options_.stride, options_.padding};
    indices->input = input.sites;
    indices->output = stays ? input.sites : std::make_shared<const SparseSites>(input.sites->Convolved(indices->geometry));
    indices->pairs = BuildRulebook(*indices->input, *indices->output, indices->geometry, OnAllCores);
    if (!options_.indice_key.empty()) (*input.indices)[options_.indice_key] = indices;
  }
  const bool back = options_.kind == Kind::kInverse;
  const auto& from = back ? indices->output : indices->input;
  TORCH_CHECK(from == input.sites, "sparse convolution \"", options_.indice_key, "\": its key belongs to other sites");
  const auto holder = c10::make_intrusive<CallHolder>(indices, options_);
  return {.features = Convolve::apply(input.features, weight, bias, holder),
          .sites = back ? indices->input : indices->output,
          .indices = input.indices};
}

}  // namespace kd
