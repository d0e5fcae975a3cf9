// Residual and activation on the GPU: a thread for four channels of a place, since memory bounds it.
#include "core/residual_act.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"
#include "cuda/silu.cuh"
#include "cuda/summands.cuh"

namespace dimvida::cuda {

template <class T, int kEach, class Index>
__device__ __forceinline__ void activate(const ResidualActParams& p, const Channels<Index>& at) {
  if (!at.exists) return;
  float v[kEach];
  read_sums<T>(v, p, at);
  if (p.total) write<T>(p.total, at.out, v);
  if (is_silu(p)) {
    silu_all(v);
  } else {
    for (int j = 0; j < kEach; ++j) v[j] = leaky(v[j], p.slope);
  }
  write<T>(p.out, at.out, v);
}

// Four channels to a thread; a batch whose elements have 31 bits.
template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    residual_act_fours_kernel(const ResidualActParams p, const uint32_t count, const Fours fours) {
  const uint32_t i = blockIdx.x * kBlockThreads + threadIdx.x;
  if (i < count) activate<T, 4>(p, fours.at(i));
}

// Anything else, a channel at a time.
template <class T>
__global__ void __launch_bounds__(kBlockThreads) residual_act_kernel(const ResidualActParams p) {
  const int64_t size = pixel_size(p), count = p.batch * p.made_height * p.made_width * size;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    const int64_t pixel = i / size, line = pixel / p.made_width, n = line / p.made_height;
    const int64_t block = i % size / p.channels;
    activate<T, 1>(
        p, channels_at(p, n, line % p.made_height, pixel % p.made_width, block, i % size % p.channels));
  }
}

int residual_act(const ResidualActParams& p, void* stream) {
  const int64_t count = p.batch * p.made_height * p.made_width * pixel_size(p);
  if (p.batch * p.height * p.width * p.channels == 0) return cudaSuccess;
  return with_elements(p.out_dtype, [&](auto type) {
    using T = decltype(type);
    if (!moves_by_four(p) || !is_small(count)) {
      return launch(residual_act_kernel<T>, blocks_for(count), kBlockThreads, 0, stream, p);
    }
    return launch(residual_act_fours_kernel<T>, blocks_for(count / 4), kBlockThreads, 0, stream, p,
                  static_cast<uint32_t>(count / 4), Fours(p));
  });
}

}  // namespace dimvida::cuda
