// Bytes to patches and back on the GPU.
#include "core/patches.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"
#include "cuda/launchers.h"

namespace dimvida::cuda {

// A thread for each number of a patch.
__global__ void __launch_bounds__(kBlockThreads) images_to_patches_kernel(const ImagesToPatchesParams p) {
  const int64_t run = p.patch * p.colours, size = p.patch * run;
  const int64_t count = p.batch * p.rows * p.columns * size;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    const int64_t in_patch = i % size, column = i / size % p.columns, line = i / size / p.columns;
    const int64_t y = line % p.rows * p.patch + in_patch / run;
    const int64_t x = column * p.patch + in_patch % run / p.colours;
    const uint8_t value = p.images[line / p.rows * p.batch_stride + in_patch % p.colours * p.colour_stride +
                                   y * p.height_stride + x * p.width_stride];
    store_one(p.patches, p.patches_dtype, i, value);
  }
}

// A block for each image, whose threads look together whether all was finite.
__global__ void __launch_bounds__(kBlockThreads) patches_to_images_kernel(const PatchesToImagesParams p) {
  const int64_t run = p.patch * p.colours, size = p.patch * run, line = p.columns * run;
  const int64_t count = p.rows * p.patch * line;
  float* const infinite = block_floats();
  for (int64_t n = blockIdx.x; n < p.batch; n += gridDim.x) {
    bool finite = true;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
      const int64_t y = i / line, in_line = i % line;
      const int64_t in_patch = y % p.patch * run + in_line % run;
      const int64_t patch = (n * p.rows + y / p.patch) * p.columns + in_line / run;
      const float v = load_one(p.patches, p.patches_dtype, patch * size + in_patch) + p.bias[in_patch];
      finite = finite && is_finite(v);
      p.images[n * count + i] = level_of(v);
    }
    infinite[threadIdx.x] = finite ? 0.0f : 1.0f;
    __syncthreads();
    if (threadIdx.x == 0) {
      float some = 0.0f;
      for (unsigned int i = 0; i < blockDim.x; ++i) some += infinite[i];
      p.finite[n] = some == 0.0f;
    }
    __syncthreads();  // before it is written again
  }
}

int images_to_patches(const ImagesToPatchesParams& p, void* stream) {
  const int64_t count = p.batch * p.rows * p.columns * p.patch * p.patch * p.colours;
  if (count == 0) return cudaSuccess;
  return launch(images_to_patches_kernel, blocks_for(count), kBlockThreads, 0, stream, p);
}

int patches_to_images(const PatchesToImagesParams& p, void* stream) {
  if (p.batch == 0) return cudaSuccess;
  const std::size_t shared = kBlockThreads * sizeof(float);
  return launch(patches_to_images_kernel, blocks_for(p.batch * kBlockThreads), kBlockThreads, shared, stream,
                p);
}

}  // namespace dimvida::cuda
