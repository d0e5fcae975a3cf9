// Launch of the masked step.
#include "cuda/masked_step.cuh"

#include "cuda/launch.h"
#include "cuda/launchers.h"

namespace dimvida::cuda {

int masked_step(const MaskedStepParams& p, void* stream) {
  const int64_t items = p.batch * ((p.views * p.dim + 3) / 4);
  if (items == 0) return cudaSuccess;
  const bool aligned = p.dim % 4 == 0 && is_aligned(p.x, DType::kFloat32) &&
                       is_aligned(p.x0_prev, DType::kFloat32) && is_aligned(p.out, p.out_dtype) &&
                       is_aligned(p.low, p.low_dtype);
  // Offsets and the stride past the last one fit 32 bits.
  const bool small = p.batch * p.views * p.dim <= int64_t{1} << 30;
  auto* const kernel =
      small ? (aligned ? masked_step_kernel<true, uint32_t> : masked_step_kernel<false, uint32_t>)
            : (aligned ? masked_step_kernel<true, int64_t> : masked_step_kernel<false, int64_t>);
  return launch(kernel, blocks_for(items), kBlockThreads, 0, stream, p);
}

const char* error_string(int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); }

}  // namespace dimvida::cuda
