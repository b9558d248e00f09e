// A frame of KITTI: label, calibration, the head of its image, points.
#include "data/dataset.h"
#include "tests/fuzz/data_use.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::string> parts = kd::InputParts(data, size, 4);
  kd::MakeInputFolders({"ImageSets", "training/velodyne", "training/calib", "training/label_2", "training/image_2"});
  kd::WriteInput("ImageSets/train.txt", "000001\n");
  kd::WriteInput("training/label_2/000001.txt", parts[0]);
  kd::WriteInput("training/calib/000001.txt", parts[1]);
  kd::WriteInput("training/image_2/000001.png", parts[2]);
  kd::WriteInput("training/velodyne/000001.bin", parts[3]);
  kd::v1::Data folder;
  folder.set_format("kitti");
  folder.set_root(kd::InputFolder().path());
  folder.add_class_names("Car");
  folder.add_class_names("Cyclist");
  for (const bool crop : {false, true}) {
    folder.set_fov_crop(crop);
    const auto dataset = kd::OpenDataset(folder);
    kd::Require(dataset.ok(), "the folder is one of KITTI");
    const auto frame = (*dataset)->Read("000001");
    if (!frame.ok()) {
      kd::RequireRefusal(frame.status(), {absl::StatusCode::kDataLoss});
      continue;
    }
    kd::RequireUsable(*frame, 2, 100);
    kd::Require(crop || frame->num_points() + frame->not_finite == parts[3].size() / 16,
                "every point is kept or counted");
    kd::Require((*dataset)->Digest("train").ok(), "a frame that can be read has a digest");
  }
  // As kdctl data check reads it.
  folder.set_fov_crop(false);
  const auto frame = (*kd::OpenDataset(folder, kd::BoxSizes::kAny))->Read("000001");
  if (!frame.ok()) {
    kd::RequireRefusal(frame.status(), {absl::StatusCode::kDataLoss});
    return 0;
  }
  kd::RequireUsable(*frame, 2, 1e9f);
  kd::UseFrame(*frame, 2);
  return 0;
}
