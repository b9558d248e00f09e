#include "data/object_database.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"
#include "data/box_frame.h"

namespace kd {
namespace {

// Both files begin with a tag; a block is its payload's length and CRC-32C, then the payload. Little-endian.
constexpr absl::string_view kObjectsTag = "KDOBJ003", kIndexTag = "KDIDX003";
constexpr size_t kBlockHead = 8;
constexpr uint32_t kMaxBlockBytes = uint32_t{1} << 30;
constexpr uint32_t kMaxColumns = 64;
constexpr size_t kMaxClasses = 1000;
constexpr size_t kEntryBytes = 24;
// Instead of the number of its objects, for a frame that could not be read.
constexpr uint32_t kUnread = UINT32_MAX;

class ByteWriter {
 public:
  template <typename T>
  void Number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void Text(absl::string_view text) {
    Number(static_cast<uint32_t>(text.size()));
    absl::StrAppend(&bytes_, text);
  }
  void Floats(const float* values, size_t count) {
    bytes_.append(reinterpret_cast<const char*>(values), count * sizeof(float));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Every function is false, and all later ones are, when the bytes do not suffice.
class ByteReader {
 public:
  explicit ByteReader(absl::string_view bytes) : rest_(bytes) {}

  template <typename T>
  bool Number(T* value) {
    if (rest_.size() < sizeof(T)) return Fail();
    std::memcpy(value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return true;
  }
  bool Text(std::string* text, size_t max_bytes) {
    uint32_t size = 0;
    if (!Number(&size) || size > max_bytes || size > rest_.size()) return Fail();
    *text = std::string(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return true;
  }
  bool Floats(float* values, size_t count) {
    if (rest_.size() / sizeof(float) < count) return Fail();
    if (count > 0) std::memcpy(values, rest_.data(), count * sizeof(float));
    rest_.remove_prefix(count * sizeof(float));
    return true;
  }
  size_t left() const { return rest_.size(); }

 private:
  bool Fail() {
    rest_ = {};
    return false;
  }

  absl::string_view rest_;
};

std::string Block(absl::string_view payload) {
  ByteWriter head;
  head.Number(static_cast<uint32_t>(payload.size()));
  head.Number(Crc32c(payload));
  return absl::StrCat(head.bytes(), payload);
}

std::string InfoBytes(const ObjectDatabaseInfo& info) {
  ByteWriter out;
  out.Text(info.digest);
  out.Number(static_cast<uint32_t>(info.class_names.size()));
  for (const std::string& name : info.class_names) out.Text(name);
  out.Number(info.point_columns);
  out.Number(info.min_points);
  out.Number(info.frames);
  return out.bytes();
}

bool ReadInfo(ByteReader& in, ObjectDatabaseInfo* info) {
  uint32_t classes = 0;
  if (!in.Text(&info->digest, 256) || !in.Number(&classes) || classes > kMaxClasses) return false;
  info->class_names.resize(classes);
  for (std::string& name : info->class_names) {
    if (!in.Text(&name, 1024)) return false;
  }
  return in.Number(&info->point_columns) && in.Number(&info->min_points) && in.Number(&info->frames) &&
         info->point_columns >= 3 && info->point_columns <= kMaxColumns;
}

// What `entry` points to.
std::string ObjectBytes(const DatabaseObject& object) {
  ByteWriter out;
  out.Text(object.sample);
  out.Number(object.box.label);
  const Box3d& b = object.box.box;
  for (const float value : {b.x, b.y, b.z, b.dx, b.dy, b.dz, b.yaw, object.box.vx, object.box.vy}) out.Number(value);
  out.Number(object.box.num_points);
  out.Number(object.box.difficulty);
  out.Floats(object.points.data(), object.points.size());
  return out.bytes();
}

// All of it but the points.
bool ReadHead(ByteReader& in, DatabaseObject* object) {
  std::array<float, 9> b{};
  LabeledBox& box = object->box;
  if (!in.Text(&object->sample, 1024) || !in.Number(&box.label) || !in.Floats(b.data(), b.size()) ||
      !in.Number(&box.num_points) || !in.Number(&box.difficulty)) {
    return false;
  }
  box.box = {.x = b[0], .y = b[1], .z = b[2], .dx = b[3], .dy = b[4], .dz = b[5], .yaw = b[6]};
  box.vx = b[7];
  box.vy = b[8];
  return true;
}

std::string FrameBlock(const std::vector<DatabaseObject>& objects) {
  ByteWriter out;
  out.Number(static_cast<uint32_t>(objects.size()));
  for (const DatabaseObject& object : objects) out.Text(ObjectBytes(object));
  return Block(out.bytes());
}

std::string UnreadBlock() {
  ByteWriter out;
  out.Number(kUnread);
  return Block(out.bytes());
}

}  // namespace

// Positions of a file that may still grow.
class ObjectsFile {
 public:
  static absl::StatusOr<ObjectsFile> Open(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open \"", path, "\""));
    ObjectsFile file(path, fd);
    struct stat info;
    if (::fstat(fd, &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot stat \"", path, "\""));
    file.size_ = static_cast<uint64_t>(info.st_size);
    return file;
  }
  ObjectsFile(ObjectsFile&& other) noexcept
      : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}
  ObjectsFile& operator=(ObjectsFile&&) = delete;
  ~ObjectsFile() {
    if (fd_ >= 0) ::close(fd_);
  }

