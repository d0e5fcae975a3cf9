// Group norm and SiLU on the GPU: a few lanes of a warp per group of one sample.
//
// Memory traffic should bound the kernel, so a group is read once and held in registers where it fits, four
// elements at a time; a larger group is read once per pass and comes from the cache then.
#include "core/group_norm_silu.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"
#include "cuda/launchers.h"

namespace dimvida::cuda {

constexpr int kWarp = 32;
constexpr int kHeldQuads = 4;  // of each lane
constexpr unsigned int kAllLanes = 0xffffffffu;

struct Quad4 {
  float v[4];
};

// A group of one sample, shared by `lanes` lanes: lane l has the quads l, l + lanes, ...
struct GroupShare {
  int64_t b;           // sample
  int64_t begin;       // first column
  int64_t count;       // columns
  const float* added;  // [width] or null
  int lane, lanes;
  bool active;  // false for lanes past the last group, which only take part in the shuffles

  __device__ __forceinline__ int64_t quads() const { return active ? (count + 3) / 4 : 0; }
  // Elements of a quad that exist.
  __device__ __forceinline__ int size(int64_t quad) const {
    const int64_t left = count - 4 * quad;
    return left < 4 ? static_cast<int>(left) : 4;
  }
};

__device__ __forceinline__ float sum_over_lanes(float value, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// One element of the input.
__device__ __forceinline__ float input_element(const GroupNormSiluParams& p, int64_t b, int64_t column) {
  if (column < p.left_width) return load_one(p.left, p.left_dtype, b * p.left_stride + column);
  return load_one(p.right, p.left_dtype, b * p.right_stride + column - p.left_width);
}

// kAligned: quads lie in one half, and every pointer and stride lets four elements move together.
template <bool kAligned>
__device__ __forceinline__ Quad4 read_quad(const GroupNormSiluParams& p, const GroupShare& share,
                                           int64_t quad) {
  const int64_t column = share.begin + 4 * quad;
  Quad4 q = {{0.0f, 0.0f, 0.0f, 0.0f}};
  if constexpr (kAligned) {
    if (column >= p.left_width) {
      load_four(q.v, p.right, p.left_dtype, share.b * p.right_stride + column - p.left_width);
    } else {
      load_four(q.v, p.left, p.left_dtype, share.b * p.left_stride + column);
    }
    if (share.added) {
      float added[4];
      load_four(added, share.added, DType::kFloat32, column);
      for (int j = 0; j < 4; ++j) q.v[j] += added[j];
    }
  } else {
    const int size = share.size(quad);
    for (int j = 0; j < 4; ++j) {  // unrolled: a quad indexed at run time would not stay in registers
      if (j >= size) continue;
      q.v[j] = input_element(p, share.b, column + j);
      if (share.added) q.v[j] += share.added[column + j];
    }
  }
  return q;
}

__device__ __forceinline__ float quad_sum(const Quad4& q, int size) {
  float sum = 0.0f;
  for (int j = 0; j < 4; ++j) sum += j < size ? q.v[j] : 0.0f;
  return sum;
}

__device__ __forceinline__ float quad_squares(const Quad4& q, float mean, int size) {
  float sum = 0.0f;
  for (int j = 0; j < 4; ++j) {
    const float deviation = q.v[j] - mean;
    sum += j < size ? deviation * deviation : 0.0f;
  }
  return sum;
}

template <bool kAligned>
__device__ __forceinline__ void write_quad(const GroupNormSiluParams& p, const GroupShare& share,
                                           int64_t quad, Quad4 q, GroupMoments moments) {
  const int64_t column = share.begin + 4 * quad;
  const int64_t place = share.b * p.out_stride + column;
  const int size = share.size(quad);
  for (int j = 0; j < 4; ++j) {
    if (j < size) q.v[j] = normalised_silu(q.v[j], moments, p.weight[column + j], p.bias[column + j]);
  }
  if constexpr (kAligned) {
    store_four(p.out, p.out_dtype, place, q.v);
  } else {
    for (int j = 0; j < 4; ++j) {
      if (j < size) store_one(p.out, p.out_dtype, place + j, q.v[j]);
    }
  }
}

// Of aligned quads only: with the bounds of others, registers run out on some architectures.
__device__ __forceinline__ void normalise_held(const GroupNormSiluParams& p, const GroupShare& share) {
  Quad4 held[kHeldQuads];
  float sum = 0.0f, squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kHeldQuads; ++i) {
    const int64_t quad = share.lane + i * share.lanes;
    if (quad >= share.quads()) continue;
    held[i] = read_quad<true>(p, share, quad);
    sum += quad_sum(held[i], share.size(quad));
  }
  const float mean = sum_over_lanes(sum, share.lanes) / static_cast<float>(share.count);
#pragma unroll
  for (int i = 0; i < kHeldQuads; ++i) {
    const int64_t quad = share.lane + i * share.lanes;
    if (quad < share.quads()) squares += quad_squares(held[i], mean, share.size(quad));
  }
  squares = sum_over_lanes(squares, share.lanes);
  const GroupMoments moments = group_moments(mean, squares, share.count, p.eps);
#pragma unroll
  for (int i = 0; i < kHeldQuads; ++i) {
    const int64_t quad = share.lane + i * share.lanes;
    if (quad < share.quads()) write_quad<true>(p, share, quad, held[i], moments);
  }
}

// A group of any size: it is read again in every pass.
template <bool kAligned>
__device__ __forceinline__ void normalise_streamed(const GroupNormSiluParams& p, const GroupShare& share) {
  const int64_t quads = share.quads();
  float sum = 0.0f, squares = 0.0f;
  for (int64_t quad = share.lane; quad < quads; quad += share.lanes) {
    sum += quad_sum(read_quad<kAligned>(p, share, quad), share.size(quad));
  }
  const float mean = sum_over_lanes(sum, share.lanes) / static_cast<float>(share.count);
  for (int64_t quad = share.lane; quad < quads; quad += share.lanes) {
    squares += quad_squares(read_quad<kAligned>(p, share, quad), mean, share.size(quad));
  }
  squares = sum_over_lanes(squares, share.lanes);
  const GroupMoments moments = group_moments(mean, squares, share.count, p.eps);
  for (int64_t quad = share.lane; quad < quads; quad += share.lanes) {
    const Quad4 q = read_quad<kAligned>(p, share, quad);
    write_quad<kAligned>(p, share, quad, q, moments);
  }
}

// Blocks on a multiprocessor at least: the 64 registers that this leaves are enough, and where the compiler
// chooses by itself, it spills on some architectures for the sake of more blocks.
constexpr int kBlocksAtOnce = 4;

// Every lane of a warp stays to the end, because all take part in the shuffles.
template <bool kAligned>
__global__ void __launch_bounds__(kBlockThreads, kBlocksAtOnce)
    group_norm_silu_kernel(const GroupNormSiluParams p, const int lanes, const bool held) {
  const int64_t step = bias_step(p);
  if (is_out_of_range(p, step)) return;  // all threads alike
  const int64_t tasks = p.batch * p.groups;
  const int64_t per_block = kBlockThreads / lanes;
  for (int64_t first = blockIdx.x * per_block; first < tasks; first += gridDim.x * per_block) {
    const int64_t task = first + threadIdx.x / lanes;
    const bool active = task < tasks;
    const int64_t b = active ? task / p.groups : 0;
    const int64_t count = p.width / p.groups;
    const GroupShare share = {b,
                              active ? (task - b * p.groups) * count : 0,
                              count,
                              active ? added_row(p, step, b) : nullptr,
                              static_cast<int>(threadIdx.x) % lanes,
                              lanes,
                              active};
    if constexpr (kAligned) {
      if (held) {
        normalise_held(p, share);
        continue;
      }
    }
    normalise_streamed<kAligned>(p, share);
  }
}

// Quads of four elements never straddle two groups or the two halves, and lie aligned in every row.
static bool moves_by_four(const GroupNormSiluParams& p) {
  const bool strides = p.left_stride % 4 == 0 && p.right_stride % 4 == 0 && p.out_stride % 4 == 0 &&
                       p.time_bias_row_stride % 4 == 0 && p.time_bias_step_stride % 4 == 0;
  const bool pointers = is_aligned(p.left, p.left_dtype) && is_aligned(p.right, p.left_dtype) &&
                        is_aligned(p.time_bias, DType::kFloat32) && is_aligned(p.out, p.out_dtype);
  return (p.width / p.groups) % 4 == 0 && p.left_width % 4 == 0 && strides && pointers;
}

int group_norm_silu(const GroupNormSiluParams& p, void* stream) {
  if (p.batch == 0 || p.width == 0) return cudaSuccess;
  const int64_t quads = (p.width / p.groups + 3) / 4;
  int lanes = 1;
  while (lanes < kWarp && lanes * kHeldQuads < quads) lanes *= 2;
  const bool held = lanes * kHeldQuads >= quads;
  auto* const kernel = moves_by_four(p) ? group_norm_silu_kernel<true> : group_norm_silu_kernel<false>;
  return launch(kernel, blocks_for(p.batch * p.groups * lanes), kBlockThreads, 0, stream, p, lanes, held);
}

}  // namespace dimvida::cuda
