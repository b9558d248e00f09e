// A segment of one frame. The input is a Frame message whose range images are not yet packed: a fuzzer cannot change
// what is inside a zlib stream.
#include <zlib.h>

#include "data/dataset.h"
#include "data/tfrecord.h"
#include "data/waymo.pb.h"
#include "tests/fuzz/data_use.h"
#include "tests/fuzz/fuzz_target.h"

namespace kd {
namespace {

void Pack(std::string* image) {
  if (image->empty()) return;
  uLongf size = compressBound(image->size());
  std::string packed(size, '\0');
  Require(compress2(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(image->data()),
                    image->size(), Z_BEST_SPEED) == Z_OK,
          "zlib packs");
  packed.resize(size);
  *image = packed;
}

}  // namespace
}  // namespace kd

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kd::waymo::Frame message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) return 0;
  for (auto& laser : *message.mutable_lasers()) {
    for (auto* image : {laser.mutable_return_1(), laser.mutable_return_2()}) {
      kd::Pack(image->mutable_range_image_compressed());
      kd::Pack(image->mutable_range_image_pose_compressed());
    }
  }
  kd::MakeInputFolders({"training"});
  kd::WriteInput("training/segment-a_1_with_camera_labels.tfrecord", kd::FrameTfRecord(message.SerializeAsString()));
  kd::v1::Data folder;
  folder.set_format("waymo");
  folder.set_root(kd::InputFolder().path());
  for (const char* name : {"Vehicle", "Pedestrian", "Cyclist"}) folder.add_class_names(name);
  const auto dataset = kd::OpenDataset(folder);
  kd::Require(dataset.ok() && (*dataset)->Digest("train").ok(), "the folder is one of Waymo");
  // As a worker and as kdctl data check read it.
  for (const kd::BoxSizes sizes : {kd::BoxSizes::kPossible, kd::BoxSizes::kAny}) {
    const auto frame = (*kd::OpenDataset(folder, sizes))->Read("a_1/000");
    if (!frame.ok()) {
      kd::RequireRefusal(frame.status(), {absl::StatusCode::kDataLoss});
      continue;
    }
    const bool any = sizes == kd::BoxSizes::kAny;
    kd::RequireUsable(*frame, 3, any ? 1e6f : 100);
    if (any) kd::UseFrame(*frame, 3);
  }
  return 0;
}
