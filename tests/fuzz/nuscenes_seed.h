// A small data set of nuScenes: one scene of two samples, each with a LiDAR file and the first with all cameras.
#ifndef KD_TESTS_FUZZ_NUSCENES_SEED_H_
#define KD_TESTS_FUZZ_NUSCENES_SEED_H_

#include <map>
#include <string>

namespace kd {

// Table -> its JSON.
const std::map<std::string, std::string>& NuscenesSeedTables();

// Writes them below InputFolder()/v1.0-mini, and `lidar` as the points of both samples.
void WriteNuscenesSeed(const std::string& lidar);

}  // namespace kd

#endif  // KD_TESTS_FUZZ_NUSCENES_SEED_H_
