// What lets one source serve every compiler the kernels are built with, and give the same bits on every
// device: qualifiers, reinterpretation of bits and a fused multiply-add that is written out.
#pragma once

#include <cstdint>

// DIMVIDA_HD marks a function of the shared maths, DIMVIDA_HD_MEMBER a member of a struct, DIMVIDA_INLINE a
// function of the host only. All are always inlined: the CPU kernels compile the same header once per
// instruction set, and an out-of-line copy would let the linker hand one set's code to another.
#if defined(__GNUC__) || defined(__clang__)
#define DIMVIDA_INLINE static inline __attribute__((always_inline))
#else
#define DIMVIDA_INLINE static inline
#endif
#if defined(__CUDACC__)
#define DIMVIDA_HD static __host__ __device__ __forceinline__
#define DIMVIDA_HD_MEMBER __host__ __device__ __forceinline__
#elif defined(__GNUC__) || defined(__clang__)
#define DIMVIDA_HD DIMVIDA_INLINE
#define DIMVIDA_HD_MEMBER inline __attribute__((always_inline))
#else
#define DIMVIDA_HD DIMVIDA_INLINE
#define DIMVIDA_HD_MEMBER inline
#endif

#if defined(__GNUC__) || defined(__clang__) || defined(__CUDACC__)
#define DIMVIDA_RESTRICT __restrict__
#else
#define DIMVIDA_RESTRICT
#endif

namespace dimvida {

// The bits of one type as another of its size. A union rather than memcpy or std::bit_cast: every supported
// compiler turns it into a register move and vectorises the loops around it.
template <class To, class From>
DIMVIDA_HD To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  union {
    From from;
    To to;
  } pun = {from};
  return pun.to;
}

DIMVIDA_HD uint32_t bits_of(float value) { return bits_as<uint32_t>(value); }
DIMVIDA_HD uint64_t bits_of(double value) { return bits_as<uint64_t>(value); }
DIMVIDA_HD float float_of(uint32_t bits) { return bits_as<float>(bits); }
DIMVIDA_HD double double_of(uint64_t bits) { return bits_as<double>(bits); }

// a * b + c rounded once.
//
// Compilers are told never to contract a * b + c by themselves (-ffp-contract=off, -fmad=false). An
// expression then has the same bits on every device, and where a fused operation is wanted it is written out.
DIMVIDA_HD float fused(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#elif defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  // No such instruction. The product is exact in double; the sum is rounded to odd there, so that the second
  // rounding, to float, is the only one that counts (Boldo and Melquiond, "Emulation of a FMA", 2008). Holds
  // where the result is no float32 subnormal, which is all the polynomials need; the error of an infinite
  // sum is NaN, and neither above 0 nor below.
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  const double sum = product + addend;
  const double part = sum - product;
  const double error = (product - (sum - part)) + (addend - part);
  const uint64_t bits = bits_of(sum);
  const uint64_t toward = ((error > 0.0) == (sum > 0.0)) ? bits + 1 : bits - 1;
  const bool inexact_and_even = ((error > 0.0) | (error < 0.0)) & ((bits & 1u) == 0);
  return static_cast<float>(double_of(inexact_and_even ? toward : bits));
#endif
}

}  // namespace dimvida
