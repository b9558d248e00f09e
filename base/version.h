// The version of every program of the project.
#ifndef KD_BASE_VERSION_H_
#define KD_BASE_VERSION_H_

namespace kd {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace kd

#endif  // KD_BASE_VERSION_H_
