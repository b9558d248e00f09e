#include "core/zip_archive.h"

#include <zip.h>

#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace kd {
namespace {

// The format's first day: archives that are made again have the same bytes.
constexpr zip_uint16_t kDosTime = 0, kDosDate = 0x21;

std::string Text(const zip_error_t& error) {
  zip_error_t copy = error;
  copy.str = nullptr;
  std::string text = OneLine(zip_error_strerror(&copy));
  zip_error_fini(&copy);
  return text;
}

struct Discard {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct CloseFile {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
struct FreeSource {
  void operator()(zip_source_t* source) const { zip_source_free(source); }
};
using Source = std::unique_ptr<zip_source_t, FreeSource>;

}  // namespace

void ZipArchive::Close::operator()(zip_t* archive) const { zip_discard(archive); }

absl::StatusOr<ZipArchive> ZipArchive::Open(absl::string_view bytes) {
  const auto bad = [](absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat("not a whole zip archive (", problem, "); was it cut in copying?"));
  };
  zip_error_t error;
  zip_error_init(&error);
  Source source(zip_source_buffer_create(bytes.data(), bytes.size(), /*freep=*/0, &error));
  if (source == nullptr) return bad(Text(error));
  ZipArchive archive;
  archive.left_ = bytes.size();
  archive.archive_.reset(zip_open_from_source(source.get(), ZIP_RDONLY, &error));
  if (archive.archive_ == nullptr) return bad(Text(error));
  (void)source.release();  // The archive owns it now.
  const zip_int64_t count = zip_get_num_entries(archive.archive_.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    const auto index = static_cast<zip_uint64_t>(i);
    const char* const name = zip_get_name(archive.archive_.get(), index, ZIP_FL_ENC_RAW);
    if (name == nullptr) return bad("an entry without a name");
    if (!archive.entries_.emplace(name, index).second)
      return bad(absl::StrCat("entry ", Quoted(name), " appears twice"));
  }
  return archive;
}

std::vector<std::string> ZipArchive::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, index] : entries_) names.push_back(name);
  return names;
}

absl::StatusOr<std::string> ZipArchive::Read(const std::string& name, int64_t want_bytes) {
  const auto bad = [&name](absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat("entry ", Quoted(name), " ", problem));
  };
  const auto found = entries_.find(name);
  if (found == entries_.end()) return bad("is not in the archive");
  zip_stat_t stat;
  zip_stat_init(&stat);
  constexpr zip_uint64_t kNeeded =
      ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
  if (zip_stat_index(archive_.get(), found->second, 0, &stat) != 0 || (stat.valid & kNeeded) != kNeeded)
    return bad("has no size");
  if (stat.encryption_method != ZIP_EM_NONE) return bad("is encrypted");
  if (stat.comp_method != ZIP_CM_STORE || stat.size != stat.comp_size) {
    return bad(absl::StrCat("is compressed, ", stat.comp_size, " bytes to ", stat.size,
                            ", which torch never does; unpack and pack it with zip -0"));
  }
  if (want_bytes >= 0 && stat.size != static_cast<uint64_t>(want_bytes)) {
    return bad(absl::StrCat("has ", stat.size, " bytes, expected ", want_bytes));
  }
  // Entries may overlap, so that a small archive claims to hold a large one.
  if (stat.size > left_) return bad(absl::StrCat("has ", stat.size, " bytes, more than the file has left"));
  left_ -= stat.size;
  const std::unique_ptr<zip_file_t, CloseFile> file(zip_fopen_index(archive_.get(), found->second, 0));
  if (file == nullptr) return bad(absl::StrCat("cannot be read: ", Text(*zip_get_error(archive_.get()))));
  std::string content(stat.size, '\0');
  for (size_t at = 0; at < content.size();) {
    const zip_int64_t got = zip_fread(file.get(), content.data() + at, content.size() - at);
    if (got <= 0) return bad(got == 0 ? "is cut" : absl::StrCat("is damaged: ", Text(*zip_file_get_error(file.get()))));
    at += static_cast<size_t>(got);
  }
  // The checksum is compared at the end, which only a further read meets.
  char none;
  if (zip_fread(file.get(), &none, 1) != 0)
    return bad(absl::StrCat("is damaged: ", Text(*zip_file_get_error(file.get()))));
  return content;
}

absl::StatusOr<std::string> WriteZip(const std::vector<std::pair<std::string, std::string>>& entries) {
  zip_error_t error;
  zip_error_init(&error);
  const auto failed = [](const zip_error_t& why) {
    return absl::InternalError(absl::StrCat("writing a zip archive: ", Text(why)));
  };
  Source target(zip_source_buffer_create(nullptr, 0, /*freep=*/0, &error));
  if (target == nullptr) return failed(error);
  zip_source_keep(target.get());
  std::unique_ptr<zip_t, Discard> archive(zip_open_from_source(target.get(), ZIP_TRUNCATE, &error));
  if (archive == nullptr) {
    zip_source_free(target.get());
    return failed(error);
  }
  for (const auto& [name, content] : entries) {
    Source source(zip_source_buffer(archive.get(), content.data(), content.size(), /*freep=*/0));
    const zip_int64_t index =
        source == nullptr ? -1 : zip_file_add(archive.get(), name.c_str(), source.get(), ZIP_FL_ENC_UTF_8);
    if (index < 0) return failed(*zip_get_error(archive.get()));
    (void)source.release();
    const auto entry = static_cast<zip_uint64_t>(index);
    if (zip_set_file_compression(archive.get(), entry, ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(archive.get(), entry, kDosTime, kDosDate, 0) != 0) {
      return failed(*zip_get_error(archive.get()));
    }
  }
  if (zip_close(archive.get()) != 0) return failed(*zip_get_error(archive.get()));
  (void)archive.release();
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_source_open(target.get()) != 0 || zip_source_stat(target.get(), &stat) != 0)
    return failed(*zip_source_error(target.get()));
  std::string bytes(stat.size, '\0');
  const zip_int64_t got = zip_source_read(target.get(), bytes.data(), bytes.size());
  zip_source_close(target.get());
  if (got < 0 || static_cast<size_t>(got) != bytes.size()) return failed(*zip_source_error(target.get()));
  return bytes;
}

}  // namespace kd
