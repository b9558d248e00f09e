#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "base/rng.h"
#include "gtest/gtest.h"
#include "ops/box_geometry.h"
#include "ops/gaussian.h"
#include "ops/nms.h"
#include "ops/rotated_iou.h"
#include "ops/voxelize.h"

namespace kd {
namespace {

// Every candidate against every kept box.
std::vector<int64_t> PlainNms(const std::vector<float>& boxes, const std::vector<int64_t>& order, double threshold) {
  std::vector<int64_t> kept;
  for (const int64_t row : order) {
    const bool goes = std::any_of(kept.begin(), kept.end(), [&](int64_t other) {
      return BevIou(&boxes[row * 7], &boxes[other * 7]) > threshold;
    });
    if (!goes) kept.push_back(row);
  }
  return kept;
}

TEST(RotatedNmsTest, AgreesWithComparingAll) {
  CounterRng rng(9);
  for (int round = 0; round < 60; ++round) {
    const double extent = round % 3 == 0 ? 5 : 60;
    std::vector<float> boxes;
    std::vector<int64_t> order;
    for (int64_t i = 0; i < 150; ++i) {
      for (const double value : {rng.Uniform(-extent, extent), rng.Uniform(-extent, extent), 0.0, rng.Uniform(0, 5),
                                 rng.Uniform(0, 3), 1.5, rng.Uniform(-4, 4)}) {
        boxes.push_back(static_cast<float>(value));
      }
      // Every seventh row does not take part; the others stand in some order.
      if (i % 7 != 0) order.insert(order.begin() + static_cast<int64_t>(rng.Below(order.size() + 1)), i);
    }
    if (round % 4 == 1) boxes[7 * 3] = std::numeric_limits<float>::quiet_NaN();
    if (round % 4 == 2) boxes[7 * 5 + 3] = 3e6f;
    if (round % 4 == 3) boxes[7 * 7 + 1] = std::numeric_limits<float>::infinity();
    for (const double threshold : {0.01, 0.3, 0.7}) {
      ASSERT_EQ(RotatedNms(boxes.data(), order, threshold, 1000), PlainNms(boxes, order, threshold)) << round;
    }
  }
}

TEST(RotatedIouTest, HandComputedOverlaps) {
  const float unit[7] = {0, 0, 0, 1, 1, 1, 0};
  const float shifted[7] = {0.5f, 0, 0, 1, 1, 1, 0};
  const float turned[7] = {0, 0, 0, 1, 1, 1, static_cast<float>(M_PI / 4)};
  EXPECT_NEAR(BevIou(unit, unit), 1, 1e-12);
  EXPECT_NEAR(BevIou(unit, shifted), 1.0 / 3, 1e-12);
  // A square and itself turned by 45 degrees share a regular octagon of area 2 (sqrt 2 - 1).
  EXPECT_NEAR(BevOverlap(unit, turned), 2 * (std::sqrt(2.0) - 1), 1e-6);
  const float above[7] = {0, 0, 0.5f, 1, 1, 1, 0};
  EXPECT_NEAR(Iou3d(unit, above), 1.0 / 3, 1e-12);
}

TEST(RotatedIouTest, SymmetricAndInvariantUnderMotion) {
  CounterRng rng(4);
  for (int round = 0; round < 500; ++round) {
    float a[7], b[7];
    for (float* box : {a, b}) {
      for (int i = 0; i < 2; ++i) box[i] = static_cast<float>(rng.Uniform(-2, 2));
      box[2] = 0;
      for (int i = 3; i < 6; ++i) box[i] = static_cast<float>(rng.Uniform(0.3, 4));
      box[6] = static_cast<float>(rng.Uniform(-4, 4));
    }
    const double iou = BevIou(a, b);
    EXPECT_NEAR(iou, BevIou(b, a), 1e-9);
    float turned[7];
    std::copy_n(a, 7, turned);
    turned[6] += static_cast<float>(M_PI);
    EXPECT_NEAR(BevIou(turned, b), iou, 1e-5);
    EXPECT_GE(iou, 0);
    EXPECT_LE(iou, 1 + 1e-9);
  }
}

TEST(RotatedIouTest, BoxesWithoutAreaOrWithNanOverlapNothing) {
  const float unit[7] = {0, 0, 0, 1, 1, 1, 0};
  const float flat[7] = {0, 0, 0, 0, 1, 1, 0};
  const float nan[7] = {std::numeric_limits<float>::quiet_NaN(), 0, 0, 1, 1, 1, 0};
  EXPECT_EQ(BevOverlap(unit, flat), 0);
  EXPECT_EQ(BevOverlap(unit, nan), 0);
}

TEST(NmsTest, ABoxAtExactlyTheThresholdStays) {
  const std::vector<float> boxes = {0, 0, 0, 1, 1, 1, 0, 0.5f, 0, 0, 1, 1, 1, 0, 9, 9, 0, 1, 1, 1, 0};
  EXPECT_EQ(RotatedNms(boxes.data(), {1, 0, 2}, 0.34, 3), (std::vector<int64_t>{1, 0, 2}));
  EXPECT_EQ(RotatedNms(boxes.data(), {1, 0, 2}, 0.33, 3), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(RotatedNms(boxes.data(), {1, 0}, 0.33, 3), (std::vector<int64_t>{1}));
  EXPECT_EQ(RotatedNms(boxes.data(), {1, 0, 2}, 0.34, 2), (std::vector<int64_t>{1, 0}));
}

// The figures of detectors.md section 12.
TEST(GaussianTest, RadiusOfAVehicle) {
  for (const auto& [cell, radius] : {std::pair{0.8f, 1.65f}, {0.6f, 2.21f}, {0.4f, 3.31f}, {0.32f, 4.14f}}) {
    EXPECT_NEAR(GaussianRadius(4.7f / cell, 2.1f / cell, 0.1f), radius, 0.006f);
  }
}

TEST(ResidualCoderTest, DecodeInvertsEncode) {
  const float anchor[7] = {10, -4, -1, 3.9f, 1.6f, 1.56f, 1.57f};
  const float box[7] = {11, -3, -0.5f, 4.2f, 1.7f, 1.5f, 0.3f};
  for (const bool sincos : {false, true}) {
    const ResidualCoder coder{.angle_by_sincos = sincos};
    float code[8], back[7];
    coder.Encode(box, anchor, code);
    coder.Decode(code, anchor, back);
    for (int i = 0; i < 7; ++i) EXPECT_NEAR(back[i], box[i], 1e-5);
  }
}

// The points of voxels that were made of `points`.
std::vector<float> PointsOf(const Voxels& voxels, const std::vector<float>& points, int num_features, int per_voxel,
                            ParallelFor parallel = SerialFor) {
  std::vector<float> copied(voxels.size() * per_voxel * num_features, 99.0f);
  CopyVoxelPoints(voxels, points.data(), num_features, per_voxel, copied.data(), parallel);
  return copied;
}

TEST(VoxelizeTest, PointsOutsideAndNanAreDropped) {
  const VoxelGrid grid{
      .range = {0, 0, 0, 2, 2, 1}, .voxel_size = {1, 1, 1}, .max_points_per_voxel = 2, .max_voxels = 3};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> points = {0.5f, 0.5f, 0.5f, 2.0f, 0.5f,  0.5f, nan, 0.5f,
                                     0.5f, 1.5f, 0.5f, 0.5f, -0.1f, 0,    0};
  const Voxels voxels = Voxelize(points.data(), 5, 3, grid);
  EXPECT_EQ(voxels.num_points, (std::vector<int32_t>{1, 1}));
  EXPECT_EQ(voxels.coords, (std::vector<int32_t>{0, 0, 0, 0, 0, 1}));
  // What the thread keeps between calls does not matter: the same call gives the same voxels.
  EXPECT_EQ(Voxelize(points.data(), 5, 3, grid).num_points, voxels.num_points);
}

// The definition, with a map. Small grids are looked up by cell, large ones by hash.
class VoxelizeReferenceTest : public testing::TestWithParam<float> {};

TEST_P(VoxelizeReferenceTest, AgreesWithTheDefinition) {
  const VoxelGrid grid{.range = {-20, -20, -2, 20, 20, 4},
                       .voxel_size = {GetParam(), GetParam(), 0.1f},
                       .max_points_per_voxel = 3,
                       .max_voxels = 4000};
  const auto cells = grid.Cells();
  CounterRng rng(11);
  std::vector<float> points;
  for (int i = 0; i < 9000; ++i) {
    const double reach = i % 3 == 0 ? 2 : 25;
    const double place[] = {rng.Uniform(-reach, reach), rng.Uniform(-reach, reach), rng.Uniform(-3, 5)};
    // Up to five points that follow one another at one place, as scans have them.
    for (int times = static_cast<int>(rng.Uniform(1, 6)); times > 0; --times) {
      for (const double value : {place[0], place[1], place[2], rng.Uniform(0, 1)}) {
        points.push_back(static_cast<float>(value));
      }
    }
  }
  std::map<std::array<int32_t, 3>, size_t> numbers;
  Voxels want;
  std::vector<float> want_points;
  for (size_t i = 0; i < points.size(); i += 4) {
    std::array<int32_t, 3> cell;
    bool inside = true;
    for (int axis = 0; axis < 3; ++axis) {
      cell[2 - axis] = static_cast<int32_t>(std::floor((points[i + axis] - grid.range[axis]) / grid.voxel_size[axis]));
      inside = inside && cell[2 - axis] >= 0 && cell[2 - axis] < cells[axis];
    }
    if (!inside || (numbers.count(cell) == 0 && numbers.size() == 4000)) continue;
    const auto [at, opened] = numbers.try_emplace(cell, numbers.size());
    if (opened) {
      want.coords.insert(want.coords.end(), cell.begin(), cell.end());
      want.num_points.push_back(0);
      want_points.resize(want_points.size() + 12, 0);
    }
    int32_t& count = want.num_points[at->second];
    if (count < 3) std::copy_n(&points[i], 4, &want_points[at->second * 12 + 4 * count++]);
  }
  ASSERT_EQ(want.size(), GetParam() < 1 ? 4000u : want.size());
  const auto backwards = [](int64_t count, absl::FunctionRef<void(int64_t, int64_t)> body) {
    for (int64_t i = count; i > 0; --i) body(i - 1, i);
  };
  // Twice: neither memory that is kept between calls nor how work is cut must matter.
  VoxelGrid other = grid;
  other.range = {-10, -10, -2, 10, 10, 4};
  for (const ParallelFor parallel : {ParallelFor(SerialFor), ParallelFor(backwards)}) {
    EXPECT_GT(Voxelize(points.data(), points.size() / 4, 4, other).size(), 0u);
    const Voxels got = Voxelize(points.data(), points.size() / 4, 4, grid, parallel);
    EXPECT_EQ(got.coords, want.coords);
    EXPECT_EQ(got.num_points, want.num_points);
    EXPECT_EQ(PointsOf(got, points, 4, 3, parallel), want_points);
  }
}

INSTANTIATE_TEST_SUITE_P(Grids, VoxelizeReferenceTest, testing::Values(0.05f, 2.0f),
                         [](const auto& info) { return info.param < 1 ? "hashed" : "dense"; });

TEST(VoxelizeTest, CapsDropLaterPoints) {
  const VoxelGrid grid{
      .range = {0, 0, 0, 2, 2, 1}, .voxel_size = {1, 1, 1}, .max_points_per_voxel = 2, .max_voxels = 1};
  const std::vector<float> points = {0.1f, 0, 0, 1.1f, 0, 0, 0.2f, 0, 0, 0.3f, 0, 0};
  const Voxels voxels = Voxelize(points.data(), 4, 3, grid);
  EXPECT_EQ(voxels.num_points, (std::vector<int32_t>{2}));
  EXPECT_EQ(PointsOf(voxels, points, 3, 2), (std::vector<float>{0.1f, 0, 0, 0.2f, 0, 0}));
}

}  // namespace
}  // namespace kd
