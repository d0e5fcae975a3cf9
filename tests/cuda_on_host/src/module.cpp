// The Python module kernels_on_host: CUDA kernels on the host, past their launchers, in shapes of the test's
// choice. It takes the parameter objects of dimvida.ops._native, which must be loaded. Every function returns
// a status.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cmath>

#include "cuda/bias_gelu.cu"
#include "cuda/group_norm_silu.cu"
#include "cuda/masked_step.cu"
#include "cuda/modulated_norm.cu"
#include "cuda/noise.cu"
#include "cuda/pack_images.cu"
#include "runtime_kernels.cuh"

namespace py = pybind11;

namespace dimvida::cuda {
namespace {

using Shape = std::array<unsigned int, 3>;

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

dim3 dim3_of(const Shape& shape) { return dim3(shape[0], shape[1], shape[2]); }

// A grid smaller than that of the launcher, or other lanes.
int group_norm_silu_streamed(const GroupNormSiluParams& p, int lanes, unsigned int blocks) {
  return launch(group_norm_silu_streamed_kernel, blocks, kBlockThreads, 0, nullptr, p, lanes);
}

// How many of `count` float32 numbers from bits `first` on, `step` apart, have another SiLU than that of
// core/exponential.h where the rough reciprocal is `ulps` off.
int64_t different_silus(uint32_t first, uint32_t step, int64_t count, int ulps) {
  int64_t different = 0;
  for (uint32_t bits = first; count > 0; bits += step, --count) {
    const float x = float_of(bits);
    if (!(std::fabs(x) < kPlainSilu)) continue;
    const float y = plain_silu_divisor(x);
    const float reciprocal = float_of(bits_of(rough_reciprocal(y)) + static_cast<uint32_t>(ulps));
    different += bits_of(refined_quotient(x, y, reciprocal)) != bits_of(silu(x));
  }
  return different;
}

int shuffle(uintptr_t values, uintptr_t results, int kind, int operand, int width, unsigned int mask,
            unsigned int threads) {
  const ShuffleParams p = {pointer<const float>(values), pointer<float>(results), kind, operand, width, mask};
  return launch(shuffle_kernel, 1, threads, 0, nullptr, p);
}

int sum(uintptr_t values, uintptr_t sums, int64_t count, int slots, std::size_t shared_bytes,
        unsigned int blocks, unsigned int threads) {
  const SumParams p = {pointer<const float>(values), pointer<float>(sums), count, slots};
  return launch(sum_kernel, blocks, threads, shared_bytes, nullptr, p);
}

int race(uintptr_t results, int distance, bool barrier, unsigned int blocks, unsigned int threads) {
  return launch(race_kernel, blocks, threads, threads * sizeof(float), nullptr, pointer<float>(results),
                distance, barrier);
}

}  // namespace
}  // namespace dimvida::cuda

PYBIND11_MODULE(kernels_on_host, m) {
  using namespace dimvida;
  m.def("masked_step_is_of_aligned_quads", &cuda::is_of_aligned_quads);
  m.def("masked_step_aligned", [](const MaskedStepParams& p) { return cuda::launch_aligned(p, nullptr); });
  m.def("masked_step", [](const MaskedStepParams& p, unsigned int blocks, unsigned int threads) {
    return cuda::launch(cuda::masked_step_kernel, blocks, threads, 0, nullptr, p);
  });
  m.def("group_norm_silu_is_held", &cuda::is_held);
  m.def("group_norm_silu_held",
        [](const GroupNormSiluParams& p) { return cuda::launch_held(p, nullptr, true); });
  m.def("group_norm_silu_streamed", &cuda::group_norm_silu_streamed);
  m.def("different_silus", &cuda::different_silus);
  m.def("pack_images_lies_in_order", &cuda::lies_in_order);
  m.def("pack_images_lies_in_planes", &cuda::lies_in_planes);
  m.def("modulated_norm", [](const ModulatedNormParams& p, int quads, unsigned int blocks) {
    return with_elements(p.out_dtype, [&](auto element) {
      auto* const kernel = cuda::modulated_norm_kernel_of<decltype(element)>(quads);
      return cuda::launch(kernel, blocks, cuda::kBlockThreads, 0, nullptr, p);
    });
  });
  m.def("bias_gelu", [](const BiasGeluParams& p, unsigned int blocks, unsigned int threads) {
    return cuda::launch(cuda::bias_gelu_kernel, blocks, threads, 0, nullptr, p);
  });
  m.def("pack_images", [](const PackImagesParams& p, unsigned int blocks, unsigned int threads) {
    return cuda::launch(cuda::pack_images_kernel, blocks, threads, 0, nullptr, p);
  });
  m.def("quotient", [](uint32_t n, int64_t divisor) { return cuda::Divisor(divisor).quotient(n); });
  m.def("philox_normal", [](const PhiloxNormalParams& p, unsigned int blocks, unsigned int threads) {
    return cuda::launch(cuda::philox_normal_kernel, blocks, threads, 0, nullptr, p);
  });
  m.def("philox4x32", [](const Philox4x32Params& p, unsigned int blocks, unsigned int threads) {
    return cuda::launch(cuda::philox4x32_kernel, blocks, threads, 0, nullptr, p);
  });
  m.def("error_string", [](int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); });

  // The stand-in for the runtime itself.
  m.def("shuffle", &cuda::shuffle);
  m.def("sum", &cuda::sum);
  m.def("race", &cuda::race);
  m.def("diverge", [](int kind) { return cuda::launch(cuda::divergence_kernel, 2, 64, 0, nullptr, kind); });
  m.def("places", [](uintptr_t counts, const cuda::Shape& grid, const cuda::Shape& block) {
    return cuda::launch(cuda::place_kernel, cuda::dim3_of(grid), cuda::dim3_of(block), 0, nullptr,
                        cuda::pointer<int32_t>(counts));
  });
  m.def("last_error", [] { return static_cast<int>(cudaGetLastError()); });
}
