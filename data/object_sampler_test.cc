#include "data/object_sampler.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/box_frame.h"
#include "data/fake_dataset.h"
#include "data/simulator.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint32_t kFrames = 30, kViews = 6;
const std::vector<std::string> kClasses = {"Car", "Pedestrian", "Cyclist"};

std::vector<Frame> SimulatedFrames(uint32_t count) {
  std::vector<Frame> frames;
  for (uint32_t i = 0; i < count; ++i) {
    frames.push_back(SimulateFrame(i).frame);
    frames.back().sample = absl::StrCat("frame-", i);
    // The simulator knows none of these.
    for (LabeledBox& box : frames.back().boxes) {
      box.vx = 1 + static_cast<float>(i);
      box.vy = -2;
      box.num_points = 17;
      box.difficulty = 2;
    }
  }
  return frames;
}

v1::Data DataWith(const std::string& objects, const std::vector<uint32_t>& paste) {
  v1::Data data;
  data.set_format("custom");
  data.set_root("/data/own");
  data.set_train_split("train");
  data.set_seed(3);
  data.set_point_columns(4);
  for (const std::string& name : kClasses) data.add_class_names(name);
  data.mutable_augmentation()->set_objects(objects);
  for (const uint32_t count : paste) data.mutable_augmentation()->add_paste(count);
  return data;
}

class ObjectSamplerTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_THAT(WriteObjectDatabase(dataset_, "train", folder_ / "db"), IsOk()); }

  std::unique_ptr<const ObjectSampler> Sampler(const std::vector<uint32_t>& paste = {15, 10, 10}) const {
    auto sampler = ObjectSampler::Open(DataWith(folder_ / "db", paste), dataset_);
    EXPECT_THAT(sampler, IsOk());
    return *std::move(sampler);
  }
  // The boxes of `paste` that `frame` has not.
  static std::vector<LabeledBox> Pasted(const Frame& frame, const Frame& paste) {
    return {paste.boxes.begin() + static_cast<std::ptrdiff_t>(frame.boxes.size()), paste.boxes.end()};
  }
  // The points of `frame` that are in none of the boxes.
  static std::vector<float> KeptRows(const Frame& frame, const std::vector<LabeledBox>& pasted) {
    std::vector<float> kept;
    for (size_t p = 0; p < frame.points.size(); p += 4) {
      const bool covered = std::any_of(pasted.begin(), pasted.end(), [&](const LabeledBox& box) {
        return Holds(box.box, BoxFrame(box.box).ToBox(&frame.points[p]));
      });
      if (!covered) kept.insert(kept.end(), &frame.points[p], &frame.points[p] + 4);
    }
    return kept;
  }

  TemporaryFolder folder_;
  const std::vector<Frame> frames_ = SimulatedFrames(kFrames);
  const FakeDataset dataset_{kClasses, frames_};
};

// Counts points of a fine grid over `a` that `b` holds.
int CommonGridPoints(const Box3d& a, const Box3d& b, int steps) {
  const BoxFrame of_a(a), of_b(b);
  int common = 0;
  for (int i = 0; i <= steps; ++i) {
    for (int j = 0; j <= steps; ++j) {
      const float along = static_cast<float>(i) / steps - 0.5f, across = static_cast<float>(j) / steps - 0.5f;
      const float uvw[] = {a.dx * along, a.dy * across, 0};
      const auto at = of_a.FromBox(uvw);
      const float p[] = {static_cast<float>(at[0]), static_cast<float>(at[1]), b.z};
      common += Holds(b, of_b.ToBox(p));
    }
  }
  return common;
}

