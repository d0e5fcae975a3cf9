// Reinterpretation of float32 and float64 bits.
#pragma once

#include <cstdint>

#include "core/macros.h"

namespace dimvida {

// A union rather than memcpy or std::bit_cast: every supported compiler turns it into a register move and
// vectorises the loops around it.
DIMVIDA_HD uint32_t bits_of(float value) {
  union {
    float f;
    uint32_t u;
  } pun = {value};
  return pun.u;
}

DIMVIDA_HD float float_of(uint32_t bits) {
  union {
    uint32_t u;
    float f;
  } pun = {bits};
  return pun.f;
}

DIMVIDA_HD uint64_t bits_of(double value) {
  union {
    double f;
    uint64_t u;
  } pun = {value};
  return pun.u;
}

DIMVIDA_HD double double_of(uint64_t bits) {
  union {
    uint64_t u;
    double f;
  } pun = {bits};
  return pun.f;
}

}  // namespace dimvida
