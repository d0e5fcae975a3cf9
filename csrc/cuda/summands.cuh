// How the CUDA kernels read a sum of core/summands.h and write its like: kEach channels of one place at a
// time, 1 where nothing is known of alignment.
#pragma once

#include <cstdint>

#include "core/summands.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"

namespace dimvida::cuda {

// Some channels of a place: where they begin in each tensor.
struct Channels {
  int64_t made, bias, out, residual;
  bool exists;
};

// Channels `channel`, ... of block `block` of a pixel of made.
template <class Params>
__device__ __forceinline__ Channels channels_at(const Params& p, int64_t n, int64_t row, int64_t column,
                                                int64_t block, int64_t channel) {
  const Place<int64_t> at = place_of(p, row, column, block / p.scale, block % p.scale);
  const int64_t pixel = (n * p.made_height + row) * p.made_width + column;
  const int64_t in_pixel = block * p.channels + channel;
  return {pixel * pixel_size(p) + in_pixel, in_pixel, out_at(p, n, at) + channel,
          residual_at(p, n, at) + channel, at.exists(p)};
}

template <class T, int kEach>
__device__ __forceinline__ void read(float (&values)[kEach], const void* from, int64_t i) {
  const auto* const source = static_cast<const typename T::Stored*>(from) + i;
  if constexpr (kEach == 1) {
    values[0] = T::value(*source);
  } else {
    load_vector<T>(values, source);
  }
}

template <class T, int kEach>
__device__ __forceinline__ void write(void* to, int64_t i, const float (&values)[kEach]) {
  auto* const target = static_cast<typename T::Stored*>(to) + i;
  if constexpr (kEach == 1) {
    *target = T::stored(values[0]);
  } else {
    store_vector<T>(target, values);
  }
}

template <class T, int kEach, class Params>
__device__ __forceinline__ void read_sums(float (&v)[kEach], const Params& p, const Channels& at) {
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
  return p.channels % 4 == 0 && is_aligned(p.out, p.out_dtype) && is_aligned(p.total, p.out_dtype) &&
         is_aligned(p.made, p.out_dtype) && is_aligned(p.residual, p.out_dtype) &&
         is_aligned(p.bias, DType::kFloat32);
}

}  // namespace dimvida::cuda
