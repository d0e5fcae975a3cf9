// Packing of images to bytes on the GPU: one thread per pixel.
#include "core/pack_images.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"
#include "cuda/launchers.h"

namespace dimvida::cuda {

__global__ void __launch_bounds__(kBlockThreads) pack_images_kernel(const PackImagesParams p) {
  const int64_t pixels = p.batch * p.height * p.width;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < pixels; i += stride) {
    const int64_t line = i / p.width;
    const int64_t n = line / p.height;
    const int64_t first =
        n * p.batch_stride + (line - n * p.height) * p.height_stride + (i - line * p.width) * p.width_stride;
    for (int64_t c = 0; c < p.channels; ++c) {
      p.packed[i * p.channels + c] =
          level_of(load_one(p.images, p.images_dtype, first + c * p.channel_stride));
    }
  }
}

int pack_images(const PackImagesParams& p, void* stream) {
  const int64_t pixels = p.batch * p.height * p.width;
  if (pixels * p.channels == 0) return cudaSuccess;
  return launch(pack_images_kernel, blocks_for(pixels), kBlockThreads, 0, stream, p);
}

}  // namespace dimvida::cuda
