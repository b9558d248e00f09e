// Our half of `scripts/bench ops`: answers one command a line from standard input with the seconds that it took.
//
//   load FILE                     a safetensors file whose tensors the other commands name
//   backbone forward|train DEVICE VoxelResBackBone8x: "features", "coords", "shape" (z, y, x), weights "param.*"
//   voxelize CELL MAX_POINTS MAX_VOXELS   "points" in "range", voxels of CELL "x,y,z" m
//   iou                           BEV IoU of every pair of "a" and "b"
//   nms THRESHOLD                 "boxes" by "scores"
//   detector NAME FILE            a built-in detector with the weights of a safetensors file, or random ones for "-"
//   detect COPIES                 "points" to final boxes, of so many equal frames in one batch
//   throughput DEVICE BATCH fp32|bf16 ROUNDS   the same on a device with a batch of "points"; seconds of each round
//
// Each answer is one line: seconds, then numbers by which the other half checks the result.
#include <chrono>
#include <iostream>
#include <map>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "ATen/autocast_mode.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "core/detector_config.h"
#include "core/safetensors.h"
#include "models/all_cores.h"
#include "models/box_suppression.h"
#include "models/detector.h"
#include "models/device.h"
#include "models/voxel_backbone.h"
#include "ops/rotated_iou.h"
#include "ops/voxelize.h"

namespace kd {
namespace {

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

class Bench {
 public:
  std::string Answer(const std::vector<std::string>& words) {
    if (words[0] == "load") return Load(words.at(1));
    if (words[0] == "backbone") return Backbone(words.at(1) == "train", torch::Device(words.at(2)));
    if (words[0] == "voxelize") return VoxelizePoints(words);
    if (words[0] == "iou") return Iou();
    if (words[0] == "nms") return Nms(words.at(1));
    if (words[0] == "detector") return LoadDetector(words.at(1), words.at(2));
    if (words[0] == "detect") return Detect(words.at(1));
    if (words[0] == "throughput") return Throughput(words.at(1), words.at(2), words.at(3) == "bf16", words.at(4));
    return "unknown command";
  }

 private:
  std::string Load(const std::string& path) {
    const auto bytes = ReadFile(path);
    if (!bytes.ok()) return std::string(bytes.status().message());
    const auto file = ParseSafeTensors(*bytes);
    if (!file.ok()) return std::string(file.status().message());
    tensors_.clear();
    SafeTensorsFile weights;
    for (const auto& [name, tensor] : file->tensors) {
      if (name.rfind("param.", 0) == 0) {
        weights.tensors[name.substr(6)] = tensor;
      } else {
        tensors_[name] = ToTorch(tensor);
      }
    }
    if (!weights.tensors.empty()) {
      VoxelBackboneOptions options{
          .in_channels = tensors_.at("features").size(1), .residual = true, .layer_nums = {1, 2, 3, 3, 3, 1}};
      options.widths = WidthPerSubModule(options.layer_nums, {16, 16, 32, 64, 128, 128});
      backbone_ = VoxelBackbone(options);
      const absl::Status status = LoadStateDict(weights, *backbone_);
      if (!status.ok()) return std::string(status.message());
    }
    return "loaded";
  }

  std::string Backbone(bool training, const torch::Device& device) {
    const auto* shape = tensors_.at("shape").data_ptr<int64_t>();
    const SparseShape cells = {static_cast<int32_t>(shape[0]), static_cast<int32_t>(shape[1]),
                               static_cast<int32_t>(shape[2])};
    backbone_->to(device);
    backbone_->train(training);
    backbone_->zero_grad();
    const torch::Tensor features = tensors_.at("features").to(device, /*non_blocking=*/false, /*copy=*/true);
    features.set_requires_grad(training);
    const torch::AutoGradMode grad(training);
    const double start = Now();
    const SparseTensor input = MakeSparseTensor(features, tensors_.at("coords"), 1, cells);
    const torch::Tensor out = backbone_->forward(input).encoded.features;
    if (device.is_cuda()) torch::cuda::synchronize();
    const double between = Now();
    if (training) (out * out).mean().backward();
    const double end = Now();
    std::ostringstream answer;
    answer.precision(9);
    answer << (training ? end - between : between - start) << " " << out.size(0) << " "
           << out.abs().sum().item<double>();
    return answer.str();
  }

  std::string VoxelizePoints(const std::vector<std::string>& words) {
    const std::vector<std::string> size = absl::StrSplit(words.at(1), ',');
    VoxelGrid grid{};
    for (int i = 0; i < 3; ++i) (void)absl::SimpleAtof(size.at(i), &grid.voxel_size[i]);
    for (int i = 0; i < 6; ++i) grid.range[i] = tensors_.at("range").data_ptr<float>()[i];
    (void)absl::SimpleAtoi(words.at(2), &grid.max_points_per_voxel);
    (void)absl::SimpleAtoi(words.at(3), &grid.max_voxels);
    const torch::Tensor& points = tensors_.at("points");
    const double start = Now();
    const auto features = static_cast<int>(points.size(1));
    const Voxels voxels =
        Voxelize(points.data_ptr<float>(), static_cast<size_t>(points.size(0)), features, grid, OnAllCores);
    const torch::Tensor copied =
        torch::empty({static_cast<int64_t>(voxels.size()), grid.max_points_per_voxel, features});
    CopyVoxelPoints(voxels, points.data_ptr<float>(), features, grid.max_points_per_voxel, copied.data_ptr<float>(),
                    OnAllCores);
    const double end = Now();
    const int64_t kept = std::accumulate(voxels.num_points.begin(), voxels.num_points.end(), int64_t{0});
    return Line(end - start, {static_cast<double>(voxels.size()), static_cast<double>(kept)});
  }

