#include "eval/nuscenes_submission.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status.h"
#include "base/text.h"
#include "data/json_fields.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

namespace json = simdjson::ondemand;

// Of a box that tells none.
constexpr double kNoScore = -1, kNoPointCount = -1;
constexpr char kForm[] = "expected {\"meta\": {...}, \"results\": {SAMPLE_TOKEN: [{...}, ...], ...}}";

absl::Status Invalid(absl::string_view field, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("field \"", field, "\" ", problem));
}

template <typename Numbers>
absl::Status RefuseNan(absl::string_view field, const Numbers& numbers) {
  if (std::none_of(numbers.begin(), numbers.end(), [](double v) { return std::isnan(v); })) return absl::OkStatus();
  return Invalid(field, "holds NaN, which velocities alone may");
}

// Of a quaternion w, x, y, z of any length; 0 of one without length.
double YawOf(const std::array<double, 4>& wxyz) {
  const double square = wxyz[0] * wxyz[0] + wxyz[1] * wxyz[1] + wxyz[2] * wxyz[2] + wxyz[3] * wxyz[3];
  return square > 0 ? RigidTransform{.rotation = RotationOfQuaternion(wxyz)}.Yaw() : 0;
}

// Reads boxes of `file` one after the other into the same memory.
class BoxReader {
 public:
  explicit BoxReader(JsonFile& file) : file_(file) {}
  BoxReader(const BoxReader&) = delete;
  BoxReader& operator=(const BoxReader&) = delete;

  // Nothing: a box of no points, which does not count.
  absl::StatusOr<std::optional<NuscenesBox>> Read(simdjson::simdjson_result<json::value> value, NuscenesToken sample) {
    box_.score = kNoScore;
    num_points_ = kNoPointCount;
    KD_RETURN_IF_ERROR(ReadJsonFields(file_, value, fields_));
    if (token_ != sample) {
      return Invalid("sample_token",
                     absl::StrCat("is ", FormatNuscenesToken(token_), ", expected that of the list it stands in"));
    }
    KD_RETURN_IF_ERROR(RefuseNan("translation", box_.center));
    KD_RETURN_IF_ERROR(RefuseNan("size", box_.size));
    KD_RETURN_IF_ERROR(RefuseNan("rotation", rotation_));
    KD_RETURN_IF_ERROR(RefuseNan("ego_translation", ego_translation_));
    KD_RETURN_IF_ERROR(RefuseNan("detection_score", std::array<double, 1>{box_.score}));
    if (!std::isfinite(num_points_)) return Invalid("num_pts", "is not finite, expected a whole number");
    box_.yaw = YawOf(rotation_);
    const int label = NuscenesClassIndex(class_name_);
    if (label < 0) {
      return Invalid("detection_name",
                     absl::StrCat("is ", Quoted(class_name_), ", expected one of ",
                                  absl::StrJoin(kNuscenesClasses, ", ", [](std::string* out, const NuscenesClass& c) {
                                    absl::StrAppend(out, c.name);
                                  })));
    }
    box_.label = static_cast<int8_t>(label);
    box_.attribute = static_cast<int8_t>(NuscenesAttributeIndex(attribute_name_));
    if (box_.attribute < 0 && !attribute_name_.empty()) {
      return Invalid("attribute_name", absl::StrCat("is ", Quoted(attribute_name_), ", expected \"\" or one of ",
                                                    absl::StrJoin(kNuscenesAttributes, ", ")));
    }
    if (std::trunc(num_points_) == 0) return std::nullopt;
    return box_;
  }

 private:
  JsonFile& file_;
  NuscenesBox box_;
  NuscenesToken token_ = 0;
  std::array<double, 4> rotation_{};
  std::string class_name_, attribute_name_;
  // Nobody looks at it, but three numbers it must be.
  Vec3 ego_translation_{};
  double num_points_ = kNoPointCount;
  const std::array<JsonField, 10> fields_ = {
      {{"sample_token", &token_},
       {"translation", PythonNumbers{absl::MakeSpan(box_.center)}},
       {"size", PythonNumbers{absl::MakeSpan(box_.size)}},
       {"rotation", PythonNumbers{absl::MakeSpan(rotation_)}},
       {"velocity", PythonNumbers{absl::MakeSpan(box_.velocity)}},
       {"detection_name", &class_name_},
       {"detection_score", PythonNumber{&box_.score}, /*optional=*/true},
       {"attribute_name", &attribute_name_},
       {"ego_translation", PythonNumbers{absl::MakeSpan(ego_translation_)}, /*optional=*/true},
       {"num_pts", PythonNumber{&num_points_}, /*optional=*/true}}};
};

