// Launch of the packing of images.
#include "cuda/pack_images.cuh"

#include "cuda/launch.h"
#include "cuda/launchers.h"

namespace dimvida::cuda {

int pack_images(const PackImagesParams& p, void* stream) {
  const int64_t pixels = p.batch * p.height * p.width;
  if (pixels * p.channels == 0) return cudaSuccess;
  return launch(pack_images_kernel, blocks_for(pixels), kBlockThreads, 0, stream, p);
}

}  // namespace dimvida::cuda
