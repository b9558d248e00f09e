// What fuzz targets share. A target gives arbitrary bytes to a reader and aborts when a promise of its header is
// broken; the sanitizers watch the rest (docs/fuzzing.md).
#ifndef KD_TESTS_FUZZ_FUZZ_TARGET_H_
#define KD_TESTS_FUZZ_FUZZ_TARGET_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <iostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/hostile_input.h"
#include "base/testing.h"
#include "data/frame.h"
#include "gmock/gmock.h"

// libFuzzer, or driver.cc without it, calls this.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace kd {

inline std::string InputText(const uint8_t* data, size_t size) {
  return std::string(reinterpret_cast<const char*>(data), size);
}

inline void Require(bool holds, absl::string_view promise) {
  if (holds) return;
  std::cerr << "broken promise: " << promise << "\n";
  std::abort();
}

// An error of one line, with one of `codes`.
inline void RequireRefusal(const absl::Status& status, std::initializer_list<absl::StatusCode> codes) {
  const bool known = std::find(codes.begin(), codes.end(), status.code()) != codes.end();
  if (!known || !testing::Value(status.message(), IsOneLine())) std::cerr << status << "\n";
  Require(known, "an error has a code that the header names");
  Require(testing::Value(status.message(), IsOneLine()), "an error is one line of printable text");
}

// The parts of an input between "%%%%", as many as asked for; the last one takes the rest, missing ones are empty.
inline std::vector<std::string> InputParts(const uint8_t* data, size_t size, size_t count) {
  constexpr absl::string_view kBetween = "%%%%";
  absl::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> parts;
  while (parts.size() + 1 < count) {
    const size_t end = rest.find(kBetween);
    parts.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end == absl::string_view::npos ? rest.size() : end + kBetween.size());
  }
  parts.emplace_back(rest);
  return parts;
}

// One folder for each process; set TMPDIR to one in memory.
inline const TemporaryFolder& InputFolder() {
  static const TemporaryFolder folder;
  return folder;
}

// Its path in InputFolder().
inline std::string WriteInput(const std::string& name, absl::string_view bytes) {
  const std::string path = InputFolder() / name;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  Require(static_cast<bool>(file.flush()), "the folder for inputs can be written");
  return path;
}

inline void MakeInputFolders(std::initializer_list<const char*> names) {
  for (const char* name : names) std::filesystem::create_directories(InputFolder() / name);
}

// What every data set's frames hold.
inline void RequireUsable(const Frame& frame, size_t num_classes, float largest_object) {
  Require(frame.num_features >= 3 && frame.points.size() % frame.num_features == 0, "points are whole rows");
  for (const float value : frame.points) Require(std::isfinite(value), "numbers of points are finite");
  for (const LabeledBox& labeled : frame.boxes) {
    const Box3d& b = labeled.box;
    for (const float value : {b.x, b.y, b.z, b.yaw, labeled.vx, labeled.vy}) {
      Require(std::isfinite(value), "numbers of boxes are finite");
    }
    for (const float size : {b.dx, b.dy, b.dz})
      Require(size > 0 && size <= largest_object, "boxes have possible sizes");
    Require(labeled.label >= 0 && static_cast<size_t>(labeled.label) < num_classes, "labels are classes");
    Require(labeled.num_points >= 0, "a number of points is none below 0");
  }
}

}  // namespace kd

#endif  // KD_TESTS_FUZZ_FUZZ_TARGET_H_
