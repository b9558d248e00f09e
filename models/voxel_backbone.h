// 3D backbones on voxels: VoxelBackBone8x and VoxelResBackBone8x (detectors.md section 3).
#ifndef KD_MODELS_VOXEL_BACKBONE_H_
#define KD_MODELS_VOXEL_BACKBONE_H_

#include <array>
#include <vector>

#include "models/sparse_conv.h"
#include "torch/torch.h"

namespace kd {

struct VoxelBackboneOptions {
  int64_t in_channels = 4;
  // Residual blocks instead of single convolutions.
  bool residual = false;
  // Sub-modules of conv_input, conv1 ... conv4, conv_out; the strided layer of conv2 ... conv4 counts.
  std::array<int64_t, 6> layer_nums{1, 1, 3, 3, 3, 1};
  // One width per sub-module, in the same order. The blocks of a residual stage must have the width of its first
  // sub-module.
  std::vector<int64_t> widths;
  double bn_eps = 1e-3, bn_momentum = 0.01;
};

// One width per stage (conv_input, conv1 ... conv4, conv_out): repeats it for every sub-module.
std::vector<int64_t> WidthPerSubModule(const std::array<int64_t, 6>& layer_nums, const std::array<int64_t, 6>& widths);

// Parameters conv_input.{0,1}, conv{1..4}.{i}.{0,1} or .{conv1,bn1,conv2,bn2}, conv_out.{0,1}.
class VoxelBackboneImpl : public torch::nn::Module {
 public:
  explicit VoxelBackboneImpl(const VoxelBackboneOptions& options);
  ~VoxelBackboneImpl() override;

  struct Maps {
    std::array<SparseTensor, 4> x_conv;  // strides 1, 2, 4, 8
    SparseTensor encoded;                // stride 8, and 16 along z
  };
  // `input`'s shape is the voxel grid (z, y, x) with one more cell along z.
  Maps forward(const SparseTensor& input);

 private:
  struct Stages;
  std::unique_ptr<Stages> stages_;
};
TORCH_MODULE(VoxelBackbone);

// HeightCompression: B x C x D x H x W -> B x (C * D) x H x W, channel c * D + d; memory is channels-last.
torch::Tensor CompressHeight(const SparseTensor& encoded);

}  // namespace kd

#endif  // KD_MODELS_VOXEL_BACKBONE_H_
