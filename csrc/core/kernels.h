// All kernels: what a CPU kernel set, the CUDA launchers and the Python module have one of each.
#pragma once

#include "core/bias_gelu.h"
#include "core/group_norm_silu.h"
#include "core/masked_step.h"
#include "core/modulated_norm.h"
#include "core/noise.h"
#include "core/pack_images.h"
#include "core/patches.h"
#include "core/residual_act.h"
#include "core/residual_norm_silu.h"
#include "core/winograd.h"

// KERNEL(name, parameters) for every kernel that CPU and CUDA have, by the name of its op.
#define DIMVIDA_KERNELS(KERNEL)                    \
  KERNEL(bias_gelu, BiasGeluParams)                \
  KERNEL(group_norm_silu, GroupNormSiluParams)     \
  KERNEL(images_to_patches, ImagesToPatchesParams) \
  KERNEL(masked_step, MaskedStepParams)            \
  KERNEL(modulated_norm, ModulatedNormParams)      \
  KERNEL(pack_images, PackImagesParams)            \
  KERNEL(patches_to_images, PatchesToImagesParams) \
  KERNEL(philox4x32, Philox4x32Params)             \
  KERNEL(philox_normal, PhiloxNormalParams)        \
  KERNEL(residual_act, ResidualActParams)          \
  KERNEL(residual_norm_silu, ResidualNormSiluParams)

// And for every one of the CPU: on a GPU its ops are what PyTorch makes of the reference, and nobody asks for them.
#define DIMVIDA_CPU_KERNELS(KERNEL)            \
  DIMVIDA_KERNELS(KERNEL)                      \
  KERNEL(images_to_tiles, ImagesToTilesParams) \
  KERNEL(tiles_to_images, TilesToImagesParams)
