// The masked step on the GPU: one thread per four elements that share a Philox counter.
//
// Memory traffic, about 20 bytes an element, should bound the kernel, so the fast path moves 16 bytes at a
// time, and types and terms are uniform branches rather than template instances.
#include "core/masked_step.h"
#include "core/noise.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"
#include "cuda/launchers.h"

namespace dimvida::cuda {

// Four consecutive elements of one sample, those that share a Philox counter. Index is an unsigned 32-bit
// integer where every offset fits, since dividing 64-bit integers is slow.
template <class Index>
struct Quad {
  Index sample;  // b
  Index number;  // of the quad within the sample: elements 4 * number .. 4 * number + 3
  Index size;    // elements of the quad that exist, 1 to 4

  __device__ __forceinline__ Index view(const MaskedStepParams& p, Index j) const {
    return (4 * number + j) / static_cast<Index>(p.dim);
  }
  __device__ __forceinline__ bool is_known(const MaskedStepParams& p, Index j) const {
    return p.known[sample * static_cast<Index>(p.views) + view(p, j)] != 0;
  }
  // Offset of its first element in a [batch, views, dim] tensor.
  __device__ __forceinline__ Index offset(const MaskedStepParams& p) const {
    return sample * static_cast<Index>(p.views) * static_cast<Index>(p.dim) + 4 * number;
  }
};

// z of a quad's elements, given or drawn.
template <class Index>
__device__ __forceinline__ void quad_noise(float* z, const MaskedStepParams& p, const Quad<Index>& quad,
                                           uint32_t draw) {
  if (p.noise) {
    for (Index j = 0; j < quad.size; ++j) z[j] = p.noise[quad.offset(p) + j];
  } else {
    const Words4 counter = noise_counter(static_cast<uint32_t>(quad.number), draw, p.sample_ids[quad.sample]);
    const Normals4 normals = normals_of(philox_words(counter, philox_key(*p.seed)));
    z[0] = normals.z0, z[1] = normals.z1, z[2] = normals.z2, z[3] = normals.z3;
  }
}

// A quad whose elements are of one view and lie aligned in memory: they move together.
template <class Index>
__device__ __forceinline__ void step_aligned_quad(const MaskedStepParams& p, const StepRow& row,
                                                  const Quad<Index>& quad, uint32_t draw) {
  const Index i = quad.offset(p);
  float x[4];
  load_four(x, p.x, DType::kFloat32, i);
  if (!quad.is_known(p, 0)) {
    float z[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (row.uses_noise()) quad_noise(z, p, quad, draw);
    if (row.uses_prediction()) {
      float model_output[4], previous[4] = {0.0f, 0.0f, 0.0f, 0.0f};
      load_four(model_output, p.model_output, p.model_output_dtype, i);
      if (row.uses_history()) load_four(previous, p.x0_prev, DType::kFloat32, i);
      for (int j = 0; j < 4; ++j) {
        const float x0 = data_prediction(row, p.clip, x[j], model_output[j]);
        x[j] = next_state(row, x[j], x0, previous[j], z[j], row.uses_history(), row.uses_noise());
        previous[j] = x0;
      }
      store_four(p.x0_prev, DType::kFloat32, i, previous);
    } else {
      for (int j = 0; j < 4; ++j) x[j] = renoised_state(row, x[j], z[j], row.uses_noise());
    }
    store_four(p.x, DType::kFloat32, i, x);
  }
  if (p.x_cast) store_four(p.x_cast, p.x_cast_dtype, i, x);
}

// A quad of any shape and alignment; its elements may be of several views.
template <class Index>
__device__ __forceinline__ void step_quad(const MaskedStepParams& p, const StepRow& row,
                                          const Quad<Index>& quad, uint32_t draw) {
  float z[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  if (row.uses_noise()) quad_noise(z, p, quad, draw);
  for (Index j = 0; j < quad.size; ++j) {
    const Index i = quad.offset(p) + j;
    float x = p.x[i];
    if (!quad.is_known(p, j)) {
      if (row.uses_prediction()) {
        const float x0 = data_prediction(row, p.clip, x, load_one(p.model_output, p.model_output_dtype, i));
        const float previous = row.uses_history() ? p.x0_prev[i] : 0.0f;
        x = next_state(row, x, x0, previous, z[j], row.uses_history(), row.uses_noise());
        p.x0_prev[i] = x0;
      } else {
        x = renoised_state(row, x, z[j], row.uses_noise());
      }
      p.x[i] = x;
    }
    if (p.x_cast) store_one(p.x_cast, p.x_cast_dtype, i, x);
  }
}

// kAligned: dim is a multiple of 4 and every pointer is aligned to four of its elements.
template <bool kAligned, class Index>
__global__ void __launch_bounds__(kBlockThreads) masked_step_kernel(const MaskedStepParams p) {
  const int64_t index = index_at(p.step, p.step_dtype);
  if (index < 0 || index >= p.table_rows) return;
  const StepRow row = step_row(p, index);
  const Index count = static_cast<Index>(p.views * p.dim);
  const Index quads = (count + 3) / 4;
  const Index items = static_cast<Index>(p.batch) * quads;
  const Index stride = static_cast<Index>(gridDim.x) * blockDim.x;
  for (Index item = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; item < items; item += stride) {
    const Index sample = item / quads;
    const Index number = item - sample * quads;
    const Index left = count - 4 * number;
    const Quad<Index> quad = {sample, number, left < 4 ? left : Index{4}};
    if constexpr (kAligned) {
      step_aligned_quad(p, row, quad, step_draw(index));
    } else {
      step_quad(p, row, quad, step_draw(index));
    }
  }
}

int masked_step(const MaskedStepParams& p, void* stream) {
  const int64_t items = p.batch * ((p.views * p.dim + 3) / 4);
  if (items == 0) return cudaSuccess;
  const bool aligned =
      p.dim % 4 == 0 && is_aligned(p.x, DType::kFloat32) && is_aligned(p.x0_prev, DType::kFloat32) &&
      is_aligned(p.model_output, p.model_output_dtype) && is_aligned(p.x_cast, p.x_cast_dtype);
  // Offsets and the stride past the last one fit 32 bits.
  const bool small = p.batch * p.views * p.dim <= int64_t{1} << 30;
  auto* const kernel =
      small ? (aligned ? masked_step_kernel<true, uint32_t> : masked_step_kernel<false, uint32_t>)
            : (aligned ? masked_step_kernel<true, int64_t> : masked_step_kernel<false, int64_t>);
  return launch(kernel, blocks_for(items), kBlockThreads, 0, stream, p);
}

const char* error_string(int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); }

}  // namespace dimvida::cuda
