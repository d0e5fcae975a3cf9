// Residual, group norm and SiLU on the GPU: a block for some groups of one image, which it reads once in
// every pass; the second and third time from the caches.
#include "core/residual_norm_silu.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"
#include "cuda/silu.cuh"
#include "cuda/summands.cuh"

namespace dimvida::cuda {

// What the threads of a block share: sums and results of its groups, channels that follow one another. A
// thread has kEach channels of every few places. Where there are several groups, it always has the same
// ones.
struct NormShare {
  int64_t n;         // image
  int64_t begin;     // first channel
  int64_t channels;  // of the block
  int64_t group;     // channels of a group

  __device__ __forceinline__ int64_t groups() const { return channels / group; }
};

// What for_share divides by where 32 bits count everything.
struct SmallShare {
  Fours fours;
  Divisor units, blocks;  // fours of a place, places of a pixel
};

// visit(v, where) for the thread's share of all places.
template <class T, class Visit>
__device__ __forceinline__ void for_share(const ResidualNormSiluParams& p, const NormShare& share,
                                          const SmallShare& small, Visit&& visit) {
  const Fours& fours = small.fours;
  const uint32_t count = fours.of_image.value * fours.of_row.value * small.blocks.value * small.units.value;
#pragma unroll 1
  for (uint32_t i = threadIdx.x; i < count; i += kBlockThreads) {
    const uint32_t place = small.units.quotient(i), pixel = small.blocks.quotient(place);
    const uint32_t row = fours.of_row.quotient(pixel);
    const auto at = fours.at(static_cast<uint32_t>(share.n), row, pixel - row * fours.of_row.value,
                             place - pixel * small.blocks.value,
                             static_cast<uint32_t>(share.begin) + 4 * (i - place * small.units.value));
    float v[4];
    read_sums<T>(v, p, at);
    visit(v, at);
  }
}

// The same a channel at a time.
struct AnyShare {};

template <class T, class Visit>
__device__ __forceinline__ void for_share(const ResidualNormSiluParams& p, const NormShare& share, AnyShare,
                                          Visit&& visit) {
  const int64_t blocks = p.scale * p.scale, count = p.made_height * p.made_width * blocks * share.channels;
  for (int64_t i = threadIdx.x; i < count; i += kBlockThreads) {
    const int64_t place = i / share.channels, pixel = place / blocks;
    const auto at = channels_at(p, share.n, pixel / p.made_width, pixel % p.made_width, place % blocks,
                                share.begin + i % share.channels);
    float v[1];
    read_sums<T>(v, p, at);
    visit(v, at);
  }
}

// The sum over the block of what its threads come with.
__device__ __forceinline__ float sum_over_block(float* memory, float mine) {
  const int warps = kBlockThreads / warpSize, thread = static_cast<int>(threadIdx.x);
  for (int offset = warpSize / 2; offset > 0; offset /= 2) mine += __shfl_xor_sync(0xffffffffu, mine, offset);
  if (thread % warpSize == 0) memory[thread / warpSize] = mine;
  __syncthreads();
  float sum = 0.0f;
  for (int warp = 0; warp < warps; ++warp) sum += memory[warp];
  __syncthreads();  // before memory is written again
  return sum;
}

// The sum over a group of what its threads come with. `memory` has a number for each thread, and then one
// for each group.
template <int kEach>
__device__ __forceinline__ float sum_over_group(float* memory, const NormShare& share, float mine) {
  const int thread = static_cast<int>(threadIdx.x), groups = static_cast<int>(share.groups());
  if (groups == 1) return sum_over_block(memory, mine);
  const int units = static_cast<int>(share.channels / kEach);  // until threads are of the same group again
  const int of_group = units / groups;                         // threads side by side
  float* const sums = memory + kBlockThreads;
  memory[thread] = mine;
  __syncthreads();
  if (thread < groups) {
    float sum = 0.0f;
    for (int first = thread * of_group; first < kBlockThreads; first += units) {
      for (int i = first; i < first + of_group; ++i) sum += memory[i];
    }
    sums[thread] = sum;
  }
  __syncthreads();
  const float sum = sums[thread % units / of_group];
  __syncthreads();  // before memory is written again
  return sum;
}

template <class T, int kEach, class Share>
__global__ void __launch_bounds__(kBlockThreads)
    residual_norm_silu_kernel(const ResidualNormSiluParams p, const int64_t channels, const Share how) {
  const int64_t chunks = p.channels / channels, group = p.channels / p.groups;
  const int64_t count = p.height * p.width * group;
  float* const memory = block_floats();
  for (int64_t item = blockIdx.x; item < p.batch * chunks; item += gridDim.x) {
    const NormShare share = {item / chunks, item % chunks * channels, channels, group};
    float sum = 0.0f, squares = 0.0f;
    for_share<T>(p, share, how, [&](const float (&v)[kEach], const auto&) {
      for (int j = 0; j < kEach; ++j) sum += v[j];
    });
    const float mean = sum_over_group<kEach>(memory, share, sum) / static_cast<float>(count);
    for_share<T>(p, share, how, [&](const float (&v)[kEach], const auto&) {
      for (int j = 0; j < kEach; ++j) squares = fused(v[j] - mean, v[j] - mean, squares);
    });
    const GroupMoments moments =
        group_moments(mean, sum_over_group<kEach>(memory, share, squares), count, p.eps);
    for_share<T>(p, share, how, [&](float (&v)[kEach], const auto& at) {
      float weight[kEach], bias[kEach];
      read<Float32>(weight, p.norm_weight, at.channel);
      read<Float32>(bias, p.norm_bias, at.channel);
      if (p.total) write<T>(p.total, at.out, v);
      for (int j = 0; j < kEach; ++j) v[j] = normalised(v[j], moments, weight[j], bias[j]);
      silu_all(v);
      write<T>(p.out, at.out, v);
    });
  }
}

// Channels of a block: those of several groups where a block's threads divide evenly among them, so that
// rows of memory are read together; else those of one group.
static int64_t channels_of_block(const ResidualNormSiluParams& p, int64_t each) {
  constexpr int64_t most = 32;  // threads side by side
  const int64_t group = p.channels / p.groups;
  for (int64_t groups = p.groups; groups > 1; --groups) {
    const int64_t units = groups * group / each;
    if (p.groups % groups == 0 && group % each == 0 && units <= most && kBlockThreads % units == 0) {
      return groups * group;
    }
  }
  return group;
}

int residual_norm_silu(const ResidualNormSiluParams& p, void* stream) {
  if (p.batch * p.height * p.width * p.channels == 0) return cudaSuccess;
  const bool fours = moves_by_four(p) && p.channels / p.groups % 4 == 0 &&
                     is_aligned(p.norm_weight, DType::kFloat32) && is_aligned(p.norm_bias, DType::kFloat32);
  const int64_t channels = channels_of_block(p, fours ? 4 : 1);
  const std::size_t shared = 2 * kBlockThreads * sizeof(float);
  const unsigned int blocks = blocks_for(p.batch * (p.channels / channels) * kBlockThreads);
  return with_elements(p.out_dtype, [&](auto type) {
    using T = decltype(type);
    if (!fours) {
      return launch(residual_norm_silu_kernel<T, 1, AnyShare>, blocks, kBlockThreads, shared, stream, p,
                    channels, AnyShare{});
    }
    const SmallShare share = {Fours(p), Divisor(channels / 4), Divisor(p.scale * p.scale)};
    return launch(residual_norm_silu_kernel<T, 4, SmallShare>, blocks, kBlockThreads, shared, stream, p,
                  channels, share);
  });
}

}  // namespace dimvida::cuda
