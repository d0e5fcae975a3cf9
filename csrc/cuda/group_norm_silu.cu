// Group norm and SiLU on the GPU: a few lanes of a warp per group of one sample.
//
// Memory traffic should bound the kernels. A group that fits is read once and held in registers, and that
// kernel is counted in instructions: types, shares of a lane and lanes of a group are known when it is
// compiled, offsets have 32 bits, and everything moves by four elements. A group of any other kind is read
// again in every pass.
#include "core/group_norm_silu.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"
#include "cuda/silu.cuh"

namespace dimvida::cuda {

constexpr int kWarp = 32;
constexpr int kHeldQuads = 4;  // of each lane, at most
constexpr unsigned int kAllLanes = 0xffffffffu;

__device__ __forceinline__ float sum_over_lanes(float value, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// The groups that a held kernel computes. What it takes of the parameters fits numbers of 32 bits.
struct HeldGroups {
  uint32_t tasks, count;  // groups of all samples, columns of one
  uint32_t lanes_shift;   // lanes of a group, as a power of two
  Divisor of_sample;
};

DIMVIDA_HD uint32_t small(int64_t number) { return static_cast<uint32_t>(number); }

// What is added to sample b from a column on, in offsets of 32 bits; null if nothing is.
__device__ __forceinline__ const float* held_row(const GroupNormSiluParams& p, int64_t step, uint32_t b,
                                                 uint32_t column) {
  if (!p.time_bias) return nullptr;
  const uint64_t row = p.table_row ? static_cast<uint64_t>(p.table_row[b]) : 0;  // negative ones become large
  if (row >= small(p.time_bias_rows)) return nullptr;
  return p.time_bias + (static_cast<uint32_t>(row) * small(p.time_bias_row_stride) +
                        small(step) * small(p.time_bias_step_stride) + column);
}

// Lane l of a group has its quads l, l + lanes, ..., kQuads at most and more than kQuads - 1 lanes; all exist
// but the last perhaps. Lanes past the last group compute that one too and write nothing: all take part in
// the shuffles.
// With 40 registers a thread six blocks fit on a multiprocessor; where lanes are not known before, five.
template <class T, int kQuads, int kLanes>
__global__ void __launch_bounds__(kBlockThreads, kLanes != 0 ? 6 : 5)
    group_norm_silu_held_kernel(const GroupNormSiluParams p, const HeldGroups groups) {
  using Stored = typename T::Stored;
  int64_t step = 0;
  if (p.step) step = index_at(p.step, p.step_dtype);
  if (p.time_bias && static_cast<uint64_t>(step) >= small(p.time_bias_steps)) return;  // all threads alike
  const uint32_t lanes = kLanes ? kLanes : 1u << groups.lanes_shift;
  const uint32_t place = (blockIdx.x * kBlockThreads + threadIdx.x) >> groups.lanes_shift;
  const uint32_t lane = threadIdx.x & (lanes - 1);
  const uint32_t task = place < groups.tasks ? place : groups.tasks - 1;
  const uint32_t b = groups.of_sample.quotient(task);
  const uint32_t begin = (task - b * groups.of_sample.value) * groups.count;
  const uint32_t first = begin + 4 * lane;
  const bool last_exists = 4 * (lane + (kQuads - 1) * lanes) < groups.count;
  const uint32_t left_width = small(p.left_width);
  const bool on_right = begin >= left_width;
  const Stored* const half = static_cast<const Stored*>(on_right ? p.right : p.left);
  const Stored* const input =
      half + (b * small(on_right ? p.right_stride : p.left_stride) + first - (on_right ? left_width : 0));
  const float* const row = held_row(p, step, b, first);

  float v[kQuads][4], added[kQuads][4];
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    if (i == kQuads - 1 && !last_exists) continue;
    load_vector<T>(v[i], input + 4 * i * lanes);
    if (row) load_vector<Float32>(added[i], row + 4 * i * lanes);
  }
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    if (i == kQuads - 1 && !last_exists) continue;
    for (int j = 0; j < 4; ++j) {
      if (row) v[i][j] += added[i][j];
      sum += v[i][j];
    }
  }
  const float mean = sum_over_lanes(sum, lanes) / static_cast<float>(groups.count);
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    if (i == kQuads - 1 && !last_exists) continue;
    for (int j = 0; j < 4; ++j) {
      const float deviation = v[i][j] - mean;
      squares = fused(deviation, deviation, squares);
    }
  }
  squares = sum_over_lanes(squares, lanes);
  const GroupMoments moments = group_moments(mean, squares, groups.count, p.eps);
  if (place >= groups.tasks) return;
  Stored* const out = static_cast<Stored*>(p.out) + (b * small(p.out_stride) + first);
  const float *const weights = p.weight + first, *const biases = p.bias + first;
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    if (i == kQuads - 1 && !last_exists) continue;
    float weight[4], bias[4];
    load_vector<Float32>(weight, weights + 4 * i * lanes);
    load_vector<Float32>(bias, biases + 4 * i * lanes);
    for (int j = 0; j < 4; ++j) v[i][j] = normalised(v[i][j], moments, weight[j], bias[j]);
    silu_all(v[i]);
    store_vector<T>(out + 4 * i * lanes, v[i]);
  }
}

// One group of one sample for every kernel but the held ones: of any size, types and alignment, an element at
// a time. Lane l has the elements l, l + lanes, ...
struct StreamedGroup {
  const GroupNormSiluParams& p;
  int64_t b, begin;    // sample and first column
  const float* added;  // [width] or null

  __device__ __forceinline__ float value(int64_t i) const {
    const int64_t column = begin + i;
    const float v = column < p.left_width
                        ? load_one(p.left, p.left_dtype, b * p.left_stride + column)
                        : load_one(p.right, p.left_dtype, b * p.right_stride + column - p.left_width);
    return added ? v + added[column] : v;
  }
};

