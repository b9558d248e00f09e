// An object database that was not finished, which a writer goes on with, and the index of a finished one. As they come
// and with the checksums mended.
#include <cstring>

#include "base/digest.h"
#include "data/object_database.h"
#include "tests/fuzz/fuzz_target.h"

namespace kd {
namespace {

// As the seeds have it.
ObjectDatabaseInfo Info() {
  return {.digest = "sha256:seed", .class_names = {"Car", "Cyclist"}, .point_columns = 4, .min_points = 1, .frames = 2};
}

// Blocks behind a tag of 8 bytes: length, CRC, payload.
std::string Mended(std::string bytes) {
  for (size_t at = 8; at + 8 <= bytes.size();) {
    uint32_t size;
    std::memcpy(&size, &bytes[at], 4);
    if (size > bytes.size() - at - 8) break;
    const uint32_t crc = Crc32c(absl::string_view(bytes).substr(at + 8, size));
    std::memcpy(&bytes[at + 4], &crc, 4);
    at += 8 + size;
  }
  return bytes;
}

void ReadAll() {
  const auto database = ObjectDatabase::Open(InputFolder().path(), "train");
  if (!database.ok()) return RequireRefusal(database.status(), {absl::StatusCode::kDataLoss});
  for (size_t i = 0; i < database->entries().size(); ++i) {
    const auto object = database->Read(i);
    if (!object.ok()) {
      RequireRefusal(object.status(), {absl::StatusCode::kDataLoss});
    } else {
      Require(object->points.size() == size_t{database->entries()[i].points} * database->info().point_columns,
              "an object has the points that its index names");
    }
  }
}

void GoOn(const std::string& bytes) {
  for (const char* name : {"train.objects", "train.objects.index"}) std::filesystem::remove(InputFolder() / name);
  WriteInput("train.objects.partial", bytes);
  auto writer = ObjectDatabaseWriter::Open(InputFolder().path(), "train", Info());
  if (!writer.ok()) {
    return RequireRefusal(writer.status(), {absl::StatusCode::kFailedPrecondition, absl::StatusCode::kDataLoss});
  }
  for (uint32_t frame = (*writer)->frames_done(); frame < Info().frames; ++frame) {
    Require((*writer)->Add(frame, {}).ok(), "a frame can be added");
  }
  if (const absl::Status status = (*writer)->Finish(); !status.ok()) {
    return RequireRefusal(status, {absl::StatusCode::kDataLoss});
  }
  Require(ObjectDatabase::Open(InputFolder().path(), "train").ok(), "a database that was finished can be opened");
  ReadAll();
}

void OpenIndex(const std::string& index, const std::string& objects) {
  WriteInput("train.objects", objects);
  WriteInput("train.objects.index", index);
  ReadAll();
}

}  // namespace
}  // namespace kd

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::string> parts = kd::InputParts(data, size, 2);
  kd::GoOn(parts[0]);
  kd::GoOn(kd::Mended(parts[0]));
  kd::OpenIndex(parts[1], parts[0]);
  kd::OpenIndex(kd::Mended(parts[1]), parts[0]);
  return 0;
}
