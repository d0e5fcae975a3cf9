// Decoded images as bytes, channels last: what image files and data sets hold.
#pragma once

#include <cstdint>

#include "core/exponential.h"
#include "core/params.h"
#include "core/portable.h"

namespace dimvida {

// clang-format off
#define DIMVIDA_PACK_IMAGES_PARAMS(FIELD)                                                                    \
  /* [batch, height, width, channels] contiguous, 0..255 */                                                  \
  FIELD(WRITTEN, uint8_t, packed, run(batch * height * width * channels))                                    \
  /* [batch, channels, height, width] of the strides below, meant for [0, 1]; packed is new memory */        \
  FIELD(READ, void, images, run(0, images_dtype))                                                            \
  FIELD(NUMBER, int64_t, batch)                      /* sizes, any may be 0 */                               \
  FIELD(NUMBER, int64_t, channels)                                                                           \
  FIELD(NUMBER, int64_t, height)                                                                             \
  FIELD(NUMBER, int64_t, width)                                                                              \
  FIELD(NUMBER, int64_t, batch_stride)               /* elements of images */                                \
  FIELD(NUMBER, int64_t, channel_stride)                                                                     \
  FIELD(NUMBER, int64_t, height_stride)                                                                      \
  FIELD(NUMBER, int64_t, width_stride)                                                                       \
  FIELD(NUMBER, DType, images_dtype)                 /* floating */
// clang-format on

DIMVIDA_KERNEL(pack_images, PackImagesParams, DIMVIDA_PACK_IMAGES_PARAMS);

// Bits of a float32 whose lowest byte is round(255 clamp(x, 0, 1)), ties to even; 0 for NaN.
DIMVIDA_HD uint32_t level_bits(float x) {
#if defined(__CUDA_ARCH__)
  const float clamped = __saturatef(x);  // 0 for NaN
#else
  const float above = x > 0.0f ? x : 0.0f;  // also NaN
  const float clamped = above < 1.0f ? above : 1.0f;
#endif
  return bits_of(clamped * 255.0f + kRoundToInteger);
}

DIMVIDA_HD uint8_t level_of(float x) { return static_cast<uint8_t>(level_bits(x)); }

// Four levels as the bytes of a word, the first one lowest.
DIMVIDA_HD uint32_t four_levels(float v0, float v1, float v2, float v3) {
#if defined(__CUDA_ARCH__)
  const uint32_t low = __byte_perm(level_bits(v0), level_bits(v1), 0x0040);
  return __byte_perm(low, __byte_perm(level_bits(v2), level_bits(v3), 0x0040), 0x5410);
#else
  return static_cast<uint32_t>(level_of(v0)) | static_cast<uint32_t>(level_of(v1)) << 8 |
         static_cast<uint32_t>(level_of(v2)) << 16 | static_cast<uint32_t>(level_of(v3)) << 24;
#endif
}

}  // namespace dimvida
