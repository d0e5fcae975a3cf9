// The Python module dimvida.ops._native: integers in, a status out. Tensors never cross this line, so one
// build serves every version of PyTorch. Callers have checked dtype, shape, device and layout; see
// dimvida/ops. Whether they share memory is checked here.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "bindings/build_info.h"
#include "bindings/overlap.h"
#include "bindings/params.h"
#include "cpu/kernels.h"
#if defined(DIMVIDA_WITH_CUDA)
#include "cuda/launchers.h"
#endif

namespace py = pybind11;

namespace dimvida {
namespace {

const cpu::KernelSet& kernel_set(const std::string& simd) {
  if (simd.empty()) return cpu::best_kernel_set();
  const cpu::KernelSet* set = cpu::find_kernel_set(simd.c_str());
  if (!set) throw py::value_error("instruction set " + simd + " is not compiled or not supported here");
  return *set;
}

// The CPU kernels take a number of threads and the name of an instruction set, "" for the best.
template <class Params>
void bind_cpu_kernel(py::module_& m, const char* name, int (*cpu::KernelSet::*kernel)(const Params&, int)) {
  m.def(name, [kernel](const Params& params, int threads, const std::string& simd) {
    refuse_overlap(params);
    const cpu::KernelSet& set = kernel_set(simd);
    const py::gil_scoped_release unlocked;
    return (set.*kernel)(params, threads);
  });
}

void bind_cpu(py::module_& m) {
  bind_cpu_kernel(m, "group_norm_silu_cpu", &cpu::KernelSet::group_norm_silu);
  bind_cpu_kernel(m, "masked_step_cpu", &cpu::KernelSet::masked_step);
  bind_cpu_kernel(m, "pack_images_cpu", &cpu::KernelSet::pack_images);
  bind_cpu_kernel(m, "philox_normal_cpu", &cpu::KernelSet::philox_normal);
  bind_cpu_kernel(m, "philox_words_cpu", &cpu::KernelSet::philox_words);
}

#if defined(DIMVIDA_WITH_CUDA)
// The CUDA kernels take a stream of the current device.
template <class Params>
void bind_cuda_kernel(py::module_& m, const char* name, int (*launcher)(const Params&, void*)) {
  m.def(name, [launcher](const Params& params, uintptr_t stream) {
    refuse_overlap(params);
    return launcher(params, reinterpret_cast<void*>(stream));
  });
}

void bind_cuda(py::module_& m) {
  bind_cuda_kernel(m, "group_norm_silu_cuda", &cuda::group_norm_silu);
  bind_cuda_kernel(m, "masked_step_cuda", &cuda::masked_step);
  bind_cuda_kernel(m, "pack_images_cuda", &cuda::pack_images);
  bind_cuda_kernel(m, "philox_normal_cuda", &cuda::philox_normal);
  bind_cuda_kernel(m, "philox_words_cuda", &cuda::philox_words);
  m.def("cuda_error_string", &cuda::error_string);
}
#endif

}  // namespace
}  // namespace dimvida

PYBIND11_MODULE(_native, m) {
  m.doc() = "Kernels of dimvida over raw pointers. Private to dimvida.ops.";
  m.attr("STEP_OUT_OF_RANGE") = static_cast<int>(dimvida::cpu::kStepOutOfRange);
  m.def("build_info", &dimvida::build_info);
  dimvida::bind_params(m);
  dimvida::bind_cpu(m);
#if defined(DIMVIDA_WITH_CUDA)
  dimvida::bind_cuda(m);
#endif
}
