#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/hostile_input.h"
#include "base/rng.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/nuscenes_dataset.h"
#include "data/nuscenes_splits.h"
#include "data/nuscenes_tables.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kVersion[] = "v1.0-mini";

std::string GoldenFolder() { return SourceDir() + "/tests/golden/nuscenes/n01_small"; }

// A copy of a golden data set whose tables a test may damage.
class NuscenesTablesTest : public testing::Test {
 protected:
  NuscenesTablesTest() {
    std::filesystem::copy(GoldenFolder(), folder_.path(), std::filesystem::copy_options::recursive);
  }

  std::string Table(const std::string& name) const { return folder_ / absl::StrCat(kVersion, "/", name, ".json"); }
  Json Load(const std::string& name) const { return Json::parse(*ReadFile(Table(name))); }
  void Store(const std::string& name, const std::string& text) const {
    std::ofstream(Table(name), std::ios::binary) << text;
  }
  absl::Status Open() const { return NuscenesTables::Open(folder_.path(), kVersion).status(); }

  // Damages one record of a table, opens the tables and expects an error of one line with these words in it.
  void Refuses(const std::string& name, const std::function<void(Json&)>& damage,
               const std::vector<std::string>& words) const {
    const Json before = Load(name);
    Json table = before;
    damage(table);
    Store(name, table.dump());
    const absl::Status status = Open();
    Store(name, before.dump());
    EXPECT_FALSE(status.ok()) << name << " " << words[0];
    EXPECT_THAT(std::string(status.message()), IsOneLine());
    for (const std::string& word : words) EXPECT_THAT(std::string(status.message()), HasSubstr(word));
  }

  const TemporaryFolder folder_;
};

TEST_F(NuscenesTablesTest, SplitsHoldTheirOwnScenes) {
  const auto tables = NuscenesTables::Open(folder_.path(), kVersion);
  ASSERT_THAT(tables, IsOk());
  const auto val = tables->SplitSamples("mini_val"), train = tables->SplitSamples("mini_train");
  ASSERT_THAT(val, IsOk());
  ASSERT_THAT(train, IsOk());
  EXPECT_FALSE(val->empty());
  for (const int32_t sample : *train) EXPECT_EQ(std::count(val->begin(), val->end(), sample), 0);
  EXPECT_THAT(tables->SplitSamples("nothing").status(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("mini_val")));
}

TEST_F(NuscenesTablesTest, OfficialSplitsHaveTheirSizes) {
  const std::pair<const char*, size_t> sizes[] = {
      {"train", 700}, {"val", 150}, {"test", 150}, {"mini_train", 8}, {"mini_val", 2}};
  for (const auto& [split, size] : sizes) EXPECT_EQ(NuscenesSplitScenes(split)->size(), size) << split;
}

TEST_F(NuscenesTablesTest, DamagedTablesAreNamedWithRecordAndField) {
  ASSERT_THAT(Open(), IsOk());
  const std::string nobody(32, 'b');
  Refuses("sample", [&](Json& t) { t[0]["scene_token"] = nobody; }, {"sample.json", "scene_token", nobody});
  Refuses("sample_annotation", [&](Json& t) { t[1]["instance_token"] = nobody; },
          {"sample_annotation.json", "instance_token"});
  Refuses("sample_annotation", [](Json& t) { t[1]["size"] = "large"; }, {"sample_annotation.json", "size"});
  Refuses("sample_annotation", [](Json& t) { t[1].erase("rotation"); }, {"sample_annotation.json", "rotation"});
  Refuses("ego_pose", [](Json& t) { t[0]["translation"] = {1, 2}; }, {"ego_pose.json", "translation"});
  Refuses("sample_data", [](Json& t) { t[0]["timestamp"] = -1.5; }, {"sample_data.json", "timestamp"});
  Refuses("instance", [&](Json& t) { t[0]["category_token"] = nobody; }, {"instance.json", "category_token"});
  Refuses("sample", [](Json& t) { t[1]["token"] = t[0]["token"]; }, {"sample.json", "token"});
}

