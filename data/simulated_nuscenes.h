// Simulated drives as a nuScenes v1.0-mini folder.
#ifndef KD_DATA_SIMULATED_NUSCENES_H_
#define KD_DATA_SIMULATED_NUSCENES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "data/drive_scene.h"
#include "data/simulator.h"

namespace kd {

// One of the ten scenes: its official name and what happens in it, as a function of the seed and both numbers.
struct SimulatedNuscenesScene {
  std::string name;
  int key_frames = 0;
  DriveScene drive;
};
// train_frames over the scenes of mini_train and val_frames over those of mini_val, as even as can be; scenes without
// a key frame are left out.
std::vector<SimulatedNuscenesScene> DrawNuscenesScenes(const SimulatorOptions& options);

// Seconds of a key frame, counted from 0, in its scene.
double SimulatedKeyFrameSecond(int key_frame);

// Writes samples/, sweeps/, maps/ and v1.0-mini/ below `options.root`: train_frames and val_frames are key frames, two
// a second. LIDAR_TOP turns 20 times a second, from nine sweeps before a scene's first key frame on; points in random
// order (see SimulateFrame). Six cameras take pictures of 400 x 225 pixels at key frames. All ten detection classes
// occur; an object is annotated where at least one point of the key frame lies in its box. Visibility is the share of
// the object's rays that nothing nearer stops. A finished folder is left as it is; an unfinished one is written anew.
// Errors as of WriteSimulatedKitti(); INVALID_ARGUMENT: more than 400 key frames a scene.
absl::Status WriteSimulatedNuscenes(const SimulatorOptions& options, const SimulatorProgress& progress);

}  // namespace kd

#endif  // KD_DATA_SIMULATED_NUSCENES_H_
