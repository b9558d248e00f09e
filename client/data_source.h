// How commands of kdctl name a data set, open it and read many of its frames.
#ifndef KD_CLIENT_DATA_SOURCE_H_
#define KD_CLIENT_DATA_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/custom_dataset.h"
#include "data/dataset.h"

namespace kd {

struct DataFlags {
  std::string root, split = "train";
  // Empty: as the folders look; the usual classes of the format, or those that own data's labels name.
  std::string format;
  std::vector<std::string> classes;
  uint32_t point_columns = 4, sweeps = 10;
  float intensity_scale = 1;
};

// --data, --format, --split, --classes, --point-columns, --intensity-scale, --sweeps.
void AddDataFlags(CLI::App& command, DataFlags& flags);

struct OpenedData {
  v1::Data data;
  std::unique_ptr<Dataset> dataset;
};

// Opens the data set without crop. NOT_FOUND: no folder, no layout that is known, or a part of it is missing.
absl::StatusOr<OpenedData> OpenData(const DataFlags& flags, BoxSizes sizes = BoxSizes::kPossible);

// --intensity-scale, as data.intensity_scale.
void AddIntensityScale(CLI::App& command, float& scale);

// At most `count` of `samples` at even steps; 0: all.
std::vector<std::string> SpreadOver(const std::vector<std::string>& samples, size_t count);

// Threads that ForEachFrame takes.
size_t ReadingThreads();

// Reads samples[first..] with ReadingThreads() threads and calls `visit` with the number of the thread, below
// ReadingThreads(), the sample's index and the frame; ends early, with its status, when a visit fails. Tells on stderr
// how far it is whenever a second has passed: "<verb> 120 of 3712 frames, 45/s, 80 s left".
absl::Status ForEachFrame(const Dataset& dataset, const std::vector<std::string>& samples, size_t first,
                          const std::string& verb,
                          const std::function<absl::Status(size_t thread, size_t index, absl::StatusOr<Frame>)>& visit);

}  // namespace kd

#endif  // KD_CLIENT_DATA_SOURCE_H_
