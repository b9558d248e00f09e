// Voxel R-CNN's second stage: grid points of proposals pool the 3D backbone's maps (detectors.md section 7.2).
#include "models/set_abstraction.h"
#include "models/two_stage.h"
#include "ops/point_query.h"

namespace kd {
namespace {

namespace nn = torch::nn;
using torch::Tensor;

constexpr int64_t kWidth = 32, kFc = 256, kGrid = 6;
constexpr int kSamples = 16;

struct Source {
  size_t map;  // of x_conv1 ... x_conv4
  int32_t stride;
  float radius;
};
constexpr Source kSources[] = {{1, 2, 0.4f}, {2, 4, 0.8f}, {3, 8, 1.6f}};

nn::Sequential FullyConnected(int64_t in) {
  nn::Sequential layers;
  const auto block = [&](int64_t from) {
    layers->push_back(nn::Linear(nn::LinearOptions(from, kFc).bias(false)));
    layers->push_back(nn::BatchNorm1d(kFc));
    layers->push_back(nn::ReLU());
  };
  block(in);
  layers->push_back(nn::Dropout(nn::DropoutOptions(0.3)));
  block(kFc);
  return layers;
}

// Neighbour voxels of grid points: their features and offsets through layers of one width, and the maximum.
struct PoolLayerImpl : nn::Module {
  explicit PoolLayerImpl(int64_t in_channels)
      : in_conv(nn::Conv1dOptions(in_channels, kWidth, 1).bias(false)),
        in_norm(kWidth),
        pos_conv(nn::Conv2dOptions(3, kWidth, 1).bias(false)),
        pos_norm(kWidth),
        out_conv(nn::Conv1dOptions(kWidth, kWidth, 1).bias(false)),
        out_norm(kWidth) {
    const auto list = [this](const char* name, nn::Sequential layers) {
      nn::ModuleList radii;
      radii->push_back(layers);
      register_module(name, radii);
    };
    list("mlps_in", nn::Sequential(in_conv, in_norm));
    list("mlps_pos", nn::Sequential(pos_conv, pos_norm));
    list("mlps_out", nn::Sequential(out_conv, out_norm, nn::ReLU()));
  }

  // features V x C; rows Q x S of them, -1 for none; offsets Q x S x 3 -> Q x kWidth.
  Tensor forward(const Tensor& features, const Tensor& rows, const Tensor& offsets) {
    const int64_t q = rows.size(0);
    const auto product = [](const Tensor& x, const Tensor& weight) { return x.matmul(weight.flatten(1).t()); };
    const Tensor own = in_norm->forward(product(features, in_conv->weight));
    const Tensor found = (rows >= 0).unsqueeze(2).to(torch::kFloat32);
    const Tensor gathered = own.size(0) == 0
                                ? torch::zeros({q, kSamples, kWidth}, own.options())
                                : own.index_select(0, rows.clamp_min(0).flatten()).view({q, kSamples, kWidth}) * found;
    const Tensor pos = pos_norm->forward(
        product((offsets * found).view({q * kSamples, 3}), pos_conv->weight).unsqueeze(2).unsqueeze(3));
    const Tensor pooled = std::get<0>(torch::relu(gathered + pos.view({q, kSamples, kWidth})).max(1));
    return torch::relu(out_norm->forward(product(pooled, out_conv->weight)));
  }

  nn::Conv1d in_conv;
  nn::BatchNorm1d in_norm;
  nn::Conv2d pos_conv;
  nn::BatchNorm2d pos_norm;
  nn::Conv1d out_conv;
  nn::BatchNorm1d out_norm;
};
TORCH_MODULE(PoolLayer);

class VoxelRcnnStage : public SecondStage {
 public:
  explicit VoxelRcnnStage(const TwoStageOptions& options) : options_(options) {
    nn::ModuleList layers;
    for (const Source& source : kSources) {
      pools_.push_back(PoolLayer(options.map_channels[source.map]));
      layers->push_back(pools_.back());
    }
    const int64_t pooled = kGrid * kGrid * kGrid * kWidth * static_cast<int64_t>(pools_.size());
    shared_ = FullyConnected(pooled);
    cls_ = FullyConnected(kFc);
    reg_ = FullyConnected(kFc);
    roi_head_->register_module("roi_grid_pool_layers", layers.ptr());
    roi_head_->register_module("shared_fc_layer", shared_.ptr());
    roi_head_->register_module("cls_fc_layers", cls_.ptr());
    cls_pred_ = roi_head_->register_module("cls_pred_layer", nn::Linear(kFc, 1));
    roi_head_->register_module("reg_fc_layers", reg_.ptr());
    reg_pred_ = roi_head_->register_module("reg_pred_layer", nn::Linear(kFc, 7));
  }