TEST(OverlapFromAboveTest, AgreesWithPointsThatBothBoxesHold) {
  CounterRng rng(7);
  const auto box = [&rng] {
    return Box3d{.x = static_cast<float>(rng.Uniform(-3, 3)),
                 .y = static_cast<float>(rng.Uniform(-3, 3)),
                 .z = static_cast<float>(rng.Uniform(-9, 9)),
                 .dx = static_cast<float>(rng.Uniform(0.3, 5)),
                 .dy = static_cast<float>(rng.Uniform(0.3, 3)),
                 .dz = 1,
                 .yaw = static_cast<float>(rng.Uniform(-7, 7))};
  };
  int overlapping = 0;
  for (int round = 0; round < 1000; ++round) {
    const Box3d a = box(), b = box();
    const bool overlap = OverlapFromAbove(a, b);
    EXPECT_EQ(overlap, OverlapFromAbove(b, a));
    overlapping += overlap;
    // Boxes that are a hair larger hold a point in common if these overlap; no point is common to two that do not.
    Box3d larger = b;
    larger.dx += 0.2f;
    larger.dy += 0.2f;
    if (overlap) {
      EXPECT_GT(CommonGridPoints(a, larger, 100), 0) << round;
    } else {
      Box3d smaller = b;
      smaller.dx -= 0.001f;
      smaller.dy -= 0.001f;
      EXPECT_EQ(CommonGridPoints(a, smaller, 100), 0) << round;
    }
  }
  EXPECT_GT(overlapping, 200);
  EXPECT_LT(overlapping, 800);
}

TEST(OverlapFromAboveTest, AnEdgeInCommonIsNoOverlap) {
  const Box3d box{.dx = 4, .dy = 2, .dz = 1};
  Box3d beside = box;
  beside.y = 2;
  EXPECT_FALSE(OverlapFromAbove(box, beside));
  beside.y = 1.99f;
  EXPECT_TRUE(OverlapFromAbove(box, beside));
  // Where the boxes around both overlap and they themselves do not: a corner that points at a side.
  Box3d turned{.x = 3.3f, .dx = 1.8f, .dy = 1.8f, .dz = 1, .yaw = static_cast<float>(M_PI / 4)};
  EXPECT_FALSE(OverlapFromAbove(box, turned));
  turned.x = 3.2f;
  EXPECT_TRUE(OverlapFromAbove(box, turned));
}

TEST_F(ObjectSamplerTest, BoxesOfTheFrameStayAndNoneOverlapsAPastedOne) {
  const auto sampler = Sampler();
  size_t pasted = 0;
  for (const Frame& frame : frames_) {
    const auto view = sampler->Paste(frame, 1);
    ASSERT_THAT(view, IsOk());
    ASSERT_GE(view->boxes.size(), frame.boxes.size());
    EXPECT_TRUE(std::equal(frame.boxes.begin(), frame.boxes.end(), view->boxes.begin()));
    for (size_t i = frame.boxes.size(); i < view->boxes.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        EXPECT_EQ(CommonGridPoints(view->boxes[i].box, view->boxes[j].box, 20), 0)
            << frame.sample << " " << i << " " << j;
      }
    }
    pasted += view->boxes.size() - frame.boxes.size();
  }
  EXPECT_GT(pasted, 5 * kFrames);
}

TEST_F(ObjectSamplerTest, APastedObjectIsTheOneThatWasRecorded) {
  const auto sampler = Sampler();
  for (uint32_t i = 0; i < 5; ++i) {
    const Frame& frame = frames_[i];
    const auto view = sampler->Paste(frame, 2);
    ASSERT_THAT(view, IsOk());
    size_t pasted_rows = 0;
    for (const LabeledBox& box : Pasted(frame, *view)) {
      // Another frame has this very box, with these points in it.
      const auto origin = std::find_if(frames_.begin(), frames_.end(), [&](const Frame& other) {
        return std::find(other.boxes.begin(), other.boxes.end(), box) != other.boxes.end();
      });
      ASSERT_NE(origin, frames_.end());
      EXPECT_NE(origin->sample, frame.sample);
      const BoxFrame own(box.box);
      // A hair larger, for points on a face.
      Box3d larger = box.box;
      larger.dx += 1e-3f;
      larger.dy += 1e-3f;
      larger.dz += 1e-3f;
      const auto inside = [&](const Frame& of, const Box3d& where) {
        std::vector<std::vector<float>> rows;
        for (size_t p = 0; p < of.points.size(); p += 4) {
          if (Holds(where, own.ToBox(&of.points[p]))) rows.emplace_back(&of.points[p], &of.points[p] + 4);
        }
        return rows;
      };
      const auto wanted = inside(*origin, box.box), found = inside(*view, larger);
      ASSERT_GE(wanted.size(), 5u);
      size_t matched = 0;
      for (const std::vector<float>& row : wanted) {
        matched += std::any_of(found.begin(), found.end(), [&](const std::vector<float>& other) {
          return std::abs(row[0] - other[0]) < 1e-4 && std::abs(row[1] - other[1]) < 1e-4 &&
                 std::abs(row[2] - other[2]) < 1e-4 && row[3] == other[3];
        });
      }
      EXPECT_EQ(matched, wanted.size());
      pasted_rows += wanted.size();
    }
    EXPECT_EQ(view->num_points(), pasted_rows + KeptRows(frame, Pasted(frame, *view)).size() / 4);
  }
}

