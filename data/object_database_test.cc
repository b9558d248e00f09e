#include "data/object_database.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/box_frame.h"
#include "data/simulator.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kFrames = 6, kMinPoints = 5;

Frame SimulatedFrameOf(uint32_t number) {
  Frame frame = SimulateFrame(number).frame;
  frame.sample = std::to_string(number);
  // The simulator knows none of these.
  for (LabeledBox& box : frame.boxes) {
    box.vx = static_cast<float>(number) + 0.5f;
    box.vy = -box.box.x;
    box.num_points = 3 + static_cast<int32_t>(number);
    box.difficulty = 2;
  }
  return frame;
}

class ObjectDatabaseTest : public ::testing::Test {
 protected:
  ObjectDatabaseTest() {
    for (uint32_t i = 0; i < kFrames; ++i) {
      frames_.push_back(CutObjects(SimulatedFrameOf(i), kMinPoints));
      for (const DatabaseObject& object : frames_.back()) all_.push_back(object);
    }
  }

  absl::StatusOr<std::unique_ptr<ObjectDatabaseWriter>> Writer(const std::string& folder) const {
    return ObjectDatabaseWriter::Open(folder_ / folder, "train", info_);
  }
  // Adds the frames that are missing, the later one of each pair first.
  void Complete(ObjectDatabaseWriter& writer) const {
    const uint32_t done = writer.frames_done();
    for (uint32_t i = done; i < kFrames; ++i) {
      const uint32_t swapped = (i - done) % 2 == 0 ? std::min(i + 1, kFrames - 1) : i - 1;
      ASSERT_THAT(writer.Add(swapped, frames_[swapped]), IsOk());
      if (swapped == i) break;
    }
    ASSERT_EQ(writer.frames_done(), kFrames);
    ASSERT_THAT(writer.Finish(), IsOk());
  }
  void Make(const std::string& folder) const {
    const auto writer = Writer(folder);
    ASSERT_THAT(writer, IsOk());
    Complete(**writer);
  }
  std::string Bytes(const std::string& name) const { return *ReadFile(folder_ / name); }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }

  TemporaryFolder folder_;
  std::vector<std::vector<DatabaseObject>> frames_;
  std::vector<DatabaseObject> all_;
  ObjectDatabaseInfo info_{.digest = "sha256:0",
                           .class_names = {"Car", "Pedestrian", "Cyclist"},
                           .min_points = kMinPoints,
                           .frames = kFrames};
};

TEST_F(ObjectDatabaseTest, ObjectsComeBackAsTheyWereCut) {
  Make("db");
  const auto database = ObjectDatabase::Open(folder_ / "db", "train");
  ASSERT_THAT(database, IsOk());
  EXPECT_EQ(database->info(), info_);
  ASSERT_EQ(database->entries().size(), all_.size());
  ASSERT_GT(all_.size(), 10u);
  for (size_t i = 0; i < all_.size(); ++i) {
    const auto object = database->Read(i);
    ASSERT_THAT(object, IsOk());
    EXPECT_EQ(object->sample, all_[i].sample);
    EXPECT_EQ(object->box, all_[i].box);
    EXPECT_EQ(object->points, all_[i].points);
    EXPECT_EQ(database->entries()[i].points, all_[i].points.size() / 4);
  }
}

TEST_F(ObjectDatabaseTest, PointsAreInTheAxesOfTheirBox) {
  const Frame frame = SimulatedFrameOf(0);
  ASSERT_FALSE(frames_[0].empty());
  for (const DatabaseObject& object : frames_[0]) {
    const Box3d& box = object.box.box;
    for (size_t i = 0; i < object.points.size(); i += 4) {
      const float* p = &object.points[i];
      EXPECT_TRUE(std::abs(p[0]) <= box.dx / 2 && std::abs(p[1]) <= box.dy / 2 && std::abs(p[2]) <= box.dz / 2);
      const double x = box.x + std::cos(box.yaw) * p[0] - std::sin(box.yaw) * p[1];
      const double y = box.y + std::sin(box.yaw) * p[0] + std::cos(box.yaw) * p[1];
      bool found = false;
      for (size_t j = 0; j < frame.points.size() && !found; j += 4) {
        found = std::hypot(frame.points[j] - x, frame.points[j + 1] - y) < 1e-4 && frame.points[j + 3] == p[3];
      }
      EXPECT_TRUE(found);
    }
  }
}

