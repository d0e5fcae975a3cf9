// The masked step on the GPU: one thread per four elements that share a Philox counter.
//
// Memory traffic, about 20 bytes an element, should bound the kernels. Where four elements are of one view
// and lie aligned, they move together, by types known when it is compiled and offsets of 32 bits; the other
// kernel takes them one by one.
#include "core/masked_step.h"
#include "core/noise.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"

namespace dimvida::cuda {

// z of the quad that is the `number`-th of its sample, given from an element on or drawn.
__device__ __forceinline__ Normals4 drawn_noise(const int64_t* sample_id, const int64_t* seed,
                                                uint32_t number, uint32_t draw) {
  return normals_of(philox_words(noise_counter(number, draw, *sample_id), philox_key(*seed)));
}

// The aligned quads of all samples, and how many there are of a sample and of a view.
struct AlignedQuads {
  uint32_t count;
  Divisor of_sample, of_view;
};

// T: the type of model_output and, if there is one, of x_cast.
template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    masked_step_aligned_kernel(const MaskedStepParams p, const AlignedQuads quads) {
  using Stored = typename T::Stored;
  const int64_t index = index_at(p.step, p.step_dtype);
  if (static_cast<uint64_t>(index) >= static_cast<uint64_t>(p.table_rows)) return;
  const uint32_t quad = blockIdx.x * kBlockThreads + threadIdx.x;
  if (quad >= quads.count) return;
  const uint32_t i = 4 * quad;
  float x[4];
  load_vector<Float32>(x, p.x + i);
  if (p.known[quads.of_view.quotient(quad)] == 0) {
    const StepRow row = step_row(p.table, index);
    float z[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (row.uses_noise() && p.noise) {
      load_vector<Float32>(z, p.noise + i);
    } else if (row.uses_noise()) {
      const uint32_t sample = quads.of_sample.quotient(quad);
      const uint32_t number = quad - sample * quads.of_sample.value;
      const Normals4 drawn = drawn_noise(p.sample_ids + sample, p.seed, number, step_draw(index));
      z[0] = drawn.z0, z[1] = drawn.z1, z[2] = drawn.z2, z[3] = drawn.z3;
    }
    if (row.uses_prediction()) {
      float model_output[4], previous[4] = {0.0f, 0.0f, 0.0f, 0.0f};
      load_vector<T>(model_output, static_cast<const Stored*>(p.model_output) + i);
      if (row.uses_history()) load_vector<Float32>(previous, p.x0_prev + i);
      for (int j = 0; j < 4; ++j) {
        const float x0 = data_prediction(row, p.clip, x[j], model_output[j]);
        x[j] = next_state(row, x[j], x0, previous[j], z[j], row.uses_history(), row.uses_noise());
        previous[j] = x0;
      }
      store_vector<Float32>(p.x0_prev + i, previous);
    } else {
      for (int j = 0; j < 4; ++j) x[j] = renoised_state(row, x[j], z[j], row.uses_noise());
    }
    store_vector<Float32>(p.x + i, x);
  }
  if (p.x_cast) store_vector<T>(static_cast<Stored*>(p.x_cast) + i, x);
}

// Quads of any shape and alignment; the elements of one may be of several views.
__global__ void __launch_bounds__(kBlockThreads) masked_step_kernel(const MaskedStepParams p) {
  const int64_t index = index_at(p.step, p.step_dtype);
  if (index < 0 || index >= p.table_rows) return;
  const StepRow row = step_row(p.table, index);
  const int64_t count = p.views * p.dim;
  const int64_t quads = (count + 3) / 4;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t item = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; item < p.batch * quads;
       item += stride) {
    const int64_t sample = item / quads, number = item - sample * quads;
    float z[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (row.uses_noise() && !p.noise) {
      const Normals4 drawn =
          drawn_noise(p.sample_ids + sample, p.seed, static_cast<uint32_t>(number), step_draw(index));
      z[0] = drawn.z0, z[1] = drawn.z1, z[2] = drawn.z2, z[3] = drawn.z3;
    }
    for (int j = 0; j < 4 && 4 * number + j < count; ++j) {
      const int64_t i = sample * count + 4 * number + j;
      float x = p.x[i];
      if (p.known[i / p.dim] == 0) {
        const float noise = row.uses_noise() && p.noise ? p.noise[i] : z[j];
        if (row.uses_prediction()) {
          const float x0 = data_prediction(row, p.clip, x, load_one(p.model_output, p.model_output_dtype, i));
          const float previous = row.uses_history() ? p.x0_prev[i] : 0.0f;
          x = next_state(row, x, x0, previous, noise, row.uses_history(), row.uses_noise());
          p.x0_prev[i] = x0;
        } else {
          x = renoised_state(row, x, noise, row.uses_noise());
        }
        p.x[i] = x;
      }
      if (p.x_cast) store_one(p.x_cast, p.x_cast_dtype, i, x);
    }
  }
}

// Whether the kernel for aligned quads can take it.
static bool is_of_aligned_quads(const MaskedStepParams& p) {
  const DType dtype = p.model_output_dtype, float32 = DType::kFloat32;
  return p.dim % 4 == 0 && is_small(p.batch * p.views * p.dim) && (!p.x_cast || p.x_cast_dtype == dtype) &&
         is_aligned(p.x, float32) && is_aligned(p.x0_prev, float32) && is_aligned(p.noise, float32) &&
         is_aligned(p.table, float32) && is_aligned(p.model_output, dtype) && is_aligned(p.x_cast, dtype);
}

static int launch_aligned(const MaskedStepParams& p, void* stream) {
  const int64_t of_view = p.dim / 4, of_sample = p.views * of_view, count = p.batch * of_sample;
  const AlignedQuads quads = {static_cast<uint32_t>(count), Divisor(of_sample), Divisor(of_view)};
  return with_elements(p.model_output_dtype, [&](auto type) {
    return launch(masked_step_aligned_kernel<decltype(type)>, blocks_for(count), kBlockThreads, 0, stream, p,
                  quads);
  });
}

int masked_step(const MaskedStepParams& p, void* stream) {
  const int64_t items = p.batch * ((p.views * p.dim + 3) / 4);
  if (items == 0) return cudaSuccess;
  if (is_of_aligned_quads(p)) return launch_aligned(p, stream);
  return launch(masked_step_kernel, blocks_for(items), kBlockThreads, 0, stream, p);
}

const char* error_string(int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); }

}  // namespace dimvida::cuda