class SubmissionReader {
 public:
  SubmissionReader(JsonFile& file, const NuscenesTables& tables, absl::Span<const int32_t> expected)
      : file_(file), tables_(tables), expected_(expected), missing_(tables.samples().size()), boxes_(file) {
    for (const int32_t sample : expected) missing_[sample] = true;
  }

  absl::Status ReadResults(json::value value) {
    json::object results;
    if (value.get(results) != simdjson::SUCCESS) {
      return Invalid("results", "is no object, expected {SAMPLE_TOKEN: [{...}, ...], ...}");
    }
    for (simdjson::simdjson_result<json::field> entry : results) {
      json::field field;
      if (const auto error = std::move(entry).get(field); error != simdjson::SUCCESS) return file_.Broken(error);
      std::string_view key;
      if (const auto error = field.unescaped_key().get(key); error != simdjson::SUCCESS) return file_.Broken(error);
      const absl::string_view name(key.data(), key.size());
      const absl::StatusOr<int32_t> sample = tables_.FindSample(name);
      const auto place = [&](absl::string_view problem) {
        return absl::InvalidArgumentError(absl::StrCat("sample ", Quoted(name), problem));
      };
      if (!sample.ok())
        return place(absl::StrCat(" is not in ", tables_.root(), "/", tables_.version(), "; leave it out"));
      if (!missing_[*sample]) {
        const bool twice = std::find(expected_.begin(), expected_.end(), *sample) != expected_.end();
        return place(twice ? " stands twice" : " is not of this split; leave it out, or name the split it belongs to");
      }
      missing_[*sample] = false;
      const absl::Status status = ReadBoxes(field.value(), *sample);
      if (!status.ok()) return place(absl::StrCat(": ", status.message()));
    }
    const auto first =
        std::find_if(expected_.begin(), expected_.end(), [&](int32_t sample) { return missing_[sample]; });
    if (first == expected_.end()) {
      if (has_boxes_ || expected_.empty()) return absl::OkStatus();
      return Invalid("results", "holds no box in any sample, and nuScenes's rules want one at least");
    }
    const auto count = std::count_if(first, expected_.end(), [&](int32_t sample) { return missing_[sample]; });
    return absl::InvalidArgumentError(
        absl::StrCat("sample \"", FormatNuscenesToken(tables_.samples()[*first].token), "\" is missing",
                     count > 1 ? absl::StrCat(", and ", count - 1, " more") : "",
                     "; add it, with an empty list where nothing was found, or name the split that was detected"));
  }

  std::vector<NuscenesDetections> Release() { return std::move(detections_); }

 private:
  absl::Status ReadBoxes(json::value value, int32_t sample) {
    json::array list;
    if (value.get(list) != simdjson::SUCCESS)
      return absl::InvalidArgumentError("expected a list of boxes, [{...}, ...]");
    NuscenesDetections& detections = detections_.emplace_back();
    detections.sample = sample;
    const NuscenesToken token = tables_.samples()[sample].token;
    int number = 0;
    for (simdjson::simdjson_result<json::value> element : list) {
      if (number == kMaxNuscenesBoxes) {
        return absl::InvalidArgumentError(
            absl::StrCat("more than ", kMaxNuscenesBoxes, " boxes; keep those of the highest scores"));
      }
      const absl::StatusOr<std::optional<NuscenesBox>> box = boxes_.Read(element, token);
      if (!box.ok()) return Annotate(box.status(), absl::StrCat("box ", number));
      if (box->has_value()) detections.boxes.push_back(**box);
      ++number;
    }
    has_boxes_ = has_boxes_ || number > 0;
    return absl::OkStatus();
  }

