// The way back of UNetV2, Part-A2's 3D backbone: from its coarsest map to a feature per voxel (detectors.md section 3).
#ifndef KD_MODELS_UNET_DECODER_H_
#define KD_MODELS_UNET_DECODER_H_

#include <array>
#include <memory>

#include "models/sparse_blocks.h"
#include "models/voxel_backbone.h"
#include "torch/torch.h"

namespace kd {

class UnetDecoder {
 public:
  // `widths` of x_conv1 ... x_conv4. Shares neighbours (subm1 ... subm4, spconv2 ... spconv4)
  // with a plain backbone, the only one that OpenPCDet has.
  UnetDecoder(const std::array<int64_t, 4>& widths, const SparseNorm& norm);

  // Registers conv_up_t4, conv_up_m4, inv_conv4 ... conv_up_t1, conv_up_m1, conv5 in the backbone, after its own.
  void RegisterIn(torch::nn::Module& backbone);

  // At the sites of x_conv1, with its width.
  SparseTensor Decode(const VoxelBackboneImpl::Maps& maps);

 private:
  struct Level {
    std::shared_ptr<SparseBlock> lateral, merge, up;
  };
  std::array<Level, 4> levels_;  // of x_conv1 ... x_conv4
};

}  // namespace kd

#endif  // KD_MODELS_UNET_DECODER_H_