TEST_F(ObjectSamplerTest, PointsOutsideThePastedBoxesStayInTheirOrder) {
  const auto sampler = Sampler();
  const Frame& frame = frames_[3];
  const auto view = sampler->Paste(frame, 1);
  ASSERT_THAT(view, IsOk());
  const std::vector<float> kept = KeptRows(frame, Pasted(frame, *view));
  EXPECT_LT(kept.size(), frame.points.size()) << "no pasted box has covered anything";
  ASSERT_LT(kept.size(), view->points.size());
  EXPECT_TRUE(std::equal(kept.rbegin(), kept.rend(), view->points.rbegin()));
}

TEST_F(ObjectSamplerTest, ViewsAndFramesAndSeedsDrawDifferently) {
  const auto sampler = Sampler();
  std::set<uint32_t> checksums;
  for (uint32_t view = 1; view <= kViews; ++view) checksums.insert(ViewChecksum(*sampler->Paste(frames_[0], view)));
  EXPECT_EQ(checksums.size(), kViews);
  Frame renamed = frames_[0];
  renamed.sample = "another";
  checksums.insert(ViewChecksum(*sampler->Paste(renamed, 1)));
  v1::Data data = DataWith(folder_ / "db", {15, 10, 10});
  data.set_seed(4);
  const auto other = ObjectSampler::Open(data, dataset_);
  ASSERT_THAT(other, IsOk());
  checksums.insert(ViewChecksum(*(*other)->Paste(frames_[0], 1)));
  EXPECT_EQ(checksums.size(), kViews + 2);
}