  uint64_t size() const { return size_; }

  // Fewer bytes at the end of the file.
  absl::StatusOr<std::string> ReadAt(uint64_t offset, size_t count) const {
    count = static_cast<size_t>(std::min<uint64_t>(count, offset < size_ ? size_ - offset : 0));
    std::string bytes(count, '\0');
    for (size_t done = 0; done < count;) {
      const ssize_t n = ::pread(fd_, bytes.data() + done, count - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read \"", path_, "\""));
      if (n == 0) {
        bytes.resize(done);
        break;
      }
      done += static_cast<size_t>(n);
    }
    return bytes;
  }

  // The payload of the block at `offset`. DATA_LOSS: it is not whole.
  absl::StatusOr<std::string> ReadBlock(uint64_t offset) const {
    const auto error = [&](absl::string_view problem) {
      return absl::DataLossError(absl::StrCat(path_, ": byte ", offset, ": ", problem, "; make the database anew"));
    };
    KD_ASSIGN_OR_RETURN(const std::string head, ReadAt(offset, kBlockHead));
    ByteReader reader(head);
    uint32_t size = 0, crc = 0;
    if (!reader.Number(&size) || !reader.Number(&crc)) return error("the file ends within a block");
    if (size > kMaxBlockBytes || size > size_ - offset - kBlockHead) {
      return error(absl::StrCat("a block of ", size, " bytes does not fit into the file"));
    }
    KD_ASSIGN_OR_RETURN(std::string payload, ReadAt(offset + kBlockHead, size));
    if (payload.size() != size || Crc32c(payload) != crc) return error("the checksum of a block is wrong");
    return payload;
  }

