// Stands in for the CUDA runtime where kernels are compiled for the host, so that their own source can run
// under the sanitizers without a GPU. A grid is a loop over its blocks, a block's threads are fibers, and
// barriers and shuffles switch between them. It has what the kernels of csrc/cuda use; what is missing does
// not compile.
//
// Stricter than a GPU: every thread that a barrier names must reach that very call, and a shuffle may only
// read lanes that take part. Everything else is reported by the launch as cudaErrorLaunchFailure.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

// Vectors, aligned as on the GPU: the sanitizer reports a misaligned load.

#define CUDA_ON_HOST_VECTORS(type, name, alignment2, alignment4)   \
  struct alignas(alignment2) name##2 { type x, y; };               \
  struct alignas(alignment4) name##4 { type x, y, z, w; };         \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; } \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

CUDA_ON_HOST_VECTORS(unsigned char, uchar, 2, 4)
CUDA_ON_HOST_VECTORS(unsigned short, ushort, 4, 8)
CUDA_ON_HOST_VECTORS(int, int, 8, 16)
CUDA_ON_HOST_VECTORS(unsigned int, uint, 8, 16)
CUDA_ON_HOST_VECTORS(float, float, 8, 16)
#undef CUDA_ON_HOST_VECTORS

struct uint3 {
  unsigned int x, y, z;
};

struct dim3 {
  unsigned int x, y, z;
  constexpr dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
};

// The place of the running thread.

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// The part of the runtime that launchers use.

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719,
};

typedef struct CUstream_st* cudaStream_t;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
};

// After cudaErrorLaunchFailure the text says what went wrong, where and in which threads.
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();

namespace cuda_on_host {

// Runs the whole grid, each thread as thread(context), before it returns.
cudaError_t run_grid(const cudaLaunchConfig_t& config, void (*thread)(const void*), const void* context);

// The dynamic shared memory of the running block.
void* shared_memory();

// A call in a kernel's source. Its defaults, at the call, are the caller's place.
struct Site {
  const char* file;
  int line;
};

// Waits for all threads of the block.
void wait_for_block(const char* name, Site site);

// Waits for the lanes in the mask, then returns the value that lane `source` came with, or, without one
// (negative), a mask of the lanes whose value is not zero.
uint64_t exchange(const char* name, Site site, unsigned int mask, int width, uint64_t value, int source);

// This thread's place in its warp.
int lane();

template <class T>
T shuffle(const char* name, Site site, unsigned int mask, T value, int source, int width) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange(name, site, mask, width, bits, source);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace cuda_on_host

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  // Each thread gets its own copy of the arguments, as parameters are by value.
  const auto thread = [&] { kernel(arguments...); };
  const auto call = [](const void* context) { (*static_cast<const decltype(thread)*>(context))(); };
  return cuda_on_host::run_grid(*config, call, &thread);
}

// Barriers and shuffles, with the semantics of PTX's bar.sync and shfl.sync.

#define CUDA_ON_HOST_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(CUDA_ON_HOST_SITE) { cuda_on_host::wait_for_block("__syncthreads", {file, line}); }

inline void __syncwarp(unsigned int mask = 0xffffffffu, CUDA_ON_HOST_SITE) {
  cuda_on_host::exchange("__syncwarp", {file, line}, mask, warpSize, 0, -1);
}

template <class T>
T __shfl_sync(unsigned int mask, T value, int source, int width = warpSize, CUDA_ON_HOST_SITE) {
  const int first = cuda_on_host::lane() & ~(width - 1);
  return cuda_on_host::shuffle("__shfl_sync", {file, line}, mask, value, first | (source & (width - 1)),
                               width);
}

template <class T>
T __shfl_up_sync(unsigned int mask, T value, unsigned int delta, int width = warpSize, CUDA_ON_HOST_SITE) {
  const int lane = cuda_on_host::lane();
  const int source = lane - static_cast<int>(delta & 31u);
  const int first = lane & ~(width - 1);
  return cuda_on_host::shuffle("__shfl_up_sync", {file, line}, mask, value, source >= first ? source : lane,
                               width);
}

template <class T>
T __shfl_down_sync(unsigned int mask, T value, unsigned int delta, int width = warpSize, CUDA_ON_HOST_SITE) {
  const int lane = cuda_on_host::lane();
  const int source = lane + static_cast<int>(delta & 31u);
  const int last = lane | (width - 1);
  return cuda_on_host::shuffle("__shfl_down_sync", {file, line}, mask, value, source <= last ? source : lane,
                               width);
}

template <class T>
T __shfl_xor_sync(unsigned int mask, T value, int other, int width = warpSize, CUDA_ON_HOST_SITE) {
  const int lane = cuda_on_host::lane();
  const int source = lane ^ (other & 31);
  const int last = lane | (width - 1);
  return cuda_on_host::shuffle("__shfl_xor_sync", {file, line}, mask, value, source <= last ? source : lane,
                               width);
}

inline unsigned int __ballot_sync(unsigned int mask, int predicate, CUDA_ON_HOST_SITE) {
  const uint64_t value = predicate != 0;
  return static_cast<unsigned int>(
      cuda_on_host::exchange("__ballot_sync", {file, line}, mask, warpSize, value, -1));
}

inline int __any_sync(unsigned int mask, int predicate, CUDA_ON_HOST_SITE) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}

inline int __all_sync(unsigned int mask, int predicate, CUDA_ON_HOST_SITE) {
  return __ballot_sync(mask, predicate, file, line) == mask;
}

#undef CUDA_ON_HOST_SITE

// Loads and arithmetic that C++ has no name for.

template <class T>
T __ldg(const T* pointer) {
  return *pointer;
}

inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }

inline unsigned int __float_as_uint(float value) {
  unsigned int bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float __uint_as_float(unsigned int bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
