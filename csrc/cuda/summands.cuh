// How the CUDA kernels read a sum of core/summands.h and write its like: kEach channels of one place at a
// time, 1 where nothing is known of alignment.
#pragma once

#include <cstdint>

#include "core/summands.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"

namespace dimvida::cuda {

// Some channels of a place: where they begin in each tensor.
template <class Index>
struct Channels {
  Index made, bias, out, residual, channel;
  bool exists;
};

// Channels `channel`, ... of block `block` of a pixel of made.
template <class Params>
__device__ __forceinline__ Channels<int64_t> channels_at(const Params& p, int64_t n, int64_t row,
                                                         int64_t column, int64_t block, int64_t channel) {
  const Place<int64_t> at = place_of(p, row, column, block / p.scale, block % p.scale);
  const int64_t pixel = (n * p.made_height + row) * p.made_width + column;
  const int64_t in_pixel = block * p.channels + channel;
  return {pixel * pixel_size(p) + in_pixel, in_pixel, out_at(p, n, at) + channel,
          residual_at(p, n, at) + channel,  channel,  at.exists(p)};
}

// The same for four channels at a time, where 32 bits count all elements.
struct Fours {
  Divisor of_pixel, of_block;  // in fours
  Divisor of_row, of_image, scale, residual_scale;
  uint32_t height, width, channels, residual_height, residual_width, overlap;

  template <class Params>
  explicit Fours(const Params& p)
      : of_pixel(pixel_size(p) / 4),
        of_block(p.channels / 4),
        of_row(p.made_width),
        of_image(p.made_height),
        scale(p.scale),
        residual_scale(p.residual_scale),
        height(static_cast<uint32_t>(p.height)),
        width(static_cast<uint32_t>(p.width)),
        channels(static_cast<uint32_t>(p.channels)),
        residual_height(height / residual_scale.value),
        residual_width(width / residual_scale.value),
        overlap(static_cast<uint32_t>(p.overlap)) {}

  // The i-th four of made.
  __device__ __forceinline__ Channels<uint32_t> at(uint32_t i) const {
    const uint32_t pixel = of_pixel.quotient(i), in_pixel = i - pixel * of_pixel.value;
    const uint32_t line = of_row.quotient(pixel), n = of_image.quotient(line);
    const uint32_t block = of_block.quotient(in_pixel);
    return at(n, line - n * of_image.value, pixel - line * of_row.value, block,
              4 * (in_pixel - block * of_block.value));
  }

  // Four channels of a block of a pixel of made. Places before the first one become large numbers.
  __device__ __forceinline__ Channels<uint32_t> at(uint32_t n, uint32_t row, uint32_t column, uint32_t block,
                                                   uint32_t channel) const {
    const uint32_t pixel = (n * of_image.value + row) * of_row.value + column;
    const uint32_t dy = scale.quotient(block), dx = block - dy * scale.value;
    const uint32_t y = scale.value * (row - overlap * dy) + dy,
                   x = scale.value * (column - overlap * dx) + dx;
    const uint32_t out = ((n * height + y) * width + x) * channels + channel;
    const uint32_t residual_y = residual_scale.quotient(y), residual_x = residual_scale.quotient(x);
    const uint32_t residual =
        ((n * residual_height + residual_y) * residual_width + residual_x) * channels + channel;
    const uint32_t in_pixel = block * channels + channel;
    return {pixel * 4 * of_pixel.value + in_pixel, in_pixel, out, residual, channel, y < height && x < width};
  }
};

template <class T, int kEach, class Index>
__device__ __forceinline__ void read(float (&values)[kEach], const void* from, Index i) {
  const auto* const source = static_cast<const typename T::Stored*>(from) + i;
  if constexpr (kEach == 1) {
    values[0] = T::value(*source);
  } else {
    load_vector<T>(values, source);
  }
}

template <class T, int kEach, class Index>
__device__ __forceinline__ void write(void* to, Index i, const float (&values)[kEach]) {
  auto* const target = static_cast<typename T::Stored*>(to) + i;
  if constexpr (kEach == 1) {
    *target = T::stored(values[0]);
  } else {
    store_vector<T>(target, values);
  }
}

template <class T, int kEach, class Params, class Index>
__device__ __forceinline__ void read_sums(float (&v)[kEach], const Params& p, const Channels<Index>& at) {
  float other[kEach];
  read<T>(v, p.made, at.made);
  read<Float32>(other, p.bias, at.bias);
  for (int j = 0; j < kEach; ++j) v[j] += other[j];
  if (!p.residual) return;
  read<T>(other, p.residual, at.residual);
  for (int j = 0; j < kEach; ++j) v[j] += other[j];
}

// Whether four channels can move together, and all offsets fit.
template <class Params>
bool moves_by_four(const Params& p) {
  return p.channels % 4 == 0 && is_small(p.batch * p.made_height * p.made_width * pixel_size(p)) &&
         is_small(p.batch * p.height * p.width * p.channels) && is_aligned(p.out, p.out_dtype) &&
         is_aligned(p.total, p.out_dtype) && is_aligned(p.made, p.out_dtype) &&
         is_aligned(p.residual, p.out_dtype) && is_aligned(p.bias, DType::kFloat32);
}

}  // namespace dimvida::cuda
