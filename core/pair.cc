#include "core/pair.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/text.h"
#include "core/detector_config.h"
#include "core/field_rules.h"
#include "core/registry_reference.h"
#include "core/yaml_tree.h"
#include "google/protobuf/message.h"

namespace kd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Columns of a point: x, y, z, intensity; Waymo has the elongation of the echo, too, and nuScenes the time.
uint32_t ColumnsOf(const v1::Data& data) {
  if (data.format() == "custom") return data.point_columns();
  return data.format() == "kitti" ? 4 : 5;
}
// No path of Linux is longer.
constexpr size_t kMaxText = 4096;

std::string Join(absl::string_view path, absl::string_view key) {
  return path.empty() ? std::string(key) : absl::StrCat(path, ".", key);
}

std::vector<std::string> KeysOf(const Descriptor* descriptor) {
  std::vector<std::string> keys;
  for (int i = 0; i < descriptor->field_count(); ++i) keys.push_back(KeyOf(descriptor->field(i)));
  return keys;
}

const FieldDescriptor* FindKey(const Descriptor* descriptor, absl::string_view key) {
  for (int i = 0; i < descriptor->field_count(); ++i) {
    if (KeyOf(descriptor->field(i)) == key) return descriptor->field(i);
  }
  return nullptr;
}

// Sets or appends one value written as text. False: the text is not of the field's type.
bool SetScalar(Message& message, const FieldDescriptor* field, const std::string& text) {
  const auto* reflection = message.GetReflection();
  const bool add = field->is_repeated();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      add ? reflection->AddString(&message, field, text) : reflection->SetString(&message, field, text);
      return true;
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text != "true" && text != "false") return false;
      reflection->SetBool(&message, field, text == "true");
      return true;
    case FieldDescriptor::CPPTYPE_FLOAT: {
      float value;
      if (!absl::SimpleAtof(text, &value) || !std::isfinite(value)) return false;
      add ? reflection->AddFloat(&message, field, value) : reflection->SetFloat(&message, field, value);
      return true;
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double value;
      if (!absl::SimpleAtod(text, &value) || !std::isfinite(value)) return false;
      add ? reflection->AddDouble(&message, field, value) : reflection->SetDouble(&message, field, value);
      return true;
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      uint32_t value;
      if (!absl::SimpleAtoi(text, &value)) return false;
      add ? reflection->AddUInt32(&message, field, value) : reflection->SetUInt32(&message, field, value);
      return true;
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      uint64_t value;
      if (!absl::SimpleAtoi(text, &value)) return false;
      add ? reflection->AddUInt64(&message, field, value) : reflection->SetUInt64(&message, field, value);
      return true;
    }
    default:
      return false;
  }
}

