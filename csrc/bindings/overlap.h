// Refuses tensors that share memory with one that a kernel writes: its result would depend on the order of
// the threads.
#pragma once

#include "core/group_norm_silu.h"
#include "core/masked_step.h"
#include "core/pack_images.h"
#include "core/philox_normal.h"

namespace dimvida {

// Throw ValueError, which names the two tensors.
void refuse_overlap(const MaskedStepParams& p);     // out and noise may be a written tensor itself
void refuse_overlap(const GroupNormSiluParams& p);  // left and residual may be sum itself
void refuse_overlap(const PhiloxNormalParams& p);

// What these write has just been allocated by dimvida/ops.
inline void refuse_overlap(const PackImagesParams&) {}
inline void refuse_overlap(const PhiloxWordsParams&) {}

}  // namespace dimvida
