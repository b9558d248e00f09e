#include "data/view.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/rng.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/box_frame.h"
#include "data/fake_dataset.h"
#include "data/simulator.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

v1::Data WithDefaults() {
  v1::Data data;
  data.set_seed(5);
  data.mutable_augmentation()->set_flip_y(0.5f);
  data.mutable_augmentation()->set_rotation(0.39f);
  data.mutable_augmentation()->set_scale_min(0.95f);
  data.mutable_augmentation()->set_scale_max(1.05f);
  return data;
}

bool Inside(const float* p, const Box3d& b) {
  const double c = std::cos(b.yaw), s = std::sin(b.yaw);
  const double x = p[0] - b.x, y = p[1] - b.y;
  return std::abs(c * x + s * y) <= b.dx / 2 && std::abs(-s * x + c * y) <= b.dy / 2 &&
         std::abs(p[2] - b.z) <= b.dz / 2;
}

// A view without pasted objects.
Frame MakeView(const Frame& frame, const v1::Data& data, uint32_t view) {
  return *ViewMaker::Open(data, FakeDataset({}, {}))->Make(frame, view);
}

Frame RandomFrame() {
  Frame frame;
  frame.sample = "000042";
  frame.boxes = {{.box = {.x = 10, .y = 3, .z = -1, .dx = 4, .dy = 2, .dz = 1.5f, .yaw = 0.7f}, .label = 0},
                 {.box = {.x = 20, .y = -5, .z = -1, .dx = 0.8f, .dy = 0.6f, .dz = 1.7f, .yaw = -3.0f}, .label = 1}};
  CounterRng rng(1);
  for (int i = 0; i < 4000; ++i) {
    frame.points.push_back(static_cast<float>(rng.Uniform(5, 25)));
    frame.points.push_back(static_cast<float>(rng.Uniform(-8, 8)));
    frame.points.push_back(static_cast<float>(rng.Uniform(-2, 1)));
    frame.points.push_back(static_cast<float>(rng.Uniform()));
  }
  return frame;
}

int CountInside(const Frame& frame, const Box3d& box) {
  int count = 0;
  for (size_t i = 0; i < frame.num_points(); ++i) count += Inside(&frame.points[i * 4], box);
  return count;
}

TEST(ViewTest, VelocitiesTurnWithTheirBoxes) {
  Frame frame = RandomFrame();
  // Along the heading, at 5 m/s.
  for (LabeledBox& box : frame.boxes) {
    box.vx = 5 * std::cos(box.box.yaw);
    box.vy = 5 * std::sin(box.box.yaw);
  }
  EXPECT_NE(ViewChecksum(frame), ViewChecksum(RandomFrame()));
  for (uint32_t view = 1; view <= 8; ++view) {
    for (const LabeledBox& box : MakeView(frame, WithDefaults(), view).boxes) {
      EXPECT_NEAR(std::remainder(std::atan2(box.vy, box.vx) - box.box.yaw, 2 * M_PI), 0, 1e-4);
      EXPECT_NEAR(std::hypot(box.vx, box.vy), 5 * box.box.dz / (box.label == 0 ? 1.5 : 1.7), 1e-3);
    }
  }
}

TEST(ViewTest, ViewZeroIsTheFrameAsRecorded) {
  const Frame frame = RandomFrame();
  const Frame view = MakeView(frame, WithDefaults(), 0);
  EXPECT_EQ(view.points, frame.points);
  EXPECT_EQ(view.boxes, frame.boxes);
}

TEST(ViewTest, TheSameNumberIsTheSameViewBitForBit) {
  const Frame frame = RandomFrame();
  const Frame a = MakeView(frame, WithDefaults(), 3);
  const Frame b = MakeView(frame, WithDefaults(), 3);
  EXPECT_EQ(a.points, b.points);
  EXPECT_EQ(a.boxes, b.boxes);
  EXPECT_EQ(ViewChecksum(a), ViewChecksum(b));
}

