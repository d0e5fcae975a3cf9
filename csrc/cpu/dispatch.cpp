// The choice of a kernel set. Compiled for the plainest processor, like everything outside the sets.
#include <cstring>

#include "cpu/kernels.h"

namespace dimvida::cpu {

#define DIMVIDA_DECLARE_KERNEL(kernel, Params) int kernel(const Params& params, int threads);
#define DIMVIDA_NAME_KERNEL(kernel, Params) kernel,
#define DIMVIDA_DECLARE_SET(simd)                                               \
  namespace simd {                                                              \
  DIMVIDA_CPU_KERNELS(DIMVIDA_DECLARE_KERNEL)                                   \
  constexpr KernelSet kSet = {#simd, DIMVIDA_CPU_KERNELS(DIMVIDA_NAME_KERNEL)}; \
  }

DIMVIDA_DECLARE_SET(baseline)
#if defined(DIMVIDA_X86_SETS)
DIMVIDA_DECLARE_SET(avx2)
DIMVIDA_DECLARE_SET(avx512)
#endif

static const KernelSet* const kCompiled[] = {
    &baseline::kSet,
#if defined(DIMVIDA_X86_SETS)
    &avx2::kSet,
    &avx512::kSet,
#endif
};
static constexpr int kCompiledCount = sizeof(kCompiled) / sizeof(kCompiled[0]);

const KernelSet* const* compiled_kernel_sets(int* count) {
  *count = kCompiledCount;
  return kCompiled;
}

bool is_supported(const KernelSet& set) {
  if (std::strcmp(set.name, "baseline") == 0) return true;
#if defined(DIMVIDA_X86_SETS)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (std::strcmp(set.name, "avx2") == 0) return avx2;
  if (std::strcmp(set.name, "avx512") == 0) {
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
#endif
  return false;
}

const KernelSet& best_kernel_set() {
  static const KernelSet& best = []() -> const KernelSet& {
    int i = kCompiledCount - 1;
    while (!is_supported(*kCompiled[i])) --i;
    return *kCompiled[i];
  }();
  return best;
}

const KernelSet* find_kernel_set(const char* name) {
  for (const KernelSet* set : kCompiled) {
    if (std::strcmp(set->name, name) == 0 && is_supported(*set)) return set;
  }
  return nullptr;
}

}  // namespace dimvida::cpu
