#include "eval/nuscenes_submission.h"

#include <algorithm>
#include <cmath>
#include <memory>
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

constexpr double kFarthest = 1e7;  // Metres, and metres per second.
constexpr double kLargestObject = 1000;
constexpr char kForm[] = "expected {\"meta\": {...}, \"results\": {SAMPLE_TOKEN: [{...}, ...], ...}}";

absl::Status Invalid(absl::string_view field, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("field \"", field, "\" ", problem));
}

absl::Status Broken(simdjson::error_code error) {
  return absl::InvalidArgumentError(absl::StrCat("broken JSON (", simdjson::error_message(error), ")"));
}

template <typename Numbers>
bool AllWithin(const Numbers& numbers, double limit) {
  return std::all_of(numbers.begin(), numbers.end(), [&](double v) { return std::abs(v) <= limit; });
}

// Reads boxes one after the other into the same memory.
class BoxReader {
 public:
  BoxReader() = default;
  BoxReader(const BoxReader&) = delete;
  BoxReader& operator=(const BoxReader&) = delete;

  absl::StatusOr<NuscenesBox> Read(simdjson::simdjson_result<json::value> value, NuscenesToken sample) {
    KD_RETURN_IF_ERROR(ReadJsonFields(value, fields_));
    if (token_ != sample) {
      return Invalid("sample_token",
                     absl::StrCat("is ", FormatNuscenesToken(token_), ", expected that of the list it stands in"));
    }
    if (!AllWithin(box_.center, kFarthest))
      return Invalid("translation", absl::StrCat("holds a number beyond ", kFarthest, " m"));
    if (!std::all_of(box_.size.begin(), box_.size.end(), [](double v) { return v > 0 && v <= kLargestObject; })) {
      return Invalid("size", absl::StrCat("is ", absl::StrJoin(box_.size, " x "),
                                          " m, sizes must be above 0 and at most ", kLargestObject));
    }
    const double length = std::sqrt(rotation_[0] * rotation_[0] + rotation_[1] * rotation_[1] +
                                    rotation_[2] * rotation_[2] + rotation_[3] * rotation_[3]);
    if (!(length > 1e-6 && length < 1e6))
      return Invalid("rotation", "is no rotation, expected a quaternion w, x, y, z of length 1");
    box_.yaw = RigidTransform{.rotation = RotationOfQuaternion(rotation_)}.Yaw();
    if (!AllWithin(box_.velocity, kFarthest))
      return Invalid("velocity", absl::StrCat("holds a number beyond ", kFarthest, " m/s"));
    if (!(box_.score >= 0 && box_.score <= 1))
      return Invalid("detection_score", absl::StrCat("is ", box_.score, ", expected 0 to 1"));
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
    return box_;
  }

 private:
  NuscenesBox box_;
  NuscenesToken token_ = 0;
  std::array<double, 4> rotation_{};
  std::string class_name_, attribute_name_;
  const std::array<JsonField, 8> fields_ = {{{"sample_token", &token_},
                                             {"translation", absl::MakeSpan(box_.center)},
                                             {"size", absl::MakeSpan(box_.size)},
                                             {"rotation", absl::MakeSpan(rotation_)},
                                             {"velocity", absl::MakeSpan(box_.velocity)},
                                             {"detection_name", &class_name_},
                                             {"detection_score", &box_.score},
                                             {"attribute_name", &attribute_name_}}};
};

class SubmissionReader {
 public:
  SubmissionReader(const NuscenesTables& tables, absl::Span<const int32_t> expected)
      : tables_(tables), expected_(expected), missing_(tables.samples().size()) {
    for (const int32_t sample : expected) missing_[sample] = true;
  }

  absl::Status ReadResults(json::value value) {
    json::object results;
    if (value.get(results) != simdjson::SUCCESS) {
      return Invalid("results", "is no object, expected {SAMPLE_TOKEN: [{...}, ...], ...}");
    }
    for (simdjson::simdjson_result<json::field> entry : results) {
      json::field field;
      if (const auto error = std::move(entry).get(field); error != simdjson::SUCCESS) return Broken(error);
      std::string_view key;
      if (const auto error = field.unescaped_key().get(key); error != simdjson::SUCCESS) return Broken(error);
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
    if (first == expected_.end()) return absl::OkStatus();
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
    for (simdjson::simdjson_result<json::value> element : list) {
      const size_t number = detections.boxes.size();
      if (number == kMaxNuscenesBoxes) {
        return absl::InvalidArgumentError(
            absl::StrCat("more than ", kMaxNuscenesBoxes, " boxes; keep those of the highest scores"));
      }
      const absl::StatusOr<NuscenesBox> box = boxes_.Read(element, token);
      if (!box.ok()) return Annotate(box.status(), absl::StrCat("box ", number));
      detections.boxes.push_back(*box);
    }
    return absl::OkStatus();
  }

  const NuscenesTables& tables_;
  const absl::Span<const int32_t> expected_;
  std::vector<bool> missing_;
  BoxReader boxes_;
  std::vector<NuscenesDetections> detections_;
};

absl::Status ReadMeta(json::value value) {
  std::array<bool, 5> used;
  const std::array<JsonField, 5> fields = {{{"use_camera", &used[0]},
                                            {"use_lidar", &used[1]},
                                            {"use_radar", &used[2]},
                                            {"use_map", &used[3]},
                                            {"use_external", &used[4]}}};
  return Annotate(ReadJsonFields(std::move(value), fields), "field \"meta\"");
}

absl::Status ReadParts(json::document& document, SubmissionReader& reader) {
  json::object parts;
  if (document.get_object().get(parts) != simdjson::SUCCESS) return absl::InvalidArgumentError(kForm);
  int metas = 0, results = 0;
  for (simdjson::simdjson_result<json::field> entry : parts) {
    json::field field;
    if (const auto error = std::move(entry).get(field); error != simdjson::SUCCESS) return Broken(error);
    const bool is_meta = field.key().unsafe_is_equal("meta"), is_results = field.key().unsafe_is_equal("results");
    if ((is_meta && ++metas > 1) || (is_results && ++results > 1)) {
      return Invalid(is_meta ? "meta" : "results", "stands twice");
    }
    if (is_meta) KD_RETURN_IF_ERROR(ReadMeta(field.value()));
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
  SubmissionReader reader(tables, expected);
  if (const absl::Status status = ReadParts((*file)->document(), reader); !status.ok()) return Annotate(status, path);
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
