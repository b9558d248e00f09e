// Augmentation as a function with a number: the same (seed, sample, view) is the same frame on every machine, so that a
// teacher's answer to it can be kept (docs/architecture.md, "View").
#ifndef KD_DATA_VIEW_H_
#define KD_DATA_VIEW_H_

#include <cstdint>

#include "data/frame.h"
#include "kd/v1/view.pb.h"

namespace kd {

// Counts changes of what MakeView() makes: answers to views of another version are of no use.
inline constexpr int kViewVersion = 1;

// View `view` of `frame`. View 0 is the frame as recorded. Others draw from a counter-based generator keyed by
// (data.seed, frame.sample, view): flip along x (y, yaw negated), rotation about z, scaling (positions and sizes), then
// the order of the points. Yaw ends in [-pi, pi).
Frame MakeView(const Frame& frame, const v1::Data& data, uint32_t view);

// CRC-32C over the points and boxes of a view, bit for bit. Teacher and worker compare it before a response is used.
uint32_t ViewChecksum(const Frame& view);

}  // namespace kd

#endif  // KD_DATA_VIEW_H_
