#include "ops/roi_aware_pool.h"

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::IsEmpty;

using Place = std::array<int32_t, 4>;  // box, x, y, z

std::map<Place, std::vector<int64_t>> PointsByPlace(const RoiCells& cells) {
  std::map<Place, std::vector<int64_t>> places;
  for (const RoiCell& cell : cells.cells) {
    places[{cell.box, cell.x, cell.y, cell.z}] = {cells.points.begin() + static_cast<int64_t>(cell.begin),
                                                  cells.points.begin() + static_cast<int64_t>(cell.end)};
  }
  return places;
}

// Of each point, its cell in one box; empty where it lies outside.
std::vector<std::vector<int32_t>> CellsOf(const std::vector<std::array<float, 3>>& points,
                                          const std::vector<float>& box) {
  std::vector<std::vector<int32_t>> cells;
  for (const auto& point : points) {
    const RoiCells one = SortIntoRoiCells(point.data(), 1, box.data(), 1, RoiGrid(), SerialFor);
    std::vector<int32_t>& cell = cells.emplace_back();
    if (!one.cells.empty()) cell = {one.cells[0].x, one.cells[0].y, one.cells[0].z};
  }
  return cells;
}

// Whether and where `point` lies in `box`, in double precision; `clear` unless a border is near.
bool PlaceIn(const float* point, const float* box, std::array<int32_t, 3>& cell, bool& clear) {
  const double yaw = box[6], dx = double{point[0]} - box[0], dy = double{point[1]} - box[1];
  const double local[3] = {dx * std::cos(yaw) + dy * std::sin(yaw), dy * std::cos(yaw) - dx * std::sin(yaw),
                           double{point[2]} - box[2]};
  bool inside = true;
  for (int axis = 0; axis < 3; ++axis) {
    const double at = (local[axis] / box[3 + axis] + 0.5) * 12;
    clear = clear && std::abs(at - std::round(at)) > 1e-3;
    inside = inside && at > 0 && at < 12;
    cell[axis] = static_cast<int32_t>(std::floor(at));
  }
  return inside;
}

// One range per item, the last one first.
void OneByOneBackwards(int64_t count, absl::FunctionRef<void(int64_t, int64_t)> body) {
  for (int64_t i = count; i-- > 0;) body(i, i + 1);
}

TEST(RoiAwarePoolTest, AgreesWithLookingAtEveryPointInDoublePrecision) {
  CounterRng rng(4);
  const auto uniform = [&](double low, double high) { return static_cast<float>(rng.Uniform(low, high)); };
  std::vector<float> boxes;
  for (int b = 0; b < 8; ++b) {
    for (const float value :
         {uniform(-3, 3), uniform(-3, 3), uniform(-1, 1), uniform(1, 40), uniform(1, 9), uniform(1, 5), uniform(-7, 7)})
      boxes.push_back(value);
  }
  std::vector<float> points;
  std::map<Place, std::vector<int64_t>> want;
  while (points.size() < 3 * 4000) {
    const std::array<float, 3> point = {uniform(-5, 5), uniform(-4, 4), uniform(-2, 2)};
    bool clear = true;
    std::vector<Place> places;
    for (int32_t b = 0; b < 8; ++b) {
      std::array<int32_t, 3> cell{};
      if (PlaceIn(point.data(), &boxes[b * 7], cell, clear)) places.push_back({b, cell[0], cell[1], cell[2]});
    }
    if (!clear) continue;
    for (const Place& place : places) want[place].push_back(static_cast<int64_t>(points.size() / 3));
    points.insert(points.end(), point.begin(), point.end());
  }
  const RoiGrid grid{.max_points = 7};
  size_t full = 0;
  for (auto& [place, rows] : want) {
    full += rows.size() > 7 ? 1 : 0;
    rows.resize(std::min<size_t>(rows.size(), 7));
  }
  EXPECT_GT(full, 20u);

  const RoiCells cells = SortIntoRoiCells(points.data(), 4000, boxes.data(), 8, grid, OneByOneBackwards);
  EXPECT_EQ(PointsByPlace(cells), want);
  ASSERT_EQ(cells.cells.size(), want.size());

  std::vector<float> features(4000 * 2);
  for (float& feature : features) feature = uniform(-1, 1);
  const std::vector<float> mean = AverageOfRoiCells(cells, features.data(), 2, OneByOneBackwards),
                           most = MaximumOfRoiCells(cells, features.data(), 2, OneByOneBackwards);
  size_t row = 0;
  // A map goes through its places in the order of the cells.
  for (const auto& [place, rows] : want) {
    for (size_t channel = 0; channel < 2; ++channel) {
      double sum = 0, largest = -2;
      for (const int64_t point : rows) {
        sum += features[point * 2 + channel];
        largest = std::max<double>(largest, features[point * 2 + channel]);
      }
      EXPECT_NEAR(mean[row * 2 + channel], sum / static_cast<double>(rows.size()), 1e-6);
      EXPECT_EQ(most[row * 2 + channel], largest);
    }
    ++row;
  }
}

