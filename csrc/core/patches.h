// Images as bytes, and as patches of `patch` x `patch` pixels whose numbers are the channels of one place:
// (dy, dx, colour), the colour fastest.
#pragma once

#include <cstdint>

#include "core/pack_images.h"
#include "core/params.h"
#include "core/portable.h"

namespace dimvida {

// clang-format off
#define DIMVIDA_IMAGES_TO_PATCHES_PARAMS(FIELD)                                                              \
  /* [batch, rows, columns, patch^2 colours] contiguous, values 0..255 */                                    \
  FIELD(WRITTEN, void, patches, run(batch * rows * columns * patch * patch * colours, patches_dtype))        \
  /* [batch, colours, height, width] of the strides below */                                                 \
  FIELD(READ, uint8_t, images,                                                                               \
        run((batch - 1) * batch_stride + (colours - 1) * colour_stride + (rows * patch - 1) * height_stride + \
            (columns * patch - 1) * width_stride + 1))                                                       \
  FIELD(NUMBER, int64_t, batch)                      /* sizes, any may be 0 but patch */                     \
  FIELD(NUMBER, int64_t, rows)                       /* of patches in an image */                            \
  FIELD(NUMBER, int64_t, columns)                                                                            \
  FIELD(NUMBER, int64_t, patch)                                                                              \
  FIELD(NUMBER, int64_t, colours)                                                                            \
  FIELD(NUMBER, int64_t, batch_stride)               /* elements of images */                                \
  FIELD(NUMBER, int64_t, colour_stride)                                                                      \
  FIELD(NUMBER, int64_t, height_stride)                                                                      \
  FIELD(NUMBER, int64_t, width_stride)                                                                       \
  FIELD(NUMBER, DType, patches_dtype)                /* floating */

#define DIMVIDA_PATCHES_TO_IMAGES_PARAMS(FIELD)                                                              \
  /* [batch, patch rows, patch columns, colours] contiguous, 0..255 */                                       \
  FIELD(WRITTEN, uint8_t, images, run(batch * rows * columns * patch * patch * colours))                     \
  FIELD(WRITTEN, uint8_t, finite, run(batch))        /* [batch] whether all of an image's were finite */     \
  /* [batch, rows, columns, patch^2 colours] contiguous, meant for [0, 1] once bias is added */              \
  FIELD(READ, void, patches, run(batch * rows * columns * patch * patch * colours, patches_dtype))           \
  FIELD(READ, float, bias, run(patch * patch * colours))  /* [patch^2 colours] */                            \
  FIELD(NUMBER, int64_t, batch)                      /* sizes, any may be 0 but patch */                     \
  FIELD(NUMBER, int64_t, rows)                       /* of patches in an image */                            \
  FIELD(NUMBER, int64_t, columns)                                                                            \
  FIELD(NUMBER, int64_t, patch)                                                                              \
  FIELD(NUMBER, int64_t, colours)                                                                            \
  FIELD(NUMBER, DType, patches_dtype)                /* floating */
// clang-format on

DIMVIDA_KERNEL(images_to_patches, ImagesToPatchesParams, DIMVIDA_IMAGES_TO_PATCHES_PARAMS);
DIMVIDA_KERNEL(patches_to_images, PatchesToImagesParams, DIMVIDA_PATCHES_TO_IMAGES_PARAMS);

DIMVIDA_HD bool is_finite(float value) { return (bits_of(value) & 0x7f800000u) != 0x7f800000u; }

}  // namespace dimvida
