// A frame of own data: split, labels, kind, number of columns and scale of intensity of the points, points. Then all
// that kdctl data does with a frame.
#include "data/custom_dataset.h"
#include "tests/fuzz/data_use.h"
#include "tests/fuzz/fuzz_target.h"

namespace kd {
namespace {

// As kdctl data check reads it, whatever the sizes of the boxes, and as a worker does.
void ReadFrame(const v1::Data& folder, BoxSizes sizes, const std::string& sample) {
  const auto dataset = OpenCustomDataset(folder, sizes);
  Require(dataset.ok(), "the folder is one of own data");
  const auto frame = (*dataset)->Read(sample);
  if (!frame.ok()) return RequireRefusal(frame.status(), {absl::StatusCode::kDataLoss, absl::StatusCode::kNotFound});
  RequireUsable(*frame, 2, sizes == BoxSizes::kAny ? 1e9f : 100);
  UseFrame(*frame, 2);
}

}  // namespace
}  // namespace kd

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::string> parts = kd::InputParts(data, size, 4);
  kd::MakeInputFolders({"ImageSets", "points", "labels"});
  kd::WriteInput("ImageSets/train.txt", parts[0]);
  kd::WriteInput("labels/f.txt", parts[1]);
  const std::string kind = parts[2].substr(0, 3);
  const std::string ending = kind == "npy" || kind == "pcd" ? kind : "bin";
  for (const char* other : {"bin", "npy", "pcd"})
    std::filesystem::remove(kd::InputFolder() / ("points/f." + std::string(other)));
  kd::WriteInput("points/f." + ending, parts[3]);
  kd::v1::Data folder;
  folder.set_format("custom");
  folder.set_root(kd::InputFolder().path());
  folder.add_class_names("Car");
  folder.add_class_names("Cyclist");
  folder.set_point_columns(parts[2].size() > 3 ? 3 + static_cast<unsigned char>(parts[2][3]) % 8 : 4);
  if (parts[2].size() > 4) folder.set_intensity_scale(static_cast<unsigned char>(parts[2][4]) % 2 == 0 ? 0.001f : 255);
  const auto dataset = kd::OpenDataset(folder);
  kd::Require(dataset.ok(), "the folder is one of own data");
  const auto split = (*dataset)->Split("train");
  if (!split.ok()) kd::RequireRefusal(split.status(), {absl::StatusCode::kInvalidArgument});
  const auto digest = (*dataset)->Digest("train");
  if (!digest.ok())
    kd::RequireRefusal(digest.status(), {absl::StatusCode::kInvalidArgument, absl::StatusCode::kNotFound});
  kd::FindCustomClasses(kd::InputFolder().path(), {"f"});
  kd::ReadFrame(folder, kd::BoxSizes::kPossible, "f");
  kd::ReadFrame(folder, kd::BoxSizes::kAny, "f");
  return 0;
}