TEST_F(ObjectDatabaseTest, ObjectsWithFewPointsAreLeftOut) {
  EXPECT_LT(CutObjects(SimulatedFrameOf(0), 100).size(), CutObjects(SimulatedFrameOf(0), 1).size());
  for (const DatabaseObject& object : all_) EXPECT_GE(object.points.size() / 4, kMinPoints);
}

TEST_F(ObjectDatabaseTest, AnInterruptedRunGoesOnAndEndsWithTheSameBytes) {
  Make("whole");
  {
    const auto writer = Writer("db");
    ASSERT_THAT(writer, IsOk());
    for (const uint32_t i : {1u, 0u, 2u}) ASSERT_THAT((*writer)->Add(i, frames_[i]), IsOk());
    EXPECT_EQ((*writer)->frames_done(), 3u);
    // Waits for frame 3, so that it is lost with the program.
    ASSERT_THAT((*writer)->Add(4, frames_[4]), IsOk());
    EXPECT_EQ((*writer)->frames_done(), 3u);
  }
  EXPECT_THAT(ObjectDatabase::Open(folder_ / "db", "train"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("kdctl data prepare")));
  // The last frame was torn.
  const std::string partial = Bytes("db/train.objects.partial");
  Write("db/train.objects.partial", partial.substr(0, partial.size() - 1));
  const auto writer = Writer("db");
  ASSERT_THAT(writer, IsOk());
  EXPECT_EQ((*writer)->frames_done(), 2u);
  Complete(**writer);
  EXPECT_EQ(Bytes("db/train.objects"), Bytes("whole/train.objects"));
  EXPECT_EQ(Bytes("db/train.objects.index"), Bytes("whole/train.objects.index"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "db/train.objects.partial"));
}

TEST_F(ObjectDatabaseTest, AnInterruptionAnywhereIsMended) {
  Make("whole");
  const std::string whole = Bytes("whole/train.objects");
  std::filesystem::create_directories(folder_ / "db");
  for (size_t length = 0; length <= whole.size(); length += 1 + whole.size() / 40) {
    std::filesystem::remove(folder_ / "db/train.objects");
    std::filesystem::remove(folder_ / "db/train.objects.index");
    Write("db/train.objects.partial", whole.substr(0, length));
    const auto writer = Writer("db");
    if (!writer.ok()) {
      // The settings themselves are torn.
      EXPECT_THAT(writer, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("train.objects.partial: byte")));
      continue;
    }
    Complete(**writer);
    ASSERT_EQ(Bytes("db/train.objects"), whole) << length;
  }
}

TEST_F(ObjectDatabaseTest, FramesThatCouldNotBeReadAreNamedAndLeaveTheOthersAlone) {
  {
    const auto writer = Writer("db");
    ASSERT_THAT(writer, IsOk());
    ASSERT_THAT((*writer)->AddUnread(1), IsOk());
    for (const uint32_t i : {0u, 2u}) ASSERT_THAT((*writer)->Add(i, frames_[i]), IsOk());
  }
  {
    const auto writer = Writer("db");
    ASSERT_THAT(writer, IsOk());
    EXPECT_EQ((*writer)->frames_done(), 3u);
    for (const uint32_t i : {3u, 4u}) ASSERT_THAT((*writer)->Add(i, frames_[i]), IsOk());
    ASSERT_THAT((*writer)->AddUnread(5), IsOk());
    ASSERT_THAT((*writer)->Finish(), IsOk());
  }
  const auto database = ObjectDatabase::Open(folder_ / "db", "train");
  ASSERT_THAT(database, IsOk());
  EXPECT_EQ(database->unread(), (std::vector<uint32_t>{1, 5}));
  EXPECT_EQ(database->entries().size(), all_.size() - frames_[1].size() - frames_[5].size());
  for (size_t i = 0; i < database->entries().size(); ++i) ASSERT_THAT(database->Read(i), IsOk());
  // A frame without objects is another thing.
  frames_[1].clear();
  frames_[5].clear();
  Make("other");
  const auto other = ObjectDatabase::Open(folder_ / "other", "train");
  ASSERT_THAT(other, IsOk());
  EXPECT_TRUE(other->unread().empty());
  EXPECT_NE(other->digest(), database->digest());
}

