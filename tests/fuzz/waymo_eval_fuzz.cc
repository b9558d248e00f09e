// Ground truths and detections as Objects messages, and their scores.
#include "eval/waymo.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::string> parts = kd::InputParts(data, size, 2);
  const auto frames =
      kd::ReadWaymoEvalFrames(kd::WriteInput("truths.bin", parts[0]), kd::WriteInput("detections.bin", parts[1]));
  if (!frames.ok()) {
    kd::RequireRefusal(frames.status(), {absl::StatusCode::kInvalidArgument});
    return 0;
  }
  kd::WaymoEvalOptions options;
  options.breakdowns.clear();
  for (const std::string& name : kd::WaymoBreakdownNames())
    options.breakdowns.push_back(*kd::ParseWaymoBreakdown(name));
  for (const bool bev : {false, true}) {
    options.bev = bev;
    for (const kd::WaymoScore& score : kd::EvaluateWaymo(*frames, options)) {
      kd::Require(score.ap >= 0 && score.ap <= 1.00001f, "AP is in 0..1");
      kd::Require(score.aph >= 0 && score.aph <= score.ap + 1e-5f, "APH is at most AP");
      kd::Require(score.ap == 0 || !kd::ShareNoFrame(*frames), "files that share no frame score 0");
    }
  }
  return 0;
}
