#include "base/log.h"

#include <string>

#include "base/text.h"
#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/spdlog.h"

namespace kd {

void InitLog(absl::string_view program) {
  spdlog::set_default_logger(spdlog::stderr_color_mt(std::string(program)));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %n %^%l%$ %v");
}

void LogLine(absl::string_view text) { spdlog::info("{}", OneLine(text)); }
void WarnLine(absl::string_view text) { spdlog::warn("{}", OneLine(text)); }
void ErrorLine(absl::string_view text) { spdlog::error("{}", OneLine(text)); }

}  // namespace kd