 private:
  ObjectsFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_;
  uint64_t size_ = 0;
};

namespace {

struct Walk {
  ObjectDatabaseInfo info;
  std::vector<ObjectDatabase::Entry> entries;
  uint32_t frames = 0;
  // Of these, the ones that could not be read.
  std::vector<uint32_t> unread;
  // Behind the last whole frame.
  uint64_t end = 0;
};

// The objects of the frame block `payload`, which begins at `offset`. False: it is no such block.
bool ListObjects(absl::string_view payload, uint64_t offset, const ObjectDatabaseInfo& info,
                 std::vector<ObjectDatabase::Entry>* entries, bool* unread) {
  const size_t point_bytes = info.point_columns * sizeof(float);
  ByteReader in(payload);
  uint32_t count = 0;
  if (!in.Number(&count)) return false;
  *unread = count == kUnread;
  if (*unread) return in.left() == 0;
  for (uint32_t i = 0; i < count; ++i) {
    std::string object;
    DatabaseObject head;
    if (!in.Text(&object, payload.size())) return false;
    ObjectDatabase::Entry entry{.offset = offset + payload.size() - in.left() - object.size(),
                                .bytes = static_cast<uint32_t>(object.size()),
                                .crc = Crc32c(object)};
    ByteReader fields(object);
    if (!ReadHead(fields, &head)) return false;
    if (head.box.label < 0 || static_cast<size_t>(head.box.label) >= info.class_names.size()) return false;
    if (fields.left() % point_bytes != 0) return false;
    entry.label = head.box.label;
    entry.points = static_cast<uint32_t>(fields.left() / point_bytes);
    entries->push_back(entry);
  }
  return in.left() == 0;
}

// Reads block after block and stops at the first one that is not whole. DATA_LOSS: it is no such file.
absl::StatusOr<Walk> WalkObjects(const std::string& path) {
  KD_ASSIGN_OR_RETURN(const ObjectsFile file, ObjectsFile::Open(path));
  KD_ASSIGN_OR_RETURN(const std::string tag, file.ReadAt(0, kObjectsTag.size()));
  if (tag != kObjectsTag) return absl::DataLossError(absl::StrCat(path, ": byte 0 does not begin an object database"));
  Walk walk;
  KD_ASSIGN_OR_RETURN(const std::string info, file.ReadBlock(kObjectsTag.size()));
  ByteReader reader(info);
  if (!ReadInfo(reader, &walk.info) || reader.left() > 0) {
    return absl::DataLossError(absl::StrCat(path, ": byte ", kObjectsTag.size(), ": the settings cannot be read"));
  }
  walk.end = kObjectsTag.size() + kBlockHead + info.size();
  // What follows the last frame of the split is nobody's.
  while (walk.end < file.size() && walk.frames < walk.info.frames) {
    const absl::StatusOr<std::string> payload = file.ReadBlock(walk.end);
    if (absl::IsDataLoss(payload.status())) break;
    KD_RETURN_IF_ERROR(payload.status());
    const size_t before = walk.entries.size();
    bool unread = false;
    if (!ListObjects(*payload, walk.end + kBlockHead, walk.info, &walk.entries, &unread)) {
      walk.entries.resize(before);
      break;
    }
    if (unread) walk.unread.push_back(walk.frames);
    walk.end += kBlockHead + payload->size();
    ++walk.frames;
  }
  return walk;
}

std::string ObjectsPath(const std::string& folder, const std::string& split) {
  return absl::StrCat(folder, "/", split, ".objects");
}
std::string IndexPath(const std::string& objects) { return objects + ".index"; }
std::string PartialPath(const std::string& objects) { return objects + ".partial"; }

std::string IndexBytes(const Walk& walk) {
  ByteWriter out;
  out.Text(InfoBytes(walk.info));
  out.Number(walk.end);
  out.Number(static_cast<uint32_t>(walk.unread.size()));
  for (const uint32_t frame : walk.unread) out.Number(frame);
  out.Number(static_cast<uint64_t>(walk.entries.size()));
  for (const ObjectDatabase::Entry& entry : walk.entries) {
    out.Number(entry.label);
    out.Number(entry.points);
    out.Number(entry.offset);
    out.Number(entry.bytes);
    out.Number(entry.crc);
  }
  return absl::StrCat(kIndexTag, Block(out.bytes()));
}

}  // namespace

std::vector<DatabaseObject> CutObjects(const Frame& frame, uint32_t min_points) {
  const size_t columns = frame.num_features;
  std::vector<DatabaseObject> objects;
  for (const LabeledBox& labeled : frame.boxes) {
    const BoxFrame own(labeled.box);
    const double radius = std::hypot(labeled.box.dx, labeled.box.dy) / 2;
    DatabaseObject object{.sample = frame.sample, .box = labeled};
    for (size_t i = 0; i < frame.num_points(); ++i) {
      const float* p = &frame.points[i * columns];
      if (std::abs(p[0] - labeled.box.x) > radius || std::abs(p[1] - labeled.box.y) > radius) continue;
      const auto uvw = own.ToBox(p);
      if (!Holds(labeled.box, uvw)) continue;
      for (const double value : uvw) object.points.push_back(static_cast<float>(value));
      object.points.insert(object.points.end(), p + 3, p + columns);
    }
    if (object.points.size() / columns >= min_points) objects.push_back(std::move(object));
  }
  return objects;
}

absl::StatusOr<ObjectDatabase> ObjectDatabase::Open(const std::string& folder, const std::string& split) {
  ObjectDatabase database;
  database.path_ = ObjectsPath(folder, split);
  const std::string index_path = IndexPath(database.path_);
  const absl::StatusOr<std::string> bytes = ReadFile(index_path);
  if (absl::IsNotFound(bytes.status())) {
    return absl::NotFoundError(absl::StrCat("no object database of split \"", split, "\" in ", folder, ": ", index_path,
                                            " is missing; make it with kdctl data prepare"));
  }
  KD_RETURN_IF_ERROR(bytes.status());
  const auto error = [&](absl::string_view problem) {
    return absl::DataLossError(
        absl::StrCat(index_path, ": ", problem, "; make the database anew with kdctl data prepare"));
  };
  if (absl::string_view(*bytes).substr(0, kIndexTag.size()) != kIndexTag)
    return error("byte 0 does not begin an index");
  ByteReader block(absl::string_view(*bytes).substr(kIndexTag.size()));
  uint32_t size = 0, crc = 0;
  if (!block.Number(&size) || !block.Number(&crc) || block.left() != size) return error("byte 8: its length is wrong");
  const absl::string_view payload = absl::string_view(*bytes).substr(kIndexTag.size() + kBlockHead);
  if (Crc32c(payload) != crc) return error("byte 12: its checksum is wrong");
  ByteReader in(payload);
  std::string info;
  uint64_t file_size = 0, count = 0;
  uint32_t unread = 0;
  if (!in.Text(&info, payload.size()) || !in.Number(&file_size) || !in.Number(&unread) ||
      unread > in.left() / sizeof(uint32_t)) {
    return error("byte 16: it does not hold what it should");
  }
  ByteReader info_reader(info);
  if (!ReadInfo(info_reader, &database.info_)) return error("byte 16: the settings cannot be read");
  database.unread_.resize(unread);
  for (uint32_t& frame : database.unread_) in.Number(&frame);
  const auto& frames = database.unread_;
  if (std::adjacent_find(frames.begin(), frames.end(), std::greater_equal<>()) != frames.end() ||
      (!frames.empty() && frames.back() >= database.info_.frames)) {
    return error("the frames that could not be read are not in the split");
  }
  if (!in.Number(&count) || in.left() / kEntryBytes != count || in.left() % kEntryBytes != 0)
    return error("its objects are not as many as it says");
  for (uint64_t i = 0; i < count; ++i) {
    Entry entry;
    const bool whole = in.Number(&entry.label) && in.Number(&entry.points) && in.Number(&entry.offset) &&
                       in.Number(&entry.bytes) && in.Number(&entry.crc);
    const bool possible = entry.label >= 0 && static_cast<size_t>(entry.label) < database.info_.class_names.size() &&
                          entry.offset <= file_size && entry.bytes <= file_size - entry.offset;
    if (!whole || !possible) return error(absl::StrCat("object ", i, " cannot be where it says"));
    database.entries_.push_back(entry);
  }
  KD_ASSIGN_OR_RETURN(ObjectsFile file, ObjectsFile::Open(database.path_));
  if (file.size() != file_size) {
    return error(absl::StrCat("it is of a file of ", file_size, " bytes, ", database.path_, " has ", file.size()));
  }
  database.file_ = std::make_shared<const ObjectsFile>(std::move(file));
  database.digest_ = Sha256Digest(*bytes);
  return database;
}

absl::StatusOr<DatabaseObject> ObjectDatabase::Read(size_t index) const {
  const Entry& entry = entries_.at(index);
  const auto error = [&](absl::string_view problem) {
    return absl::DataLossError(absl::StrCat(path_, ": byte ", entry.offset, ": object ", index, " ", problem,
                                            "; make the database anew with kdctl data prepare"));
  };
  KD_ASSIGN_OR_RETURN(const std::string bytes, file_->ReadAt(entry.offset, entry.bytes));
  if (bytes.size() != entry.bytes || Crc32c(bytes) != entry.crc) return error("has a wrong checksum");
  ByteReader in(bytes);
  DatabaseObject object;
  if (!ReadHead(in, &object) || in.left() != uint64_t{entry.points} * info_.point_columns * sizeof(float) ||
      object.box.label != entry.label) {
    return error("is not what its index says");
  }
  object.points.resize(in.left() / sizeof(float));
  in.Floats(object.points.data(), object.points.size());
  return object;
}

absl::StatusOr<std::unique_ptr<ObjectDatabaseWriter>> ObjectDatabaseWriter::Open(const std::string& folder,
                                                                                 const std::string& split,
                                                                                 const ObjectDatabaseInfo& info) {
  KD_RETURN_IF_ERROR(CreateFolders(folder));
  const std::string path = ObjectsPath(folder, split), partial = PartialPath(path);
  const auto other = [&](const std::string& file) {
    return absl::FailedPreconditionError(
        absl::StrCat(file, " holds objects of other data or settings; choose another folder or delete it"));
  };
  if (const absl::StatusOr<ObjectDatabase> finished = ObjectDatabase::Open(folder, split); finished.ok()) {
    if (!(finished->info() == info)) return other(path);
    return absl::AlreadyExistsError(absl::StrCat(path, " is finished"));
  }
  KD_ASSIGN_OR_RETURN(std::unique_ptr<ObjectDatabaseWriter> writer, Lock(folder, split));
  const off_t size = ::lseek(writer->fd_, 0, SEEK_END);
  // Too short to tell anything but that its beginning was torn.
  if (size < static_cast<off_t>(kObjectsTag.size() + kBlockHead + InfoBytes(info).size())) {
    KD_RETURN_IF_ERROR(writer->Start(info));
    return writer;
  }
  KD_ASSIGN_OR_RETURN(const Walk walk, WalkObjects(partial));
  if (!(walk.info == info)) return other(partial);
  if (::ftruncate(writer->fd_, static_cast<off_t>(walk.end)) != 0 || ::lseek(writer->fd_, 0, SEEK_END) < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot cut off the torn end of \"", partial, "\""));
  }
  const absl::MutexLock lock(&writer->mutex_);
  writer->done_ = walk.frames;
  return writer;
}

