// The Python module dimvida.ops._native: integers in, a status out. Tensors never cross this line, so one
// build serves every version of PyTorch. Callers have checked dtype, shape, device and layout; see
// dimvida/ops. Whether they share memory is checked here.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "bindings/build_info.h"
#include "bindings/network_params.h"
#include "bindings/overlap.h"
#include "core/masked_step.h"
#include "core/philox_normal.h"
#include "cpu/kernels.h"
#if defined(DIMVIDA_WITH_CUDA)
#include "cuda/launchers.h"
#endif

namespace py = pybind11;

namespace dimvida {
namespace {

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// Refuses null pointers to tensors that have elements: a tensor may have lost its storage.
template <class... Pointers>
void require_storage(int64_t elements, Pointers... pointers) {
  if (elements > 0 && (... || (pointers == nullptr))) throw py::value_error("a tensor has no storage");
}

DType dtype_of(int code) {
  if (code < 0 || code > static_cast<int>(DType::kFloat16)) throw py::value_error("no such dtype code");
  return static_cast<DType>(code);
}

const cpu::KernelSet& kernel_set(const std::string& simd) {
  if (simd.empty()) return cpu::best_kernel_set();
  const cpu::KernelSet* set = cpu::find_kernel_set(simd.c_str());
  if (!set) throw py::value_error("instruction set " + simd + " is not compiled or not supported here");
  return *set;
}

MaskedStepParams masked_step_params(uintptr_t x, uintptr_t x0_prev, uintptr_t out, uintptr_t known,
                                    uintptr_t table, uintptr_t step, uintptr_t sample_ids, uintptr_t seed,
                                    uintptr_t noise, uintptr_t low, int64_t batch, int64_t views, int64_t dim,
                                    int64_t rows, float clip, int out_dtype, int low_dtype,
                                    bool step_is_int64) {
  MaskedStepParams p;
  p.x = pointer<float>(x);
  p.x0_prev = pointer<float>(x0_prev);
  p.out = pointer<const void>(out);
  p.known = pointer<const uint8_t>(known);
  p.table = pointer<const float>(table);
  p.step = pointer<const void>(step);
  p.sample_ids = pointer<const int64_t>(sample_ids);
  p.seed = pointer<const int64_t>(seed);
  p.noise = pointer<const float>(noise);
  p.low = pointer<void>(low);
  p.batch = batch;
  p.views = views;
  p.dim = dim;
  p.rows = rows;
  p.clip = clip;
  p.out_dtype = dtype_of(out_dtype);
  p.low_dtype = dtype_of(low_dtype);
  p.step_is_int64 = step_is_int64;
  require_storage(batch * views * dim, p.x, p.x0_prev, p.out, p.known, p.table, p.step, p.sample_ids, p.seed);
  return p;
}

PhiloxNormalParams philox_normal_params(uintptr_t z, uintptr_t sample_ids, uintptr_t seed, int64_t batch,
                                        int64_t count, uint32_t draw) {
  const PhiloxNormalParams p = {pointer<float>(z),
                                pointer<const int64_t>(sample_ids),
                                pointer<const int64_t>(seed),
                                batch,
                                count,
                                draw};
  require_storage(batch * count, p.z, p.sample_ids, p.seed);
  return p;
}

PhiloxWordsParams philox_words_params(uintptr_t counters, uintptr_t key, uintptr_t words, int64_t count) {
  const PhiloxWordsParams p = {pointer<const int64_t>(counters), pointer<const int64_t>(key),
                               pointer<int64_t>(words), count};
  require_storage(count, p.counters, p.key, p.words);
  return p;
}

// A params object can be made once and launched many times: what changes from step to step lies in the
// tensors.
void bind_params(py::module_& m) {
  py::class_<MaskedStepParams>(m, "MaskedStepParams").def(py::init(&masked_step_params));
  py::class_<PhiloxNormalParams>(m, "PhiloxNormalParams").def(py::init(&philox_normal_params));
  py::class_<PhiloxWordsParams>(m, "PhiloxWordsParams").def(py::init(&philox_words_params));
  bind_network_params(m);
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
    return launcher(params, pointer<void>(stream));
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
