// What lets one source serve every compiler the kernels are built with.
#pragma once

// DIMVIDA_HD marks a function of the shared maths, DIMVIDA_HD_MEMBER a member of a struct. Both are always
// inlined: the CPU kernels compile the same header once per instruction set, and an out-of-line copy would
// let the linker hand one set's code to another.
#if defined(__CUDACC__)
#define DIMVIDA_HD_MEMBER __host__ __device__ __forceinline__
#elif defined(__GNUC__) || defined(__clang__)
#define DIMVIDA_HD_MEMBER inline __attribute__((always_inline))
#else
#define DIMVIDA_HD_MEMBER inline
#endif
#define DIMVIDA_HD static DIMVIDA_HD_MEMBER

#if defined(__GNUC__) || defined(__clang__) || defined(__CUDACC__)
#define DIMVIDA_RESTRICT __restrict__
#else
#define DIMVIDA_RESTRICT
#endif
