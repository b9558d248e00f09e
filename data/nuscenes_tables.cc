#include "data/nuscenes_tables.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "data/json_fields.h"
#include "data/nuscenes_splits.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

constexpr char kRemedy[] = "; unpack nuScenes's metadata archive anew";
constexpr double kFarthest = 1e7;  // Metres; further than any two places on earth.
constexpr double kLargestObject = 1000;
constexpr int64_t kMaxImageSide = 1 << 20;
constexpr int64_t kMaxPoints = 1 << 30;              // On one object.
constexpr int64_t kMaxTimestamp = int64_t{1} << 53;  // Exact in a double.

struct Category {
  const char* name;
  const char* class_name;
};
constexpr Category kCategories[] = {{"vehicle.car", "car"},
                                    {"vehicle.truck", "truck"},
                                    {"vehicle.bus.bendy", "bus"},
                                    {"vehicle.bus.rigid", "bus"},
                                    {"vehicle.trailer", "trailer"},
                                    {"vehicle.construction", "construction_vehicle"},
                                    {"human.pedestrian.adult", "pedestrian"},
                                    {"human.pedestrian.child", "pedestrian"},
                                    {"human.pedestrian.police_officer", "pedestrian"},
                                    {"human.pedestrian.construction_worker", "pedestrian"},
                                    {"vehicle.motorcycle", "motorcycle"},
                                    {"vehicle.bicycle", "bicycle"},
                                    {"movable_object.trafficcone", "traffic_cone"},
                                    {"movable_object.barrier", "barrier"}};
constexpr char kBicycleRack[] = "static_object.bicycle_rack";

template <typename List>
int IndexIn(const List& names, absl::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? -1 : static_cast<int>(found - names.begin());
}

absl::Status Invalid(absl::string_view field, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("field \"", field, "\" ", problem));
}

absl::Status CheckPosition(absl::string_view field, const Vec3& position) {
  const bool possible =
      std::all_of(position.begin(), position.end(), [](double v) { return std::abs(v) <= kFarthest; });
  return possible ? absl::OkStatus() : Invalid(field, absl::StrCat("holds a number beyond ", kFarthest, " m"));
}

absl::Status CheckTimestamp(int64_t timestamp) {
  if (timestamp >= 0 && timestamp < kMaxTimestamp) return absl::OkStatus();
  return Invalid("timestamp", absl::StrCat("is ", timestamp, ", expected microseconds since 1970"));
}

absl::Status CheckPoints(absl::string_view field, int64_t count) {
  if (count >= 0 && count <= kMaxPoints) return absl::OkStatus();
  return Invalid(field, absl::StrCat("is ", count, ", expected a number of points"));
}

absl::Status ToTransform(const Vec3& translation, const std::array<double, 4>& rotation, RigidTransform& transform) {
  KD_RETURN_IF_ERROR(CheckPosition("translation", translation));
  double square = 0;
  for (const double v : rotation) square += v * v;
  if (!(std::abs(square - 1) < 0.01)) {
    return Invalid("rotation", "is no rotation, expected a quaternion w, x, y, z of length 1");
  }
  transform = {.rotation = RotationOfQuaternion(rotation), .translation = translation};
  return absl::OkStatus();
}

// Records of one table by token.
class TokenIndex {
 public:
  explicit TokenIndex(std::string table) : table_(std::move(table)) {}

  // INVALID_ARGUMENT: the token is there already.
  absl::Status Add(NuscenesToken token, size_t index) {
    if (index_.emplace(token, static_cast<int32_t>(index)).second) return absl::OkStatus();
    return Invalid("token", "is that of an earlier record, too");
  }
  // INVALID_ARGUMENT: no such record.
  absl::StatusOr<int32_t> Find(absl::string_view field, NuscenesToken token) const {
    if (const auto found = index_.find(token); found != index_.end()) return found->second;
    return Invalid(field, absl::StrCat("names ", FormatNuscenesToken(token), ", which ", table_, " does not hold"));
  }
  absl::StatusOr<int32_t> Find(absl::string_view field, const std::optional<NuscenesToken>& token) const {
    if (!token.has_value()) return -1;
    return Find(field, *token);
  }
  absl::flat_hash_map<NuscenesToken, int32_t> Release() { return std::move(index_); }

 private:
  const std::string table_;
  absl::flat_hash_map<NuscenesToken, int32_t> index_;
};

}  // namespace