TEST(ViewTest, EveryViewSampleAndSeedHasItsOwnChecksum) {
  Frame frame = RandomFrame();
  v1::Data data = WithDefaults();
  std::set<uint32_t> checksums;
  for (uint32_t view = 0; view < 16; ++view) checksums.insert(ViewChecksum(MakeView(frame, data, view)));
  EXPECT_EQ(checksums.size(), 16u);
  data.set_seed(6);
  checksums.insert(ViewChecksum(MakeView(frame, data, 1)));
  frame.sample = "000043";
  checksums.insert(ViewChecksum(MakeView(frame, data, 1)));
  EXPECT_EQ(checksums.size(), 18u);
}

TEST(ViewTest, PointsStayInTheirBoxes) {
  const Frame frame = RandomFrame();
  for (uint32_t view = 1; view < 20; ++view) {
    const Frame moved = MakeView(frame, WithDefaults(), view);
    ASSERT_EQ(moved.num_points(), frame.num_points());
    for (size_t i = 0; i < frame.boxes.size(); ++i) {
      // Points on a face may fall to either side by rounding.
      EXPECT_NEAR(CountInside(moved, moved.boxes[i].box), CountInside(frame, frame.boxes[i].box), 1) << view;
      EXPECT_GE(moved.boxes[i].box.yaw, -static_cast<float>(M_PI) - 1e-6f);
      EXPECT_LE(moved.boxes[i].box.yaw, static_cast<float>(M_PI));
    }
  }
}

TEST(ViewTest, DrawsCoverTheRanges) {
  const Frame frame = RandomFrame();
  int mirrored = 0;
  double smallest = 2, largest = 0;
  for (uint32_t view = 1; view <= 200; ++view) {
    const Frame moved = MakeView(frame, WithDefaults(), view);
    const double scale = moved.boxes[0].box.dx / frame.boxes[0].box.dx;
    smallest = std::min(smallest, scale);
    largest = std::max(largest, scale);
    // Mirrored when the turn from box 0's direction to box 1's changes sign.
    const Box3d& a = moved.boxes[0].box;
    const Box3d& b = moved.boxes[1].box;
    mirrored += a.x * b.y - a.y * b.x > 0;
  }
  EXPECT_GE(smallest, 0.95 - 1e-5);
  EXPECT_LT(smallest, 0.96);
  EXPECT_LE(largest, 1.05 + 1e-5);
  EXPECT_GT(largest, 1.04);
  EXPECT_GT(mirrored, 70);
  EXPECT_LT(mirrored, 130);
}

TEST(ViewTest, AnswersToViewsWithoutObjectsAreFoundUnderTheNamesThatTheyHadBeforeObjectsCouldBePasted) {
  const v1::Data data = WithDefaults();
  const auto views = ViewMaker::Open(data, FakeDataset({}, {}));
  ASSERT_THAT(views, IsOk());
  EXPECT_EQ(views->Profile(), Sha256Digest(absl::StrCat("1/5/", data.augmentation().SerializeAsString())));
  EXPECT_EQ(views->FilesDigest("sha256:1"), "sha256:1");
}

// Checksums that were computed before x could be mirrored: answers that teachers keep carry them.
TEST(ViewTest, ViewsWithoutMirroringOfXKeepTheirBits) {
  Frame frame = RandomFrame();
  frame.boxes[0].vx = 4;
  frame.boxes[1].vy = -1.5f;
  EXPECT_EQ(ViewChecksum(MakeView(frame, WithDefaults(), 1)), 0xea872c78u);
  EXPECT_EQ(ViewChecksum(MakeView(frame, WithDefaults(), 2)), 0x2c3245dfu);
  EXPECT_EQ(ViewChecksum(MakeView(frame, WithDefaults(), 3)), 0x6fa1307bu);
  EXPECT_EQ(ViewChecksum(MakeView(frame, WithDefaults(), 4)), 0x258e93b1u);
}

// Ranges of one value each.
v1::Data Fixed(float flip_x, float flip_y) {
  v1::Data data;
  data.mutable_augmentation()->set_flip_x(flip_x);
  data.mutable_augmentation()->set_flip_y(flip_y);
  data.mutable_augmentation()->set_scale_min(1);
  data.mutable_augmentation()->set_scale_max(1);
  return data;
}

