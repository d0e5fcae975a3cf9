// Bytes to patches and back on the GPU: four numbers of a line of a patch to a thread where they lie
// aligned.
#include "core/patches.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"

namespace dimvida::cuda {

// Where four numbers that follow one another in a line of pixels are in the patches, counted in fours.
struct PatchFours {
  Divisor of_image, of_line;  // fours of an image and of a line of its pixels
  Divisor of_run;             // fours of a line of a patch
  Divisor patch;              // lines of a patch
  uint32_t columns;           // patches side by side

  template <class Params>
  explicit PatchFours(const Params& p)
      : of_image(p.rows * p.columns * p.patch * p.patch * p.colours / 4),
        of_line(p.columns * p.patch * p.colours / 4),
        of_run(p.patch * p.colours / 4),
        patch(p.patch),
        columns(static_cast<uint32_t>(p.columns)) {}

  struct Place {
    uint32_t four, in_patch;
  };

  // In one image, of the four at `in_line` of line y.
  __device__ __forceinline__ Place at(uint32_t y, uint32_t in_line) const {
    const uint32_t row = patch.quotient(y), dy = y - row * patch.value;
    const uint32_t column = of_run.quotient(in_line), in_run = in_line - column * of_run.value;
    const uint32_t in_patch = dy * of_run.value + in_run;
    return {(row * columns + column) * patch.value * of_run.value + in_patch, in_patch};
  }
};

template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    images_to_patches_fours_kernel(const ImagesToPatchesParams p, const uint32_t count,
                                   const PatchFours fours) {
  const uint32_t i = blockIdx.x * kBlockThreads + threadIdx.x;
  if (i >= count) return;
  const uint32_t n = fours.of_image.quotient(i), in_image = i - n * fours.of_image.value;
  const uint32_t y = fours.of_line.quotient(in_image), in_line = in_image - y * fours.of_line.value;
  const uint32_t from =
      n * static_cast<uint32_t>(p.batch_stride) + y * static_cast<uint32_t>(p.height_stride) + 4 * in_line;
  uint32_t bytes[1];
  load_words(bytes, p.images + from);
  float v[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) v[j] = static_cast<float>(bytes[0] >> (8 * j) & 255u);
  const uint32_t to = n * fours.of_image.value + fours.at(y, in_line).four;
  store_vector<T>(static_cast<typename T::Stored*>(p.patches) + 4 * to, v);
}

// Of any sizes and strides: a thread for each number of a patch.
__global__ void __launch_bounds__(kBlockThreads) images_to_patches_kernel(const ImagesToPatchesParams p) {
  const int64_t run = p.patch * p.colours, size = p.patch * run;
  const int64_t count = p.batch * p.rows * p.columns * size;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    const int64_t in_patch = i % size, column = i / size % p.columns, line = i / size / p.columns;
    const int64_t y = line % p.rows * p.patch + in_patch / run;
    const int64_t x = column * p.patch + in_patch % run / p.colours;
    const uint8_t value = p.images[line / p.rows * p.batch_stride + in_patch % p.colours * p.colour_stride +
                                   y * p.height_stride + x * p.width_stride];
    store_one(p.patches, p.patches_dtype, i, value);
  }
}

// Whether something holds for all threads of the block. `memory` has a number for each warp.
__device__ __forceinline__ bool of_all_threads(float* memory, bool holds) {
  const int warps = kBlockThreads / warpSize, thread = static_cast<int>(threadIdx.x);
  const bool of_warp = __all_sync(0xffffffffu, holds);
  if (thread % warpSize == 0) memory[thread / warpSize] = of_warp ? 1.0f : 0.0f;
  __syncthreads();
  bool all = true;
  for (int warp = 0; warp < warps; ++warp) all = all && memory[warp] != 0.0f;
  __syncthreads();  // before memory is written again
  return all;
}