class MendedDatabaseTest : public ObjectDatabaseTest {
 protected:
  // Without the frames of `unread`.
  void MakeWithout(const std::string& folder, const std::set<uint32_t>& unread) const {
    const auto writer = Writer(folder);
    ASSERT_THAT(writer, IsOk());
    for (uint32_t i = 0; i < kFrames; ++i) {
      ASSERT_THAT(unread.contains(i) ? (*writer)->AddUnread(i) : (*writer)->Add(i, frames_[i]), IsOk());
    }
    ASSERT_THAT((*writer)->Finish(), IsOk());
  }
  // Only the frames of `mended` can be read by now, and no other is asked for than was unread.
  absl::Status Mend(const std::string& folder, const std::set<uint32_t>& mended) {
    asked_.clear();
    return AddMendedFrames(folder_ / folder, "train",
                           [&](uint32_t frame) -> absl::StatusOr<std::optional<std::vector<DatabaseObject>>> {
                             asked_.push_back(frame);
                             if (!mended.contains(frame)) return std::nullopt;
                             return frames_[frame];
                           });
  }
  void ExpectSame(const std::string& a, const std::string& b) const {
    for (const char* file : {"/train.objects", "/train.objects.index"}) EXPECT_EQ(Bytes(a + file), Bytes(b + file));
    EXPECT_FALSE(std::filesystem::exists(folder_ / (a + "/train.objects.partial")));
  }

  std::vector<uint32_t> asked_;
};

TEST_F(MendedDatabaseTest, MendedFramesAreAddedAsIfTheyHadNeverBeenDamaged) {
  Make("whole");
  MakeWithout("one", {5});
  MakeWithout("db", {1, 5});
  const auto before = ObjectDatabase::Open(folder_ / "db", "train");
  ASSERT_THAT(Mend("db", {1}), IsOk());
  EXPECT_EQ(asked_, (std::vector<uint32_t>{1, 5}));
  ExpectSame("db", "one");
  ASSERT_THAT(Mend("db", {1, 5}), IsOk());
  EXPECT_EQ(asked_, (std::vector<uint32_t>{5}));
  ExpectSame("db", "whole");
  // Who had it open reads on.
  for (size_t i = 0; i < before->entries().size(); ++i) EXPECT_THAT(before->Read(i), IsOk());
}

TEST_F(MendedDatabaseTest, AnInterruptionLeavesTheDatabaseAsItWas) {
  Make("whole");
  MakeWithout("db", {1});
  const std::string objects = Bytes("db/train.objects"), whole = Bytes("whole/train.objects");
  for (const size_t length : {size_t{0}, size_t{5}, whole.size() / 2, whole.size()}) {
    Write("db/train.objects.partial", whole.substr(0, length));
    EXPECT_EQ(ObjectDatabase::Open(folder_ / "db", "train")->unread(), (std::vector<uint32_t>{1})) << length;
    EXPECT_THAT(Writer("db"), StatusIs(absl::StatusCode::kAlreadyExists));
  }
  ASSERT_THAT(Mend("db", {1}), IsOk());
  ExpectSame("db", "whole");
  // Between the index and the objects' new name.
  Write("db/train.objects", objects);
  Write("db/train.objects.partial", whole);
  const auto writer = Writer("db");
  ASSERT_THAT(writer, IsOk());
  EXPECT_EQ((*writer)->frames_done(), kFrames);
  ASSERT_THAT((*writer)->Finish(), IsOk());
  ExpectSame("db", "whole");
}

TEST_F(MendedDatabaseTest, WhatCannotBeMendedIsToldAndLeavesTheDatabaseAlone) {
  EXPECT_THAT(Mend("none", {}), StatusIs(absl::StatusCode::kNotFound));
  MakeWithout("db", {1});
  std::string objects = Bytes("db/train.objects");
  const std::string index = Bytes("db/train.objects.index");
  {
    const auto other = ObjectDatabaseWriter::Begin(folder_ / "db", "train", info_);
    ASSERT_THAT(other, IsOk());
    EXPECT_THAT(Mend("db", {1}), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another program")));
  }
  EXPECT_THAT(AddMendedFrames(folder_ / "db", "train", [](uint32_t) { return absl::UnavailableError("no disk"); }),
              StatusIs(absl::StatusCode::kUnavailable, "no disk"));
  EXPECT_EQ(Bytes("db/train.objects"), objects);
  objects[objects.size() / 2] ^= 1;
  Write("db/train.objects", objects);
  EXPECT_THAT(Mend("db", {1}), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("make the database anew")));
  EXPECT_EQ(Bytes("db/train.objects"), objects);
  EXPECT_EQ(Bytes("db/train.objects.index"), index);
}

