// What stands between two convolutions of an autoencoder: the sum of what one made, its bias and a residual,
// as images with channels last.
//
//   total = spread(made + bias) + spread(residual)
//
// `made` may have its places in blocks of channels: scale^2 blocks of a pixel are the scale x scale pixels
// that it becomes, row by row. That is a pixel shuffle, and with overlap 1 the four 2 x 2 convolutions that
// stand for nearest upsampling by 2 and a 3 x 3 convolution: of the image padded by 1, pixel (y, x) of block
// (dy, dx) belongs to place (2 (y - dy) + dy, 2 (x - dx) + dx). A residual of lower resolution is repeated.
#pragma once

#include <cstdint>

#include "core/params.h"
#include "core/portable.h"

namespace dimvida {

// Elements that a pixel of made may have.
constexpr int64_t kMostChannels = 8192;

// The fields that every op on such a sum begins with. Tensors are contiguous. A shuffled `made` is declared as
// rows that interleave, which no other tensor is: it may not be overwritten place by place.
// clang-format off
#define DIMVIDA_SUMMANDS(FIELD)                                                                              \
  /* [batch, height, width, channels] */                                                                     \
  FIELD(WRITTEN, void, out, run(batch * height * width * channels, out_dtype))                               \
  /* like out, takes the sum itself, or null */                                                              \
  FIELD(WRITTEN, void, total, run(batch * height * width * channels, out_dtype))                             \
  /* [batch, height / scale + overlap, width / scale + overlap, scale^2 channels] in the type of out */      \
  FIELD(IN_PLACE, void, made,                                                                                \
        matrix(scale, (batch * made_height * made_width * scale * channels - 1) * scale + 1, 1, out_dtype))  \
  FIELD(READ, float, bias, run(scale * scale * channels)) /* [scale^2 channels] */                           \
  /* [batch, height / residual_scale, width / residual_scale, channels] in the type of out, or null */       \
  FIELD(IN_PLACE, void, residual,                                                                            \
        run(batch * divided(height, residual_scale) * divided(width, residual_scale) * channels, out_dtype)) \
  FIELD(NUMBER, int64_t, batch)                      /* images, may be 0 */                                  \
  FIELD(NUMBER, int64_t, height)                     /* of out */                                            \
  FIELD(NUMBER, int64_t, width)                                                                              \
  FIELD(NUMBER, int64_t, channels)                                                                           \
  FIELD(NUMBER, int64_t, made_height)                                                                        \
  FIELD(NUMBER, int64_t, made_width)                                                                         \
  FIELD(NUMBER, int64_t, scale)                      /* at least 1 */                                        \
  FIELD(NUMBER, int64_t, overlap)                    /* 0, or 1 with scale 2 */                              \
  FIELD(NUMBER, int64_t, residual_scale)             /* at least 1 */                                        \
  FIELD(NUMBER, DType, out_dtype)                    /* floating */
// clang-format on

// Elements of one pixel of made.
template <class Params>
DIMVIDA_HD int64_t pixel_size(const Params& p) {
  return p.scale * p.scale * p.channels;
}

// A place of out. Of the padded image there are pixels that no place belongs to: y or x is then out of range.
template <class Index>
struct Place {
  Index y, x;

  template <class Params>
  DIMVIDA_HD_MEMBER bool exists(const Params& p) const {
    return y >= 0 && y < static_cast<Index>(p.height) && x >= 0 && x < static_cast<Index>(p.width);
  }
};

// The place that block (dy, dx) of a pixel of made belongs to. Index is signed.
template <class Params, class Index>
DIMVIDA_HD Place<Index> place_of(const Params& p, Index row, Index column, Index dy, Index dx) {
  const Index scale = static_cast<Index>(p.scale), overlap = static_cast<Index>(p.overlap);
  return {scale * (row - overlap * dy) + dy, scale * (column - overlap * dx) + dx};
}

// First element of place (y, x) of image n in out and total.
template <class Params, class Index>
DIMVIDA_HD Index out_at(const Params& p, Index n, Place<Index> at) {
  const Index height = static_cast<Index>(p.height), width = static_cast<Index>(p.width);
  return ((n * height + at.y) * width + at.x) * static_cast<Index>(p.channels);
}

// The same in residual.
template <class Params, class Index>
DIMVIDA_HD Index residual_at(const Params& p, Index n, Place<Index> at) {
  const Index scale = static_cast<Index>(p.residual_scale);
  const Index height = static_cast<Index>(p.height) / scale, width = static_cast<Index>(p.width) / scale;
  return ((n * height + at.y / scale) * width + at.x / scale) * static_cast<Index>(p.channels);
}

}  // namespace dimvida
