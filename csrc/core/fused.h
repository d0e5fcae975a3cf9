// Fused multiply-add with one rounding, on every target.
//
// Compilers are told never to contract a * b + c by themselves (-ffp-contract=off, -fmad=false). An
// expression then has the same bits on every device, and where a fused operation is wanted it is written out.
#pragma once

#include "core/bits.h"
#include "core/macros.h"

namespace dimvida {

// a * b + c rounded once.
DIMVIDA_HD float fused(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#elif defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  // No such instruction. The product is exact in double; the sum is rounded to odd there, so that the second
  // rounding, to float, is the only one that counts (Boldo and Melquiond, "Emulation of a FMA", 2008). Holds
  // for finite arguments whose result is no float32 subnormal, which is all the polynomials need.
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  const double sum = product + addend;
  const double part = sum - product;
  const double error = (product - (sum - part)) + (addend - part);
  const uint64_t bits = bits_of(sum);
  const uint64_t toward = ((error > 0.0) == (sum > 0.0)) ? bits + 1 : bits - 1;
  const bool inexact_and_even = (error != 0.0) & ((bits & 1u) == 0);
  return static_cast<float>(double_of(inexact_and_even ? toward : bits));
#endif
}

}  // namespace dimvida
