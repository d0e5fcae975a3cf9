// Bias and GELU on the CPU.
#include "core/bias_gelu.h"

#include "core/elements.h"
#include "cpu/tiles.h"

namespace dimvida::cpu::DIMVIDA_SIMD {

// Elements of 2 bytes whose results wait in the L1 cache to be rounded together: compilers make more of two
// loops than of one that computes in one width and stores in another.
constexpr int64_t kTogether = 256;

template <class Element>
static void activate_row(typename Element::Stored* DIMVIDA_RESTRICT x, const float* DIMVIDA_RESTRICT bias,
                         int64_t width) {
  if constexpr (sizeof(*x) == sizeof(float)) {
    for (int64_t i = 0; i < width; ++i) x[i] = gelu(x[i] + bias[i]);
  } else {
    float activated[kTogether];
    for (int64_t first = 0; first < width; first += kTogether) {
      const int64_t count = width - first < kTogether ? width - first : kTogether;
      for (int64_t i = 0; i < count; ++i) {
        activated[i] = gelu(Element::value(x[first + i]) + bias[first + i]);
      }
      for (int64_t i = 0; i < count; ++i) x[first + i] = Element::stored(activated[i]);
    }
  }
}

template <class Element>
static void activate(const BiasGeluParams& p, int team) {
  auto* const x = static_cast<typename Element::Stored*>(p.x);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t row = 0; row < p.rows; ++row) activate_row<Element>(x + row * p.width, p.bias, p.width);
}

int bias_gelu(const BiasGeluParams& p, int threads) {
  const int team = team_size(p.rows * p.width, threads);
  with_elements(p.x_dtype, [&](auto element) { activate<decltype(element)>(p, team); });
  return kOk;
}

}  // namespace dimvida::cpu::DIMVIDA_SIMD
