#include "models/sparse_conv.h"

#include <cmath>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "models/all_cores.h"
#include "models/folded_norm.h"
#include "models/gathered_product.h"
#include "models/sparse_product.h"
#include "ops/sparse_rulebook.h"

namespace kd {

struct SparseIndices {
  ConvGeometry geometry;
  std::shared_ptr<const ActiveSites> input, output;
  // Of sites on the CPU; of those on another device, `rows`.
  Rulebook pairs;
  PositionRows rows;

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
using Kind = SparseConvOptions::Kind;

// Carries one convolution through autograd's saved data.
struct CallHolder : torch::CustomClassHolder {
  CallHolder(std::shared_ptr<SparseIndices> of, const SparseConvOptions& options, bool cpu)
      : indices(std::move(of)), on_cpu(cpu) {
    const bool inverse = options.kind == Kind::kInverse, submanifold = options.kind == Kind::kSubmanifold;
    if (!cpu) {
      gathered = {.rows = inverse ? indices->rows.Reversed() : indices->rows,
                  .in_channels = options.in_channels,
                  .out_channels = options.out_channels};
      return;
    }
    const Rulebook& forth = inverse ? indices->reversed() : indices->pairs;
    // A submanifold rulebook is its own reverse with mirrored positions.
    const Rulebook& back = inverse || submanifold ? indices->pairs : indices->reversed();
    product = {.pairs = &forth,
               .reversed = &back,
               .mirrored = submanifold,
               .in_channels = options.in_channels,
               .out_channels = options.out_channels};
  }
  // Calls `body` with the product of the features' device.
  template <typename Body>
  Tensor With(const Body& body) const {
    return on_cpu ? body(product) : body(gathered);
  }

  const std::shared_ptr<SparseIndices> indices;
  const bool on_cpu;
  SparseProduct product;
  GatheredProduct gathered;
};

struct Convolve : torch::autograd::Function<Convolve> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& features, const Tensor& weight,
                        const std::optional<Tensor>& bias, const c10::intrusive_ptr<CallHolder>& holder) {
    const Tensor rows = features.contiguous(), kernel = weight.contiguous();
    context->save_for_backward({rows, kernel});
    context->saved_data["call"] = c10::IValue::make_capsule(holder);
    context->saved_data["bias"] = bias.has_value();
    return holder->With([&](const auto& product) { return product.Forward(rows, kernel, bias); });
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto capsule = context->saved_data["call"].toCapsule();
    const auto& call = static_cast<const CallHolder&>(*capsule);
    const auto saved = context->get_saved_variables();
    const Tensor& features = saved[0];
    const Tensor& weight = saved[1];
    const Tensor gradient = gradients[0].contiguous();
    Tensor to_features, to_weight, to_bias;
    if (context->needs_input_grad(0)) {
      to_features = call.With([&](const auto& product) { return product.InputGradient(gradient, weight); });
    }
    if (context->needs_input_grad(1)) {
      to_weight = call.With([&](const auto& product) { return product.WeightGradient(features, gradient, weight); });
    }
    if (context->saved_data["bias"].toBool() && context->needs_input_grad(2)) to_bias = gradient.sum(0);
    return {to_features, to_weight, to_bias, Tensor()};
  }
};

}  // namespace

Tensor SparseTensor::Dense() const {
  const auto [depth, height, width] = sites->shape();
  const Tensor coords = sites->Coordinates();
  const Tensor cell = (coords.select(1, 0) * height + coords.select(1, 2)) * width + coords.select(1, 3);
  const int64_t channels = features.size(1);
  // Cells of the map with all their (channel, z): what HeightCompression wants, without another copy.
  Tensor canvas = torch::zeros({int64_t{sites->batch()} * height * width, channels, depth}, features.options());
  return canvas.index_put_({cell, torch::indexing::Slice(), coords.select(1, 1)}, features)
      .view({sites->batch(), height, width, channels, depth})
      .permute({0, 3, 4, 1, 2});
}

