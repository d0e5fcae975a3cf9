// The floating types that a tensor may have, as template parameters: how an element stands in memory, and its
// conversion to and from float32. Loops over one of them vectorise, on the CPU and in a GPU's loads and
// stores.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/portable.h"

namespace dimvida {

struct Float32 {
  using Stored = float;
  DIMVIDA_HD float value(float stored) { return stored; }
  DIMVIDA_HD float stored(float value) { return value; }
};

struct BFloat16 {
  using Stored = uint16_t;
  DIMVIDA_HD float value(uint16_t stored) { return float_from_bfloat16(stored); }
  DIMVIDA_HD uint16_t stored(float value) { return bfloat16_from_float(value); }
};

struct Float16 {
  using Stored = uint16_t;
  DIMVIDA_HD float value(uint16_t stored) { return float_from_float16(stored); }
  DIMVIDA_HD uint16_t stored(float value) { return float16_from_float(value); }
};

// work(Float32{}), work(BFloat16{}) or work(Float16{}), by a type that is known at run time. For host code.
template <class Work>
DIMVIDA_INLINE auto with_elements(DType dtype, Work&& work) {
  if (dtype == DType::kFloat32) return work(Float32{});
  if (dtype == DType::kBFloat16) return work(BFloat16{});
  return work(Float16{});
}

}  // namespace dimvida
