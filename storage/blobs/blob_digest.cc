#include "storage/blobs/blob_digest.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "storage/blobs/posix_file.h"

namespace kd {

struct BlobDigester::State {
  absl::string_view algorithm;
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

BlobDigester::BlobDigester(absl::string_view digest) : state_(std::make_unique<State>()) {
  const bool is_sha512 = absl::StartsWith(digest, "sha512:");
  state_->algorithm = is_sha512 ? "sha512" : "sha256";
  EVP_DigestInit_ex(state_->context, is_sha512 ? EVP_sha512() : EVP_sha256(), nullptr);
}

BlobDigester::~BlobDigester() = default;

void BlobDigester::Update(absl::string_view bytes) { EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()); }

std::string BlobDigester::Finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  EVP_DigestFinal_ex(state_->context, digest.data(), &size);
  return absl::StrCat(state_->algorithm, ":",
                      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), size)));
}

std::string BlobDigest(absl::string_view bytes, absl::string_view like) {
  BlobDigester digester(like);
  digester.Update(bytes);
  return digester.Finish();
}

absl::StatusOr<std::string> BlobDigestOfFile(const std::string& path, absl::string_view like) {
  KD_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(path, O_RDONLY));
  BlobDigester digester(like);
  std::vector<char> buffer(1 << 20);
  for (;;) {
    const ssize_t n = ::read(file.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read \"", path, "\""));
    if (n == 0) return digester.Finish();
    digester.Update({buffer.data(), static_cast<size_t>(n)});
  }
}

}  // namespace kd
