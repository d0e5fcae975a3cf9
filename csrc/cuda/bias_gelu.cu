// Bias and GELU on the GPU: a thread per element. The engine leaves both to cuBLAS, which has them in its
// product.
#include "core/bias_gelu.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"

namespace dimvida::cuda {

__global__ void __launch_bounds__(kBlockThreads) bias_gelu_kernel(const BiasGeluParams p) {
  const int64_t count = p.rows * p.width, stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    store_one(p.x, p.x_dtype, i, gelu(load_one(p.x, p.x_dtype, i) + p.bias[i % p.width]));
  }
}

int bias_gelu(const BiasGeluParams& p, void* stream) {
  const int64_t count = p.rows * p.width;
  if (count == 0) return cudaSuccess;
  return launch(bias_gelu_kernel, blocks_for(count), kBlockThreads, 0, stream, p);
}

}  // namespace dimvida::cuda