TEST_F(ObjectSamplerTest, ManyThreadsPasteTheSame) {
  const auto sampler = Sampler(), again = Sampler();
  std::vector<uint32_t> wanted;
  for (uint32_t i = 0; i < 8; ++i) wanted.push_back(ViewChecksum(*sampler->Paste(frames_[i], 1)));
  std::vector<std::thread> threads;
  std::vector<std::vector<uint32_t>> found(4);
  for (std::vector<uint32_t>& of_thread : found) {
    threads.emplace_back([&] {
      for (uint32_t i = 0; i < 8; ++i) of_thread.push_back(ViewChecksum(*again->Paste(frames_[i], 1)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<uint32_t>& of_thread : found) EXPECT_EQ(of_thread, wanted);
}

TEST_F(ObjectSamplerTest, DrawsWhatWasAskedForOfEveryClass) {
  // Far from everything, so that only objects of one database frame can meet.
  Frame empty{.sample = "empty", .points = {500, 500, 0, 0}};
  for (uint32_t label = 0; label < 3; ++label) {
    std::vector<uint32_t> paste(3, 0);
    paste[label] = 1;
    const auto sampler = Sampler(paste);
    std::set<float> places;
    for (uint32_t view = 1; view <= 20; ++view) {
      const auto pasted = sampler->Paste(empty, view);
      ASSERT_THAT(pasted, IsOk());
      ASSERT_EQ(pasted->boxes.size(), 1u);
      EXPECT_EQ(pasted->boxes[0].label, static_cast<int32_t>(label));
      EXPECT_EQ(pasted->boxes[0].num_points, 17);
      EXPECT_EQ(pasted->boxes[0].difficulty, 2);
      EXPECT_EQ(pasted->boxes[0].vy, -2);
      places.insert(pasted->boxes[0].box.x);
    }
    EXPECT_GT(places.size(), 8u) << "class " << label << " draws the same objects again and again";
  }
  EXPECT_EQ(Sampler({0, 0, 0})->Paste(empty, 1)->points, empty.points);
}

TEST_F(ObjectSamplerTest, AnotherNumberOfOneClassLeavesTheFirstDrawsOfTheOthersAlone) {
  Frame empty{.sample = "empty", .points = {500, 500, 0, 0}};
  const auto cars_of = [&](uint32_t pedestrians) {
    std::vector<Box3d> cars;
    const Frame view = *Sampler({5, pedestrians, 0})->Paste(empty, 1);
    for (const LabeledBox& box : view.boxes) {
      if (box.label == 0) cars.push_back(box.box);
    }
    return cars;
  };
  EXPECT_GT(cars_of(0).size(), 1u);
  EXPECT_EQ(cars_of(0), cars_of(20));
}

TEST_F(ObjectSamplerTest, MoreThanThereAreIsAllOnceAtMost) {
  Frame empty{.sample = "empty", .points = {500, 500, 0, 0}};
  const auto pasted = Sampler({200, 200, 200})->Paste(empty, 1);
  ASSERT_THAT(pasted, IsOk());
  std::set<std::pair<float, float>> places;
  for (const LabeledBox& box : pasted->boxes) places.insert({box.box.x, box.box.y});
  EXPECT_EQ(places.size(), pasted->boxes.size());
  EXPECT_GT(places.size(), 20u);
}

// Twelve objects of each of two classes, none of which can collide: object i of class c is at x = 10 i, y = 10 c.
TEST(ApartObjectSamplerTest, WithoutCollisionsExactlySoManyDifferentOnesArePastedAsWereAskedFor) {
  constexpr int kEach = 12;
  const TemporaryFolder folder;
  Frame frame{.sample = "origin"};
  for (int i = 0; i < kEach; ++i) {
    for (int label = 0; label < 2; ++label) {
      const float x = 10.0f * static_cast<float>(i), y = 10.0f * static_cast<float>(label);
      frame.boxes.push_back({.box = {.x = x, .y = y, .dx = 2, .dy = 2, .dz = 2}, .label = label});
      for (int p = 0; p < 5; ++p) frame.points.insert(frame.points.end(), {x, y, 0, 1});
    }
  }
  const FakeDataset dataset({"Car", "Pedestrian"}, {frame});
  ASSERT_THAT(WriteObjectDatabase(dataset, "train", folder / "db"), IsOk());
  const Frame empty{.sample = "empty", .points = {500, 500, 0, 0}};
  for (const uint32_t count : {5, 12, 13}) {
    const auto sampler = ObjectSampler::Open(DataWith(folder / "db", {count, count}), dataset);
    ASSERT_THAT(sampler, IsOk());
    bool classes_differ = false;
    for (uint32_t view = 1; view <= 20; ++view) {
      const auto pasted = (*sampler)->Paste(empty, view);
      ASSERT_THAT(pasted, IsOk());
      std::vector<std::set<float>> places(2);
      for (const LabeledBox& box : pasted->boxes) places[box.label].insert(box.box.x);
      const size_t wanted = std::min<size_t>(count, kEach);
      EXPECT_EQ(pasted->boxes.size(), 2 * wanted);
      EXPECT_EQ(places[0].size(), wanted);
      EXPECT_EQ(places[1].size(), wanted);
      EXPECT_EQ(pasted->num_points(), 1 + 2 * 5 * wanted);
      classes_differ |= places[0] != places[1];
    }
    EXPECT_EQ(classes_differ, count < kEach) << count;
  }
}

TEST_F(ObjectSamplerTest, AllObjectsOfAClassAreDrawnEquallyOften) {
  Frame empty{.sample = "empty", .points = {500, 500, 0, 0}};
  const auto sampler = Sampler({0, 0, 1});
  const ObjectDatabase database = *ObjectDatabase::Open(folder_ / "db", "train");
  const auto cyclists = std::count_if(database.entries().begin(), database.entries().end(),
                                      [](const ObjectDatabase::Entry& entry) { return entry.label == 2; });
  ASSERT_GT(cyclists, 10);
  constexpr int kEach = 50;
  std::map<float, int> drawn;
  for (uint32_t view = 1; view <= kEach * cyclists; ++view) ++drawn[sampler->Paste(empty, view)->boxes.at(0).box.x];
  EXPECT_EQ(drawn.size(), static_cast<size_t>(cyclists));
  // Seven standard deviations.
  for (const auto& [x, times] : drawn) EXPECT_NEAR(times, kEach, 50) << x;
}

TEST_F(ObjectSamplerTest, ObjectsOfTheFrameItselfMeetThemselves) {
  const auto sampler = Sampler({200, 200, 200});
  for (const Frame& frame : frames_) {
    const auto pasted = sampler->Paste(frame, 1);
    ASSERT_THAT(pasted, IsOk());
    for (const LabeledBox& box : Pasted(frame, *pasted)) {
      EXPECT_EQ(std::count(frame.boxes.begin(), frame.boxes.end(), box), 0);
    }
  }
}

TEST_F(ObjectSamplerTest, RefusesADatabaseOfOtherClassesColumnsOrFrames) {
  const v1::Data data = DataWith(folder_ / "db", {1, 1, 1});
  const std::string remedy =
      "kdctl data prepare --data /data/own --format custom --point-columns 4 --split train "
      "--classes Car,Pedestrian,Cyclist --out FOLDER";
  const FakeDataset renamed({"Car", "Pedestrian", "Bicycle"}, frames_);
  EXPECT_THAT(ObjectSampler::Open(data, renamed).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("has classes Car,Pedestrian,Cyclist"),
                                                                    HasSubstr("has Car,Pedestrian,Bicycle"))));
  std::vector<Frame> wide = frames_;
  wide[0].num_features = 5;
  wide[0].points.resize(5 * 100);
  EXPECT_THAT(ObjectSampler::Open(data, FakeDataset(kClasses, wide)).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("has columns a point: 4"), HasSubstr("has 5;"), HasSubstr(remedy))));
  std::vector<Frame> fewer = frames_;
  fewer.pop_back();
  const FakeDataset other(kClasses, fewer);
  const absl::Status status = ObjectSampler::Open(data, other).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                               AllOf(HasSubstr(*other.Digest("train")), HasSubstr(*dataset_.Digest("train")),
                                     HasSubstr(folder_ / "db"), HasSubstr(remedy))));
  EXPECT_THAT(std::string(status.message()),
              AllOf(::testing::StartsWith("data.augmentation.objects: "), ::testing::Not(HasSubstr("\n"))));
  EXPECT_THAT(
      ObjectSampler::Open(DataWith(folder_ / "none", {1, 1, 1}), dataset_).status(),
      StatusIs(absl::StatusCode::kNotFound, AllOf(::testing::StartsWith("data.augmentation.objects: "),
                                                  HasSubstr(folder_ / "none"), HasSubstr("kdctl data prepare"))));
}

