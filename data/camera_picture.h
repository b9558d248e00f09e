// What a camera sees of a simulated street: plain colours, one light, no shadows.
#ifndef KD_DATA_CAMERA_PICTURE_H_
#define KD_DATA_CAMERA_PICTURE_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "data/drive_scene.h"

namespace kd {

// A pinhole camera; its frame is x right, y down, z forward.
struct PictureCamera {
  int width = 0, height = 0;
  // Row-major, in pixels.
  std::array<double, 9> intrinsic{};
  RigidTransform camera_to_street;
};

// Row-major RGB of the scene at `time`.
std::vector<uint8_t> DrawPicture(const DriveScene& scene, double time, const PictureCamera& camera);

// A JPEG file of width x height x 3 bytes.
std::string EncodeJpeg(const std::vector<uint8_t>& rgb, int width, int height);

}  // namespace kd

#endif  // KD_DATA_CAMERA_PICTURE_H_
