// Elements of any floating type, one at a time or several at once.
#pragma once

#include <cstdint>

#include "core/elements.h"

namespace dimvida::cuda {

// Two elements as they stand in memory, from and to float32, by the instructions that a GPU has for it. They
// round like core/dtype.h; only which NaN comes out may differ.

DIMVIDA_HD void unpack_two(float* values, uint32_t word, BFloat16) {
  values[0] = float_of(word << 16);
  values[1] = float_of(word & 0xffff0000u);
}

DIMVIDA_HD void unpack_two(float* values, uint32_t word, Float16) {
#if defined(__CUDA_ARCH__)
  asm("{\n .reg .b16 low, high;\n mov.b32 {low, high}, %2;\n cvt.f32.f16 %0, low;\n cvt.f32.f16 %1, high;\n}"
      : "=f"(values[0]), "=f"(values[1])
      : "r"(word));
#else
  values[0] = float_from_float16(static_cast<uint16_t>(word));
  values[1] = float_from_float16(static_cast<uint16_t>(word >> 16));
#endif
}

DIMVIDA_HD uint32_t pack_two(const float* values, BFloat16) {
#if defined(__CUDA_ARCH__)
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(values[1]), "f"(values[0]));
  return word;
#else
  return bfloat16_from_float(values[0]) | static_cast<uint32_t>(bfloat16_from_float(values[1])) << 16;
#endif
}

DIMVIDA_HD uint32_t pack_two(const float* values, Float16) {
#if defined(__CUDA_ARCH__)
  uint32_t word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(values[1]), "f"(values[0]));
  return word;
#else
  return float16_from_float(values[0]) | static_cast<uint32_t>(float16_from_float(values[1])) << 16;
#endif
}

// Words that move together: 4, 8 or 16 bytes, aligned to as many.

__device__ __forceinline__ void load_words(uint32_t (&words)[1], const void* from) {
  words[0] = *static_cast<const uint32_t*>(from);
}
__device__ __forceinline__ void load_words(uint32_t (&words)[2], const void* from) {
  const uint2 two = *static_cast<const uint2*>(from);
  words[0] = two.x, words[1] = two.y;
}
__device__ __forceinline__ void load_words(uint32_t (&words)[4], const void* from) {
  const uint4 four = *static_cast<const uint4*>(from);
  words[0] = four.x, words[1] = four.y, words[2] = four.z, words[3] = four.w;
}
__device__ __forceinline__ void store_words(void* to, const uint32_t (&words)[1]) {
  *static_cast<uint32_t*>(to) = words[0];
}
__device__ __forceinline__ void store_words(void* to, const uint32_t (&words)[2]) {
  *static_cast<uint2*>(to) = make_uint2(words[0], words[1]);
}
__device__ __forceinline__ void store_words(void* to, const uint32_t (&words)[4]) {
  *static_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
}

// kCount elements, 2, 4 or, of two bytes each, 8, at an address that is aligned to all of them.

template <class T, int kCount>
__device__ __forceinline__ void load_vector(float (&values)[kCount], const typename T::Stored* from) {
  constexpr int kWords = kCount * sizeof(typename T::Stored) / 4;
  uint32_t words[kWords];
  load_words(words, from);
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    if constexpr (kWords == kCount) {
      values[i] = float_of(words[i]);
    } else {
      unpack_two(values + 2 * i, words[i], T{});
    }
  }
}

template <class T, int kCount>
__device__ __forceinline__ void store_vector(typename T::Stored* to, const float (&values)[kCount]) {
  constexpr int kWords = kCount * sizeof(typename T::Stored) / 4;
  uint32_t words[kWords];
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    if constexpr (kWords == kCount) {
      words[i] = bits_of(values[i]);
    } else {
      words[i] = pack_two(values + 2 * i, T{});
    }
  }
  store_words(to, words);
}

// Whether load_vector and store_vector may start at a pointer; true of null.
inline bool is_aligned(const void* pointer, DType dtype, int count = 4) {
  return reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(count * bytes_of(dtype)) == 0;
}

// One element of a type that is known at run time only.

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

}  // namespace dimvida::cuda