TEST(RoiAwarePoolTest, BordersBelongToTheBox) {
  // Cells of 1 m.
  const std::vector<float> box = {0, 0, 0, 12, 12, 12, 0};
  EXPECT_THAT(CellsOf({{6, 0, 0}, {-6, 0, 0}, {6.000005f, 0, 0}, {6.00002f, 0, 0}, {0, -6.00002f, 0}}, box),
              ElementsAre(ElementsAre(11, 6, 6), ElementsAre(0, 6, 6), ElementsAre(11, 6, 6), IsEmpty(), IsEmpty()));
  // No margin in height.
  EXPECT_THAT(CellsOf({{0, 0, 6}, {0, 0, -6}, {0, 0, 6.000005f}, {0, 0, -6.000005f}}, box),
              ElementsAre(ElementsAre(6, 6, 11), ElementsAre(6, 6, 0), IsEmpty(), IsEmpty()));
  // Between two cells the upper one.
  EXPECT_THAT(CellsOf({{3, -2, 1}, {2.99999f, -2.00001f, 0.99999f}}, box),
              ElementsAre(ElementsAre(9, 4, 7), ElementsAre(8, 3, 6)));
}

TEST(RoiAwarePoolTest, CellsRunAlongTheBoxsAxes) {
  // Heading along y.
  const std::vector<float> box = {10, 20, 1, 12, 6, 3, std::acos(0.0f)};
  EXPECT_THAT(CellsOf({{10.1f, 22.5f, 0.2f}, {8.3f, 15, 1}, {12.5f, 20, 1}, {13.5f, 20, 1}}, box),
              ElementsAre(ElementsAre(8, 5, 2), ElementsAre(1, 9, 6), ElementsAre(6, 1, 6), IsEmpty()));
}

TEST(RoiAwarePoolTest, ACellKeepsItsFirst127Points) {
  std::vector<float> points, features;
  for (int i = 0; i < 260; ++i) {
    // Every second one in another cell.
    points.insert(points.end(), {i % 2 == 0 ? 0.5f : 1.5f, 0.5f, 0.5f});
    features.push_back(static_cast<float>(i));
  }
  const std::vector<float> box = {0, 0, 0, 12, 12, 12, 0};
  const RoiCells cells = SortIntoRoiCells(points.data(), 260, box.data(), 1, RoiGrid(), SerialFor);
  std::vector<int64_t> even(127);
  for (size_t i = 0; i < even.size(); ++i) even[i] = static_cast<int64_t>(2 * i);
  const auto places = PointsByPlace(cells);
  EXPECT_EQ(places.size(), 2u);
  EXPECT_EQ(places.at({0, 6, 6, 6}), even);
  EXPECT_THAT(AverageOfRoiCells(cells, features.data(), 1, SerialFor), ElementsAre(126, 127));
  EXPECT_THAT(MaximumOfRoiCells(cells, features.data(), 1, SerialFor), ElementsAre(252, 253));
}

TEST(RoiAwarePoolTest, ABoxWithoutSizeHoldsWhatLiesAtItsCentre) {
  const std::vector<float> box = {0, 0, 0, 0, 0, 0, 0};
  // 0 / 0 is cell 0; what is divided by 0 otherwise lies in the last one, on either side.
  EXPECT_THAT(CellsOf({{0, 0, 0}, {5e-6f, -5e-6f, 0}, {2e-5f, 0, 0}, {0, 0, 1e-6f}}, box),
              ElementsAre(ElementsAre(0, 0, 0), ElementsAre(11, 11, 0), IsEmpty(), IsEmpty()));
  // In the margin of a box that is thinner than it.
  EXPECT_THAT(CellsOf({{-1.2e-5f, 0, 0}}, {0, 0, 0, 1e-5f, 12, 12, 0}), ElementsAre(ElementsAre(11, 6, 6)));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(CellsOf({{0, 0, 0}}, {nan, nan, nan, nan, nan, nan, nan}), ElementsAre(IsEmpty()));
}

TEST(RoiAwarePoolTest, MaximaPassOverWhatIsNoNumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> points(9, 0.5f), box = {0, 0, 0, 12, 12, 12, 0}, features = {nan, nan, -3, nan, -2, nan};
  const RoiCells cells = SortIntoRoiCells(points.data(), 3, box.data(), 1, RoiGrid(), SerialFor);
  EXPECT_THAT(MaximumOfRoiCells(cells, features.data(), 2, SerialFor), ElementsAre(FloatEq(-2), FloatEq(0)));
}

TEST(RoiAwarePoolTest, NothingIsLegal) {
  const std::vector<float> box = {0, 0, 0, 1, 1, 1, 0}, point = {0, 0, 0};
  EXPECT_THAT(SortIntoRoiCells(nullptr, 0, box.data(), 1, RoiGrid(), SerialFor).cells, IsEmpty());
  const RoiCells none = SortIntoRoiCells(point.data(), 1, nullptr, 0, RoiGrid(), SerialFor);
  EXPECT_THAT(none.cells, IsEmpty());
  EXPECT_THAT(MaximumOfRoiCells(none, nullptr, 4, SerialFor), IsEmpty());
}

}  // namespace
}  // namespace kd