  void RegisterPointFeatures(nn::Module&) override {}
  void RegisterHeads(nn::Module& detector) override { detector.register_module("roi_head", roi_head_); }

  std::unique_ptr<State> Prepare(const FirstStage& first) override {
    auto state = std::make_unique<Maps>();
    state->x_conv = first.maps.x_conv;
    return state;
  }

  Refinement Refine(const State& of, const Tensor& boxes) override {
    const auto& state = static_cast<const Maps&>(of);
    const int64_t batch = boxes.size(0), proposals = boxes.size(1);
    const Tensor grid = BoxGridPoints(boxes.reshape({-1, 7}), kGrid).view({batch, -1, 3});
    std::vector<Tensor> parts;
    for (size_t i = 0; i < pools_.size(); ++i)
      parts.push_back(Pool(state.x_conv[kSources[i].map], kSources[i], pools_[i], grid));
    // Grid-major: grid point * channels + channel.
    const Tensor shared = shared_->forward(torch::cat(parts, 1).view({batch * proposals, -1}));
    return {.cls = cls_pred_->forward(cls_->forward(shared)).view({batch, proposals}),
            .reg = reg_pred_->forward(reg_->forward(shared)).view({batch, proposals, 7})};
  }

 private:
  struct Maps : State {
    std::array<SparseTensor, 4> x_conv;
  };

  // grid B x Q x 3 -> (B * Q) x kWidth.
  Tensor Pool(const SparseTensor& map, const Source& source, PoolLayer& layer, const Tensor& grid) const {
    const VoxelQueryOptions query{.low = {options_.range[0], options_.range[1], options_.range[2]},
                                  .voxel_size = options_.voxel_size,
                                  .stride = source.stride,
                                  .radius = source.radius,
                                  .samples = kSamples};
    const Tensor places = grid.cpu().contiguous();
    std::vector<Tensor> found;
    for (int64_t b = 0; b < grid.size(0); ++b) {
      found.push_back(torch::tensor(VoxelQuery(map.sites->OnCpu(), static_cast<int32_t>(b), places[b].data_ptr<float>(),
                                               static_cast<size_t>(places.size(1)), query),
                                    torch::kInt64));
    }
    const Tensor rows = torch::cat(found).view({-1, kSamples});
    const Tensor cells = map.sites->Coordinates()
                             .cpu()
                             .index({torch::indexing::Slice(), torch::tensor({3, 2, 1})})
                             .to(torch::kFloat32);  // x, y, z
    const Tensor size = torch::tensor({query.voxel_size[0], query.voxel_size[1], query.voxel_size[2]}) *
                        static_cast<double>(source.stride);
    const Tensor centres = (cells + 0.5) * size + torch::tensor({query.low[0], query.low[1], query.low[2]});
    const Tensor flat = places.view({-1, 3});
    const Tensor offsets =
        centres.size(0) == 0
            ? torch::zeros({rows.size(0), kSamples, 3})
            : centres.index_select(0, rows.clamp_min(0).flatten()).view({-1, kSamples, 3}) - flat.unsqueeze(1);
    return layer->forward(map.features, rows.to(grid.device()), offsets.to(grid.device()));
  }

  const TwoStageOptions options_;
  std::shared_ptr<nn::Module> roi_head_ = std::make_shared<nn::Module>();
  std::vector<PoolLayer> pools_;
  nn::Sequential shared_, cls_, reg_;
  nn::Linear cls_pred_{nullptr}, reg_pred_{nullptr};
};

}  // namespace

std::unique_ptr<SecondStage> NewVoxelRcnnStage(const TwoStageOptions& options) {
  return std::make_unique<VoxelRcnnStage>(options);
}

}  // namespace kd