// Counts frames that are read.
class CountingDataset : public FakeDataset {
 public:
  using FakeDataset::FakeDataset;
  absl::StatusOr<Frame> Read(const std::string& sample) const override {
    ++reads_;
    return FakeDataset::Read(sample);
  }
  int reads() const { return reads_; }

 private:
  mutable int reads_ = 0;
};

TEST_F(ObjectSamplerTest, ADatabaseThatFitsIsOpenedWithoutReadingAFrame) {
  const CountingDataset dataset(kClasses, frames_);
  ASSERT_THAT(ObjectSampler::Open(DataWith(folder_ / "db", {1, 1, 1}), dataset), IsOk());
  EXPECT_EQ(dataset.reads(), 0);
}

// The job crops frames to the image, the database is cut out of whole ones.
TEST(RealObjectSamplerTest, ObjectsOfRealFramesArePastedIntoTheOthers) {
  KD_REQUIRE_FILE(SharedPath("data/kitti/training/velodyne/000000.bin"));
  const TemporaryFolder folder;
  ASSERT_THAT(CreateFolders(folder / "kitti/ImageSets"), IsOk());
  ASSERT_THAT(WriteFileAtomically(folder / "kitti/ImageSets/train.txt", "000000\n000001\n000002\n000003\n"), IsOk());
  std::filesystem::create_directory_symlink(std::filesystem::absolute(SharedPath("data/kitti/training")),
                                            folder / "kitti/training");
  v1::Data data = DataWith(folder / "db", {9, 9, 9});
  data.set_format("kitti");
  data.set_root(folder / "kitti");
  const auto whole = OpenDataset(data);
  ASSERT_THAT(whole, IsOk());
  ASSERT_THAT(WriteObjectDatabase(**whole, "train", folder / "db"), IsOk());
  data.set_fov_crop(true);
  const auto cropped = *OpenDataset(data);
  const auto sampler = ObjectSampler::Open(data, *cropped);
  ASSERT_THAT(sampler, IsOk());
  size_t pasted = 0;
  const std::vector<std::string> names = *cropped->Split("train");
  for (const std::string& name : names) {
    const auto frame = cropped->Read(name);
    ASSERT_THAT(frame, IsOk());
    const auto view = (*sampler)->Paste(*frame, 1);
    ASSERT_THAT(view, IsOk());
    for (size_t i = frame->boxes.size(); i < view->boxes.size(); ++i, ++pasted) {
      const Box3d& box = view->boxes[i].box;
      for (size_t j = 0; j < i; ++j) EXPECT_EQ(CommonGridPoints(box, view->boxes[j].box, 50), 0) << name;
      const BoxFrame own(box);
      int inside = 0;
      for (size_t p = 0; p < view->points.size(); p += 4) inside += Holds(box, own.ToBox(&view->points[p]));
      // Rounding may carry one over a face.
      EXPECT_GE(inside, 4) << name;
    }
  }
  EXPECT_GT(pasted, 4u);
}