double NumberOf(const Message& message, const FieldDescriptor* field, int index) {
  const auto* r = message.GetReflection();
  const bool list = field->is_repeated();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_FLOAT:
      return list ? r->GetRepeatedFloat(message, field, index) : r->GetFloat(message, field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return list ? r->GetRepeatedDouble(message, field, index) : r->GetDouble(message, field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return list ? r->GetRepeatedUInt32(message, field, index) : r->GetUInt32(message, field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return static_cast<double>(list ? r->GetRepeatedUInt64(message, field, index) : r->GetUInt64(message, field));
    default:
      return std::numeric_limits<double>::quiet_NaN();
  }
}

std::string OneOfText(const v1::FieldRule& rule) { return absl::StrCat("one of ", absl::StrJoin(rule.one_of(), ", ")); }

// The value's own limits. `value` is what the person wrote, or would have to write.
absl::Status CheckRule(const Message& message, const FieldDescriptor* field, int index, const std::string& value) {
  const v1::FieldRule& rule = RuleOf(field);
  if (!rule.one_of().empty() && std::find(rule.one_of().begin(), rule.one_of().end(), value) == rule.one_of().end()) {
    const std::string near = Nearest(value, {rule.one_of().begin(), rule.one_of().end()});
    return absl::InvalidArgumentError(absl::StrCat("is \"", absl::CHexEscape(value.substr(0, 60)), "\", expected ",
                                                   OneOfText(rule),
                                                   near.empty() ? "" : absl::StrCat("; did you mean \"", near, "\"?")));
  }
  const double number = NumberOf(message, field, index);
  const std::string unit = rule.unit().empty() ? "" : absl::StrCat(" ", rule.unit());
  if (rule.has_min() && number < rule.min()) {
    return absl::InvalidArgumentError(
        absl::StrCat("is ", absl::CHexEscape(value.substr(0, 60)), ", expected at least ", rule.min(), unit));
  }
  if (rule.has_max() && number > rule.max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("is ", absl::CHexEscape(value.substr(0, 60)), ", expected at most ", rule.max(), unit));
  }
  return absl::OkStatus();
}

// Fills messages from a tree; remembers which keys were written, since 0 and "absent" look alike in proto3.
class TreeReader {
 public:
  explicit TreeReader(absl::string_view file_name) : file_name_(file_name) {}

  absl::Status Fill(const YamlNode& node, const std::string& path, Message& message) {
    if (node.kind != YamlNode::Kind::kMap) {
      return Error(
          node, absl::StrCat(path.empty() ? "the file" : path, " is ", node.Describe(), ", expected a group of keys"));
    }
    const Descriptor* descriptor = message.GetDescriptor();
    std::set<const FieldDescriptor*> written;
    for (const auto& [key, value] : node.entries) {
      const FieldDescriptor* field = FindKey(descriptor, key);
      if (field == nullptr) return UnknownKey(value, key, path, descriptor);
      written.insert(field);
      KD_RETURN_IF_ERROR(FillField(value, Join(path, key), field, message));
    }
    for (int i = 0; i < descriptor->field_count(); ++i) {
      const FieldDescriptor* field = descriptor->field(i);
      if (written.count(field)) continue;
      const v1::FieldRule& rule = RuleOf(field);
      if (rule.required()) {
        return Error(node, absl::StrCat(Join(path, KeyOf(field)), " is missing; it is ", TypeText(field),
                                        rule.one_of().empty() ? "" : absl::StrCat(", ", OneOfText(rule)),
                                        rule.example().empty() ? "" : absl::StrCat(", for example ", rule.example())));
      }
      // A field that knows whether it was written stays unwritten: somebody else has its value.
      if (!rule.default_value().empty() && !KnowsItWasWritten(field)) SetScalar(message, field, rule.default_value());
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Error(const YamlNode& node, absl::string_view problem) const {
    if (!node.origin.empty()) return absl::InvalidArgumentError(absl::StrCat(node.origin, ": ", problem));
    return absl::InvalidArgumentError(absl::StrCat(file_name_, ":", node.line, ":", node.column, ": ", problem));
  }

  absl::Status UnknownKey(const YamlNode& node, const std::string& key, const std::string& path,
                          const Descriptor* descriptor) const {
    const std::string near = Nearest(key, KeysOf(descriptor));
    const std::string where = path.empty() ? "at the top level" : absl::StrCat("in ", path);
    return Error(node, absl::StrCat("unknown key \"", absl::CHexEscape(key.substr(0, 60)), "\" ", where, "; ",
                                    near.empty() ? absl::StrCat("there are ", absl::StrJoin(KeysOf(descriptor), ", "))
                                                 : absl::StrCat("did you mean \"", near, "\"?")));
  }

  absl::Status FillField(const YamlNode& node, const std::string& path, const FieldDescriptor* field,
                         Message& message) {
    const auto* reflection = message.GetReflection();
    if (field->is_repeated()) {
      if (node.kind != YamlNode::Kind::kList) return WrongType(node, path, field);
      const v1::FieldRule& rule = RuleOf(field);
      if (rule.length() != 0 && node.items.size() != rule.length()) {
        return Error(node, absl::StrCat(path, " has ", node.items.size(), " values, expected ", rule.length()));
      }
      for (size_t i = 0; i < node.items.size(); ++i) {
        const std::string item_path = absl::StrCat(path, "[", i, "]");
        if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
          KD_RETURN_IF_ERROR(Fill(node.items[i], item_path, *reflection->AddMessage(&message, field)));
        } else {
          KD_RETURN_IF_ERROR(FillScalar(node.items[i], item_path, field, message, static_cast<int>(i)));
        }
      }
      return absl::OkStatus();
    }
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
      return Fill(node, path, *reflection->MutableMessage(&message, field));
    return FillScalar(node, path, field, message, 0);
  }

  absl::Status FillScalar(const YamlNode& node, const std::string& path, const FieldDescriptor* field, Message& message,
                          int index) {
    const bool text_for_number = node.quoted && field->cpp_type() != FieldDescriptor::CPPTYPE_STRING;
    if (node.kind != YamlNode::Kind::kScalar || text_for_number || !SetScalar(message, field, node.scalar)) {
      return WrongType(node, path, field);
    }
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) KD_RETURN_IF_ERROR(CheckText(node, path));
    if (const absl::Status status = CheckRule(message, field, index, node.scalar); !status.ok()) {
      return Error(node, absl::StrCat(path, " ", status.message()));
    }
    return absl::OkStatus();
  }

  // Texts are shown on terminals and in logs, and many of them travel in one message.
  absl::Status CheckText(const YamlNode& node, const std::string& path) const {
    if (HasControlCharacter(node.scalar))
      return Error(node, absl::StrCat(path, " is ", node.Describe(), ", expected no control characters"));
    if (node.scalar.size() > kMaxText)
      return Error(node, absl::StrCat(path, " has ", node.scalar.size(), " bytes, expected at most ", kMaxText));
    return absl::OkStatus();
  }

  absl::Status WrongType(const YamlNode& node, const std::string& path, const FieldDescriptor* field) const {
    const v1::FieldRule& rule = RuleOf(field);
    const std::string example = !rule.example().empty() ? rule.example() : rule.default_value();
    return Error(node, absl::StrCat(path, " is ", node.Describe(), ", expected ", TypeText(field),
                                    example.empty() ? "" : absl::StrCat(", for example ", example)));
  }

  const std::string file_name_;
};

// Messages that have defaults of their own and may be absent as a whole.
void CreateDefaultMessages(v1::Pair& pair) {
  if (!pair.data().has_augmentation()) pair.mutable_data()->mutable_augmentation();
  if (!pair.has_eval()) pair.mutable_eval();
  if (!pair.has_resources()) pair.mutable_resources();
  if (pair.student().has_compress() && !pair.student().compress().has_width()) {
    pair.mutable_student()->mutable_compress()->mutable_width();
  }
}

// Fills scalars that are at proto3's zero with their defaults, in every message that is present.
void FillZeros(Message& message) {
  const Descriptor* descriptor = message.GetDescriptor();
  const auto* reflection = message.GetReflection();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (field->is_repeated()) {
        for (int j = 0; j < reflection->FieldSize(message, field); ++j)
          FillZeros(*reflection->MutableRepeatedMessage(&message, field, j));
      } else if (reflection->HasField(message, field)) {
        FillZeros(*reflection->MutableMessage(&message, field));
      }
    } else if (!field->is_repeated() && !KnowsItWasWritten(field) && !reflection->HasField(message, field) &&
               !RuleOf(field).default_value().empty()) {
      SetScalar(message, field, RuleOf(field).default_value());
    }
  }
}

