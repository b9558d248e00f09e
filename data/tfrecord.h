// TFRecord files: byte strings, each framed by its length and two masked CRC-32C sums, without a header or an index
// (datasets.md section 3.1).
#ifndef KD_DATA_TFRECORD_H_
#define KD_DATA_TFRECORD_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

// Where the records of a file lie. Immutable; the file is opened anew by every Read.
class TfRecordFile {
 public:
  struct Record {
    // Of the payload.
    uint64_t offset = 0;
    uint64_t length = 0;
    // As the file has it: names the payload's content without reading it.
    uint32_t masked_crc = 0;
  };

  // Walks over `path` once, from length to length. Payloads are neither read nor checked.
  // NOT_FOUND: no such file. DATA_LOSS: the file is empty or ends within a record, or a length has a wrong checksum or
  // is above 1 GiB; names file, record (from 0) and byte.
  static absl::StatusOr<TfRecordFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<Record>& records() const { return records_; }

  // "<path>: record 3 at byte 4711", for messages.
  std::string Place(size_t index) const;

  // Payload of record `index`, which must exist. Thread-safe.
  // DATA_LOSS: its checksum is wrong, or the file has become shorter.
  absl::StatusOr<std::string> Read(size_t index) const;

 private:
  TfRecordFile(std::string path, std::vector<Record> records) : path_(std::move(path)), records_(std::move(records)) {}

  std::string path_;
  std::vector<Record> records_;
};

// One record as it stands in a file.
std::string FrameTfRecord(absl::string_view payload);

}  // namespace kd

#endif  // KD_DATA_TFRECORD_H_
