// Typed fields of JSON objects, read as the text goes by: no tree of a document is built, so that a table of a gigabyte
// needs little more than its own bytes. Include in .cc files alone: simdjson is one large header.
#ifndef KD_DATA_JSON_FIELDS_H_
#define KD_DATA_JSON_FIELDS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "data/nuscenes_token.h"
#include "simdjson.h"

namespace kd {

// Numbers as Python writes them: NaN, Infinity and -Infinity count, too, and what no double can hold is infinite.
struct PythonNumber {
  double* target;
};
struct PythonNumbers {
  absl::Span<double> target;
};

// Where a field's value goes. What the JSON must hold:
//   string, bool, int64_t, double   the like (numbers are finite)
//   Span<double>                    a list of just so many numbers
//   PythonNumber, PythonNumbers     a number, a list of just so many
//   vector<double>                  a list of lists of numbers, in reading order
//   NuscenesToken                   a token
//   optional<NuscenesToken>         a token, or "" for none
//   vector<NuscenesToken>           a list of tokens
struct JsonField {
  absl::string_view name;
  std::variant<std::string*, bool*, int64_t*, double*, absl::Span<double>, std::vector<double>*, NuscenesToken*,
               std::optional<NuscenesToken>*, std::vector<NuscenesToken>*, PythonNumber, PythonNumbers>
      target;
  // Keeps its target's value where it is missing.
  bool optional = false;
};

// A JSON file in memory. simdjson reads it once, front to back.
class JsonFile {
 public:
  // Errors as of ReadFile(). DATA_LOSS: no UTF-8, or quotes that do not match; with the byte from where.
  static absl::StatusOr<std::unique_ptr<JsonFile>> Open(const std::string& path);

  simdjson::ondemand::document& document() { return document_; }
  // After `error` of reading: INVALID_ARGUMENT with its place, "broken JSON at byte 120 (...)".
  absl::Status Broken(simdjson::error_code error);
  // After everything was read. DATA_LOSS: more text follows.
  absl::Status CheckEnd();

 private:
  explicit JsonFile(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  std::string bytes_;
  simdjson::ondemand::parser parser_;
  simdjson::ondemand::document document_;
};

// Reads `fields`, at most 32, of the object that `value` of `file` is, and passes over others. Every field must stand
// once, but for optional ones.
// INVALID_ARGUMENT: what it is not, for example
//   field "size" holds 2 numbers, expected a list of 3 numbers
absl::Status ReadJsonFields(JsonFile& file, simdjson::simdjson_result<simdjson::ondemand::value> value,
                            absl::Span<const JsonField> fields);

}  // namespace kd

#endif  // KD_DATA_JSON_FIELDS_H_
