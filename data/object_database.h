// Objects cut out of a split, to be pasted into other frames (docs/object-database.md).
#ifndef KD_DATA_OBJECT_DATABASE_H_
#define KD_DATA_OBJECT_DATABASE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "data/frame.h"

namespace kd {

struct DatabaseObject {
  // Where it comes from.
  std::string sample;
  LabeledBox box;
  // Row-major N x point_columns, in the box's own axes (data/box_frame.h).
  std::vector<float> points;
};

// What a database is of. A database is only continued with equal settings.
struct ObjectDatabaseInfo {
  // Of the split (Dataset::Digest).
  std::string digest;
  std::vector<std::string> class_names;
  uint32_t point_columns = 4;
  // Objects with fewer points are left out.
  uint32_t min_points = 5;
  // In the split.
  uint32_t frames = 0;

  friend bool operator==(const ObjectDatabaseInfo&, const ObjectDatabaseInfo&) = default;
};

// The objects of `frame` that hold at least `min_points` points. A point in two boxes is in both.
std::vector<DatabaseObject> CutObjects(const Frame& frame, uint32_t min_points);

class ObjectsFile;

// Immutable and thread-safe. Copies share the open file, which stays what it was when another one takes its name.
class ObjectDatabase {
 public:
  struct Entry {
    int32_t label = 0;
    uint32_t points = 0;
    uint64_t offset = 0;
    uint32_t bytes = 0, crc = 0;
  };

  // FOLDER/SPLIT.objects and its index.
  // NOT_FOUND: never made, or not finished. DATA_LOSS: the index is damaged or is not this file's.
  static absl::StatusOr<ObjectDatabase> Open(const std::string& folder, const std::string& split);

  const ObjectDatabaseInfo& info() const { return info_; }
  // Names the content: "sha256:..." over the index, which holds the settings and every object's checksum.
  const std::string& digest() const { return digest_; }
  // In the order of the split's frames and of their labels.
  const std::vector<Entry>& entries() const { return entries_; }
  // Numbers of the split's frames that could not be read when the database was made, ascending: it has nothing of them.
  const std::vector<uint32_t>& unread() const { return unread_; }

  // Object `index`, which must exist. DATA_LOSS: its bytes are damaged; names file and byte.
  absl::StatusOr<DatabaseObject> Read(size_t index) const;

 private:
  ObjectDatabase() = default;

  std::string path_;
  std::shared_ptr<const ObjectsFile> file_;
  ObjectDatabaseInfo info_;
  std::string digest_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> unread_;
};

// The objects of frame number `frame`, if it can be read by now.
using CutFrame = std::function<absl::StatusOr<std::optional<std::vector<DatabaseObject>>>(uint32_t frame)>;

// Adds frames to the finished database of FOLDER/SPLIT that could not be read when it was made, as if they could have
// been: asks `cut` for each of them and copies the others. Until all is written the database stays what it was, and a
// program that ends in between leaves nothing that has to be mended; one that has it open keeps the old one.
// Errors: those of ObjectDatabase::Open and of `cut`. DATA_LOSS: a frame's bytes are damaged. FAILED_PRECONDITION:
// another program writes it. UNAVAILABLE, RESOURCE_EXHAUSTED: as the file system says.
absl::Status AddMendedFrames(const std::string& folder, const std::string& split, const CutFrame& cut);

// Writes a database frame by frame, in order. Frames that are whole on disk stay when the program ends in between.
// Thread-safe.
class ObjectDatabaseWriter {
 public:
  // Begins FOLDER/SPLIT.objects.partial, or goes on where it ends; a torn last frame is cut off.
  // ALREADY_EXISTS: the database is there, finished, of the same data. FAILED_PRECONDITION: what is there is of other
  // data or settings. UNAVAILABLE, RESOURCE_EXHAUSTED: as the file system says.
  static absl::StatusOr<std::unique_ptr<ObjectDatabaseWriter>> Open(const std::string& folder, const std::string& split,
                                                                    const ObjectDatabaseInfo& info);
  // Begins FOLDER/SPLIT.objects.partial anew, whatever is there. Errors: of the file system, as Open()'s.
  static absl::StatusOr<std::unique_ptr<ObjectDatabaseWriter>> Begin(const std::string& folder,
                                                                     const std::string& split,
                                                                     const ObjectDatabaseInfo& info);
  ~ObjectDatabaseWriter();

  // Frames that need not be given: the first ones of the split.
  uint32_t frames_done() const;

  // The objects of frame number `frame`, or that it cannot be read; each frame once, in any order from frames_done()
  // on. Those that come early wait in memory.
  absl::Status Add(uint32_t frame, std::vector<DatabaseObject> objects);
  absl::Status AddUnread(uint32_t frame);
  // As Add(), of a frame whose block another database has.
  absl::Status AddBlock(uint32_t frame, std::string block);

  // Writes the index and gives the file its name. Every frame must have been added.
  absl::Status Finish();

 private:
  ObjectDatabaseWriter(std::string path, int fd, uint32_t done) : path_(std::move(path)), fd_(fd), done_(done) {}

  static absl::StatusOr<std::unique_ptr<ObjectDatabaseWriter>> Lock(const std::string& folder,
                                                                    const std::string& split);
  absl::Status Start(const ObjectDatabaseInfo& info);
  absl::Status Append(absl::string_view bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  const int fd_;
  mutable absl::Mutex mutex_;
  uint32_t done_ ABSL_GUARDED_BY(mutex_);
  // Frames that have to wait, by number.
  std::vector<std::pair<uint32_t, std::string>> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kd

#endif  // KD_DATA_OBJECT_DATABASE_H_
