// Shared memory of a block, on the GPU and in the host build of tests/cuda_on_host.
#pragma once

#include <cuda_runtime.h>

namespace dimvida::cuda {

// The shared_bytes of the launch, aligned to 16 bytes and not initialised. Kernels take shared memory from
// here rather than as __shared__ arrays: on the host it is then a fresh allocation of exactly that size,
// filled with NaNs, so that a missing write, a missing barrier and an index out of range are found.
template <class T>
__device__ __forceinline__ T* shared_memory() {
#if defined(__CUDACC__)
  extern __shared__ uint4 dimvida_shared_memory[];
  return reinterpret_cast<T*>(dimvida_shared_memory);
#else
  return static_cast<T*>(cuda_on_host::shared_memory());
#endif
}

}  // namespace dimvida::cuda