namespace {

// MakeSparseTensor() where sites stay on a device that is not the CPU.
SparseTensor MakeSparseTensorOnDevice(const Tensor& features, const Tensor& coords, int64_t batch,
                                      const SparseShape& shape) {
  const Tensor at = coords.to(features.device(), torch::kInt64);
  const Tensor extent = torch::tensor({batch, int64_t{shape[0]}, int64_t{shape[1]}, int64_t{shape[2]}}, at.options());
  const Tensor keys =
      ((at.select(1, 0) * shape[0] + at.select(1, 1)) * shape[1] + at.select(1, 2)) * shape[2] + at.select(1, 3);
  const auto [sorted, order] = keys.sort();
  const Tensor twice = sorted.slice(0, 1) == sorted.slice(0, 0, -1);
  // One answer for both, as asking a device waits for it.
  const bool broken = torch::cat({(at < 0).logical_or_(at >= extent).flatten(), twice}).any().item<bool>();
  TORCH_CHECK(!broken, "a site is outside the batch of ", batch, " grids of ", shape[0], " x ", shape[1], " x ",
              shape[2], " cells, or stands there twice");
  return {.features = features.index_select(0, order),
          .sites = std::make_shared<const ActiveSites>(SiteKeys{sorted, batch, shape}),
          .indices = std::make_shared<std::map<std::string, std::shared_ptr<SparseIndices>>>()};
}

}  // namespace

SparseTensor MakeSparseTensor(const Tensor& features, const Tensor& coords, int64_t batch, const SparseShape& shape) {
  if (!features.is_cpu()) return MakeSparseTensorOnDevice(features, coords, batch, shape);
  const Tensor rows = coords.to(torch::kCPU, torch::kInt32).contiguous();
  std::vector<Site> sites(rows.size(0));
  const int32_t* from = rows.data_ptr<int32_t>();
  for (Site& site : sites) {
    site = {from[0], from[1], from[2], from[3]};
    from += 4;
  }
  auto sorted = SparseSites::Sort(sites, static_cast<int32_t>(batch), shape);
  TORCH_CHECK(sorted.ok(), std::string(sorted.status().message()));
  return {.features = features.index_select(0, torch::tensor(sorted->rows, torch::kInt64)),
          .sites = std::make_shared<const ActiveSites>(std::move(sorted->sites)),
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
  TORCH_CHECK(input.features.size(1) == options_.in_channels, "sparse convolution \"", options_.indice_key,
              "\": the input has ", input.features.size(1), " channels, expected ", options_.in_channels);
  const bool cpu = input.features.is_cpu();
  std::shared_ptr<SparseIndices> indices;
  const auto found = input.indices->find(options_.indice_key);
  if (found != input.indices->end() && !options_.indice_key.empty()) {
    indices = found->second;
  } else {
    TORCH_CHECK(options_.kind != Kind::kInverse, "inverse convolution: no layer with the key \"", options_.indice_key,
                "\" came before");
    indices = std::make_shared<SparseIndices>();
    const bool stays = options_.kind == Kind::kSubmanifold;
    indices->geometry = stays ? ConvGeometry::Submanifold(options_.kernel)
                              : ConvGeometry{options_.kernel, options_.stride, options_.padding};
    indices->input = input.sites;
    if (cpu) {
      const SparseSites& from = input.sites->OnCpu();
      indices->output = stays ? input.sites : std::make_shared<const ActiveSites>(from.Convolved(indices->geometry));
      indices->pairs = BuildRulebook(from, indices->output->OnCpu(), indices->geometry, OnAllCores);
    } else {
      const SiteKeys& from = input.sites->keys();
      indices->output =
          stays ? input.sites : std::make_shared<const ActiveSites>(kd::Convolved(from, indices->geometry));
      indices->rows = FindPairs(from, indices->output->keys(), indices->geometry);
    }
    if (!options_.indice_key.empty()) (*input.indices)[options_.indice_key] = indices;
  }
  const bool back = options_.kind == Kind::kInverse;
  const auto& from = back ? indices->output : indices->input;
  TORCH_CHECK(from == input.sites, "sparse convolution \"", options_.indice_key, "\": its key belongs to other sites");
  const auto holder = c10::make_intrusive<CallHolder>(indices, options_, cpu);
  return {.features = Convolve::apply(input.features, weight, bias, holder),
          .sites = back ? indices->input : indices->output,
          .indices = input.indices};
}

}  // namespace kd