  JsonFile& file_;
  const NuscenesTables& tables_;
  const absl::Span<const int32_t> expected_;
  std::vector<bool> missing_;
  BoxReader boxes_;
  bool has_boxes_ = false;
  std::vector<NuscenesDetections> detections_;
};

absl::Status ReadParts(JsonFile& file, SubmissionReader& reader) {
  json::object parts;
  if (const auto error = file.document().get_object().get(parts); error == simdjson::INCORRECT_TYPE) {
    return absl::InvalidArgumentError(kForm);
  } else if (error != simdjson::SUCCESS) {
    return file.Broken(error);
  }
  int metas = 0, results = 0;
  for (simdjson::simdjson_result<json::field> entry : parts) {
    json::field field;
    if (const auto error = std::move(entry).get(field); error != simdjson::SUCCESS) return file.Broken(error);
    const bool is_meta = field.key().unsafe_is_equal("meta"), is_results = field.key().unsafe_is_equal("results");
    if ((is_meta && ++metas > 1) || (is_results && ++results > 1)) {
      return Invalid(is_meta ? "meta" : "results", "stands twice");
    }
    // What it tells does not change a score.
    if (json::object meta; is_meta && field.value().get(meta) != simdjson::SUCCESS) {
      return Invalid("meta", "is no object, expected {\"use_camera\": true, ...}");
    }
    if (is_results) KD_RETURN_IF_ERROR(reader.ReadResults(field.value()));
  }
  if (metas == 0) return Invalid("meta", absl::StrCat("is missing, ", kForm));
  if (results == 0) return Invalid("results", absl::StrCat("is missing, ", kForm));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<NuscenesDetections>> ReadNuscenesSubmission(const std::string& path,
                                                                       const NuscenesTables& tables,
                                                                       absl::Span<const int32_t> expected) {
  // What is wrong with somebody's detections is theirs to mend: INVALID_ARGUMENT, never DATA_LOSS.
  const auto mend = [](const absl::Status& status) {
    return absl::IsDataLoss(status) ? absl::InvalidArgumentError(status.message()) : status;
  };
  absl::StatusOr<std::unique_ptr<JsonFile>> file = JsonFile::Open(path);
  if (!file.ok()) return mend(file.status());
  SubmissionReader reader(**file, tables, expected);
  if (const absl::Status status = ReadParts(**file, reader); !status.ok()) return Annotate(status, path);
  KD_RETURN_IF_ERROR(mend((*file)->CheckEnd()));
  return reader.Release();
}

absl::Status WriteNuscenesSubmission(const std::string& path, const NuscenesTables& tables,
                                     absl::Span<const NuscenesDetections> detections) {
  std::string text =
      R"({"meta":{"use_camera":false,"use_lidar":true,"use_radar":false,"use_map":false,"use_external":false},"results":{)";
  for (const NuscenesDetections& sample : detections) {
    const std::string token = FormatNuscenesToken(tables.samples()[sample.sample].token);
    nlohmann::json boxes = nlohmann::json::array();
    for (const NuscenesBox& box : sample.boxes) {
      const auto finite = [](double v) { return std::isfinite(v) ? v : 0.0; };
      boxes.push_back({{"sample_token", token},
                       {"translation", box.center},
                       {"size", box.size},
                       {"rotation", {std::cos(box.yaw / 2), 0.0, 0.0, std::sin(box.yaw / 2)}},
                       {"velocity", {finite(box.velocity[0]), finite(box.velocity[1])}},
                       {"detection_name", kNuscenesClasses[box.label].name},
                       {"detection_score", box.score},
                       {"attribute_name", box.attribute < 0 ? "" : kNuscenesAttributes[box.attribute]}});
    }
    // A list at a time: a document of all boxes would take a hundred times their memory.
    absl::StrAppend(&text, &sample == &detections.front() ? "" : ",", nlohmann::json(token).dump(), ":", boxes.dump());
  }
  return WriteFileAtomically(path, absl::StrCat(text, "}}\n"));
}

}  // namespace kd
