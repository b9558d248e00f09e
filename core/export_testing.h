// Small detectors of the released code for tests of exports. Tests only.
#ifndef KD_CORE_EXPORT_TESTING_H_
#define KD_CORE_EXPORT_TESTING_H_

#include <string>

#include "core/safetensors.h"
#include "kd/v1/detector.pb.h"

namespace kd {

// A file of tests/golden/models.
std::string Golden(const std::string& file);

struct Trained {
  v1::Detector detector;
  SafeTensorsFile file;

  // Of model.safetensors.
  std::string Bytes() const;
};

// The detector of the golden case `name` with its weights.
Trained GoldenDetector(const std::string& name);

}  // namespace kd

#endif  // KD_CORE_EXPORT_TESTING_H_
