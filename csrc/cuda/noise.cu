// Noise tensors and raw random words on the GPU: one thread per Philox counter.
#include "core/noise.h"
#include "cuda/launch.h"

namespace dimvida::cuda {

__global__ void __launch_bounds__(kBlockThreads) philox_normal_kernel(const PhiloxNormalParams p) {
  const PhiloxKey key = philox_key(*p.seed);
  const int64_t quads = (p.count + 3) / 4;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t item = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; item < p.batch * quads;
       item += stride) {
    const int64_t b = item / quads;
    const int64_t quad = item - b * quads;
    const Normals4 normals =
        normals_of(philox_words(noise_counter(static_cast<uint32_t>(quad), p.draw, p.sample_ids[b]), key));
    const float values[4] = {normals.z0, normals.z1, normals.z2, normals.z3};
    for (int j = 0; j < 4 && 4 * quad + j < p.count; ++j) p.z[b * p.count + 4 * quad + j] = values[j];
  }
}

__global__ void __launch_bounds__(kBlockThreads) philox4x32_kernel(const Philox4x32Params p) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < p.count; i += stride) {
    write_words(p, i);
  }
}

int philox_normal(const PhiloxNormalParams& p, void* stream) {
  const int64_t items = p.batch * ((p.count + 3) / 4);
  if (items == 0) return cudaSuccess;
  return launch(philox_normal_kernel, blocks_for(items), kBlockThreads, 0, stream, p);
}

int philox4x32(const Philox4x32Params& p, void* stream) {
  if (p.count == 0) return cudaSuccess;
  return launch(philox4x32_kernel, blocks_for(p.count), kBlockThreads, 0, stream, p);
}

}  // namespace dimvida::cuda
