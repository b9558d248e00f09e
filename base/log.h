// One line per event on stderr, with time and level; control characters become spaces. (LibTorch brings another fmt
// than spdlog's, so spdlog stays behind this header.)
#ifndef KD_BASE_LOG_H_
#define KD_BASE_LOG_H_

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace kd {

// Names the program in every line; call first in main().
void InitLog(absl::string_view program);

void LogLine(absl::string_view text);
void WarnLine(absl::string_view text);
void ErrorLine(absl::string_view text);

// LogInfo("epoch ", epoch, " done");
template <typename... Parts>
void LogInfo(const Parts&... parts) {
  LogLine(absl::StrCat(parts...));
}
template <typename... Parts>
void LogWarning(const Parts&... parts) {
  WarnLine(absl::StrCat(parts...));
}
template <typename... Parts>
void LogError(const Parts&... parts) {
  ErrorLine(absl::StrCat(parts...));
}

}  // namespace kd

#endif  // KD_BASE_LOG_H_
