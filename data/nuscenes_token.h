// nuScenes's names of records: 32 lower-case hex digits, held as a number.
#ifndef KD_DATA_NUSCENES_TOKEN_H_
#define KD_DATA_NUSCENES_TOKEN_H_

#include <optional>
#include <string>

#include "absl/numeric/int128.h"
#include "absl/strings/string_view.h"

namespace kd {

using NuscenesToken = absl::uint128;

// Nothing unless `text` is 32 digits of 0-9 and a-f.
std::optional<NuscenesToken> ParseNuscenesToken(absl::string_view text);
std::string FormatNuscenesToken(NuscenesToken token);

}  // namespace kd

#endif  // KD_DATA_NUSCENES_TOKEN_H_
