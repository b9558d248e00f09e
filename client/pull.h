// kdctl pull: artifacts of the registry as files.
#ifndef KD_CLIENT_PULL_H_
#define KD_CLIENT_PULL_H_

#include <string>

namespace kd {

inline constexpr char kDefaultRegistry[] = "http://127.0.0.1:7071";

struct PullOptions {
  // "registry://students/cp-half:v1"; the scheme may be left out.
  std::string reference;
  std::string registry;
  // Empty: the last part of the repository's name.
  std::string out;
};

// Prints the folder; talk names the manifest's digest and every file. Returns the exit code.
int Pull(const PullOptions& options);

}  // namespace kd

#endif  // KD_CLIENT_PULL_H_
