#include "core/response_key.h"

#include <openssl/sha.h>

#include <array>

namespace kd {
namespace {

void AppendPart(std::string& out, absl::string_view part) {
  uint64_t size = part.size();
  for (int i = 0; i < 8; ++i, size >>= 8) out.push_back(static_cast<char>(size & 0xff));
  out.append(part.data(), part.size());
}

}  // namespace

std::string ResponseKey(const ResponseScope& scope, absl::string_view sample, uint32_t view, absl::string_view tensor) {
  std::string text;
  AppendPart(text, scope.teacher_digest);
  AppendPart(text, scope.dataset_digest);
  AppendPart(text, scope.view_profile);
  AppendPart(text, sample);
  AppendPart(text, std::to_string(view));
  AppendPart(text, tensor);
  if (scope.answers_revision > 1) AppendPart(text, std::to_string(scope.answers_revision));
  std::string key(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(key.data()));
  return key;
}

}  // namespace kd
