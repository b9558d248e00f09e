// Simulated drives as a Waymo Open Dataset v1 folder.
#ifndef KD_DATA_SIMULATED_WAYMO_H_
#define KD_DATA_SIMULATED_WAYMO_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "data/drive_scene.h"
#include "data/simulator.h"

namespace kd {

// One file: ten frames, the last one of a split what is left.
struct SimulatedWaymoSegment {
  std::string context, folder;
  int frames = 0;
  DriveScene drive;
};
// Segment `index` of all, training first, as a function of the options alone.
SimulatedWaymoSegment DrawWaymoSegment(const SimulatorOptions& options, uint32_t index);
uint32_t NumWaymoSegments(const SimulatorOptions& options);

// Seconds of a frame's pose and labels in its segment. Ten frames a second.
double SimulatedWaymoSecond(int frame);

// Writes training/ and validation/ below `options.root`. The five lasers and the five cameras stand where the real ones
// do, with less to see: TOP 64 x 1060, the others 60 x 150 pixels, pictures 480 pixels wide. Glass and leaves let some
// of the light through, whence second returns. The vehicle moves while TOP turns, other things stand still meanwhile.
// Vehicles (motorcyclists among them), pedestrians and cyclists are labelled where at least one point of any return
// lies in their box; difficulty 2 up to 5 points. Lenses do not distort, shutters do not roll, no zone is without
// labels. Segments that are there already are kept. Errors as of WriteSimulatedKitti().
absl::Status WriteSimulatedWaymo(const SimulatorOptions& options, const SimulatorProgress& progress);

}  // namespace kd

#endif  // KD_DATA_SIMULATED_WAYMO_H_
