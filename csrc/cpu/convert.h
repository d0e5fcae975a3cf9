// Runs of elements of any floating type to and from float32. Included once per instruction set, hence static.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/macros.h"

namespace dimvida::cpu {

static inline void load(float* DIMVIDA_RESTRICT to, const void* from, DType dtype, int64_t first,
                        int64_t count) {
  if (dtype == DType::kFloat32) {
    const float* source = static_cast<const float*>(from) + first;
    for (int64_t i = 0; i < count; ++i) to[i] = source[i];
  } else if (dtype == DType::kBFloat16) {
    const uint16_t* source = static_cast<const uint16_t*>(from) + first;
    for (int64_t i = 0; i < count; ++i) to[i] = float_from_bfloat16(source[i]);
  } else {
    const uint16_t* source = static_cast<const uint16_t*>(from) + first;
    for (int64_t i = 0; i < count; ++i) to[i] = float_from_float16(source[i]);
  }
}

static inline void store(void* to, const float* DIMVIDA_RESTRICT from, DType dtype, int64_t first,
                         int64_t count) {
  if (dtype == DType::kFloat32) {
    float* target = static_cast<float*>(to) + first;
    for (int64_t i = 0; i < count; ++i) target[i] = from[i];
  } else if (dtype == DType::kBFloat16) {
    uint16_t* target = static_cast<uint16_t*>(to) + first;
    for (int64_t i = 0; i < count; ++i) target[i] = bfloat16_from_float(from[i]);
  } else {
    uint16_t* target = static_cast<uint16_t*>(to) + first;
    for (int64_t i = 0; i < count; ++i) target[i] = float16_from_float(from[i]);
  }
}

}  // namespace dimvida::cpu
