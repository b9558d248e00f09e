// A file system of a few MiB of memory: when it is full, writes fail as on any full disk. Tests only.
#ifndef KD_BASE_SMALL_DISK_H_
#define KD_BASE_SMALL_DISK_H_

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/testing.h"

namespace kd {

// Gives this program mounts of its own, as root or through a user namespace; returns why that cannot be. All threads
// must come after it, so a test program calls it at namespace scope: const std::string kNoOwnMounts = EnterOwnMounts();
inline std::string EnterOwnMounts() {
  const uid_t uid = ::getuid();
  const gid_t gid = ::getgid();
  if (::unshare(CLONE_NEWNS) != 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return std::strerror(errno);
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
    std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1";
  }
  // What is mounted from now on is seen by nobody else.
  return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 ? "" : std::strerror(errno);
}

class SmallDisk {
 public:
  explicit SmallDisk(uint64_t bytes) {
    mounted_ = ::mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, absl::StrCat("size=", bytes).c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(folder_.path().c_str(), MNT_DETACH);
  }

  bool mounted() const { return mounted_; }
  std::string operator/(const std::string& name) const { return folder_ / name; }
  // Takes all space that is left.
  void Fill() const {
    std::ofstream file(folder_ / "filling", std::ios::binary);
    const std::string piece(4096, 'x');
    while (file.write(piece.data(), static_cast<std::streamsize>(piece.size())).flush()) {
    }
  }

 private:
  TemporaryFolder folder_;
  bool mounted_ = false;
};

}  // namespace kd

// Skips the test where nobody may mount. The store's own test with a limit on file sizes runs everywhere.
#define KD_REQUIRE_SMALL_DISK(disk, reason)                                                                          \
  do {                                                                                                               \
    if (!(reason).empty() || !(disk).mounted()) {                                                                    \
      GTEST_SKIP() << "a disk that is full needs a mount of its own: run this as root or where user namespaces are " \
                   << "allowed (" << (reason) << ")";                                                                \
    }                                                                                                                \
  } while (false)

#endif  // KD_BASE_SMALL_DISK_H_