// Lanes past the last group have no elements.
__global__ void __launch_bounds__(kBlockThreads)
    group_norm_silu_streamed_kernel(const GroupNormSiluParams p, const int lanes) {
  const int64_t step = bias_step(p);
  if (is_out_of_range(p, step)) return;  // all threads alike
  const int64_t tasks = p.batch * p.groups;
  const int64_t count = p.width / p.groups;
  const int64_t per_block = kBlockThreads / lanes;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  for (int64_t first = blockIdx.x * per_block; first < tasks; first += gridDim.x * per_block) {
    const int64_t task = first + threadIdx.x / lanes;
    const int64_t begins_at = task < tasks ? lane : count;
    const int64_t b = task < tasks ? task / p.groups : 0;
    const StreamedGroup group = {p, b, (task - b * p.groups) * count, added_row(p, step, b)};
    float sum = 0.0f, squares = 0.0f;
    for (int64_t i = begins_at; i < count; i += lanes) sum += group.value(i);
    const float mean = sum_over_lanes(sum, lanes) / static_cast<float>(count);
    for (int64_t i = begins_at; i < count; i += lanes) {
      const float deviation = group.value(i) - mean;
      squares = fused(deviation, deviation, squares);
    }
    const GroupMoments moments = group_moments(mean, sum_over_lanes(squares, lanes), count, p.eps);
    for (int64_t i = begins_at; i < count; i += lanes) {
      const int64_t column = group.begin + i;
      const float v = normalised(group.value(i), moments, p.weight[column], p.bias[column]);
      store_one(p.out, p.out_dtype, b * p.out_stride + column, silu(v));
    }
  }
}

// Whether the held kernels can take it: groups of quads that fit the registers of a warp, each in one half of
// its row; every quad aligned; one type; offsets of 32 bits.
static bool is_held(const GroupNormSiluParams& p) {
  const int64_t count = p.width / p.groups;
  if (p.left_dtype != p.out_dtype || count % 4 != 0 || count > 4 * kHeldQuads * kWarp) return false;
  if (p.left_width % count != 0) return false;
  const int64_t strides[] = {p.left_stride, p.right_stride, p.out_stride};
  for (const int64_t stride : strides) {
    if (stride % 4 != 0 || !is_small(p.batch * stride)) return false;
  }
  if (p.time_bias_row_stride % 4 != 0 || p.time_bias_step_stride % 4 != 0) return false;
  if (!is_small(p.time_bias_rows * p.time_bias_row_stride + p.time_bias_steps * p.time_bias_step_stride))
    return false;
  if (!is_small(p.batch * p.width)) return false;
  const DType dtype = p.left_dtype;
  return is_aligned(p.left, dtype) && is_aligned(p.right, dtype) && is_aligned(p.out, dtype) &&
         is_aligned(p.time_bias, DType::kFloat32) && is_aligned(p.weight, DType::kFloat32) &&
         is_aligned(p.bias, DType::kFloat32);
}

// The fewest lanes whose registers hold a group of so many quads, as a power of two.
static int lanes_shift_for(int64_t quads) {
  int shift = 0;
  while (kHeldQuads << shift < quads) ++shift;
  return shift;
}

static HeldGroups held_groups(const GroupNormSiluParams& p) {
  const int64_t count = p.width / p.groups;
  return {small(p.batch * p.groups), small(count), small(lanes_shift_for(count / 4)), Divisor(p.groups)};
}

// By the quads of a lane and, for the usual widths (three of them), by the lanes of a group; 0 is any number
// of lanes.
template <class T>
static void (*held_kernel(int64_t quads, bool any_lanes))(GroupNormSiluParams, HeldGroups) {
  const int shift = lanes_shift_for(quads);
  const int64_t of_each = ((quads - 1) >> shift) + 1;
  if (of_each == 1) return group_norm_silu_held_kernel<T, 1, 0>;
  if (of_each == 2) return group_norm_silu_held_kernel<T, 2, 0>;
  if (of_each == 4) return group_norm_silu_held_kernel<T, 4, 0>;
  if (shift == 1 && !any_lanes) return group_norm_silu_held_kernel<T, 3, 2>;
  if (shift == 2 && !any_lanes) return group_norm_silu_held_kernel<T, 3, 4>;
  if (shift == 3 && !any_lanes) return group_norm_silu_held_kernel<T, 3, 8>;
  return group_norm_silu_held_kernel<T, 3, 0>;
}

static int launch_held(const GroupNormSiluParams& p, void* stream, bool any_lanes = false) {
  const HeldGroups groups = held_groups(p);
  const auto kernel = with_elements(
      p.out_dtype, [&](auto type) { return held_kernel<decltype(type)>(groups.count / 4, any_lanes); });
  const auto blocks = blocks_for(int64_t{groups.tasks} << groups.lanes_shift);
  return launch(kernel, blocks, kBlockThreads, 0, stream, p, groups);
}

static int launch_streamed(const GroupNormSiluParams& p, void* stream) {
  const int64_t count = p.width / p.groups;
  int lanes = 1;
  while (lanes < kWarp && lanes < count) lanes *= 2;
  const auto enough = blocks_for(p.batch * p.groups * lanes);
  return launch(group_norm_silu_streamed_kernel, enough, kBlockThreads, 0, stream, p, lanes);
}

int group_norm_silu(const GroupNormSiluParams& p, void* stream) {
  if (p.batch == 0 || p.width == 0) return cudaSuccess;
  return is_held(p) ? launch_held(p, stream) : launch_streamed(p, stream);
}

}  // namespace dimvida::cuda