Frame FrameOfTwoMovingBoxes() {
  Frame frame;
  frame.sample = "000042";
  frame.points = {1, 2, 3, 0.25f, -4, 5, -6, 0.5f};
  frame.boxes = {{.box = {.x = 10, .y = 3, .z = -1, .dx = 4, .dy = 2, .dz = 1.5f, .yaw = 0.7f}, .vx = 6, .vy = 2},
                 {.box = {.x = -20, .y = -5, .z = 1, .dx = 3, .dy = 1, .dz = 2, .yaw = -3.0f}, .vx = -1, .vy = 0.5f}};
  return frame;
}

TEST(ViewTest, MirroringXTurnsHeadingsIntoPiMinusThem) {
  const Frame view = MakeView(FrameOfTwoMovingBoxes(), Fixed(1, 0), 1);
  std::set<std::vector<float>> points;
  for (size_t i = 0; i < 8; i += 4) points.insert({view.points.begin() + i, view.points.begin() + i + 4});
  EXPECT_EQ(points, (std::set<std::vector<float>>{{-1, 2, 3, 0.25f}, {4, 5, -6, 0.5f}}));
  const LabeledBox &a = view.boxes[0], &b = view.boxes[1];
  EXPECT_EQ(std::vector<float>({a.box.x, a.box.y, a.box.z, a.box.dx, a.box.dy, a.box.dz, a.vx, a.vy}),
            std::vector<float>({-10, 3, -1, 4, 2, 1.5f, -6, 2}));
  EXPECT_EQ(std::vector<float>({b.box.x, b.box.y, b.box.z, b.box.dx, b.box.dy, b.box.dz, b.vx, b.vy}),
            std::vector<float>({20, -5, 1, 3, 1, 2, 1, 0.5f}));
  EXPECT_NEAR(a.box.yaw, 2.44159265, 1e-6);
  // pi + 3 is beyond a half turn.
  EXPECT_NEAR(b.box.yaw, -0.14159265, 1e-6);
}

TEST(ViewTest, MirroringBothAxesIsAHalfTurn) {
  const Frame view = MakeView(FrameOfTwoMovingBoxes(), Fixed(1, 1), 1);
  const LabeledBox &a = view.boxes[0], &b = view.boxes[1];
  EXPECT_EQ(std::vector<float>({a.box.x, a.box.y, a.vx, a.vy}), std::vector<float>({-10, -3, -6, -2}));
  EXPECT_EQ(std::vector<float>({b.box.x, b.box.y, b.vx, b.vy}), std::vector<float>({20, 5, 1, -0.5f}));
  EXPECT_NEAR(a.box.yaw, -2.44159265, 1e-6);
  EXPECT_NEAR(b.box.yaw, 0.14159265, 1e-6);
}

TEST(ViewTest, MirroringXComesBeforeTheTurnAndLeavesTheOtherDrawsAlone) {
  v1::Data plain = WithDefaults(), mirrored = WithDefaults();
  plain.mutable_augmentation()->set_flip_y(0);
  mirrored.mutable_augmentation()->set_flip_y(0);
  mirrored.mutable_augmentation()->set_flip_x(1);
  const Frame frame = FrameOfTwoMovingBoxes();
  for (uint32_t view = 1; view <= 8; ++view) {
    const Frame a = MakeView(frame, plain, view), b = MakeView(frame, mirrored, view);
    const double scale = a.boxes[0].box.dx / 4, turn = a.boxes[0].box.yaw - 0.7;
    EXPECT_EQ(b.boxes[0].box.dx, a.boxes[0].box.dx);
    EXPECT_NEAR(b.boxes[0].box.x, scale * (-10 * std::cos(turn) - 3 * std::sin(turn)), 1e-4);
    EXPECT_NEAR(b.boxes[0].box.y, scale * (-10 * std::sin(turn) + 3 * std::cos(turn)), 1e-4);
    EXPECT_NEAR(b.boxes[0].vx, scale * (-6 * std::cos(turn) - 2 * std::sin(turn)), 1e-4);
    EXPECT_NEAR(b.boxes[0].vy, scale * (-6 * std::sin(turn) + 2 * std::cos(turn)), 1e-4);
    EXPECT_NEAR(std::remainder(b.boxes[0].box.yaw - (M_PI - 0.7 + turn), 2 * M_PI), 0, 1e-5);
    // Points stand in the same order.
    EXPECT_EQ(b.points[3], a.points[3]);
    EXPECT_EQ(b.points[7], a.points[7]);
  }
}

