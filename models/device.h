// Which device of this machine computes.
#ifndef KD_MODELS_DEVICE_H_
#define KD_MODELS_DEVICE_H_

#include <cstdint>

#include "torch/types.h"

namespace kd {

// A GPU when the program was built for GPUs and this machine has one, otherwise the CPU. Ranks take the GPUs in turn;
// what is no rank takes the first. The calling thread uses that GPU from then on.
torch::Device ChooseDevice(uint32_t rank = 0);

// Freed memory stays with this process from now on. Maps of tens of MB come and go with every frame, and fetching their
// pages from the system anew costs a tenth of a detector's time on a CPU. For main() of programs that run detectors.
void KeepFreedMemory();

}  // namespace kd

#endif  // KD_MODELS_DEVICE_H_
