// Names for bytes.
#ifndef KD_BASE_DIGEST_H_
#define KD_BASE_DIGEST_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

// SHA-256 of bytes that arrive in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(absl::string_view bytes);
  // "sha256:" and 64 lower-case hex digits. Ends the computation: call once, last.
  std::string Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// "sha256:<hex>" of `bytes`.
std::string Sha256Digest(absl::string_view bytes);

// The same of a file's content. NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE (read error), naming the path.
absl::StatusOr<std::string> Sha256DigestOfFile(const std::string& path);

// True for "sha256:" followed by 64 lower-case hex digits.
bool IsSha256Digest(absl::string_view digest);

// CRC-32C (Castagnoli) of `bytes`; `seed` is the result of the preceding bytes.
uint32_t Crc32c(absl::string_view bytes, uint32_t seed = 0);

}  // namespace kd

#endif  // KD_BASE_DIGEST_H_