// Own data has no official measure, but one of its own.
void FillMetric(v1::Pair& pair) {
  if (!pair.eval().metric().empty()) return;
  pair.mutable_eval()->set_metric(pair.data().format() == "custom" ? "lidar" : "center_distance");
}

absl::Status Invalid(absl::string_view path, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", problem));
}

bool IsJobName(absl::string_view name) {
  return !name.empty() && name.size() <= 63 && name.front() != '-' && name.back() != '-' &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == absl::string_view::npos;
}

absl::Status ValidateClasses(absl::string_view path, const google::protobuf::RepeatedPtrField<std::string>& names) {
  std::set<absl::string_view> seen;
  for (const std::string& name : names) {
    if (name.empty() || name.find(' ') != std::string::npos) {
      return Invalid(path, absl::StrCat("holds ", Quoted(name),
                                        ", which no label file can name; use the labels' own words, for example Car"));
    }
    if (!seen.insert(name).second)
      return Invalid(path, absl::StrCat("holds ", Quoted(name), " twice; name every class once"));
  }
  return absl::OkStatus();
}

absl::Status ValidatePasting(const v1::Data& data) {
  const v1::Augmentation& augmentation = data.augmentation();
  constexpr char kObjects[] = "data.augmentation.objects", kPaste[] = "data.augmentation.paste";
  if (augmentation.objects().empty() && augmentation.paste().empty()) return absl::OkStatus();
  if (augmentation.objects().empty()) {
    return Invalid(kObjects, absl::StrCat("is missing, and ", kPaste,
                                          " asks for objects; name the folder that kdctl "
                                          "data prepare wrote, or leave paste out"));
  }
  if (augmentation.paste().empty()) {
    return Invalid(kPaste, absl::StrCat("is missing, and ", kObjects,
                                        " names objects to paste; tell how many of each "
                                        "class, for example [15, 10, 10], or leave objects out"));
  }
  if (augmentation.paste_size() != data.class_names_size()) {
    return Invalid(kPaste, absl::StrCat("has ", augmentation.paste_size(),
                                        " numbers, expected one for each of "
                                        "data.class_names (",
                                        absl::StrJoin(data.class_names(), ", "), ")"));
  }
  if (data.views() == 0) {
    return Invalid("data.views",
                   "is 0, and nothing is pasted into frames as recorded; use at least 1, or leave "
                   "data.augmentation.objects and paste out");
  }
  return absl::OkStatus();
}

