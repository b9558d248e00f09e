// The parts of a request that are ours to read: target, range, address. Beast reads the rest.
#include "base/http/http_address.h"
#include "base/http/http_message.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text = kd::InputText(data, size);
  kd::HttpRequest request;
  if (const absl::Status status = kd::ParseHttpTarget(text, request); !status.ok()) {
    kd::RequireRefusal(status, {absl::StatusCode::kInvalidArgument});
  } else {
    kd::Require(!request.path.empty() && request.path[0] == '/', "a path begins with a slash");
    kd::HttpRequest again;
    std::string escaped;
    for (const char c : request.path) escaped += c == '/' ? "/" : kd::PercentEncode(absl::string_view(&c, 1));
    kd::Require(kd::ParseHttpTarget(escaped, again).ok() && again.path == request.path,
                "an escaped path reads the same");
  }
  for (const uint64_t total : {uint64_t{0}, uint64_t{1000}, ~uint64_t{0}}) {
    const auto range = kd::SelectByteRange(text, total);
    if (!range.ok()) {
      kd::RequireRefusal(range.status(), {absl::StatusCode::kOutOfRange});
    } else {
      kd::Require(range->first <= total && range->size <= total - range->first, "a range lies within the bytes");
    }
  }
  for (const auto& address : {kd::ParseHttpAddress(text), kd::ParseHttpUrl(text)}) {
    if (!address.ok()) {
      kd::RequireRefusal(address.status(), {absl::StatusCode::kInvalidArgument});
      continue;
    }
    const auto again = kd::ParseHttpAddress(address->ToString());
    kd::Require(again.ok() && again->host == address->host && again->port == address->port,
                "what was written reads the same");
  }
  return 0;
}
