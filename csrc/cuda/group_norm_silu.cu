// Launch of group norm and SiLU.
#include "cuda/group_norm_silu.cuh"

#include "cuda/launch.h"
#include "cuda/launchers.h"

namespace dimvida::cuda {

// Quads of four elements never straddle two groups or the two halves, and lie aligned in every row.
static bool moves_by_four(const GroupNormSiluParams& p) {
  const bool strides = p.left_stride % 4 == 0 && p.right_stride % 4 == 0 && p.residual_stride % 4 == 0 &&
                       p.sum_stride % 4 == 0 && p.out_stride % 4 == 0 && p.mask_stride % 4 == 0 &&
                       p.step_stride % 4 == 0;
  const bool pointers = is_aligned(p.left, p.in_dtype) && is_aligned(p.right, p.in_dtype) &&
                        is_aligned(p.residual, p.in_dtype) && is_aligned(p.sum, p.in_dtype) &&
                        is_aligned(p.rows, DType::kFloat32) && is_aligned(p.out, p.out_dtype);
  return (p.width / p.groups) % 4 == 0 && p.left_width % 4 == 0 && strides && pointers;
}

int group_norm_silu(const GroupNormSiluParams& p, void* stream) {
  if (p.batch == 0 || p.width == 0) return cudaSuccess;
  const int64_t quads = (p.width / p.groups + 3) / 4;
  int lanes = 1;
  while (lanes < kWarp && lanes * kHeldQuads < quads) lanes *= 2;
  const bool held = lanes * kHeldQuads >= quads;
  auto* const kernel = moves_by_four(p) ? group_norm_silu_kernel<true> : group_norm_silu_kernel<false>;
  return launch(kernel, blocks_for(p.batch * p.groups * lanes), kBlockThreads, 0, stream, p, lanes, held);
}

}  // namespace dimvida::cuda
