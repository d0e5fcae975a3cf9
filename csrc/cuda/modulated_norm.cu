// The gated sum and the modulated layer norm on the GPU: a warp per token.
//
// Memory traffic should bound the kernel, 12 bytes an element in bfloat16, so a token is read once and held
// in registers, four elements at a time; one that is too wide, or lies so that four cannot move together, is
// read again in every pass and comes from the cache then.
#include "core/modulated_norm.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"

namespace dimvida::cuda {

constexpr int kTokenLanes = 32;  // a warp
constexpr int kTokensOfBlock = kBlockThreads / kTokenLanes;

__device__ __forceinline__ float sum_over_token(float value) {
  for (int offset = kTokenLanes / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  return value;
}

// One token of one view: its rows of all tensors.
template <class T>
struct Token {
  float* x;
  const typename T::Stored* h;
  typename T::Stored* out;
  Modulation modulation;
  int width, lane;
};

// kQuads: quads of four elements that a lane holds; lane l has the quads l, l + 32, ...
template <int kQuads, class T>
__device__ __forceinline__ void normalise_held(const ModulatedNormParams& p, const Token<T>& token) {
  const Modulation& m = token.modulation;
  float v[kQuads][4], sum = 0.0f, squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    const int column = 4 * (token.lane + i * kTokenLanes);
    if (column >= token.width) continue;
    float h[4], gate[4], bias[4] = {};
    load_vector<Float32>(v[i], token.x + column);
    load_vector<T>(h, token.h + column);
    load_vector<Float32>(gate, m.gate + column);
    if (p.bias) load_vector<Float32>(bias, p.bias + column);
    for (int j = 0; j < 4; ++j) {
      v[i][j] = gated_sum(v[i][j], gate[j], p.bias ? h[j] + bias[j] : h[j]);
      sum += v[i][j];
    }
    store_vector<Float32>(token.x + column, v[i]);
  }
  const float mean = sum_over_token(sum) / static_cast<float>(token.width);
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    if (4 * (token.lane + i * kTokenLanes) >= token.width) continue;
    for (int j = 0; j < 4; ++j) squares += (v[i][j] - mean) * (v[i][j] - mean);
  }
  const float inverse = inverse_deviation(sum_over_token(squares), token.width, p.eps);
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    const int column = 4 * (token.lane + i * kTokenLanes);
    if (column >= token.width) continue;
    float shift[4], scale[4];
    load_vector<Float32>(shift, m.shift + column);
    load_vector<Float32>(scale, m.scale + column);
    for (int j = 0; j < 4; ++j) v[i][j] = modulated(v[i][j], mean, inverse, shift[j], scale[j]);
    store_vector<T>(token.out + column, v[i]);
  }
}

// A token of any width and alignment.
template <class T>
__device__ __forceinline__ void normalise_streamed(const ModulatedNormParams& p, const Token<T>& token) {
  const Modulation& m = token.modulation;
  float sum = 0.0f, squares = 0.0f;
  for (int i = token.lane; i < token.width; i += kTokenLanes) {
    const float h = T::value(token.h[i]);
    const float x = gated_sum(token.x[i], m.gate[i], p.bias ? h + p.bias[i] : h);
    token.x[i] = x;
    sum += x;
  }
  const float mean = sum_over_token(sum) / static_cast<float>(token.width);
  for (int i = token.lane; i < token.width; i += kTokenLanes) {
    squares += (token.x[i] - mean) * (token.x[i] - mean);
  }
  const float inverse = inverse_deviation(sum_over_token(squares), token.width, p.eps);
  for (int i = token.lane; i < token.width; i += kTokenLanes) {
    token.out[i] = T::stored(modulated(token.x[i], mean, inverse, m.shift[i], m.scale[i]));
  }
}

// kQuads: as in normalise_held, or 0 for tokens that are streamed. All lanes of a warp have the same token.
template <class T, int kQuads>
__global__ void __launch_bounds__(kBlockThreads) modulated_norm_kernel(const ModulatedNormParams p) {
  using Stored = typename T::Stored;
  const int64_t row = missing_row(p);
  if (is_out_of_range(p, row)) return;
  const int64_t count = p.groups * p.tokens, stride = static_cast<int64_t>(gridDim.x) * kTokensOfBlock;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTokensOfBlock + threadIdx.x / kTokenLanes;
  for (int64_t t = first; t < count; t += stride) {
    const int64_t offset = t * p.width;
    const Token<T> token = {p.x + offset,
                            static_cast<const Stored*>(p.h) + offset,
                            static_cast<Stored*>(p.out) + offset,
                            modulation_of(p, t / p.tokens, row),
                            static_cast<int>(p.width),
                            static_cast<int>(threadIdx.x) % kTokenLanes};
    if constexpr (kQuads > 0) {
      normalise_held<kQuads>(p, token);
    } else {
      normalise_streamed(p, token);
    }
  }
}

// The quads that a lane holds; 0 where four elements do not lie aligned wherever a quad begins, or are too
// many.
static int held_quads(const ModulatedNormParams& p) {
  const bool aligned = p.width % 4 == 0 && p.table_stride % 4 == 0 && is_aligned(p.x, DType::kFloat32) &&
                       is_aligned(p.table, DType::kFloat32) && is_aligned(p.bias, DType::kFloat32) &&
                       is_aligned(p.h, p.out_dtype) && is_aligned(p.out, p.out_dtype);
  for (const int quads : {2, 4, 8}) {
    if (aligned && p.width <= 4 * quads * kTokenLanes) return quads;
  }
  return 0;
}

template <class T>
static void (*modulated_norm_kernel_of(int quads))(ModulatedNormParams) {
  if (quads == 2) return modulated_norm_kernel<T, 2>;
  if (quads == 4) return modulated_norm_kernel<T, 4>;
  if (quads == 8) return modulated_norm_kernel<T, 8>;
  return modulated_norm_kernel<T, 0>;
}

int modulated_norm(const ModulatedNormParams& p, void* stream) {
  if (p.groups * p.tokens * p.width == 0) return cudaSuccess;
  const unsigned int blocks = blocks_for(p.groups * p.tokens * kTokenLanes);
  return with_elements(p.out_dtype, [&](auto element) {
    auto* const kernel = modulated_norm_kernel_of<decltype(element)>(held_quads(p));
    return launch(kernel, blocks, kBlockThreads, 0, stream, p);
  });
}

}  // namespace dimvida::cuda
