// The types that a tensor may have where there is a choice, and conversion of the floating ones to and from
// float32, exact or rounded to nearest even.
#pragma once

#include <cstdint>

#include "core/portable.h"

namespace dimvida {

enum class DType : int32_t { kFloat32, kBFloat16, kFloat16, kInt32, kInt64 };

// Their names in PyTorch, in the order of DType.
constexpr const char* kDTypeNames[] = {"float32", "bfloat16", "float16", "int32", "int64"};

DIMVIDA_HD int64_t bytes_of(DType dtype) {
  if (dtype == DType::kInt64) return 8;
  return dtype == DType::kFloat32 || dtype == DType::kInt32 ? 4 : 2;
}

// An index that stands in memory as int32 or int64.
DIMVIDA_HD int64_t index_at(const void* from, DType dtype) {
  return dtype == DType::kInt64 ? *static_cast<const int64_t*>(from) : *static_cast<const int32_t*>(from);
}

DIMVIDA_HD float float_from_bfloat16(uint16_t value) { return float_of(static_cast<uint32_t>(value) << 16); }

// Chosen before the shift: the other way round a vector is taken apart to choose in 16 bits.
DIMVIDA_HD uint16_t bfloat16_from_float(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const uint32_t quiet_nan = bits | 0x400000u;
  return static_cast<uint16_t>((value != value ? quiet_nan : rounded) >> 16);
}

DIMVIDA_HD float float_from_float16(uint16_t value) {
  const uint32_t sign = static_cast<uint32_t>(value & 0x8000u) << 16;
  const uint32_t magnitude = value & 0x7fffu;
  // The half's exponent and mantissa moved into place, then the bias corrected by an exact product with
  // 2^112; this also normalises subnormals.
  const float finite = float_of(magnitude << 13) * float_of(0x77800000u);
  const uint32_t special = 0x7f800000u | (magnitude << 13);  // infinity and NaN
  return float_of(sign | (magnitude >= 0x7c00u ? special : bits_of(finite)));
}

DIMVIDA_HD uint16_t float16_from_float(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  // Normal halves: round the mantissa to 10 bits, rebias; the carry may reach infinity, as it should.
  const uint32_t normal = (magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13;
  // Subnormal halves: adding 0.5 leaves round(value / 2^-24) in the low mantissa bits.
  const uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
  half = magnitude >= 0x47800000u ? 0x7c00u : half;                                  // 65536 and above
  half = magnitude > 0x7f800000u ? (0x7e00u | ((magnitude >> 13) & 0x3ffu)) : half;  // NaN stays NaN
  return static_cast<uint16_t>(sign | half);
}

}  // namespace dimvida
