// Kernels that use, and misuse, what the stand-in for the CUDA runtime offers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace dimvida::cuda {

// Each thread's result of one shuffle of `values`.
struct ShuffleParams {
  const float* values;  // [threads]
  float* results;       // [threads]
  int kind;             // 0 by index, 1 up, 2 down, 3 xor, 4 ballot of the values that are not 0
  int operand;          // source lane, distance or lane mask
  int width;
  unsigned int mask;
};

__global__ void shuffle_kernel(const ShuffleParams p) {
  const float value = p.values[threadIdx.x];
  float result = 0.0f;
  if (p.kind == 0) result = __shfl_sync(p.mask, value, p.operand, p.width);
  if (p.kind == 1) result = __shfl_up_sync(p.mask, value, p.operand, p.width);
  if (p.kind == 2) result = __shfl_down_sync(p.mask, value, p.operand, p.width);
  if (p.kind == 3) result = __shfl_xor_sync(p.mask, value, p.operand, p.width);
  if (p.kind == 4) result = static_cast<float>(__ballot_sync(p.mask, value != 0.0f));
  p.results[threadIdx.x] = result;
}

// Shared memory of a block, the shared_bytes of the launch: a fresh allocation of exactly that size, filled with NaNs,
// so that a missing write, a missing barrier and an index out of range are found.
inline float* shared_floats() { return static_cast<float*>(cuda_on_host::shared_memory()); }

// The sum of each block's part of `values`, over warps and then over shared memory.
struct SumParams {
  const float* values;  // [count]
  float* sums;          // [blocks]
  int64_t count;
  int slots;  // of shared memory, one per warp
};

__global__ void sum_kernel(const SumParams p) {
  float* const partial = shared_floats();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  float sum = i < p.count ? p.values[i] : 0.0f;
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0.0f;
    for (int warp = 0; warp < p.slots; ++warp) total += partial[warp];
    p.sums[blockIdx.x] = total;
  }
}

// Each thread leaves its number for the next one, without a barrier where there should be one.
__global__ void race_kernel(float* results, int distance, bool barrier) {
  float* const numbers = shared_floats();
  const int count = static_cast<int>(blockDim.x), me = static_cast<int>(threadIdx.x);
  numbers[me] = static_cast<float>(me);
  if (barrier) __syncthreads();
  results[static_cast<int>(blockIdx.x) * count + me] = numbers[(me + distance + count) % count];
}

// Barriers that not all threads reach.
__global__ void divergence_kernel(int kind) {
  const unsigned int me = threadIdx.x;
  if (kind == 0) {  // one has returned
    if (me == 3) return;
    __syncthreads();
  } else if (kind == 1) {  // two different calls
    if (me < 32) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  } else if (kind == 2) {  // a lane that the mask names is elsewhere
    if (me != 5) __shfl_xor_sync(0xffffffffu, 1, 1);
    __syncthreads();
  } else if (kind == 3) {  // lanes with different masks: the even ones pass
    __syncwarp(me % 2 ? 0xffffffffu : 0x55555555u);
  } else if (kind == 4) {  // lanes with different widths
    __shfl_down_sync(0xffffffffu, 1, 1, me < 16 ? 16 : 32);
  }
}

// Every thread's place, to see that all ran once.
__global__ void place_kernel(int32_t* counts) {
  const unsigned int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  counts[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1;
}

}  // namespace dimvida::cuda
