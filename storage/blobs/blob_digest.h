// Digests in the registry's two algorithms, of bytes that arrive in pieces.
#ifndef KD_STORAGE_BLOBS_BLOB_DIGEST_H_
#define KD_STORAGE_BLOBS_BLOB_DIGEST_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

class BlobDigester {
 public:
  // Computes in the algorithm of `digest`, which satisfies IsDigest() (core/registry_reference.h).
  explicit BlobDigester(absl::string_view digest);
  ~BlobDigester();
  BlobDigester(const BlobDigester&) = delete;
  BlobDigester& operator=(const BlobDigester&) = delete;

  void Update(absl::string_view bytes);
  // "sha256:..." or "sha512:...". Ends the computation: call once, last.
  std::string Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Digest of `bytes` in the algorithm of `like`.
std::string BlobDigest(absl::string_view bytes, absl::string_view like);

// The same of a file's content. NOT_FOUND, PERMISSION_DENIED or another code of errno, naming the path.
absl::StatusOr<std::string> BlobDigestOfFile(const std::string& path, absl::string_view like);

}  // namespace kd

#endif  // KD_STORAGE_BLOBS_BLOB_DIGEST_H_