int NuscenesClassIndex(absl::string_view name) {
  for (size_t i = 0; i < kNuscenesClasses.size(); ++i) {
    if (kNuscenesClasses[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

int NuscenesAttributeIndex(absl::string_view name) { return IndexIn(kNuscenesAttributes, name); }

// Reads the tables in an order in which every link, but for those inside one table, points to what was read.
class NuscenesTableReader {
 public:
  explicit NuscenesTableReader(NuscenesTables& tables)
      : tables_(tables), folder_(absl::StrCat(tables.root_, "/", tables.version_, "/")) {}

  absl::Status Read() {
    std::error_code error;
    if (!fs::is_directory(folder_, error)) {
      return absl::NotFoundError(absl::StrCat(folder_,
                                              " is not a folder; name the folder that holds samples/, sweeps/ and the "
                                              "version's tables (v1.0-mini, v1.0-trainval or v1.0-test)"));
    }
    KD_RETURN_IF_ERROR(ReadCategories());
    KD_RETURN_IF_ERROR(ReadAttributes());
    KD_RETURN_IF_ERROR(ReadInstances());
    KD_RETURN_IF_ERROR(ReadScenes());
    KD_RETURN_IF_ERROR(ReadSamples());
    KD_RETURN_IF_ERROR(CheckSceneLists());
    KD_RETURN_IF_ERROR(ReadSensors());
    KD_RETURN_IF_ERROR(ReadCalibrations());
    KD_RETURN_IF_ERROR(ReadRecordings());
    KD_RETURN_IF_ERROR(ReadPoses());
    KD_RETURN_IF_ERROR(ReadAnnotations());
    IndexAnnotations();
    tables_.sample_index_ = sample_tokens_.Release();
    return absl::OkStatus();
  }

 private:
  std::string PathOf(absl::string_view table) const { return absl::StrCat(folder_, table, ".json"); }

  absl::Status Damaged(absl::string_view table, absl::string_view record, absl::string_view problem) const {
    return absl::DataLossError(absl::StrCat(PathOf(table), ": record ", record, ": ", problem, kRemedy));
  }

  // Reads one table: fills `fields`, whose first is the token, and calls `add`, once per record.
  absl::Status ForEachRecord(absl::string_view table, NuscenesToken& token, std::vector<JsonField> fields,
                             absl::FunctionRef<absl::Status()> add) const {
    fields.insert(fields.begin(), {.name = "token", .target = &token});
    absl::StatusOr<std::unique_ptr<JsonFile>> file = JsonFile::Open(PathOf(table));
    if (!file.ok()) return absl::Status(file.status().code(), absl::StrCat(file.status().message(), kRemedy));
    simdjson::ondemand::array records;
    if (const auto error = (*file)->document().get_array().get(records); error == simdjson::INCORRECT_TYPE) {
      return absl::DataLossError(absl::StrCat(PathOf(table), ": expected a list of records, [{...}, ...]", kRemedy));
    } else if (error != simdjson::SUCCESS) {
      return absl::DataLossError(absl::StrCat(PathOf(table), ": ", (*file)->Broken(error).message(), kRemedy));
    }
    size_t number = 0;
    for (simdjson::simdjson_result<simdjson::ondemand::value> record : records) {
      token = 0;
      absl::Status status = ReadJsonFields(**file, record, fields);
      if (status.ok()) status = add();
      if (!status.ok()) {
        const std::string name = token == 0 ? "" : absl::StrCat(" (", FormatNuscenesToken(token), ")");
        return Damaged(table, absl::StrCat(number, name), status.message());
      }
      ++number;
    }
    const absl::Status end = (*file)->CheckEnd();
    return end.ok() ? end : absl::DataLossError(absl::StrCat(end.message(), kRemedy));
  }

  absl::Status ReadCategories() {
    NuscenesToken token;
    std::string name;
    return ForEachRecord("category", token, {{"name", &name}}, [&] {
      int8_t label = -1;
      for (const Category& category : kCategories) {
        if (category.name == name) label = static_cast<int8_t>(NuscenesClassIndex(category.class_name));
      }
      category_labels_.push_back(label);
      category_is_rack_.push_back(name == kBicycleRack);
      return category_tokens_.Add(token, category_labels_.size() - 1);
    });
  }

  absl::Status ReadAttributes() {
    NuscenesToken token;
    std::string name;
    return ForEachRecord("attribute", token, {{"name", &name}}, [&]() -> absl::Status {
      const int index = NuscenesAttributeIndex(name);
      if (index < 0) {
        return Invalid("name", absl::StrCat("is \"", absl::CEscape(name.substr(0, 64)),
                                            "\"; attributes are: ", absl::StrJoin(kNuscenesAttributes, ", ")));
      }
      return attribute_tokens_.Add(token, static_cast<size_t>(index));
    });
  }

  absl::Status ReadInstances() {
    NuscenesToken token, category;
    Instance instance;
    const auto add = [&]() -> absl::Status {
      KD_ASSIGN_OR_RETURN(instance.category, category_tokens_.Find("category_token", category));
      instance.token = token;
      instances_.push_back(instance);
      return instance_tokens_.Add(token, instances_.size() - 1);
    };
    return ForEachRecord("instance", token,
                         {{"category_token", &category},
                          {"first_annotation_token", &instance.first},
                          {"last_annotation_token", &instance.last}},
                         add);
  }

  absl::Status ReadScenes() {
    NuscenesToken token;
    Scene scene;
    return ForEachRecord("scene", token,
                         {{"name", &scene.name},
                          {"nbr_samples", &scene.num_samples},
                          {"first_sample_token", &scene.first},
                          {"last_sample_token", &scene.last}},
                         [&] {
                           scene.token = token;
                           scenes_.push_back(scene);
                           tables_.scenes_.push_back(scene.name);
                           return scene_tokens_.Add(token, scenes_.size() - 1);
                         });
  }

  absl::Status ReadSamples() {
    std::vector<Links> links;
    NuscenesToken token, scene;
    Links link;
    int64_t timestamp = 0;
    const auto add = [&]() -> absl::Status {
      KD_RETURN_IF_ERROR(CheckTimestamp(timestamp));
      NuscenesSample& sample = tables_.samples_.emplace_back();
      sample.token = token;
      sample.timestamp_us = timestamp;
      KD_ASSIGN_OR_RETURN(sample.scene, scene_tokens_.Find("scene_token", scene));
      links.push_back(link);
      return sample_tokens_.Add(token, tables_.samples_.size() - 1);
    };
    KD_RETURN_IF_ERROR(ForEachRecord(
        "sample", token,
        {{"timestamp", &timestamp}, {"prev", &link.previous}, {"next", &link.next}, {"scene_token", &scene}}, add));
    return Link("sample", sample_tokens_, links, tables_.samples_,
                [&](const NuscenesSample& a, const NuscenesSample& b) {
                  return a.scene == b.scene ? "" : "names a sample of another scene";
                });
  }

  // Each scene's list must lead from its first sample to its last.
  absl::Status CheckSceneLists() const {
    for (const Scene& scene : scenes_) {
      const auto check = [&]() -> absl::Status {
        KD_ASSIGN_OR_RETURN(int32_t at, sample_tokens_.Find("first_sample_token", scene.first));
        KD_ASSIGN_OR_RETURN(const int32_t last, sample_tokens_.Find("last_sample_token", scene.last));
        // Links may lead in a circle, and the number is the file's: no list is longer than the table.
        const auto longest = std::min<int64_t>(scene.num_samples, tables_.samples_.size());
        int64_t count = 1;
        for (; at != last && count < longest && at >= 0; ++count) at = tables_.samples_[at].next;
        if (at == last && count == scene.num_samples) return absl::OkStatus();
        return Invalid("nbr_samples", absl::StrCat("is ", scene.num_samples,
                                                   ", but so many samples do not lead from the first to the last"));
      };
      if (const absl::Status status = check(); !status.ok()) {
        return Damaged("scene", FormatNuscenesToken(scene.token), status.message());
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadSensors() {
    NuscenesToken token;
    std::string channel;
    return ForEachRecord("sensor", token, {{"channel", &channel}}, [&] {
      sensor_channels_.push_back(IndexIn(kNuscenesChannels, channel));
      return sensor_tokens_.Add(token, sensor_channels_.size() - 1);
    });
  }

  absl::Status ReadCalibrations() {
    NuscenesToken token, sensor;
    Vec3 translation;
    std::array<double, 4> rotation;
    std::vector<double> intrinsic;
    const auto add = [&]() -> absl::Status {
      NuscenesCalibration& calibration = tables_.calibrations_.emplace_back();
      KD_ASSIGN_OR_RETURN(const int32_t index, sensor_tokens_.Find("sensor_token", sensor));
      calibration.channel = sensor_channels_[index];
      KD_RETURN_IF_ERROR(ToTransform(translation, rotation, calibration.sensor_to_ego));
      const bool camera = calibration.channel > kNuscenesLidar;
      if (camera && (intrinsic.size() != 9 || !(intrinsic[0] > 0) || !(intrinsic[4] > 0) || !(intrinsic[8] > 0))) {
        return Invalid("camera_intrinsic",
                       "is no camera matrix, expected 3 rows of 3 numbers, above 0 on the diagonal");
      }
      for (const double v : intrinsic) {
        if (!(std::abs(v) <= kFarthest))
          return Invalid("camera_intrinsic", absl::StrCat("holds a number beyond ", kFarthest));
      }
      if (camera) std::copy(intrinsic.begin(), intrinsic.end(), calibration.intrinsic.emplace().begin());
      return calibration_tokens_.Add(token, tables_.calibrations_.size() - 1);
    };
    return ForEachRecord("calibrated_sensor", token,
                         {{"sensor_token", &sensor},
                          {"translation", absl::MakeSpan(translation)},
                          {"rotation", absl::MakeSpan(rotation)},
                          {"camera_intrinsic", &intrinsic}},
                         add);
  }

  absl::Status ReadRecordings() {
    std::vector<Links> links;
    TokenIndex index(PathOf("sample_data"));
    NuscenesToken token, sample, pose, calibration;
    Links link;
    NuscenesRecording row;
    int64_t width = 0, height = 0;
    const auto add = [&]() -> absl::Status {
      KD_ASSIGN_OR_RETURN(row.calibration, calibration_tokens_.Find("calibrated_sensor_token", calibration));
      const int channel = tables_.calibrations_[row.calibration].channel;
      const bool lidar = channel == kNuscenesLidar;
      if (channel < 0 || (!lidar && !row.is_key_frame)) return absl::OkStatus();
      KD_ASSIGN_OR_RETURN(row.sample, sample_tokens_.Find("sample_token", sample));
      KD_RETURN_IF_ERROR(CheckTimestamp(row.timestamp_us));
      if (width < 0 || width > kMaxImageSide) return Invalid("width", absl::StrCat("is ", width, ", expected pixels"));
      if (height < 0 || height > kMaxImageSide)
        return Invalid("height", absl::StrCat("is ", height, ", expected pixels"));
      if (row.filename.empty() || row.filename.front() == '/' || absl::StrContains(row.filename, "..") ||
          absl::StrContains(row.filename, '\0')) {
        return Invalid("filename", absl::StrCat("is \"", absl::CEscape(row.filename.substr(0, 64)),
                                                "\", expected a path below the data set's folder"));
      }
      row.token = token;
      row.width = static_cast<int32_t>(width);
      row.height = static_cast<int32_t>(height);
      row.pose = pose_tokens_.emplace(pose, static_cast<int32_t>(pose_tokens_.size())).first->second;
      const auto position = static_cast<int32_t>(tables_.recordings_.size());
      if (row.is_key_frame) {
        int32_t& slot = tables_.samples_[row.sample].recordings[channel];
        if (slot >= 0) {
          return Invalid("sample_token",
                         absl::StrCat("names ", FormatNuscenesToken(sample), ", which has a key frame of ",
                                      kNuscenesChannels[channel], " already"));
        }
        slot = position;
      }
      tables_.recordings_.push_back(row);
      links.push_back(lidar ? link : Links{});
      return index.Add(token, position);
    };
    KD_RETURN_IF_ERROR(ForEachRecord("sample_data", token,
                                     {{"sample_token", &sample},
                                      {"ego_pose_token", &pose},
                                      {"calibrated_sensor_token", &calibration},
                                      {"timestamp", &row.timestamp_us},
                                      {"is_key_frame", &row.is_key_frame},
                                      {"height", &height},
                                      {"width", &width},
                                      {"filename", &row.filename},
                                      {"prev", &link.previous},
                                      {"next", &link.next}},
                                     add));
    for (size_t i = 0; i < links.size(); ++i) {
      NuscenesRecording& recording = tables_.recordings_[i];
      const auto fail = [&](absl::string_view problem) {
        return Damaged("sample_data", FormatNuscenesToken(recording.token), problem);
      };
      const absl::StatusOr<int32_t> found = index.Find("prev", links[i].previous),
                                    after = index.Find("next", links[i].next);
      if (!found.ok()) return fail(found.status().message());
      if (!after.ok()) return fail(after.status().message());
      recording.previous = *found;
      if (*found < 0) continue;
      const NuscenesRecording& before = tables_.recordings_[*found];
      if (tables_.calibrations_[before.calibration].channel != kNuscenesLidar) {
        return fail("field \"prev\" names a recording of another sensor");
      }
      if (before.timestamp_us >= recording.timestamp_us)
        return fail("field \"prev\" names a recording that is not earlier");
    }
    return absl::OkStatus();
  }

  absl::Status ReadPoses() {
    tables_.poses_.resize(pose_tokens_.size());
    std::vector<bool> found(pose_tokens_.size());
    NuscenesToken token;
    Vec3 translation;
    std::array<double, 4> rotation;
    const auto add = [&]() -> absl::Status {
      const auto pose = pose_tokens_.find(token);
      if (pose == pose_tokens_.end()) return absl::OkStatus();
      if (found[pose->second]) return Invalid("token", "is that of an earlier record, too");
      found[pose->second] = true;
      return ToTransform(translation, rotation, tables_.poses_[pose->second]);
    };
    KD_RETURN_IF_ERROR(
        ForEachRecord("ego_pose", token,
                      {{"rotation", absl::MakeSpan(rotation)}, {"translation", absl::MakeSpan(translation)}}, add));
    for (const NuscenesRecording& recording : tables_.recordings_) {
      if (found[recording.pose]) continue;
      const auto missing = std::find_if(pose_tokens_.begin(), pose_tokens_.end(),
                                        [&](const auto& entry) { return entry.second == recording.pose; });
      return Damaged("sample_data", FormatNuscenesToken(recording.token),
                     absl::StrCat("field \"ego_pose_token\" names ", FormatNuscenesToken(missing->first), ", which ",
                                  PathOf("ego_pose"), " does not hold"));
    }
    return absl::OkStatus();
  }

  absl::Status ReadAnnotations() {
    std::vector<Links> links;
    TokenIndex index(PathOf("sample_annotation"));
    NuscenesToken token, sample, instance;
    std::vector<NuscenesToken> attributes;
    Vec3 translation, size;
    std::array<double, 4> rotation;
    Links link;
    int64_t lidar_points = 0, radar_points = 0;
    const auto add = [&]() -> absl::Status {
      NuscenesAnnotation& row = tables_.annotations_.emplace_back();
      row.token = token;
      KD_ASSIGN_OR_RETURN(row.sample, sample_tokens_.Find("sample_token", sample));
      KD_ASSIGN_OR_RETURN(row.instance, instance_tokens_.Find("instance_token", instance));
      const int32_t category = instances_[row.instance].category;
      row.label = category_labels_[category];
      row.is_bicycle_rack = category_is_rack_[category];
      row.num_attributes = static_cast<int32_t>(attributes.size());
      for (size_t i = attributes.size(); i-- > 0;) {
        KD_ASSIGN_OR_RETURN(const int32_t attribute, attribute_tokens_.Find("attribute_tokens", attributes[i]));
        row.attribute = static_cast<int8_t>(attribute);
      }
      KD_RETURN_IF_ERROR(ToTransform(translation, rotation, row.box_to_global));
      const auto possible = [](double v) { return static_cast<float>(v) > 0 && v <= kLargestObject; };
      if (!std::all_of(size.begin(), size.end(), possible)) {
        return Invalid("size", absl::StrCat("is ", absl::StrJoin(size, " x "), " m, sizes must be above 0 and at most ",
                                            kLargestObject));
      }
      row.size = size;
      KD_RETURN_IF_ERROR(CheckPoints("num_lidar_pts", lidar_points));
      KD_RETURN_IF_ERROR(CheckPoints("num_radar_pts", radar_points));
      row.num_lidar_points = static_cast<int32_t>(lidar_points);
      row.num_radar_points = static_cast<int32_t>(radar_points);
      links.push_back(link);
      return index.Add(token, tables_.annotations_.size() - 1);
    };
    KD_RETURN_IF_ERROR(ForEachRecord("sample_annotation", token,
                                     {{"sample_token", &sample},
                                      {"instance_token", &instance},
                                      {"attribute_tokens", &attributes},
                                      {"translation", absl::MakeSpan(translation)},
                                      {"size", absl::MakeSpan(size)},
                                      {"rotation", absl::MakeSpan(rotation)},
                                      {"prev", &link.previous},
                                      {"next", &link.next},
                                      {"num_lidar_pts", &lidar_points},
                                      {"num_radar_pts", &radar_points}},
                                     add));
    KD_RETURN_IF_ERROR(Link("sample_annotation", index, links, tables_.annotations_,
                            [&](const NuscenesAnnotation& a, const NuscenesAnnotation& b) {
                              if (a.instance != b.instance) return "names an annotation of another instance";
                              return TimeOf(a) < TimeOf(b) ? "" : "names an annotation that is not in order of time";
                            }));
    return CheckInstanceEnds(index);
  }

  // Both ends of an instance's list must be annotations of it.
  absl::Status CheckInstanceEnds(const TokenIndex& annotations) const {
    for (size_t i = 0; i < instances_.size(); ++i) {
      const auto check = [&](absl::string_view field, NuscenesToken end) -> absl::Status {
        KD_ASSIGN_OR_RETURN(const int32_t found, annotations.Find(field, end));
        if (tables_.annotations_[found].instance == static_cast<int32_t>(i)) return absl::OkStatus();
        return Invalid(field, absl::StrCat("names ", FormatNuscenesToken(end), ", an annotation of another instance"));
      };
      absl::Status status = check("first_annotation_token", instances_[i].first);
      if (status.ok()) status = check("last_annotation_token", instances_[i].last);
      if (!status.ok()) return Damaged("instance", FormatNuscenesToken(instances_[i].token), status.message());
    }
    return absl::OkStatus();
  }

  int64_t TimeOf(const NuscenesAnnotation& annotation) const {
    return tables_.samples_[annotation.sample].timestamp_us;
  }

  void IndexAnnotations() {
    std::vector<size_t>& first = tables_.first_by_sample_;
    first.assign(tables_.samples_.size() + 1, 0);
    for (const NuscenesAnnotation& annotation : tables_.annotations_) ++first[annotation.sample + 1];
    for (size_t i = 1; i < first.size(); ++i) first[i] += first[i - 1];
    std::vector<size_t> next = first;
    tables_.by_sample_.resize(tables_.annotations_.size());
    for (size_t i = 0; i < tables_.annotations_.size(); ++i) {
      tables_.by_sample_[next[tables_.annotations_[i].sample]++] = static_cast<int32_t>(i);
    }
  }

  struct Scene {
    NuscenesToken token = 0;
    std::string name;
    int64_t num_samples = 0;
    NuscenesToken first = 0, last = 0;
  };
  struct Instance {
    NuscenesToken token = 0;
    int32_t category = -1;
    NuscenesToken first = 0, last = 0;
  };
  struct Links {
    std::optional<NuscenesToken> previous, next;
  };

  // Resolves the links inside one table. `problem_of` tells why a record cannot precede another; "": it can.
  template <typename Record, typename ProblemOf>
  absl::Status Link(absl::string_view table, const TokenIndex& index, const std::vector<Links>& links,
                    std::vector<Record>& records, const ProblemOf& problem_of) const {
    for (size_t i = 0; i < records.size(); ++i) {
      const auto resolve = [&]() -> absl::Status {
        KD_ASSIGN_OR_RETURN(records[i].previous, index.Find("prev", links[i].previous));
        KD_ASSIGN_OR_RETURN(records[i].next, index.Find("next", links[i].next));
        if (records[i].previous >= 0) {
          const std::string problem = problem_of(records[records[i].previous], records[i]);
          if (!problem.empty()) return Invalid("prev", problem);
        }
        if (records[i].next >= 0) {
          const std::string problem = problem_of(records[i], records[records[i].next]);
          if (!problem.empty()) return Invalid("next", problem);
        }
        return absl::OkStatus();
      };
      if (const absl::Status status = resolve(); !status.ok()) {
        return Damaged(table, FormatNuscenesToken(records[i].token), status.message());
      }
    }
    return absl::OkStatus();
  }

  NuscenesTables& tables_;
  const std::string folder_;
  TokenIndex category_tokens_{PathOf("category")}, attribute_tokens_{PathOf("attribute")},
      instance_tokens_{PathOf("instance")}, scene_tokens_{PathOf("scene")}, sample_tokens_{PathOf("sample")},
      sensor_tokens_{PathOf("sensor")}, calibration_tokens_{PathOf("calibrated_sensor")};
  std::vector<int8_t> category_labels_;
  std::vector<bool> category_is_rack_;
  std::vector<Instance> instances_;
  std::vector<Scene> scenes_;
  std::vector<int> sensor_channels_;
  // Those that a kept recording names.
  absl::flat_hash_map<NuscenesToken, int32_t> pose_tokens_;
};

absl::StatusOr<NuscenesTables> NuscenesTables::Open(const std::string& root, const std::string& version) {
  NuscenesTables tables;
  tables.root_ = root;
  tables.version_ = version;
  KD_RETURN_IF_ERROR(NuscenesTableReader(tables).Read());
  return tables;
}

absl::StatusOr<int32_t> NuscenesTables::FindSample(absl::string_view text) const {
  if (const std::optional<NuscenesToken> token = ParseNuscenesToken(text); token.has_value()) {
    if (const auto found = sample_index_.find(*token); found != sample_index_.end()) return found->second;
  }
  return absl::NotFoundError(absl::StrCat("no sample \"", absl::CEscape(text.substr(0, 64)), "\" in ", root_, "/",
                                          version_, "; names are the tokens of sample.json"));
}

absl::StatusOr<std::vector<int32_t>> NuscenesTables::SplitSamples(absl::string_view split) const {
  KD_ASSIGN_OR_RETURN(const std::vector<std::string> names, NuscenesSplitScenes(split));
  std::vector<bool> belongs;
  for (const std::string& scene : scenes_) belongs.push_back(std::binary_search(names.begin(), names.end(), scene));
  std::vector<int32_t> found;
  for (size_t i = 0; i < samples_.size(); ++i) {
    if (belongs[samples_[i].scene]) found.push_back(static_cast<int32_t>(i));
  }
  if (!found.empty()) return found;
  return absl::NotFoundError(
      absl::StrCat(root_, "/", version_, " holds no scene of split \"", split,
                   "\"; train and val are in v1.0-trainval, test in v1.0-test, mini_train and mini_val in v1.0-mini"));
}

absl::StatusOr<const NuscenesRecording*> NuscenesTables::KeyFrame(int32_t sample, int channel) const {
  const int32_t recording = samples_[sample].recordings[channel];
  if (recording >= 0) return &recordings_[recording];
  return absl::DataLossError(absl::StrCat(root_, "/", version_, "/sample_data.json: no key frame of ",
                                          kNuscenesChannels[channel], " for sample ",
                                          FormatNuscenesToken(samples_[sample].token), kRemedy));
}

absl::Span<const int32_t> NuscenesTables::AnnotationsOf(int32_t sample) const {
  const size_t first = first_by_sample_[sample];
  return absl::MakeConstSpan(by_sample_).subspan(first, first_by_sample_[sample + 1] - first);
}

std::array<double, 2> NuscenesTables::Velocity(const NuscenesAnnotation& annotation) const {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  constexpr double kLongestStep = 1.5;
  const bool two_sided = annotation.previous >= 0 && annotation.next >= 0;
  const NuscenesAnnotation& first = annotation.previous >= 0 ? annotations_[annotation.previous] : annotation;
  const NuscenesAnnotation& last = annotation.next >= 0 ? annotations_[annotation.next] : annotation;
  if (&first == &last) return {kNone, kNone};
  // Each time becomes seconds by itself, as in the official evaluation: seen in the seventh digit.
  const double seconds = 1e-6 * static_cast<double>(samples_[last.sample].timestamp_us) -
                         1e-6 * static_cast<double>(samples_[first.sample].timestamp_us);
  if (!(seconds > 0) || seconds > (two_sided ? 2 * kLongestStep : kLongestStep)) return {kNone, kNone};
  const Vec3& from = first.box_to_global.translation;
  const Vec3& to = last.box_to_global.translation;
  return {(to[0] - from[0]) / seconds, (to[1] - from[1]) / seconds};
}

RigidTransform NuscenesTables::SensorToGlobal(const NuscenesRecording& recording) const {
  return poses_[recording.pose] * calibrations_[recording.calibration].sensor_to_ego;
}

}  // namespace kd