absl::StatusOr<std::unique_ptr<ObjectDatabaseWriter>> ObjectDatabaseWriter::Begin(const std::string& folder,
                                                                                  const std::string& split,
                                                                                  const ObjectDatabaseInfo& info) {
  KD_ASSIGN_OR_RETURN(std::unique_ptr<ObjectDatabaseWriter> writer, Lock(folder, split));
  KD_RETURN_IF_ERROR(writer->Start(info));
  return writer;
}

absl::StatusOr<std::unique_ptr<ObjectDatabaseWriter>> ObjectDatabaseWriter::Lock(const std::string& folder,
                                                                                 const std::string& split) {
  const std::string path = ObjectsPath(folder, split), partial = PartialPath(path);
  const int fd = ::open(partial.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create \"", partial, "\""));
  std::unique_ptr<ObjectDatabaseWriter> writer(new ObjectDatabaseWriter(path, fd, 0));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(partial, " is being written by another program; wait for it"));
  }
  return writer;
}

absl::Status ObjectDatabaseWriter::Start(const ObjectDatabaseInfo& info) {
  if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot begin \"", PartialPath(path_), "\""));
  }
  const absl::MutexLock lock(&mutex_);
  return Append(absl::StrCat(kObjectsTag, Block(InfoBytes(info))));
}

