// Bias and GELU on the CPU.
#include "core/bias_gelu.h"

#include "core/elements.h"
#include "cpu/tiles.h"

namespace dimvida::cpu::DIMVIDA_SIMD {

template <class Element>
static void activate_row(typename Element::Stored* DIMVIDA_RESTRICT x, const float* DIMVIDA_RESTRICT bias,
                         int64_t width) {
  for (int64_t i = 0; i < width; ++i) x[i] = Element::stored(gelu(Element::value(x[i]) + bias[i]));
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