TEST(ViewTest, TheAxesAreMirroredIndependently) {
  int count[2][2] = {};
  for (uint32_t view = 1; view <= 400; ++view) {
    const LabeledBox box = MakeView(FrameOfTwoMovingBoxes(), Fixed(0.5f, 0.5f), view).boxes[0];
    ++count[box.box.x < 0][box.box.y < 0];
  }
  for (const auto& row : count) {
    for (const int n : row) {
      EXPECT_GT(n, 70);
      EXPECT_LT(n, 130);
    }
  }
}

TEST(ViewTest, AnswersToViewsWithXMirroredHaveNamesOfTheirOwn) {
  const auto profile = [](float flip_x) {
    v1::Data data = WithDefaults();
    data.mutable_augmentation()->set_flip_x(flip_x);
    return ViewMaker::Open(data, FakeDataset({}, {}))->Profile();
  };
  EXPECT_EQ(profile(0), ViewMaker::Open(WithDefaults(), FakeDataset({}, {}))->Profile());
  EXPECT_NE(profile(0.5f), profile(0));
  EXPECT_NE(profile(0.5f), profile(1));
}

class PastingViewTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_THAT(WriteObjectDatabase(dataset_, "train", folder_ / "db"), IsOk()); }

  v1::Data DataWith(const std::string& objects, const std::vector<uint32_t>& paste) const {
    v1::Data data = WithDefaults();
    data.set_train_split("train");
    data.mutable_augmentation()->set_objects(objects);
    for (const uint32_t count : paste) data.mutable_augmentation()->add_paste(count);
    return data;
  }
  ViewMaker Maker(const v1::Data& data) const {
    auto views = ViewMaker::Open(data, dataset_);
    EXPECT_THAT(views, IsOk());
    return *std::move(views);
  }
  static std::vector<Frame> SimulatedFrames() {
    std::vector<Frame> frames;
    for (uint32_t i = 0; i < 10; ++i) {
      frames.push_back(SimulateFrame(i).frame);
      frames.back().sample = absl::StrCat(i);
    }
    return frames;
  }

  TemporaryFolder folder_;
  const std::vector<Frame> frames_ = SimulatedFrames();
  const FakeDataset dataset_{{"Car", "Pedestrian", "Cyclist"}, frames_};
};

TEST_F(PastingViewTest, ViewZeroIsTheFrameAsRecorded) {
  const auto view = Maker(DataWith(folder_ / "db", {9, 9, 9})).Make(frames_[0], 0);
  ASSERT_THAT(view, IsOk());
  EXPECT_EQ(view->points, frames_[0].points);
  EXPECT_EQ(view->boxes, frames_[0].boxes);
}

TEST_F(PastingViewTest, PastingNothingLeavesViewsAsTheyWere) {
  const ViewMaker views = Maker(DataWith(folder_ / "db", {0, 0, 0}));
  for (uint32_t view = 1; view <= 4; ++view) {
    const auto made = views.Make(frames_[0], view);
    ASSERT_THAT(made, IsOk());
    EXPECT_EQ(made->points, MakeView(frames_[0], WithDefaults(), view).points);
    EXPECT_EQ(made->boxes, MakeView(frames_[0], WithDefaults(), view).boxes);
  }
}

TEST_F(PastingViewTest, TeacherAndWorkerPasteTheSameBitForBit) {
  const v1::Data data = DataWith(folder_ / "db", {9, 9, 9});
  const ViewMaker teacher = Maker(data), worker = Maker(data);
  for (const Frame& frame : frames_) {
    const auto a = teacher.Make(frame, 3), b = worker.Make(frame, 3);
    ASSERT_THAT(a, IsOk());
    ASSERT_THAT(b, IsOk());
    EXPECT_EQ(a->points, b->points);
    EXPECT_EQ(a->boxes, b->boxes);
    EXPECT_NE(ViewChecksum(*a), ViewChecksum(MakeView(frame, WithDefaults(), 3)));
  }
}