TEST_F(NuscenesTablesTest, MissingAndBrokenFilesAreErrors) {
  const std::string whole = *ReadFile(Table("sample"));
  Store("sample", whole.substr(0, whole.size() / 2));
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss,
                               AllOf(HasSubstr("sample.json"), HasSubstr("broken JSON at byte "))));
  std::string comma = whole;
  const size_t second = comma.find('{', comma.find('{') + 1);
  comma.replace(comma.rfind(',', second), 1, " ");
  Store("sample", comma);
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss,
                               AllOf(HasSubstr("record 1"), HasSubstr(absl::StrCat("at byte ", second, " ")))));
  std::filesystem::remove(Table("sample"));
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("sample.json")));
  EXPECT_THAT(NuscenesTables::Open(folder_.path(), "v9").status(), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(NuscenesTablesTest, LinksThatLeadNowhereAreNamed) {
  const std::string nobody(32, 'b');
  const std::pair<const char*, const char*> links[] = {
      {"sample", "prev"},
      {"sample", "next"},
      {"scene", "first_sample_token"},
      {"scene", "last_sample_token"},
      {"calibrated_sensor", "sensor_token"},
      {"sample_data", "sample_token"},
      {"sample_data", "calibrated_sensor_token"},
      {"sample_data", "ego_pose_token"},
      {"sample_data", "prev"},
      {"sample_data", "next"},
      {"sample_annotation", "sample_token"},
      {"sample_annotation", "prev"},
      {"sample_annotation", "next"},
      {"instance", "first_annotation_token"},
      {"instance", "last_annotation_token"},
  };
  for (const auto& [table, field] : links) {
    // The first record is of the LiDAR.
    Refuses(table, [&, field = field](Json& t) { t[0][field] = nobody; },
            {absl::StrCat(table, ".json"), field, nobody});
  }
  Refuses("sample_annotation", [&](Json& t) { t[0]["attribute_tokens"] = {nobody}; }, {"attribute_tokens", nobody});
  Refuses("instance", [](Json& t) { t[0]["first_annotation_token"] = t[1]["first_annotation_token"]; },
          {"instance.json", "first_annotation_token", "another instance"});
}

TEST_F(NuscenesTablesTest, HostileTablesNeverCrash) {
  for (const char* name : {"calibrated_sensor", "sample"}) {
    Json table = Load(name);
    table.erase(table.begin() + 1, table.end());
    const std::string whole = *ReadFile(Table(name));
    ForHostileInput(table.dump(), 100, [&](const std::string& text) {
      Store(name, text);
      const absl::Status status = Open();
      EXPECT_THAT(status.ok() ? "fine" : std::string(status.message()), IsOneLine());
    });
    Store(name, whole);
  }
}

constexpr const char* kTables[] = {"attribute", "calibrated_sensor", "category", "ego_pose",          "instance",
                                   "sample",    "sample_data",       "scene",    "sample_annotation", "sensor"};

// Opens damaged tables and asks everything of those that open all the same.
void UseTables(const std::string& folder, const std::string& table) {
  const auto tables = NuscenesTables::Open(folder, kVersion);
  if (!tables.ok()) {
    const std::string message(tables.status().message());
    EXPECT_THAT(message, IsOneLine());
    EXPECT_THAT(message, HasSubstr(".json")) << table;
    return;
  }
  for (size_t sample = 0; sample < tables->samples().size(); ++sample) {
    for (size_t channel = 0; channel < kNuscenesChannels.size(); ++channel) {
      const auto recording = tables->KeyFrame(static_cast<int32_t>(sample), static_cast<int>(channel));
      if (recording.ok()) (void)tables->SensorToGlobal(**recording);
    }
    for (const int32_t i : tables->AnnotationsOf(static_cast<int32_t>(sample))) {
      (void)tables->Velocity(tables->annotations()[i]);
    }
  }
  (void)tables->SplitSamples("mini_val").ok();
}

TEST_F(NuscenesTablesTest, ValuesOfAnyTypeAreErrorsOrHarmless) {
  const Json odd[] = {
      nullptr,       true,           -1,        1e300,        9007199254740993, "", "\n\x01", std::string(32, 'c'),
      Json::array(), Json::object(), {0, 0, 0}, {0, 0, 0, 0}, {{1, 2}, {"x"}}};
  for (const char* name : kTables) {
    const std::string whole = *ReadFile(Table(name));
    const Json before = Json::parse(whole);
    for (const auto& [field, value] : before[0].items()) {
      for (const Json& replacement : odd) {
        Json table = before;
        table[0][field] = replacement;
        Store(name, table.dump());
        UseTables(folder_.path(), name);
      }
    }
    for (const Json& table : {Json::array(), Json(1), Json{1}, Json{nullptr}, Json{Json::array()}, Json::object()}) {
      Store(name, table.dump());
      UseTables(folder_.path(), name);
    }
    Store(name, whole);
  }
}

TEST_F(NuscenesTablesTest, RandomDamageNeverCrashes) {
  constexpr char kOdd[] = "\"{}[],:-.eE0159 \\\0\xff";
  CounterRng rng(RngKeyBuilder().Add("damaged tables").key());
  for (const char* name : kTables) {
    const std::string whole = *ReadFile(Table(name));
    for (int round = 0; round < 100; ++round) {
      std::string text = whole;
      for (uint64_t i = 1 + rng.Below(3); i > 0; --i) text[rng.Below(text.size())] = kOdd[rng.Below(sizeof(kOdd) - 1)];
      if (rng.Below(4) == 0) text.resize(rng.Below(text.size()));
      Store(name, text);
      UseTables(folder_.path(), name);
    }
    Store(name, whole);
  }
}

// The golden tables with sensor files: every LiDAR file holds one point of the vehicle's own and one of a pole that
// stands still.
class NuscenesFrameTest : public NuscenesTablesTest {
 protected:
  NuscenesFrameTest() {
    const auto tables = NuscenesTables::Open(folder_.path(), kVersion);
    for (const NuscenesRecording& recording : tables->recordings()) {
      if (!absl::StrContains(recording.filename, "LIDAR_TOP")) continue;
      const Vec3 pole = tables->SensorToGlobal(recording).Inverse().Apply(kPole);
      const float rows[] = {
          0.9f, -0.9f, 0, 7, 0, static_cast<float>(pole[0]), static_cast<float>(pole[1]), static_cast<float>(pole[2]),
          9,    31};
      Write(recording.filename, std::string(reinterpret_cast<const char*>(rows), sizeof(rows)));
    }
    // The last sample of a scene: others come before it.
    for (const NuscenesSample& sample : tables->samples()) {
      if (sample.next < 0 && sample.previous >= 0) last_ = FormatNuscenesToken(sample.token);
    }
    for (const NuscenesClass& c : kNuscenesClasses) classes_.emplace_back(c.name);
  }

  void Write(const std::string& filename, const std::string& bytes) const {
    const std::string path = folder_ / filename;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
  }
  std::unique_ptr<NuscenesDataset> OpenAll() const {
    return *NuscenesDataset::Open(folder_.path(), kVersion, classes_);
  }

  static constexpr Vec3 kPole = {600, 1200, 3};
  std::string last_;
  std::vector<std::string> classes_;
};

TEST_F(NuscenesFrameTest, SweepsMeetInTheKeyFrame) {
  const auto dataset = OpenAll();
  const NuscenesTables& tables = dataset->tables();
  const auto frame = dataset->Read(last_);
  ASSERT_THAT(frame.status(), IsOk());
  ASSERT_EQ(frame->num_features, 5);
  const int32_t index = *tables.FindSample(last_);
  const NuscenesRecording& key = **tables.KeyFrame(index, kNuscenesLidar);
  const Vec3 pole = tables.SensorToGlobal(key).Inverse().Apply(kPole);
  const NuscenesRecording* sweep = &key;
  ASSERT_GE(frame->num_points(), 2u);
  for (size_t i = 0; i < frame->num_points(); ++i) {
    const float* const point = &frame->points[5 * i];
    for (int axis = 0; axis < 3; ++axis) EXPECT_NEAR(point[axis], pole[axis], 1e-3);
    EXPECT_EQ(point[3], 9);
    EXPECT_NEAR(point[4], 1e-6 * static_cast<double>(key.timestamp_us - sweep->timestamp_us), 1e-6);
    EXPECT_EQ(sweep->previous < 0, i + 1 == frame->num_points());
    if (sweep->previous >= 0) sweep = &tables.recordings()[sweep->previous];
  }
  const auto alone = NuscenesDataset::Open(folder_.path(), kVersion, classes_, 1);
  ASSERT_THAT(alone.status(), IsOk());
  EXPECT_EQ((*alone)->Read(last_)->num_points(), 1u);
}

// Checks each box's velocity against the tables: its speed, and its direction as seen from the box.
TEST_F(NuscenesFrameTest, VelocitiesTurnWithTheirBoxes) {
  const auto dataset = OpenAll();
  std::map<std::string, Json> annotations, samples;
  for (const Json& row : Load("sample_annotation")) annotations[row["token"]] = row;
  for (const Json& row : Load("sample")) samples[row["token"]] = row;
  size_t known = 0, unknown = 0;
  for (const NuscenesSample& sample : dataset->tables().samples()) {
    const auto frame = dataset->ReadKeyFrame(FormatNuscenesToken(sample.token));
    ASSERT_THAT(frame.status(), IsOk());
    size_t at = 0;
    for (const int32_t i : dataset->tables().AnnotationsOf(*dataset->tables().FindSample(frame->frame.sample))) {
      if (dataset->tables().annotations()[i].label < 0) continue;
      const LabeledBox& box = frame->frame.boxes[at];
      const auto& velocity = frame->velocities[at++];
      const Json& row = annotations[FormatNuscenesToken(dataset->tables().annotations()[i].token)];
      EXPECT_EQ(box.num_points, row["num_lidar_pts"]);
      const Json& first = row["prev"] == "" ? row : annotations[row["prev"]];
      const Json& last = row["next"] == "" ? row : annotations[row["next"]];
      const double seconds = 1e-6 * (samples[last["sample_token"]]["timestamp"].get<double>() -
                                     samples[first["sample_token"]]["timestamp"].get<double>());
      const double longest = row["prev"] == "" || row["next"] == "" ? 1.5 : 3;
      if (seconds == 0 || seconds > longest) {
        ++unknown;
        EXPECT_TRUE(std::isnan(velocity[0]) && std::isnan(velocity[1]));
        EXPECT_EQ(box.vx, 0);
        EXPECT_EQ(box.vy, 0);
        continue;
      }
      ++known;
      EXPECT_EQ(box.vx, velocity[0]);
      EXPECT_EQ(box.vy, velocity[1]);
      const auto step = [&](int axis) {
        return (last["translation"][axis].get<double>() - first["translation"][axis].get<double>()) / seconds;
      };
      EXPECT_NEAR(std::hypot(box.vx, box.vy), std::hypot(step(0), step(1)), 1e-3);
      if (std::hypot(step(0), step(1)) < 0.1) continue;
      const double yaw = 2 * std::atan2(row["rotation"][3].get<double>(), row["rotation"][0].get<double>());
      const double seen = std::atan2(box.vy, box.vx) - box.box.yaw, want = std::atan2(step(1), step(0)) - yaw;
      EXPECT_NEAR(std::remainder(seen - want, 2 * M_PI), 0, 1e-3);
    }
    EXPECT_EQ(at, frame->frame.boxes.size());
    EXPECT_EQ(at, frame->velocities.size());
  }
  EXPECT_GT(known, 10u);
  EXPECT_GT(unknown, 0u);
}

TEST_F(NuscenesFrameTest, SensorFilesThatAreMissingOrCutAreNamed) {
  const auto dataset = OpenAll();
  const std::string filename = (*dataset->tables().KeyFrame(*dataset->tables().FindSample(last_), 0))->filename;
  Write(filename, std::string(30, '\0'));
  EXPECT_THAT(dataset->Read(last_).status(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(filename)));
  std::filesystem::remove(folder_ / filename);
  EXPECT_THAT(dataset->Read(last_).status(), StatusIs(absl::StatusCode::kNotFound, HasSubstr(filename)));
  EXPECT_THAT(dataset->Read("../x").status(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(dataset->Read(std::string(32, 'b')).status(), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(NuscenesFrameTest, OpensByFormatAndKnowsItsClasses) {
  v1::Data data;
  data.set_format("nuscenes");
  data.set_root(folder_ / kVersion);
  data.add_class_names("car");
  const auto dataset = OpenDataset(data);
  ASSERT_THAT(dataset.status(), IsOk());
  const auto split = (*dataset)->Split("mini_val");
  ASSERT_THAT(split.status(), IsOk());
  for (const std::string& sample : *split) {
    const auto frame = (*dataset)->Read(sample);
    ASSERT_THAT(frame.status(), IsOk());
    for (const LabeledBox& box : frame->boxes) EXPECT_EQ(box.label, 0);
  }
  // An archive beside its folder is no second version of the tables.
  Write("v1.0-mini.tgz", "");
  data.set_root(folder_.path());
  EXPECT_THAT(OpenDataset(data).status(), IsOk());
  data.add_class_names("tank");
  EXPECT_THAT(OpenDataset(data).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tank")));
}

TEST_F(NuscenesFrameTest, DigestNamesTheContent) {
  const auto digest = [&] { return *OpenAll()->Digest("mini_val"); };
  const std::string before = digest();
  EXPECT_EQ(digest(), before);
  // A box moves.
  Json table = Load("sample_annotation");
  const std::string whole = table.dump();
  const auto val = *OpenAll()->Split("mini_val");
  const auto row = std::find_if(table.begin(), table.end(), [&](const Json& r) {
    return std::find(val.begin(), val.end(), r["sample_token"]) != val.end();
  });
  ASSERT_NE(row, table.end());
  (*row)["translation"][0] = (*row)["translation"][0].get<double>() + 1;
  Store("sample_annotation", table.dump());
  EXPECT_NE(digest(), before);
  Store("sample_annotation", whole);
  EXPECT_EQ(digest(), before);
  // Velocities alone change with the time of a sample.
  Json samples = Load("sample");
  const auto sample = std::find_if(samples.begin(), samples.end(), [&](const Json& r) { return r["token"] == val[0]; });
  (*sample)["timestamp"] = (*sample)["timestamp"].get<int64_t>() + 1000;
  Store("sample", samples.dump());
  EXPECT_NE(digest(), before);
}

// Facts of the real key frames, made with the public devkit.
class NuscenesRealTest : public testing::Test {
 protected:
  void SetUp() override {
    KD_REQUIRE_FILE(facts_path_);
    KD_REQUIRE_FILE(root_);
    std::vector<std::string> classes;
    for (const NuscenesClass& c : kNuscenesClasses) classes.emplace_back(c.name);
    auto dataset = NuscenesDataset::Open(root_, "v1.0-trainval", classes);
    ASSERT_THAT(dataset.status(), IsOk());
    dataset_ = *std::move(dataset);
    facts_ = Json::parse(*ReadFile(facts_path_));
  }

  // The rows of a sample's own LiDAR file.
  std::vector<float> KeyPoints(const std::string& token) const {
    const NuscenesTables& tables = dataset_->tables();
    return *ReadNuscenesPoints(root_ + "/" + (*tables.KeyFrame(*tables.FindSample(token), kNuscenesLidar))->filename);
  }

  const std::string facts_path_ = SharedPath("golden/nuscenes/readers.json"), root_ = SharedPath("data/nuscenes");
  std::unique_ptr<NuscenesDataset> dataset_;
  Json facts_;
};

TEST_F(NuscenesRealTest, KeyFramesHoldTheirPoints) {
  for (const auto& [token, facts] : facts_.items()) {
    const std::vector<float> points = KeyPoints(token);
    EXPECT_EQ(points.size() / 5, facts["points"]) << token;
    double sums[5] = {};
    for (size_t i = 0; i < points.size(); ++i) sums[i % 5] += points[i];
    for (int column = 0; column < 5; ++column) {
      EXPECT_NEAR(points[column], facts["first_point"][column].get<double>(), 1e-6) << token;
      EXPECT_NEAR(sums[column], facts["sum"][column].get<double>(), 1) << token;
    }
  }
}

TEST_F(NuscenesRealTest, SweepsAreAggregated) {
  for (const auto& [token, facts] : facts_.items()) {
    const auto frame = dataset_->Read(token);
    ASSERT_THAT(frame.status(), IsOk());
    EXPECT_NEAR(static_cast<double>(frame->num_points()), facts["sweeps"]["points"].get<double>(), 2) << token;
    double sums[3] = {};
    std::set<float> times;
    for (size_t i = 0; i < frame->points.size(); i += 5) {
      for (int axis = 0; axis < 3; ++axis) sums[axis] += frame->points[i + axis];
      times.insert(frame->points[i + 4]);
    }
    for (int axis = 0; axis < 3; ++axis)
      EXPECT_NEAR(sums[axis], facts["sweeps"]["sum_xyz"][axis].get<double>(), 1) << token;
    const std::vector<float> found(times.begin(), times.end());
    ASSERT_EQ(found.size(), facts["sweeps"]["dt"].size()) << token;
    for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], facts["sweeps"]["dt"][i].get<double>(), 1e-6);
  }
}

TEST_F(NuscenesRealTest, BoxesAreInTheLidarFrame) {
  const NuscenesTables& tables = dataset_->tables();
  for (const auto& [token, facts] : facts_.items()) {
    const auto frame = dataset_->Read(token);
    ASSERT_THAT(frame.status(), IsOk());
    std::map<std::string, Json> wanted;
    for (const Json& want : facts["boxes_lidar"]) wanted[want["annotation"]] = want;
    const auto annotations = tables.AnnotationsOf(*tables.FindSample(token));
    ASSERT_EQ(frame->boxes.size(), wanted.size()) << token;
    ASSERT_EQ(frame->boxes.size(), annotations.size()) << token;
    for (size_t i = 0; i < annotations.size(); ++i) {
      const std::string name = FormatNuscenesToken(tables.annotations()[annotations[i]].token);
      ASSERT_TRUE(wanted.contains(name)) << name;
      const Json& want = wanted[name];
      const Box3d& box = frame->boxes[i].box;
      const float center[] = {box.x, box.y, box.z}, size[] = {box.dy, box.dx, box.dz};
      for (int axis = 0; axis < 3; ++axis) {
        EXPECT_NEAR(center[axis], want["center"][axis].get<double>(), 1e-5) << name;
        EXPECT_NEAR(size[axis], want["wlh"][axis].get<double>(), 1e-5) << name;
      }
      EXPECT_NEAR(std::remainder(box.yaw - want["yaw"].get<double>(), 2 * M_PI), 0, 1e-5) << name;
      EXPECT_EQ(frame->boxes[i].num_points, want["points"]) << name;
    }
  }
}

TEST_F(NuscenesRealTest, PointsFallWhereTheCamerasSeeThem) {
  for (const auto& [token, facts] : facts_.items()) {
    const std::vector<float> points = KeyPoints(token);
    const auto cameras = dataset_->Cameras(token);
    ASSERT_THAT(cameras.status(), IsOk());
    ASSERT_EQ(cameras->size(), facts["cameras"].size());
    for (const NuscenesCamera& camera : *cameras) {
      const Json& want = facts["cameras"][camera.channel];
      EXPECT_EQ(camera.path, absl::StrCat(root_, "/", want["file"].get<std::string>()));
      double sums[3] = {};
      int count = 0;
      for (size_t i = 0; i < points.size(); i += 5) {
        double pixel[3];
        for (int row = 0; row < 3; ++row) {
          const double* const m = &camera.lidar_to_image[4 * row];
          pixel[row] = m[0] * points[i] + m[1] * points[i + 1] + m[2] * points[i + 2] + m[3];
        }
        const double depth = pixel[2], u = pixel[0] / depth, v = pixel[1] / depth;
        if (!(depth > 1 && u > 1 && u < camera.width - 1 && v > 1 && v < camera.height - 1)) continue;
        ++count;
        sums[0] += u;
        sums[1] += v;
        sums[2] += depth;
      }
      EXPECT_NEAR(count, want["points_in_image"].get<int>(), 2) << camera.channel;
      for (int k = 0; k < 3; ++k)
        EXPECT_NEAR(sums[k] / count, want["mean_uv_depth"][k].get<double>(), 1e-2) << camera.channel;
    }
  }
}

TEST(NuscenesPointsTest, PointFilesMustHoldWholeRows) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.pcd.bin";
  std::ofstream(path, std::ios::binary) << std::string(39, '\0');
  EXPECT_THAT(ReadNuscenesPoints(path).status(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("20")));
  std::ofstream(path, std::ios::binary) << "";
  EXPECT_FALSE(ReadNuscenesPoints(path).ok());
}

}  // namespace
}  // namespace kd
