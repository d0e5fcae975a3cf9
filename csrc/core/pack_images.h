// Decoded images as bytes, channels last: what image files and data sets hold.
#pragma once

#include <cstdint>

#include "core/bits.h"
#include "core/dtype.h"
#include "core/exponential.h"
#include "core/macros.h"

namespace dimvida {

struct PackImagesParams {
  const void*
      images;    // [batch, channels, height, width] with the strides below, of in_dtype, meant for [0, 1]
  uint8_t* out;  // [batch, height, width, channels] contiguous, 0..255
  int64_t batch, channels, height, width;                             // sizes, any may be 0
  int64_t batch_stride, channel_stride, height_stride, width_stride;  // elements of images
  DType in_dtype;                                                     // type of images
};

// round(255 clamp(x, 0, 1)), ties to even; 0 for NaN.
DIMVIDA_HD uint8_t level_of(float x) {
  const float above = x > 0.0f ? x : 0.0f;  // also NaN
  const float clamped = above < 1.0f ? above : 1.0f;
  return static_cast<uint8_t>(bits_of(clamped * 255.0f + kRoundToInteger));
}

}  // namespace dimvida
