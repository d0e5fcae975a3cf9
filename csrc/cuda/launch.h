// The one way in which launchers start a kernel, and the shapes of their grids.
//
// Plain C++ over the runtime's API, without <<<>>>, so that the same .cu files also compile for the host
// against the stand-in for the CUDA runtime in tests/cuda_on_host.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "core/portable.h"

namespace dimvida::cuda {

// Threads of a block.
constexpr int kBlockThreads = 256;

// Blocks for `items` threads, capped: beyond 2^30 kernels stride over what is left.
inline unsigned int blocks_for(int64_t items) {
  constexpr int64_t most = int64_t{1} << 22;
  const int64_t blocks = (items + kBlockThreads - 1) / kBlockThreads;
  return static_cast<unsigned int>(blocks < most ? blocks : most);
}

// Division of unsigned numbers below 2^31 by one that is known at the launch: a product and a shift, where
// hardware has no division (Granlund and Montgomery, "Division by invariant integers using multiplication",
// PLDI 1994).
struct Divisor {
  uint32_t value, multiplier, shift;

  explicit Divisor(int64_t divisor) : value(static_cast<uint32_t>(divisor)), shift(0) {
    while ((int64_t{1} << shift) < divisor) ++shift;
    multiplier = static_cast<uint32_t>(((uint64_t{1} << (31 + shift)) + value - 1) / value);
  }

  DIMVIDA_HD_MEMBER uint32_t quotient(uint32_t n) const {
    return static_cast<uint32_t>((static_cast<uint64_t>(2 * n) * multiplier) >> 32) >> shift;
  }
};

// Whether all of `count` elements, and places a little past them, have offsets that fit 31 bits.
inline bool is_small(int64_t count) { return count <= int64_t{1} << 30; }

// The shared memory of a block, as much as its launch asks for.
#if defined(__CUDACC__)
__device__ __forceinline__ float* block_floats() {
  extern __shared__ float memory[];
  return memory;
}
#else
inline float* block_floats() { return static_cast<float*>(cuda_on_host::shared_memory()); }
#endif

// Enqueues kernel(arguments...) on a stream, a cudaStream_t of the current device, and returns the
// cudaError_t of the launch. Arguments are passed by value and may be gone by the time that the kernel runs.
template <class... Parameters, class... Arguments>
int launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, void* stream,
           const Arguments&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  const cudaError_t status = cudaLaunchKernelEx(&config, kernel, arguments...);
  // The runtime also keeps the error for the next who asks. It is reported here, so nobody else should meet
  // it.
  if (status != cudaSuccess) static_cast<void>(cudaGetLastError());
  return status;
}

}  // namespace dimvida::cuda