ObjectDatabaseWriter::~ObjectDatabaseWriter() { ::close(fd_); }

uint32_t ObjectDatabaseWriter::frames_done() const {
  const absl::MutexLock lock(&mutex_);
  return done_;
}

absl::Status ObjectDatabaseWriter::Append(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == ENOSPC || errno == EDQUOT)) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the disk of \"", path_, "\" is full; make room and run it again"));
    }
    if (n < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write \"", PartialPath(path_), "\""));
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status ObjectDatabaseWriter::Add(uint32_t frame, std::vector<DatabaseObject> objects) {
  std::string block = FrameBlock(objects);
  if (block.size() > kMaxBlockBytes) return absl::InvalidArgumentError("the objects of a frame are larger than 1 GiB");
  return AddBlock(frame, std::move(block));
}

absl::Status ObjectDatabaseWriter::AddUnread(uint32_t frame) { return AddBlock(frame, UnreadBlock()); }

absl::Status ObjectDatabaseWriter::AddBlock(uint32_t frame, std::string block) {
  const absl::MutexLock lock(&mutex_);
  waiting_.emplace_back(frame, std::move(block));
  for (;;) {
    const auto next = std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& f) { return f.first == done_; });
    if (next == waiting_.end()) return absl::OkStatus();
    KD_RETURN_IF_ERROR(Append(next->second));
    ++done_;
    waiting_.erase(next);
  }
}