TEST_F(PastingViewTest, PastingLeavesTheOtherDrawsAlone) {
  // Boxes of the frame come first and move as if nothing had been pasted; pasted ones move with them.
  const ViewMaker views = Maker(DataWith(folder_ / "db", {9, 9, 9}));
  size_t pasted = 0;
  for (uint32_t view = 1; view <= 4; ++view) {
    const auto made = views.Make(frames_[1], view);
    ASSERT_THAT(made, IsOk());
    const Frame plain = MakeView(frames_[1], WithDefaults(), view);
    ASSERT_GE(made->boxes.size(), plain.boxes.size());
    EXPECT_TRUE(std::equal(plain.boxes.begin(), plain.boxes.end(), made->boxes.begin()));
    pasted += made->boxes.size() - plain.boxes.size();
    for (size_t i = 0; i < made->boxes.size(); ++i) {
      const Box3d& box = made->boxes[i].box;
      for (size_t j = 0; j < i; ++j) EXPECT_FALSE(OverlapFromAbove(box, made->boxes[j].box)) << i << " " << j;
      // Objects have at least 5 points; some may have left by a face.
      if (i >= plain.boxes.size()) {
        EXPECT_GE(CountInside(*made, box), 3);
      }
    }
  }
  EXPECT_GT(pasted, 10u);
}

TEST_F(PastingViewTest, ADatabaseIsPartOfWhatViewsComeFromWhereverItLies) {
  ASSERT_THAT(WriteObjectDatabase(dataset_, "train", folder_ / "copy"), IsOk());
  const ViewMaker plain = Maker(WithDefaults()), views = Maker(DataWith(folder_ / "db", {9, 9, 9}));
  const ViewMaker copy = Maker(DataWith(folder_ / "copy", {9, 9, 9}));
  const ViewMaker fewer = Maker(DataWith(folder_ / "db", {9, 9, 8}));
  EXPECT_EQ(plain.FilesDigest("sha256:1"), "sha256:1");
  EXPECT_NE(views.FilesDigest("sha256:1"), "sha256:1");
  EXPECT_NE(views.FilesDigest("sha256:1"), views.FilesDigest("sha256:2"));
  EXPECT_EQ(views.FilesDigest("sha256:1"), copy.FilesDigest("sha256:1"));
  EXPECT_EQ(views.Profile(), copy.Profile());
  EXPECT_NE(views.Profile(), fewer.Profile());
  EXPECT_NE(views.Profile(), plain.Profile());
}

TEST_F(PastingViewTest, ADatabaseThatIsNotThereIsAnError) {
  EXPECT_THAT(ViewMaker::Open(DataWith(folder_ / "none", {1, 1, 1}), dataset_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("kdctl data prepare")));
}

TEST_F(PastingViewTest, TrainsOnEveryNthFrame) {
  v1::Data data = WithDefaults();
  data.set_train_split("train");
  EXPECT_EQ(TrainSamples(dataset_, data)->size(), 10u);
  data.set_train_interval(1);
  EXPECT_EQ(TrainSamples(dataset_, data)->size(), 10u);
  data.set_train_interval(3);
  EXPECT_THAT(*TrainSamples(dataset_, data), ::testing::ElementsAre("0", "3", "6", "9"));
  data.set_train_interval(10);
  EXPECT_THAT(*TrainSamples(dataset_, data), ::testing::ElementsAre("0"));
  data.set_train_interval(11);
  EXPECT_THAT(TrainSamples(dataset_, data),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::AllOf(::testing::StartsWith("data.train_interval is 11"), HasSubstr("10 frames"))));
  EXPECT_THAT(*TrainSamples(FakeDataset({}, {}), data), ::testing::IsEmpty());
  data.set_train_split("trian");
  EXPECT_THAT(TrainSamples(dataset_, data), StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace kd
