#include "data/simulator.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/dataset.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

// The figures that docs/benchmark.md gives for the simulated task.
TEST(SimulatorTest, ScenesHaveTheDocumentedDensity) {
  constexpr int kFrames = 150;
  double points = 0;
  double boxes[3] = {};
  std::vector<int> hits[3];
  for (int i = 0; i < kFrames; ++i) {
    const SimulatedFrame simulated = SimulateFrame(1000 + i);
    points += static_cast<double>(simulated.frame.num_points());
    for (size_t b = 0; b < simulated.frame.boxes.size(); ++b) {
      ++boxes[simulated.frame.boxes[b].label];
      hits[simulated.frame.boxes[b].label].push_back(simulated.hits[b]);
    }
  }
  EXPECT_NEAR(points / kFrames, 8280, 800);
  EXPECT_NEAR(boxes[0] / kFrames, 5.3, 1.6);
  EXPECT_NEAR(boxes[1] / kFrames, 4.0, 1.6);
  EXPECT_NEAR(boxes[2] / kFrames, 2.2, 0.9);
  // Points per object at the 10th, 50th and 90th percentile.
  const double documented[3][3] = {{10, 59, 652}, {5, 18, 103}, {6, 25, 195}};
  for (int label = 0; label < 3; ++label) {
    std::sort(hits[label].begin(), hits[label].end());
    for (int i = 0; i < 3; ++i) {
      const double percentile = hits[label][hits[label].size() * (i * 4 + 1) / 10];
      EXPECT_GT(percentile, 0.4 * documented[label][i]) << label << " " << i;
      EXPECT_LT(percentile, 2.5 * documented[label][i]) << label << " " << i;
    }
  }
}

TEST(SimulatorTest, AFrameIsAFunctionOfItsSeed) {
  EXPECT_EQ(SimulateFrame(3).frame.points, SimulateFrame(3).frame.points);
  EXPECT_NE(SimulateFrame(3).frame.points, SimulateFrame(4).frame.points);
}

TEST(SimulatorTest, HitsLieInTheirBoxes) {
  const SimulatedFrame simulated = SimulateFrame(8);
  ASSERT_FALSE(simulated.frame.boxes.empty());
  for (size_t b = 0; b < simulated.frame.boxes.size(); ++b) {
    const Box3d& box = simulated.frame.boxes[b].box;
    int inside = 0;
    for (size_t i = 0; i < simulated.frame.num_points(); ++i) {
      const float* p = &simulated.frame.points[i * 4];
      const double c = std::cos(box.yaw), s = std::sin(box.yaw), x = p[0] - box.x, y = p[1] - box.y;
      inside += std::abs(c * x + s * y) <= box.dx / 2 + 0.1 && std::abs(-s * x + c * y) <= box.dy / 2 + 0.1 &&
                std::abs(p[2] - box.z) <= box.dz / 2 + 0.1;
    }
    EXPECT_GE(inside, 0.9 * simulated.hits[b]);
  }
}

TEST(SimulatorTest, TheKittiReaderReadsWhatWasWritten) {
  TemporaryFolder folder;
  const std::string root = folder / "sim";
  ASSERT_THAT(WriteSimulatedKitti({.root = root, .train_frames = 3, .val_frames = 2, .seed = 1}, nullptr), IsOk());
  v1::Data data;
  data.set_format("kitti");
  data.set_root(root);
  for (const char* name : kSimulatedClasses) data.add_class_names(name);
  const auto all = *OpenDataset(data);
  data.set_fov_crop(true);
  const auto cropped = *OpenDataset(data);
  EXPECT_EQ(all->Split("train")->size(), 3u);
  const std::vector<std::string> samples = *all->Split("val");
  EXPECT_EQ(samples.size(), 2u);
  for (const std::string& sample : samples) {
    const Frame frame = *all->Read(sample);
    EXPECT_GT(frame.num_points(), 5000u);
    EXPECT_EQ(cropped->Read(sample)->points, frame.points) << "the virtual image must hold the whole field of view";
  }
}

TEST(SimulatorTest, ExactBoxesSurviveTheFiles) {
  TemporaryFolder folder;
  const std::string root = folder / "sim";
  ASSERT_THAT(WriteSimulatedKitti({.root = root, .train_frames = 1, .val_frames = 0, .seed = 1}, nullptr), IsOk());
  v1::Data data;
  data.set_format("kitti");
  data.set_root(root);
  for (const char* name : kSimulatedClasses) data.add_class_names(name);
  const Frame frame = *(*OpenDataset(data))->Read("000000");
  const Frame want = SimulateFrame(RngKeyBuilder().Add("train").Add(1).Add(0).key()).frame;
  ASSERT_EQ(frame.boxes.size(), want.boxes.size());
  for (size_t i = 0; i < want.boxes.size(); ++i) {
    EXPECT_NEAR(frame.boxes[i].box.x, want.boxes[i].box.x, 1e-4);
    EXPECT_NEAR(frame.boxes[i].box.y, want.boxes[i].box.y, 1e-4);
    EXPECT_NEAR(frame.boxes[i].box.dx, want.boxes[i].box.dx, 1e-4);
    EXPECT_NEAR(std::cos(frame.boxes[i].box.yaw), std::cos(want.boxes[i].box.yaw), 1e-4);
  }
}

// Published figures and caches of responses name these frames: of `find . -type f | LC_ALL=C sort | xargs cat`.
TEST(SimulatorTest, KittiFramesStayWhatTheyWereByteForByte) {
  TemporaryFolder folder;
  const std::string root = folder / "sim";
  ASSERT_THAT(WriteSimulatedKitti({.root = root, .train_frames = 3, .val_frames = 2, .seed = 7}, nullptr), IsOk());
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  std::string all;
  for (const std::string& path : paths) all += *ReadFile(path);
  EXPECT_EQ(Sha256Digest(all), "sha256:bb7a21474cd9a450cdc3d3a562a62f4c67950f892f597b369a564d42ee1a774b");
}

TEST(SimulatorTest, AnotherDataSetIsNotOverwritten) {
  TemporaryFolder folder;
  const std::string root = folder / "sim";
  ASSERT_THAT(WriteSimulatedKitti({.root = root, .train_frames = 1, .val_frames = 1, .seed = 1}, nullptr), IsOk());
  EXPECT_THAT(WriteSimulatedKitti({.root = root, .train_frames = 1, .val_frames = 1, .seed = 1}, nullptr), IsOk());
  EXPECT_THAT(WriteSimulatedKitti({.root = root, .train_frames = 2, .val_frames = 1, .seed = 1}, nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace kd
