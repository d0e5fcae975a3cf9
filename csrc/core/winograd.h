// Winograd's convolution: 16 results of a 3 x 3 convolution by 36 products instead of 144. F(4 x 4, 3 x 3) of
// Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, section 4: of a tile d of 6 x 6
// numbers, Y = A^T ((G g G^T) * (B^T d B)) A. The weights G g G^T are made where the plan is.
#pragma once

#include <cstdint>

#include "core/params.h"
#include "core/portable.h"

namespace dimvida {

// clang-format off
#define DIMVIDA_IMAGES_TO_TILES_PARAMS(FIELD)                                                                \
  FIELD(WRITTEN, float, tiles, run(36 * rows * channels))   /* [36, rows, channels] contiguous */            \
  FIELD(READ, void, images, run(batch * height * width * channels, images_dtype)) /* contiguous */           \
  FIELD(NUMBER, int64_t, rows)                  /* at least the number of tiles; others stay */               \
  FIELD(NUMBER, int64_t, batch)                 /* sizes, any may be 0 */                                     \
  FIELD(NUMBER, int64_t, height)                                                                             \
  FIELD(NUMBER, int64_t, width)                                                                              \
  FIELD(NUMBER, int64_t, channels)                                                                           \
  FIELD(NUMBER, DType, images_dtype)            /* floating */

#define DIMVIDA_TILES_TO_IMAGES_PARAMS(FIELD)                                                                \
  FIELD(WRITTEN, void, images, run(batch * height * width * channels, images_dtype)) /* contiguous */        \
  FIELD(READ, float, tiles, run(36 * rows * channels))      /* [36, rows, channels] contiguous */            \
  FIELD(NUMBER, int64_t, rows)                  /* at least the number of tiles */                            \
  FIELD(NUMBER, int64_t, batch)                 /* sizes, any may be 0 */                                     \
  FIELD(NUMBER, int64_t, height)                                                                             \
  FIELD(NUMBER, int64_t, width)                                                                              \
  FIELD(NUMBER, int64_t, channels)                                                                           \
  FIELD(NUMBER, DType, images_dtype)            /* floating */
// clang-format on

DIMVIDA_CPU_KERNEL(images_to_tiles, ImagesToTilesParams, DIMVIDA_IMAGES_TO_TILES_PARAMS);
DIMVIDA_CPU_KERNEL(tiles_to_images, TilesToImagesParams, DIMVIDA_TILES_TO_IMAGES_PARAMS);

constexpr int kTileEdge = 6, kTilePixels = 4;  // of a tile, and of its results

// B^T times six numbers of a line.
DIMVIDA_HD void winograd_in(const float (&d)[6], float (&t)[6]) {
  const float even = d[4] - 4.0f * d[2], odd = d[3] - 4.0f * d[1];
  const float second = d[4] - d[2], twice = 2.0f * (d[3] - d[1]);
  t[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
  t[1] = even + odd;
  t[2] = even - odd;
  t[3] = second + twice;
  t[4] = second - twice;
  t[5] = 4.0f * d[1] - 5.0f * d[3] + d[5];
}

// A^T times six numbers of a line.
DIMVIDA_HD void winograd_out(const float (&m)[6], float (&y)[4]) {
  const float sum = m[1] + m[2], difference = m[1] - m[2];
  const float far_sum = m[3] + m[4], far_difference = m[3] - m[4];
  y[0] = m[0] + sum + far_sum;
  y[1] = difference + 2.0f * far_difference;
  y[2] = sum + 4.0f * far_sum;
  y[3] = difference + 8.0f * far_difference + m[5];
}

}  // namespace dimvida
