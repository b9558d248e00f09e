#include "models/device.h"

#include <malloc.h>

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
  // Nothing is mapped apart, and the heap never shrinks.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
}

}  // namespace kd