// A block for each image, whose threads look together whether all was finite.
template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    patches_to_images_fours_kernel(const PatchesToImagesParams p, const PatchFours fours) {
  const uint32_t first = blockIdx.x * fours.of_image.value;
  bool finite = true;
#pragma unroll 1
  for (uint32_t i = threadIdx.x; i < fours.of_image.value; i += kBlockThreads) {
    const uint32_t y = fours.of_line.quotient(i);
    const PatchFours::Place at = fours.at(y, i - y * fours.of_line.value);
    float v[4], bias[4];
    load_vector<T>(v, static_cast<const typename T::Stored*>(p.patches) + 4 * (first + at.four));
    load_vector<Float32>(bias, p.bias + 4 * at.in_patch);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      v[j] += bias[j];
      finite = finite && is_finite(v[j]);
    }
    const uint32_t levels[1] = {four_levels(v[0], v[1], v[2], v[3])};
    store_words(p.images + 4 * (first + i), levels);
  }
  finite = of_all_threads(block_floats(), finite);
  if (threadIdx.x == 0) p.finite[blockIdx.x] = finite;
}

// The same for any sizes.
__global__ void __launch_bounds__(kBlockThreads) patches_to_images_kernel(const PatchesToImagesParams p) {
  const int64_t run = p.patch * p.colours, size = p.patch * run, line = p.columns * run;
  const int64_t count = p.rows * p.patch * line;
  for (int64_t n = blockIdx.x; n < p.batch; n += gridDim.x) {
    bool finite = true;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
      const int64_t y = i / line, in_line = i % line;
      const int64_t in_patch = y % p.patch * run + in_line % run;
      const int64_t patch = (n * p.rows + y / p.patch) * p.columns + in_line / run;
      const float v = load_one(p.patches, p.patches_dtype, patch * size + in_patch) + p.bias[in_patch];
      finite = finite && is_finite(v);
      p.images[n * count + i] = level_of(v);
    }
    finite = of_all_threads(block_floats(), finite);
    if (threadIdx.x == 0) p.finite[n] = finite;
  }
}

// Whether lines of patches are whole fours, and all of them have offsets of 31 bits.
template <class Params>
static bool moves_by_four(const Params& p, const uint8_t* images) {
  return p.patch * p.colours % 4 == 0 &&
         is_small(p.batch * p.rows * p.columns * p.patch * p.patch * p.colours) &&
         reinterpret_cast<uintptr_t>(images) % 4 == 0 && is_aligned(p.patches, p.patches_dtype);
}

int images_to_patches(const ImagesToPatchesParams& p, void* stream) {
  const int64_t count = p.batch * p.rows * p.columns * p.patch * p.patch * p.colours;
  if (count == 0) return cudaSuccess;
  const bool in_order = p.colour_stride == 1 && p.width_stride == p.colours && p.height_stride % 4 == 0 &&
                        p.batch_stride % 4 == 0 && is_small(p.batch * p.batch_stride);
  if (!in_order || !moves_by_four(p, p.images)) {
    return launch(images_to_patches_kernel, blocks_for(count), kBlockThreads, 0, stream, p);
  }
  return with_elements(p.patches_dtype, [&](auto type) {
    return launch(images_to_patches_fours_kernel<decltype(type)>, blocks_for(count / 4), kBlockThreads, 0,
                  stream, p, static_cast<uint32_t>(count / 4), PatchFours(p));
  });
}

int patches_to_images(const PatchesToImagesParams& p, void* stream) {
  if (p.batch == 0) return cudaSuccess;
  const std::size_t shared = kBlockThreads * sizeof(float);
  const bool some = p.rows * p.columns * p.colours > 0;
  if (!some || !moves_by_four(p, p.images) || !is_aligned(p.bias, DType::kFloat32)) {
    return launch(patches_to_images_kernel, blocks_for(p.batch * kBlockThreads), kBlockThreads, shared,
                  stream, p);
  }
  return with_elements(p.patches_dtype, [&](auto type) {
    return launch(patches_to_images_fours_kernel<decltype(type)>, static_cast<unsigned int>(p.batch),
                  kBlockThreads, shared, stream, p, PatchFours(p));
  });
}

}  // namespace dimvida::cuda
