// Elements of any floating type, one at a time or four at once.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace dimvida::cuda {

struct alignas(8) Halves4 {
  uint16_t h[4];
};

__device__ __forceinline__ float load_one(const void* from, DType dtype, int64_t i) {
  if (dtype == DType::kFloat32) return static_cast<const float*>(from)[i];
  const uint16_t half = static_cast<const uint16_t*>(from)[i];
  return dtype == DType::kBFloat16 ? float_from_bfloat16(half) : float_from_float16(half);
}

__device__ __forceinline__ void store_one(void* to, DType dtype, int64_t i, float value) {
  if (dtype == DType::kFloat32) {
    static_cast<float*>(to)[i] = value;
  } else {
    static_cast<uint16_t*>(to)[i] =
        dtype == DType::kBFloat16 ? bfloat16_from_float(value) : float16_from_float(value);
  }
}

// Four elements from i; i is a multiple of 4 and the pointer aligned for it.
__device__ __forceinline__ void load_four(float* values, const void* from, DType dtype, int64_t i) {
  if (dtype == DType::kFloat32) {
    const float4 four = *reinterpret_cast<const float4*>(static_cast<const float*>(from) + i);
    values[0] = four.x, values[1] = four.y, values[2] = four.z, values[3] = four.w;
  } else {
    const Halves4 four = *reinterpret_cast<const Halves4*>(static_cast<const uint16_t*>(from) + i);
    for (int j = 0; j < 4; ++j) {
      values[j] = dtype == DType::kBFloat16 ? float_from_bfloat16(four.h[j]) : float_from_float16(four.h[j]);
    }
  }
}

__device__ __forceinline__ void store_four(void* to, DType dtype, int64_t i, const float* values) {
  if (dtype == DType::kFloat32) {
    *reinterpret_cast<float4*>(static_cast<float*>(to) + i) =
        make_float4(values[0], values[1], values[2], values[3]);
  } else {
    Halves4 four;
    for (int j = 0; j < 4; ++j) {
      four.h[j] = dtype == DType::kBFloat16 ? bfloat16_from_float(values[j]) : float16_from_float(values[j]);
    }
    *reinterpret_cast<Halves4*>(static_cast<uint16_t*>(to) + i) = four;
  }
}

// Whether load_four and store_four may start at a pointer; true of null.
inline bool is_aligned(const void* pointer, DType dtype) {
  const uintptr_t bytes = dtype == DType::kFloat32 ? 16 : 8;
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

}  // namespace dimvida::cuda
