// CenterNet's Gaussians on a heat map (detectors.md section 6).
#ifndef KD_OPS_GAUSSIAN_H_
#define KD_OPS_GAUSSIAN_H_

namespace kd {

// Radius in cells, before truncation, for a footprint of `height` x `width` cells: the smallest of three cases, all
// with
// "+ root over 2" as in the code that checkpoints were trained with.
float GaussianRadius(float height, float width, float min_overlap);

// heatmap (height x width, row-major) = max(heatmap, exp(-(i^2 + j^2) / (2 sigma^2))) on the (2 radius + 1)^2 window
// around (x, y), cropped at the borders; sigma = (2 radius + 1) / 6. Exactly 1 at the centre.
void DrawGaussian(float* heatmap, int height, int width, int x, int y, int radius);

}  // namespace kd

#endif  // KD_OPS_GAUSSIAN_H_
