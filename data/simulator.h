// Ray-cast street scenes with exact labels: a data set that anybody can make in seconds (docs/benchmark.md).
#ifndef KD_DATA_SIMULATOR_H_
#define KD_DATA_SIMULATOR_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "data/frame.h"

namespace kd {

// Labels of simulated frames index into these.
inline constexpr const char* kSimulatedClasses[] = {"Car", "Pedestrian", "Cyclist"};

struct SimulatedFrame {
  Frame frame;
  // Per box: LiDAR points on it, and the share of its surface rays that something nearer stopped.
  std::vector<int> hits;
  std::vector<float> occlusion;
};

// One frame as a function of `seed` alone: 32 beams from -22 to +3 degrees, 320 azimuths over +-50 degrees, sensor 1.8
// m above a gently sloping street with facades, parked and moving cars, pedestrians, cyclists and distractors of their
// sizes; range noise, drop-out, reflectivity. Points come in random order. Labels: objects with at least 4 hits and
// their centre in x 0..38.4, y -19.2..19.2, z -3..2 m.
SimulatedFrame SimulateFrame(uint64_t seed);

struct SimulatorOptions {
  std::string root;
  uint32_t train_frames = 400;
  uint32_t val_frames = 300;
  uint64_t seed = 0;
};

// Frames written, and how many there will be.
using SimulatorProgress = std::function<void(uint32_t done, uint32_t total)>;

// Writes frames in KITTI's layout under `root`: train frames first, then validation frames with seeds of their own.
// Frames that are there already are kept, so an interrupted run is finished by running it again. FAILED_PRECONDITION:
// the folder holds frames of other options or something else. RESOURCE_EXHAUSTED: disk full.
absl::Status WriteSimulatedKitti(const SimulatorOptions& options, const SimulatorProgress& progress);

// Makes `options.root` the folder of a layout ("", "nuscenes", "waymo"), or finds that it is. `part`: a folder below it
// that a data set of the layout has. FAILED_PRECONDITION: as above.
absl::Status ClaimSimulatorFolder(const SimulatorOptions& options, const std::string& layout, const std::string& part);

}  // namespace kd

#endif  // KD_DATA_SIMULATOR_H_