absl::Status ObjectDatabaseWriter::Finish() {
  const absl::MutexLock lock(&mutex_);
  const std::string partial = PartialPath(path_);
  if (::fsync(fd_) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot sync \"", partial, "\""));
  KD_ASSIGN_OR_RETURN(const Walk walk, WalkObjects(partial));
  if (walk.frames != walk.info.frames) {
    return absl::InternalError(absl::StrCat(partial, " has ", walk.frames, " of ", walk.info.frames, " frames"));
  }
  // Until the file has its name the database counts as unfinished, and all frames as done.
  KD_RETURN_IF_ERROR(WriteFileAtomically(IndexPath(path_), IndexBytes(walk)));
  std::error_code error;
  std::filesystem::rename(partial, path_, error);
  if (error) return absl::UnavailableError(absl::StrCat("cannot rename \"", partial, "\": ", error.message()));
  return absl::OkStatus();
}

absl::Status AddMendedFrames(const std::string& folder, const std::string& split, const CutFrame& cut) {
  KD_ASSIGN_OR_RETURN(const ObjectDatabase database, ObjectDatabase::Open(folder, split));
  KD_ASSIGN_OR_RETURN(const ObjectsFile file, ObjectsFile::Open(ObjectsPath(folder, split)));
  KD_ASSIGN_OR_RETURN(const auto writer, ObjectDatabaseWriter::Begin(folder, split, database.info()));
  uint64_t offset = kObjectsTag.size() + kBlockHead + InfoBytes(database.info()).size();
  const std::vector<uint32_t>& unread = database.unread();
  for (uint32_t frame = 0; frame < database.info().frames; ++frame) {
    KD_ASSIGN_OR_RETURN(const std::string payload, file.ReadBlock(offset));
    offset += kBlockHead + payload.size();
    std::optional<std::vector<DatabaseObject>> objects;
    if (std::binary_search(unread.begin(), unread.end(), frame)) {
      KD_ASSIGN_OR_RETURN(objects, cut(frame));
    }
    KD_RETURN_IF_ERROR(objects.has_value() ? writer->Add(frame, *std::move(objects))
                                           : writer->AddBlock(frame, Block(payload)));
  }
  return writer->Finish();
}

}  // namespace kd