TEST_F(ObjectSamplerTest, RefusesAFrameOfOtherColumns) {
  Frame wide = frames_[0];
  wide.num_features = 2;
  EXPECT_THAT(Sampler()->Paste(wide, 1).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 columns a point")));
}

TEST_F(ObjectSamplerTest, ADamagedObjectIsDataLoss) {
  const std::string path = folder_ / "db/train.objects";
  const std::string bytes = *ReadFile(path);
  std::string damaged;
  // Every object's bytes, not the tag's.
  for (const char byte : bytes) {
    const bool change = damaged.size() >= 100 && damaged.size() % 20 == 0;
    damaged.push_back(static_cast<char>(change ? byte ^ 1 : byte));
  }
  ASSERT_THAT(WriteFileAtomically(path, damaged), IsOk());
  EXPECT_THAT(Sampler()->Paste(frames_[0], 1).status(),
              StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr(path), HasSubstr("kdctl data prepare"))));
}

TEST_F(ObjectSamplerTest, TheDigestNamesTheObjects) {
  // The same split; only objects with many points.
  const std::string other = folder_ / "other";
  ASSERT_THAT(WriteObjectDatabase(dataset_, "train", other, 50), IsOk());
  const auto selective = ObjectSampler::Open(DataWith(other, {1, 1, 1}), dataset_);
  ASSERT_THAT(selective, IsOk());
  EXPECT_NE((*selective)->digest(), Sampler()->digest());
  ASSERT_THAT(WriteObjectDatabase(dataset_, "train", folder_ / "copy"), IsOk());
  EXPECT_EQ((*ObjectSampler::Open(DataWith(folder_ / "copy", {2, 0, 0}), dataset_))->digest(), Sampler()->digest());
}

}  // namespace
}  // namespace kd
