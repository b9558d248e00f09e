#include "models/device.h"

#include <malloc.h>

#include <limits>

#include "c10/core/impl/VirtualGuardImpl.h"
#include "torch/cuda.h"

namespace kd {

torch::Device ChooseDevice(uint32_t rank) {
  if (!torch::cuda::is_available()) return torch::kCPU;
  const auto index = static_cast<torch::DeviceIndex>(rank % static_cast<uint32_t>(torch::cuda::device_count()));
  const torch::Device device(torch::kCUDA, index);
  c10::impl::VirtualGuardImpl(device.type()).setDevice(device);
  return device;
}

void KeepFreedMemory() {
  // Both, as setting one alone would leave the other's default.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
}

}  // namespace kd
