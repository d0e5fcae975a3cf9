// Group norm and SiLU on the GPU: a few lanes of a warp per group of one sample.
//
// Memory traffic should bound the kernel, so a group is read once and held in registers where it fits, four
// elements at a time; a larger group is read once per pass and comes from the cache then.
#pragma once

#include "core/group_norm_silu.h"
#include "cuda/access.cuh"
#include "cuda/grid.h"

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

// One element of the row before the added row.
__device__ __forceinline__ float input_element(const GroupNormSiluParams& p, int64_t b, int64_t column) {
  if (column >= p.left_width)
    return load_one(p.right, p.in_dtype, b * p.right_stride + column - p.left_width);
  const float left = load_one(p.left, p.in_dtype, b * p.left_stride + column);
  return p.residual ? left + load_one(p.residual, p.in_dtype, b * p.residual_stride + column) : left;
}

// kAligned: quads lie in one half, and every pointer and stride lets four elements move together.
template <bool kAligned>
__device__ __forceinline__ Quad4 read_quad(const GroupNormSiluParams& p, const GroupShare& share,
                                           int64_t quad, bool with_sum) {
  const int64_t column = share.begin + 4 * quad;
  Quad4 q = {{0.0f, 0.0f, 0.0f, 0.0f}};
  if constexpr (kAligned) {
    if (column >= p.left_width) {
      load_four(q.v, p.right, p.in_dtype, share.b * p.right_stride + column - p.left_width);
    } else {
      load_four(q.v, p.left, p.in_dtype, share.b * p.left_stride + column);
      if (p.residual) {
        float residual[4];
        load_four(residual, p.residual, p.in_dtype, share.b * p.residual_stride + column);
        for (int j = 0; j < 4; ++j) q.v[j] += residual[j];
      }
      if (with_sum) store_four(p.sum, p.in_dtype, share.b * p.sum_stride + column, q.v);
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
      if (with_sum && column + j < p.left_width) {
        store_one(p.sum, p.in_dtype, share.b * p.sum_stride + column + j, q.v[j]);
      }
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
    held[i] = read_quad<true>(p, share, quad, p.sum != nullptr);
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

// The sum is written in the last pass, since it may lie over what it is the sum of.
template <bool kAligned>
__device__ __forceinline__ void normalise_streamed(const GroupNormSiluParams& p, const GroupShare& share) {
  const int64_t quads = share.quads();
  float sum = 0.0f, squares = 0.0f;
  for (int64_t quad = share.lane; quad < quads; quad += share.lanes) {
    sum += quad_sum(read_quad<kAligned>(p, share, quad, false), share.size(quad));
  }
  const float mean = sum_over_lanes(sum, share.lanes) / static_cast<float>(share.count);
  for (int64_t quad = share.lane; quad < quads; quad += share.lanes) {
    squares += quad_squares(read_quad<kAligned>(p, share, quad, false), mean, share.size(quad));
  }
  squares = sum_over_lanes(squares, share.lanes);
  const GroupMoments moments = group_moments(mean, squares, share.count, p.eps);
  for (int64_t quad = share.lane; quad < quads; quad += share.lanes) {
    const Quad4 q = read_quad<kAligned>(p, share, quad, p.sum != nullptr);
    write_quad<kAligned>(p, share, quad, q, moments);
  }
}

// Every lane of a warp stays to the end, because all take part in the shuffles.
template <bool kAligned>
__global__ void __launch_bounds__(kBlockThreads)
    group_norm_silu_kernel(const GroupNormSiluParams p, const int lanes, const bool held) {
  const int64_t step = row_step(p);
  if (p.rows && (step < 0 || step >= p.steps)) return;  // of all threads alike
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

}  // namespace dimvida::cuda