absl::Status ValidateIntensity(const v1::Data& data) {
  constexpr char kScale[] = "data.intensity_scale";
  // Messages that no job file was read into have 0.
  if (data.intensity_scale() == 0 || data.intensity_scale() == 1) return absl::OkStatus();
  if (data.format() != "custom") {
    return Invalid(kScale, absl::StrCat("is ", data.intensity_scale(), ", and the intensity of format ", data.format(),
                                        " is read as it is; leave it out"));
  }
  if (data.point_columns() == 3) {
    return Invalid(kScale, absl::StrCat("is ", data.intensity_scale(),
                                        ", and points of data.point_columns: 3 have no intensity; leave it out"));
  }
  return absl::OkStatus();
}

// Methods that take the same answer of the teacher, or the same one twice.
absl::Status ValidateMethodsTogether(const v1::Pair& pair) {
  std::set<absl::string_view> seen;
  for (int i = 0; i < pair.distill_size(); ++i) {
    const std::string& method = pair.distill(i).method();
    const std::string path = absl::StrCat("distill[", i, "].method");
    if (!seen.insert(method).second)
      return Invalid(path, absl::StrCat("\"", method, "\" stands there twice; keep one"));
    if (seen.contains("pivotal_logits") && seen.contains("uniform_logits")) {
      return Invalid(path, "pivotal_logits and uniform_logits weigh the same class logits in two ways; keep one");
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateMethods(const v1::Pair& pair) {
  KD_RETURN_IF_ERROR(ValidateMethodsTogether(pair));
  for (int i = 0; i < pair.distill_size(); ++i) {
    const v1::DistillMethod& method = pair.distill(i);
    const std::string path = absl::StrCat("distill[", i, "]");
    const Descriptor* descriptor = method.GetDescriptor();
    for (int f = 0; f < descriptor->field_count(); ++f) {
      const FieldDescriptor* field = descriptor->field(f);
      const v1::FieldRule& rule = RuleOf(field);
      if (rule.only_for().empty() ||
          std::find(rule.only_for().begin(), rule.only_for().end(), method.method()) != rule.only_for().end())
        continue;
      const bool set = field->is_repeated()           ? method.GetReflection()->FieldSize(method, field) > 0
                       : rule.default_value().empty() ? method.GetReflection()->HasField(method, field)
                                                      : false;
      if (set) {
        return Invalid(Join(path, field->name()),
                       absl::StrCat("method \"", method.method(), "\" does not know this key; it belongs to ",
                                    absl::StrJoin(rule.only_for(), ", ")));
      }
    }
    if (method.method() == "label" && method.score_thresh().empty()) {
      return Invalid(Join(path, "score_thresh"),
                     "is missing; method \"label\" needs one score per class, for example [0.6, 0.5, 0.5]");
    }
    if (method.method() == "label" && pair.data().class_names_size() > 0 &&
        method.score_thresh_size() != pair.data().class_names_size()) {
      return Invalid(Join(path, "score_thresh"),
                     absl::StrCat("has ", method.score_thresh_size(), " values, expected one per class (",
                                  pair.data().class_names_size(), ")"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::Pair> ParsePair(absl::string_view yaml, absl::string_view file_name) {
  KD_ASSIGN_OR_RETURN(const YamlNode tree, ParseYamlTree(yaml, file_name));
  return ParsePair(tree, file_name);
}

absl::StatusOr<v1::Pair> ParsePair(const YamlNode& tree, absl::string_view file_name) {
  v1::Pair pair;
  KD_RETURN_IF_ERROR(TreeReader(file_name).Fill(tree, "", pair));
  v1::Pair absent = pair;
  CreateDefaultMessages(pair);
  // Only the messages created just now are filled: a 0 that a person wrote stays 0.
  if (!absent.data().has_augmentation()) FillZeros(*pair.mutable_data()->mutable_augmentation());
  if (!absent.has_eval()) FillZeros(*pair.mutable_eval());
  if (!absent.has_resources()) FillZeros(*pair.mutable_resources());
  if (pair.student().has_compress() && !absent.student().compress().has_width()) {
    FillZeros(*pair.mutable_student()->mutable_compress()->mutable_width());
  }
  FillMetric(pair);
  KD_RETURN_IF_ERROR(Annotate(ValidatePair(pair), file_name));
  return pair;
}

void FillPairDefaults(v1::Pair& pair) {
  CreateDefaultMessages(pair);
  FillZeros(pair);
  FillMetric(pair);
}

absl::Status CheckDetectorData(absl::string_view path, const v1::Detector& detector, const v1::Data& data) {
  const std::string& format = data.format();
  if (const uint32_t columns = ColumnsOf(data); detector.num_point_features() != columns) {
    const std::string fewer = format == "custom" && detector.num_point_features() < columns
                                  ? absl::StrCat(", or data.point_columns: ", detector.num_point_features(),
                                                 ", which are the first ones of .npy and .pcd files")
                                  : "";
    return Invalid(
        path, absl::StrCat("takes ", detector.num_point_features(), " columns a point, and format ", format, " has ",
                           columns, "; use another model, or detector: {num_point_features: ", columns, "}", fewer));
  }
  if (detector.dense_head().with_velocity() && format != "nuscenes" && format != "waymo") {
    return Invalid(Join(path, "dense_head.with_velocity"),
                   absl::StrCat("is true, and labels of format ", format, " have no velocity; leave it out"));
  }
  const auto& range = detector.point_cloud_range();
  if (const float flip_x = data.augmentation().flip_x(); flip_x > 0 && range.size() == 6 && range[0] >= 0) {
    return Invalid("data.augmentation.flip_x",
                   absl::StrCat("is ", flip_x, ", and ", path, " sees only what is ahead, x from ", range[0], " to ",
                                range[3], " m, which mirroring x puts behind; leave it out"));
  }
  return absl::OkStatus();
}

absl::Status ValidatePair(const v1::Pair& pair) {
  if (pair.api_version() != "kd/v1")
    return Invalid("apiVersion", absl::StrCat("is ", Quoted(pair.api_version()), ", expected kd/v1"));
  if (pair.kind() != "Pair") return Invalid("kind", absl::StrCat("is ", Quoted(pair.kind()), ", expected Pair"));
  if (!IsJobName(pair.metadata().name())) {
    return Invalid(
        "metadata.name",
        absl::StrCat("\"", absl::CHexEscape(pair.metadata().name().substr(0, 70)),
                     "\" is not a job name; use lower-case letters, digits and '-', for example cp-pillar-half"));
  }
  if (pair.data().root().empty()) return Invalid("data.root", "is missing; name the data set's folder");
  if (pair.data().class_names().empty())
    return Invalid("data.class_names", "is missing, for example [Car, Pedestrian, Cyclist]");
  KD_RETURN_IF_ERROR(ValidateClasses("data.class_names", pair.data().class_names()));
  const auto& own_classes = pair.student().detector().class_names();
  if (!own_classes.empty() && !std::equal(own_classes.begin(), own_classes.end(), pair.data().class_names().begin(),
                                          pair.data().class_names().end())) {
    return Invalid("student.detector.class_names",
                   "differs from data.class_names, which are the labels that it learns; leave it out");
  }
  if (pair.train().epochs() == 0 || pair.train().batch_size() == 0 || pair.train().checkpoint_every() == 0 ||
      pair.train().workers() == 0) {
    return Invalid("train", "epochs, batch_size, workers and checkpoint_every must be at least 1");
  }
  if (!pair.has_teacher() && pair.student().model().empty()) {
    return Invalid("student.model",
                   "is missing; name a built-in model, or a teacher whose configuration the student takes");
  }
  if (!pair.has_teacher() && !pair.distill().empty()) {
    return Invalid("distill", "needs a teacher; add teacher.weights or remove the methods");
  }
  if (!pair.has_teacher() && pair.student().init().from() == "teacher") {
    return Invalid("student.init.from", "is \"teacher\", but there is no teacher; add teacher.weights or use random");
  }
  KD_RETURN_IF_ERROR(ValidateIntensity(pair.data()));
  KD_RETURN_IF_ERROR(ValidatePasting(pair.data()));
  KD_RETURN_IF_ERROR(ValidateMethods(pair));
  if (!pair.student().model().empty()) {
    KD_ASSIGN_OR_RETURN(v1::Detector base, BuiltInDetector(pair.student().model()));
    *base.mutable_class_names() = pair.data().class_names();
    KD_ASSIGN_OR_RETURN(const v1::Detector student, MakeStudentDetector(base, pair.student()));
    KD_RETURN_IF_ERROR(CheckDetectorData("student", student, pair.data()));
  }
  const std::string &name = pair.output().name(), &tag = pair.output().tag();
  if (!name.empty() && !IsRepositoryName(name)) {
    return Invalid("output.name", absl::StrCat("\"", absl::CHexEscape(name.substr(0, 80)),
                                               "\" is not a repository name, for example students/cp-half"));
  }
  if (!(name.empty() && tag.empty()) && !IsTag(tag)) {
    return Invalid("output.tag",
                   absl::StrCat("\"", absl::CHexEscape(tag.substr(0, 80)), "\" is not a tag, for example v1"));
  }
  return absl::OkStatus();
}

}  // namespace kd
