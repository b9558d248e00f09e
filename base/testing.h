// Where tests find files. Tests only.
#ifndef KD_BASE_TESTING_H_
#define KD_BASE_TESTING_H_

#include <cstdlib>
#include <filesystem>
#include <string>

#include "gtest/gtest.h"

namespace kd {

// Root of the source tree.
inline std::string SourceDir() {
  const char* dir = std::getenv("KD_SOURCE_DIR");
  return dir == nullptr ? "." : dir;
}

// Folder of the built programs.
inline std::string BinDir() {
  const char* dir = std::getenv("KD_BIN_DIR");
  return dir == nullptr ? "build/release/bin" : dir;
}

// A path below the folder of real sensor files, which lies beside the source tree where their licences were accepted
// (KD_SHARED_DIR elsewhere). Use with KD_REQUIRE_FILE.
inline std::string SharedPath(const std::string& path) {
  const char* dir = std::getenv("KD_SHARED_DIR");
  return (dir == nullptr ? SourceDir() + "/../shared" : std::string(dir)) + "/" + path;
}

// A fresh folder that is removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kd-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace kd

// Real sensor files are licensed for non-commercial use and not part of the project. CI has them and fails without
// them.
#define KD_REQUIRE_FILE(path)                                                                 \
  do {                                                                                        \
    if (!std::filesystem::exists(path)) {                                                     \
      ASSERT_EQ(std::getenv("CI"), nullptr) << "CI needs the real sensor files: " << (path);  \
      GTEST_SKIP() << "real sensor files are not here: " << (path) << " (set KD_SHARED_DIR)"; \
    }                                                                                         \
  } while (false)

#endif  // KD_BASE_TESTING_H_
