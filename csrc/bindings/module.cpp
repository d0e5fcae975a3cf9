// The Python module dimvida.ops._native: integers in, a status out. Tensors never cross this line, so one
// build serves every version of PyTorch. Callers have checked dtype, shape, device and layout; see
// dimvida/ops. Of each kernel declared in core/ it has <kernel>_params (bindings/params.h), <kernel>_cpu,
// which is cpu/<kernel>.cpp for an instruction set, and <kernel>_cuda, the launcher in cuda/<kernel>.cu.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bindings/params.h"
#include "cpu/kernels.h"
#if defined(DIMVIDA_WITH_ZLIB)
#include "cpu/png.h"
#endif
#include "cpu/sha256.h"

namespace py = pybind11;

namespace dimvida {

py::dict build_info();  // build_info.cpp

namespace cuda {
const char* error_string(int status);  // of a launcher, masked_step.cu
}

namespace {

const cpu::KernelSet& kernel_set(const std::string& simd) {
  if (simd.empty()) return cpu::best_kernel_set();
  const cpu::KernelSet* set = cpu::find_kernel_set(simd.c_str());
  if (!set) throw py::value_error("instruction set " + simd + " is not compiled or not supported here");
  return *set;
}

// The CPU kernels take a number of threads and the name of an instruction set, "" for the best.
template <class Params>
void bind_cpu(py::module_& m, const std::string& name, int (*cpu::KernelSet::*kernel)(const Params&, int)) {
  m.def((name + "_cpu").c_str(), [kernel](const Params& params, int threads, const std::string& simd) {
    const cpu::KernelSet& set = kernel_set(simd);
    const py::gil_scoped_release unlocked;
    return (set.*kernel)(params, threads);
  });
}

#if defined(DIMVIDA_WITH_CUDA)
// The CUDA kernels take a stream of the current device.
template <class Params>
void bind_cuda(py::module_& m, const std::string& name, int (*launcher)(const Params&, void*)) {
  m.def((name + "_cuda").c_str(), [launcher](const Params& params, uintptr_t stream) {
    return launcher(params, reinterpret_cast<void*>(stream));
  });
}
#endif

void bind_dtypes(py::module_& m) {
  py::dict codes;
  int code = 0;
  for (const char* name : kDTypeNames) codes[name] = code++;
  m.attr("DTYPES") = codes;
}

// The digests of rows that lie at an address, in hexadecimal digits of 4 bits each, one behind the other.
std::string sha256_rows(uintptr_t address, int64_t rows, int64_t bytes) {
  const py::gil_scoped_release unlocked;
  std::string digests(rows * cpu::kDigestBytes, 0), text;
  cpu::sha256_rows(reinterpret_cast<const uint8_t*>(address), rows, bytes,
                   reinterpret_cast<uint8_t*>(&digests[0]));
  text.reserve(2 * digests.size());
  for (const unsigned char byte : digests) {
    for (const int digit : {byte >> 4, byte & 15}) text += "0123456789abcdef"[digit];
  }
  return text;
}

#if defined(DIMVIDA_WITH_ZLIB)
// PNG files of uint8 [count, height, width, channels] at an address.
py::list png_files(uintptr_t address, int64_t count, int64_t height, int64_t width, int64_t channels) {
  std::vector<uint8_t> data;
  std::vector<int64_t> sizes;
  {
    const py::gil_scoped_release unlocked;
    data = cpu::png_files(reinterpret_cast<const uint8_t*>(address), count, height, width, channels, sizes);
  }
  py::list files;
  const char* file = reinterpret_cast<const char*>(data.data());
  for (const int64_t size : sizes) {
    files.append(py::bytes(file, size_t(size)));
    file += size;
  }
  return files;
}
#endif

}  // namespace
}  // namespace dimvida

PYBIND11_MODULE(_native, m) {
  using namespace dimvida;
  m.doc() = "Kernels of dimvida over raw pointers. Private to dimvida.ops.";
  m.attr("STEP_OUT_OF_RANGE") = static_cast<int>(cpu::kStepOutOfRange);
  m.def("build_info", &build_info);
  m.attr("HAS_SHA256") = cpu::has_sha256();
  m.def("sha256_rows", &sha256_rows);
#if defined(DIMVIDA_WITH_ZLIB)
  m.def("png_files", &png_files);
#endif
  bind_dtypes(m);
#define DIMVIDA_BIND(kernel, Params)         \
  bind_params<Params>(m, #kernel "_params"); \
  bind_cpu<Params>(m, #kernel, &cpu::KernelSet::kernel);
  DIMVIDA_CPU_KERNELS(DIMVIDA_BIND)
#if defined(DIMVIDA_WITH_CUDA)
#define DIMVIDA_BIND_CUDA(kernel, Params) bind_cuda<Params>(m, #kernel, &cuda::kernel);
  DIMVIDA_CUDA_KERNELS(DIMVIDA_BIND_CUDA)
  m.def("cuda_error_string", &cuda::error_string);
#endif
}