  std::string Iou() {
    const torch::Tensor &a = tensors_.at("a"), &b = tensors_.at("b");
    double sum = 0;
    const double start = Now();
    for (int64_t i = 0; i < a.size(0); ++i) {
      for (int64_t j = 0; j < b.size(0); ++j) sum += BevIou(a.data_ptr<float>() + i * 7, b.data_ptr<float>() + j * 7);
    }
    return Line(Now() - start, {sum});
  }

  std::string Nms(const std::string& threshold) {
    const torch::Tensor &boxes = tensors_.at("boxes"), &scores = tensors_.at("scores");
    NmsOptions options{.pre_max = boxes.size(0), .post_max = boxes.size(0)};
    (void)absl::SimpleAtod(threshold, &options.iou_threshold);
    const double start = Now();
    const torch::Tensor kept = SuppressBoxes(boxes, scores, options);
    return Line(Now() - start, {static_cast<double>(kept.size(0))});
  }

  std::string LoadDetector(const std::string& name, const std::string& path) {
    const auto config = BuiltInDetector(name);
    if (!config.ok()) return std::string(config.status().message());
    torch::manual_seed(0);
    detector_ = DetectorModel(*config);
    detector_->eval();
    if (path == "-") return "loaded";
    const auto bytes = ReadFile(path);
    if (!bytes.ok()) return std::string(bytes.status().message());
    const auto file = ParseSafeTensors(*bytes);
    if (!file.ok()) return std::string(file.status().message());
    const absl::Status status = LoadStateDict(*file, *detector_);
    return status.ok() ? "loaded" : std::string(status.message());
  }

  Frame PointFrame() const {
    const torch::Tensor& points = tensors_.at("points");
    const float* const first = points.data_ptr<float>();
    return {.points = std::vector<float>(first, first + points.numel()),
            .num_features = static_cast<int>(points.size(1))};
  }

  std::vector<std::vector<Detection>> FinalBoxes(const std::vector<const Frame*>& frames, bool bf16) {
    const torch::Device device = detector_->device();
    const Batch batch = ToDevice(MakeBatch(frames, detector_->config(), /*training=*/false), device);
    at::autocast::set_autocast_enabled(device.type(), bf16);
    at::autocast::set_autocast_dtype(device.type(), torch::kBFloat16);
    Predictions predictions = detector_->Forward(batch);
    at::autocast::set_autocast_enabled(device.type(), false);
    at::autocast::clear_cache();
    // Boxes are decoded in single precision.
    for (HeadOutputs& head : predictions.heads) {
      for (auto& [name, map] : head) map = map.to(torch::kFloat32);
    }
    AnchorOutputs& anchors = predictions.anchors;
    for (torch::Tensor* map : {&anchors.cls_preds, &anchors.box_preds, &anchors.dir_cls_preds,
                               &predictions.refinement.cls, &predictions.refinement.reg}) {
      if (map->defined()) *map = map->to(torch::kFloat32);
    }
    return detector_->Decode(predictions);
  }

  std::string Detect(const std::string& copies) {
    const torch::NoGradGuard no_grad;
    const Frame frame = PointFrame();
    const std::vector<const Frame*> frames(std::stoul(copies), &frame);
    const double start = Now();
    const auto boxes = FinalBoxes(frames, /*bf16=*/false);
    const double end = Now();
    std::vector<double> numbers;
    for (const Detection& d : boxes[0]) {
      const Box3d& b = d.box;
      for (const float value : {static_cast<float>(d.label), d.score, b.x, b.y, b.z, b.dx, b.dy, b.dz, b.yaw}) {
        numbers.push_back(value);
      }
    }
    return Line(end - start, numbers);
  }

  std::string Throughput(const std::string& device, const std::string& batch, bool bf16, const std::string& rounds) {
    const torch::NoGradGuard no_grad;
    const Frame frame = PointFrame();
    const std::vector<const Frame*> frames(std::stoul(batch), &frame);
    detector_->to(torch::Device(device));
    std::vector<double> seconds;
    // The first rounds load kernels and choose algorithms. Decoding waits for the device.
    for (int round = -3; round < std::stoi(rounds); ++round) {
      const double start = Now();
      FinalBoxes(frames, bf16);
      if (round >= 0) seconds.push_back(Now() - start);
    }
    return Line(seconds.front(), {seconds.begin() + 1, seconds.end()});
  }

  static std::string Line(double seconds, const std::vector<double>& numbers) {
    std::ostringstream line;
    line.precision(12);
    line << seconds;
    for (const double number : numbers) line << " " << number;
    return line.str();
  }

  std::map<std::string, torch::Tensor> tensors_;
  VoxelBackbone backbone_{nullptr};
  DetectorModel detector_{nullptr};
};

}  // namespace
}  // namespace kd

int main() {
  torch::set_num_threads(2);
  kd::KeepFreedMemory();  // As workers and teachers do.
  kd::Bench bench;
  for (std::string line; std::getline(std::cin, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.empty()) continue;
    try {
      std::cout << bench.Answer(words) << std::endl;
    } catch (const std::exception& error) {
      std::cout << absl::StrReplaceAll(error.what(), {{"\n", " "}}) << std::endl;
    }
  }
}
