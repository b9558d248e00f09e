// Sparse 3D convolution layers with spconv's parameter names and numerics (detectors.md section 1).
#ifndef KD_MODELS_SPARSE_CONV_H_
#define KD_MODELS_SPARSE_CONV_H_

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "models/active_sites.h"
#include "ops/sparse_sites.h"
#include "torch/torch.h"

namespace kd {

// Sites and pairs of one convolution, shared by all layers with its key and by the inverse layer that goes back.
struct SparseIndices;

// Features at the active sites of a batch of 3D grids. Copies share everything.
struct SparseTensor {
  torch::Tensor features;  // N x C, one row per site
  std::shared_ptr<const ActiveSites> sites;
  // By indice key, for all tensors that come from one input.
  std::shared_ptr<std::map<std::string, std::shared_ptr<SparseIndices>>> indices;

  // The same sites with other features.
  SparseTensor With(torch::Tensor other) const { return {std::move(other), sites, indices}; }
  // B x C x D x H x W, zero at other sites.
  torch::Tensor Dense() const;
};

// features N x C at coords N x 4 (frame, z, y, x), in any order; the result's rows are sorted. Sites, and with them all
// that is made of them, are where the features are.
// Throws c10::Error: a site outside the grid, or twice.
SparseTensor MakeSparseTensor(const torch::Tensor& features, const torch::Tensor& coords, int64_t batch,
                              const SparseShape& shape);

struct SparseConvOptions {
  enum class Kind {
    kSubmanifold,  // sites stay; stride and padding are ignored
    kStrided,      // sites are those that an input reaches
    kInverse,      // back to the sites before the strided layer of the same key
  };
  Kind kind = Kind::kSubmanifold;
  int64_t in_channels = 0, out_channels = 0;
  std::array<int32_t, 3> kernel{3, 3, 3}, stride{1, 1, 1}, padding{0, 0, 0};
  bool bias = false;
  // Layers with one key must have one geometry. Empty: not shared.
  std::string indice_key;
};

// Parameters weight (Cout, kz, ky, kx, Cin) and, where asked for, bias (Cout). A 1x1x1 kernel is multiplied as if its
// memory were (Cin, Cout), as spconv does.
class SparseConv3dImpl : public torch::nn::Module {
 public:
  explicit SparseConv3dImpl(const SparseConvOptions& options);
  SparseTensor forward(const SparseTensor& input);
  // The same with `norm`, in evaluation mode, after it. Not of a 1x1x1 kernel.
  SparseTensor ForwardFolded(const SparseTensor& input, const torch::nn::BatchNorm1dImpl& norm);

 private:
  SparseTensor Convolved(const SparseTensor& input, const torch::Tensor& weight,
                         const std::optional<torch::Tensor>& bias);

  const SparseConvOptions options_;
  torch::Tensor weight_;
  std::optional<torch::Tensor> bias_;
};
TORCH_MODULE(SparseConv3d);

}  // namespace kd

#endif  // KD_MODELS_SPARSE_CONV_H_
