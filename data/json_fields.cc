#include "data/json_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"

namespace kd {
namespace {

namespace json = simdjson::ondemand;

// simdjson counts bytes in 32 bits.
constexpr uint64_t kMaxBytes = 0xFFFFFFFF - simdjson::SIMDJSON_PADDING;
constexpr size_t kShownBytes = 40;

// What is wrong with a value; empty: nothing. The raw text stands before it in the message.
using Problem = std::string;

template <typename T>
Problem Read(json::value value, const char* expected, T* target) {
  return value.get(*target) == simdjson::SUCCESS ? "" : absl::StrCat(", expected ", expected);
}

Problem Read(json::value value, std::string* target) {
  std::string_view text;
  Problem problem = Read(value, "a text in quotes", &text);
  if (problem.empty()) target->assign(text);
  return problem;
}
Problem Read(json::value value, bool* target) { return Read(value, "true or false", target); }
Problem Read(json::value value, int64_t* target) { return Read(value, "a whole number", target); }
Problem Read(json::value value, double* target) { return Read(value, "a number", target); }

Problem Read(json::value value, NuscenesToken* target) {
  std::string_view text;
  Problem problem = Read(value, "a token (32 hex digits)", &text);
  if (!problem.empty()) return problem;
  const std::optional<NuscenesToken> token = ParseNuscenesToken(absl::string_view(text.data(), text.size()));
  if (!token.has_value()) return ", expected a token (32 hex digits)";
  *target = *token;
  return "";
}

Problem Read(json::value value, std::optional<NuscenesToken>* target) {
  constexpr char kExpected[] = "a token (32 hex digits) or \"\" for none";
  std::string_view text;
  Problem problem = Read(value, kExpected, &text);
  if (!problem.empty()) return problem;
  *target = ParseNuscenesToken(absl::string_view(text.data(), text.size()));
  return target->has_value() || text.empty() ? "" : absl::StrCat(", expected ", kExpected);
}

bool IsNumber(json::value value, double& number) { return value.get(number) == simdjson::SUCCESS; }

bool IsPythonNumber(json::value value, double& number) {
  if (IsNumber(value, number)) return true;
  const std::string_view raw = value.raw_json_token();
  const absl::string_view text = absl::StripAsciiWhitespace(absl::string_view(raw.data(), raw.size()));
  if (text == "NaN") {
    number = std::numeric_limits<double>::quiet_NaN();
  } else if (text == "Infinity" || text == "-Infinity") {
    number = text[0] == '-' ? -HUGE_VAL : HUGE_VAL;
  } else {
    const absl::string_view digits = absl::StripPrefix(text, "-");
    return !digits.empty() && absl::ascii_isdigit(digits[0]) && absl::SimpleAtod(text, &number) && std::isinf(number);
  }
  return true;
}

Problem Read(json::value value, PythonNumber number) {
  return IsPythonNumber(value, *number.target) ? "" : ", expected a number";
}

template <typename IsElement>
Problem ReadList(json::value value, absl::Span<double> target, IsElement is_number) {
  const auto expected = [&] { return absl::StrCat("expected a list of ", target.size(), " numbers"); };
  json::array list;
  if (value.get(list) != simdjson::SUCCESS) return absl::StrCat(", ", expected());
  size_t n = 0;
  for (simdjson::simdjson_result<json::value> entry : list) {
    json::value element;
    double number = 0;
    if (entry.get(element) != simdjson::SUCCESS || !is_number(element, number)) {
      return absl::StrCat(" with no number at place ", n, ", ", expected());
    }
    if (n < target.size()) target[n] = number;
    ++n;
  }
  return n == target.size() ? "" : absl::StrCat(" with ", n, " numbers, ", expected());
}

Problem Read(json::value value, absl::Span<double> target) { return ReadList(value, target, IsNumber); }
Problem Read(json::value value, PythonNumbers target) { return ReadList(value, target.target, IsPythonNumber); }

Problem Read(json::value value, std::vector<double>* target) {
  constexpr char kExpected[] = ", expected a list of lists of numbers";
  target->clear();
  json::array rows;
  if (value.get(rows) != simdjson::SUCCESS) return kExpected;
  for (simdjson::simdjson_result<json::value> row : rows) {
    json::array numbers;
    if (row.get(numbers) != simdjson::SUCCESS) return kExpected;
    for (simdjson::simdjson_result<json::value> element : numbers) {
      double number = 0;
      if (element.get(number) != simdjson::SUCCESS) return kExpected;
      target->push_back(number);
    }
  }
  return "";
}

Problem Read(json::value value, std::vector<NuscenesToken>* target) {
  constexpr char kExpected[] = ", expected a list of tokens (32 hex digits each)";
  target->clear();
  json::array list;
  if (value.get(list) != simdjson::SUCCESS) return kExpected;
  for (simdjson::simdjson_result<json::value> element : list) {
    json::value token;
    if (element.get(token) != simdjson::SUCCESS) return kExpected;
    if (!Read(token, &target->emplace_back()).empty()) return kExpected;
  }
  return "";
}

std::string Shown(std::string_view raw) {
  const absl::string_view text = absl::StripAsciiWhitespace(absl::string_view(raw.data(), raw.size()));
  if (text.size() <= kShownBytes) return absl::CEscape(text);
  return absl::StrCat(absl::CEscape(text.substr(0, kShownBytes)), "...");
}

std::string BrokenAt(size_t byte, simdjson::error_code error) {
  return absl::StrCat("broken JSON at byte ", byte, " (", simdjson::error_message(error), ")");
}

// Where `text` ceases to be UTF-8.
size_t EndOfUtf8(absl::string_view text) {
  // A long step that ends within a character fails, and shorter ones follow.
  constexpr size_t kSteps[] = {1 << 20, 1 << 10, 1 << 5, 4, 3, 2, 1};
  size_t at = 0, before = 0;
  do {
    before = at;
    for (const size_t step : kSteps) {
      while (at + step <= text.size() && simdjson::validate_utf8(text.data() + at, step)) at += step;
    }
  } while (at != before);
  return at;
}

// The first control character in quotes, or the last quote that opens and is never closed.
size_t EndOfQuotes(absl::string_view text) {
  size_t opened = absl::string_view::npos;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool inside = opened != absl::string_view::npos;
    if (text[i] == '"') opened = inside ? absl::string_view::npos : i;
    if (!inside) continue;
    if (static_cast<unsigned char>(text[i]) < ' ') return i;
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == '"' || text[i + 1] == '\\')) ++i;
  }
  return std::min(opened, text.size());
}

}  // namespace

