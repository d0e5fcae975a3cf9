// Packing of images to bytes on the GPU.
//
// A byte is read four times before it is written once, so what counts is how the reading moves: 16 bytes at a
// time where the elements lie in the order of the bytes (channels last), or in planes of three channels.
#include "core/pack_images.h"
#include "cuda/access.cuh"
#include "cuda/launch.h"

namespace dimvida::cuda {

// `count` elements in the order of the bytes: as many to a thread as 16 bytes hold; the last thread has what
// is left.
template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    pack_in_order_kernel(const typename T::Stored* images, uint8_t* packed, const uint32_t count) {
  constexpr uint32_t kEach = 16 / sizeof(typename T::Stored);
  const uint32_t first = (blockIdx.x * kBlockThreads + threadIdx.x) * kEach;
  if (first + kEach <= count) {
    float v[kEach];
    load_vector<T>(v, images + first);
    uint32_t levels[kEach / 4];
#pragma unroll
    for (uint32_t i = 0; i < kEach / 4; ++i) {
      levels[i] = four_levels(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
    }
    store_words(packed + first, levels);
  } else {
    for (uint32_t i = first; i < count; ++i) packed[i] = level_of(T::value(images[i]));
  }
}

// Images in three planes each: four pixels to a thread. Strides are in elements, sizes in fours of pixels.
template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    pack_planes_kernel(const typename T::Stored* images, uint8_t* packed, const uint32_t fours,
                       const Divisor of_image, const uint32_t batch_stride, const uint32_t channel_stride) {
  const uint32_t four = blockIdx.x * kBlockThreads + threadIdx.x;
  if (four >= fours) return;
  const uint32_t n = of_image.quotient(four);
  const auto* const from = images + (n * batch_stride + 4 * (four - n * of_image.value));
  float r[4], g[4], b[4];
  load_vector<T>(r, from);
  load_vector<T>(g, from + channel_stride);
  load_vector<T>(b, from + 2 * channel_stride);
  const uint32_t levels[3] = {four_levels(r[0], g[0], b[0], r[1]), four_levels(g[1], b[1], r[2], g[2]),
                              four_levels(b[2], r[3], g[3], b[3])};
  uint32_t* const to = reinterpret_cast<uint32_t*>(packed + 12 * four);
  for (int i = 0; i < 3; ++i) to[i] = levels[i];
}

// Any strides: one thread per pixel.
__global__ void __launch_bounds__(kBlockThreads) pack_images_kernel(const PackImagesParams p) {
  const int64_t pixels = p.batch * p.height * p.width;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < pixels; i += stride) {
    const int64_t line = i / p.width;
    const int64_t n = line / p.height;
    const int64_t first =
        n * p.batch_stride + (line - n * p.height) * p.height_stride + (i - line * p.width) * p.width_stride;
    for (int64_t c = 0; c < p.channels; ++c) {
      p.packed[i * p.channels + c] =
          level_of(load_one(p.images, p.images_dtype, first + c * p.channel_stride));
    }
  }
}

// Whether words can be stored; memory that is new always lets them.
static bool takes_words(const uint8_t* packed) { return reinterpret_cast<uintptr_t>(packed) % 8 == 0; }

// Whether an axis of so many places has that stride, which says nothing where there is one place.
static bool steps_by(int64_t size, int64_t stride, int64_t wanted) { return size == 1 || stride == wanted; }

static bool lies_in_order(const PackImagesParams& p) {
  return steps_by(p.channels, p.channel_stride, 1) && steps_by(p.width, p.width_stride, p.channels) &&
         steps_by(p.height, p.height_stride, p.width * p.channels) &&
         steps_by(p.batch, p.batch_stride, p.height * p.width * p.channels) &&
         is_small(p.batch * p.height * p.width * p.channels) && takes_words(p.packed) &&
         is_aligned(p.images, p.images_dtype, p.images_dtype == DType::kFloat32 ? 4 : 8);
}

static bool lies_in_planes(const PackImagesParams& p) {
  const int64_t pixels = p.height * p.width;
  return p.channels == 3 && pixels % 4 == 0 && steps_by(p.width, p.width_stride, 1) &&
         steps_by(p.height, p.height_stride, p.width) && p.batch_stride % 4 == 0 &&
         p.channel_stride % 4 == 0 && is_small(p.batch * p.batch_stride) && is_small(3 * p.channel_stride) &&
         is_small(3 * p.batch * pixels) && takes_words(p.packed) && is_aligned(p.images, p.images_dtype);
}

static int launch_in_order(const PackImagesParams& p, void* stream) {
  const int64_t count = p.batch * p.height * p.width * p.channels;
  return with_elements(p.images_dtype, [&](auto type) {
    using Stored = typename decltype(type)::Stored;
    constexpr int64_t each = 16 / sizeof(Stored);
    return launch(pack_in_order_kernel<decltype(type)>, blocks_for((count + each - 1) / each), kBlockThreads,
                  0, stream, static_cast<const Stored*>(p.images), p.packed, static_cast<uint32_t>(count));
  });
}

static int launch_planes(const PackImagesParams& p, void* stream) {
  const int64_t of_image = p.height * p.width / 4;
  return with_elements(p.images_dtype, [&](auto type) {
    using Stored = typename decltype(type)::Stored;
    return launch(pack_planes_kernel<decltype(type)>, blocks_for(p.batch * of_image), kBlockThreads, 0,
                  stream, static_cast<const Stored*>(p.images), p.packed,
                  static_cast<uint32_t>(p.batch * of_image), Divisor(of_image),
                  static_cast<uint32_t>(p.batch_stride), static_cast<uint32_t>(p.channel_stride));
  });
}

int pack_images(const PackImagesParams& p, void* stream) {
  const int64_t pixels = p.batch * p.height * p.width;
  if (pixels * p.channels == 0) return cudaSuccess;
  if (lies_in_order(p)) return launch_in_order(p, stream);
  if (lies_in_planes(p)) return launch_planes(p, stream);
  return launch(pack_images_kernel, blocks_for(pixels), kBlockThreads, 0, stream, p);
}

}  // namespace dimvida::cuda
