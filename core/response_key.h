// Names teacher responses (docs/architecture.md, "Response key").
#ifndef KD_CORE_RESPONSE_KEY_H_
#define KD_CORE_RESPONSE_KEY_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace kd {

// Everything that a response depends on except the tensor's name. The input profile (range, voxel size, caps) belongs
// to the teacher's detector message.
struct ResponseScope {
  std::string teacher_digest;     // "sha256:..." of the weights file, which holds the detector message
  std::string dataset_digest;     // ViewMaker::FilesDigest
  std::string view_profile;       // ViewMaker::Profile
  uint32_t answers_revision = 1;  // AnswersRevision of the teacher's detector
};

// 32 bytes: SHA-256 over the length-prefixed parts; the revision is one of them from 2 on. Same key, same bytes, for
// ever.
std::string ResponseKey(const ResponseScope& scope, absl::string_view sample, uint32_t view, absl::string_view tensor);

}  // namespace kd

#endif  // KD_CORE_RESPONSE_KEY_H_