absl::Status ReadJsonFields(JsonFile& file, simdjson::simdjson_result<json::value> value,
                            absl::Span<const JsonField> fields) {
  json::object object;
  if (const auto error = value.get(object); error == simdjson::INCORRECT_TYPE) {
    return absl::InvalidArgumentError("not an object in {}");
  } else if (error != simdjson::SUCCESS) {
    return file.Broken(error);
  }
  uint32_t seen = 0;
  size_t likely = 0;
  for (simdjson::simdjson_result<json::field> entry : object) {
    json::field field;
    if (const auto error = std::move(entry).get(field); error != simdjson::SUCCESS) return file.Broken(error);
    // Records mostly keep one order of fields.
    size_t index = fields.size();
    for (size_t tried = 0; tried < fields.size(); ++tried) {
      const size_t i = (likely + tried) % fields.size();
      if (!field.key().unsafe_is_equal(std::string_view(fields[i].name.data(), fields[i].name.size()))) continue;
      index = i;
      break;
    }
    if (index == fields.size()) continue;
    likely = index + 1;
    if ((seen >> index & 1) != 0) {
      return absl::InvalidArgumentError(absl::StrCat("field \"", fields[index].name, "\" stands twice"));
    }
    seen |= uint32_t{1} << index;
    const std::string_view raw = field.value().raw_json_token();
    const Problem problem =
        std::visit([&](const auto& target) { return Read(field.value(), target); }, fields[index].target);
    if (!problem.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("field \"", fields[index].name, "\" is ", Shown(raw), problem));
    }
  }
  for (size_t i = 0; i < fields.size(); ++i) {
    if ((seen >> i & 1) == 0 && !fields[i].optional)
      return absl::InvalidArgumentError(absl::StrCat("field \"", fields[i].name, "\" is missing"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<JsonFile>> JsonFile::Open(const std::string& path) {
  std::unique_ptr<JsonFile> file(new JsonFile(path));
  KD_ASSIGN_OR_RETURN(file->bytes_, ReadFile(path, kMaxBytes));
  const size_t size = file->bytes_.size();
  file->bytes_.resize(size + simdjson::SIMDJSON_PADDING, '\0');
  const simdjson::padded_string_view view(file->bytes_.data(), size, file->bytes_.size());
  if (const auto error = file->parser_.iterate(view).get(file->document_); error != simdjson::SUCCESS) {
    const absl::string_view text(view.data(), size);
    const size_t place = error == simdjson::UTF8_ERROR ? EndOfUtf8(text) : EndOfQuotes(text);
    return absl::DataLossError(absl::StrCat(path, ": ", BrokenAt(place, error)));
  }
  return file;
}

absl::Status JsonFile::Broken(simdjson::error_code error) {
  const char* place = nullptr;
  const bool inside = document_.current_location().get(place) == simdjson::SUCCESS;
  // What is cut short was found out at the start.
  const bool is_at_end = !inside || error == simdjson::INCOMPLETE_ARRAY_OR_OBJECT;
  const size_t end = bytes_.size() - simdjson::SIMDJSON_PADDING;
  return absl::InvalidArgumentError(BrokenAt(is_at_end ? end : static_cast<size_t>(place - bytes_.data()), error));
}

absl::Status JsonFile::CheckEnd() {
  const char* place = nullptr;
  if (document_.current_location().get(place) == simdjson::OUT_OF_BOUNDS) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path_, ": more text follows the end of the JSON, at byte ", place - bytes_.data()));
}

}  // namespace kd
