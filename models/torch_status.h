// Where torch's exceptions become statuses.
#ifndef KD_MODELS_TORCH_STATUS_H_
#define KD_MODELS_TORCH_STATUS_H_

#include <exception>
#include <new>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "c10/util/Exception.h"

namespace kd {

// Returns what `body` returns (absl::Status or absl::StatusOr). An exception is INTERNAL, or RESOURCE_EXHAUSTED where
// memory was short, with `what` and the exception's first line.
template <typename Body>
auto CatchTorch(absl::string_view what, const Body& body) -> decltype(body()) {
  const auto line = [what](absl::string_view message) {
    return absl::StrCat(what, ": ", message.substr(0, message.find('\n')));
  };
  try {
    return body();
  } catch (const c10::OutOfMemoryError& e) {
    return absl::ResourceExhaustedError(line(e.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(line("out of memory"));
  } catch (const c10::Error& e) {
    return absl::InternalError(line(e.what_without_backtrace()));
  } catch (const std::exception& e) {
    return absl::InternalError(line(e.what()));
  }
}

}  // namespace kd

#endif  // KD_MODELS_TORCH_STATUS_H_