TEST_F(ObjectDatabaseTest, AFinishedDatabaseIsKeptAndAnotherOneRefused) {
  Make("db");
  EXPECT_THAT(Writer("db"), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("train.objects is finished")));
  info_.digest = "sha256:1";
  EXPECT_THAT(Writer("db"), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("other data or settings")));
  ASSERT_THAT(Writer("part"), IsOk());
  info_.min_points = 7;
  EXPECT_THAT(Writer("part"), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("other data or settings")));
}

TEST_F(ObjectDatabaseTest, OnlyOneProgramWrites) {
  const auto first = Writer("db");
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(Writer("db"), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another program")));
}

TEST_F(ObjectDatabaseTest, AnyDamageOfTheIndexIsToldInOneLine) {
  info_.frames = 1;
  const auto writer = Writer("db");
  ASSERT_THAT(writer, IsOk());
  ASSERT_THAT((*writer)->Add(0, {frames_[0].begin(), frames_[0].begin() + 2}), IsOk());
  ASSERT_THAT((*writer)->Finish(), IsOk());
  const std::string index = Bytes("db/train.objects.index");
  int refused = 0;
  ForHostileInput(index, 300, [&](const std::string& bytes) {
    if (bytes == index) return;
    Write("db/train.objects.index", bytes);
    const auto database = ObjectDatabase::Open(folder_ / "db", "train");
    ASSERT_THAT(database, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("train.objects.index")));
    ASSERT_THAT(database.status().message(), IsOneLine());
    ++refused;
  });
  EXPECT_GT(refused, 500);
}

TEST_F(ObjectDatabaseTest, TheDigestNamesContentNotPlace) {
  Make("db");
  Make("copy");
  const std::string digest = ObjectDatabase::Open(folder_ / "db", "train")->digest();
  EXPECT_EQ(ObjectDatabase::Open(folder_ / "copy", "train")->digest(), digest);
  frames_[5][0].points[0] += 1;
  Make("other");
  EXPECT_NE(ObjectDatabase::Open(folder_ / "other", "train")->digest(), digest);
}

TEST_F(ObjectDatabaseTest, AnOpenDatabaseOutlivesItsName) {
  Make("db");
  const auto database = ObjectDatabase::Open(folder_ / "db", "train");
  ASSERT_THAT(database, IsOk());
  const ObjectDatabase copy = *database;
  std::filesystem::remove_all(folder_ / "db");
  const auto object = copy.Read(all_.size() - 1);
  ASSERT_THAT(object, IsOk());
  EXPECT_EQ(object->points, all_.back().points);
}

TEST_F(ObjectDatabaseTest, ADamagedObjectIsToldAndTheOthersStay) {
  Make("db");
  const std::string objects = Bytes("db/train.objects");
  CounterRng rng(1);
  for (int round = 0; round < 60; ++round) {
    std::string bytes = objects;
    bytes[rng.Below(bytes.size())] ^= static_cast<char>(1 << rng.Below(8));
    Write("db/train.objects", bytes);
    const auto database = ObjectDatabase::Open(folder_ / "db", "train");
    ASSERT_THAT(database, IsOk());
    size_t damaged = 0;
    for (size_t i = 0; i < database->entries().size(); ++i) {
      const auto object = database->Read(i);
      if (object.ok()) {
        ASSERT_EQ(object->points, all_[i].points);
        continue;
      }
      ++damaged;
      ASSERT_THAT(object, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("has a wrong checksum")));
    }
    ASSERT_LE(damaged, 1u);
  }
}

TEST_F(ObjectDatabaseTest, AHostilePartialFileIsContinuedOrRefused) {
  Make("whole");
  const std::string whole = Bytes("whole/train.objects");
  std::filesystem::create_directories(folder_ / "db");
  CounterRng rng(2);
  int continued = 0, refused = 0;
  for (int round = 0; round < 300; ++round) {
    std::string bytes = whole;
    const size_t range = round % 2 == 0 ? 128 : bytes.size();
    for (uint64_t i = 1 + rng.Below(4); i > 0; --i) bytes[rng.Below(range)] = static_cast<char>(rng.Next());
    Write("db/train.objects.partial", bytes);
    const auto writer = Writer("db");
    ++(writer.ok() ? continued : refused);
    if (writer.ok()) {
      ASSERT_LE((*writer)->frames_done(), kFrames);
    } else {
      ASSERT_THAT(writer.status().message(), IsOneLine());
    }
  }
  EXPECT_GT(continued, 50);
  EXPECT_GT(refused, 50);
}

}  // namespace
}  // namespace kd
