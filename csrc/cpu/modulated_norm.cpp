// The gated sum and the modulated layer norm on the CPU.
#include "core/modulated_norm.h"

#include "core/elements.h"
#include "cpu/tiles.h"

namespace dimvida::cpu::DIMVIDA_SIMD {

// Partial sums that are kept side by side, a fixed number so that every instruction set adds in the same
// order.
constexpr int kSums = 16;

// Tokens that are worked on at a time: few enough to stay in the L1 cache.
constexpr int64_t kTogether = 8;

// The sum of term(0) .. term(width - 1).
template <class Term>
DIMVIDA_INLINE float sum_of(int64_t width, Term term) {
  float sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= width; i += kSums) {
    for (int lane = 0; lane < kSums; ++lane) sums[lane] += term(i + lane);
  }
  for (int lane = 0; lane < static_cast<int>(width - i); ++lane) sums[lane] += term(i + lane);
  for (int half = kSums / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

// x <- x + gate * (h + bias), and the mean of the result.
template <class Element>
DIMVIDA_INLINE float add_gated(float* DIMVIDA_RESTRICT x, const typename Element::Stored* DIMVIDA_RESTRICT h,
                               const float* DIMVIDA_RESTRICT gate, const float* DIMVIDA_RESTRICT bias,
                               int64_t width) {
  if (bias) {
    for (int64_t i = 0; i < width; ++i) x[i] = gated_sum(x[i], gate[i], Element::value(h[i]) + bias[i]);
  } else {
    for (int64_t i = 0; i < width; ++i) x[i] = gated_sum(x[i], gate[i], Element::value(h[i]));
  }
  return sum_of(width, [x](int64_t i) { return x[i]; }) / static_cast<float>(width);
}

DIMVIDA_INLINE float squared_deviations(const float* x, float mean, int64_t width) {
  return sum_of(width, [x, mean](int64_t i) { return (x[i] - mean) * (x[i] - mean); });
}

template <class Element>
DIMVIDA_INLINE void modulate(typename Element::Stored* DIMVIDA_RESTRICT out, const float* DIMVIDA_RESTRICT x,
                             float mean, float inverse, const float* DIMVIDA_RESTRICT shift,
                             const float* DIMVIDA_RESTRICT scale, int64_t width) {
  for (int64_t i = 0; i < width; ++i) {
    out[i] = Element::stored(modulated(x[i], mean, inverse, shift[i], scale[i]));
  }
}

// Tokens [first, last) of one view, at most kTogether. A loop for each step, so that the processor overlaps
// the long chains of sums, root and quotient of several tokens.
template <class Element>
static void normalise_tokens(const ModulatedNormParams& p, int64_t first, int64_t last, const Modulation& m) {
  using Stored = typename Element::Stored;
  auto* const h = static_cast<const Stored*>(p.h);
  auto* const out = static_cast<Stored*>(p.out);
  const int64_t width = p.width;
  float mean[kTogether], inverse[kTogether];
  for (int64_t t = first; t < last; ++t) {
    mean[t - first] = add_gated<Element>(p.x + t * width, h + t * width, m.gate, p.bias, width);
  }
  for (int64_t t = first; t < last; ++t) {
    const float squares = squared_deviations(p.x + t * width, mean[t - first], width);
    inverse[t - first] = inverse_deviation(squares, width, p.eps);
  }
  for (int64_t t = first; t < last; ++t) {
    const int64_t i = t - first;
    modulate<Element>(out + t * width, p.x + t * width, mean[i], inverse[i], m.shift, m.scale, width);
  }
}

template <class Element>
static void normalise(const ModulatedNormParams& p, int64_t missing_row, int team) {
  const int64_t parts = (p.tokens + kTogether - 1) / kTogether;  // of a view
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t part = 0; part < p.groups * parts; ++part) {
    const int64_t group = part / parts, from = part % parts * kTogether;
    const int64_t to = from + kTogether < p.tokens ? from + kTogether : p.tokens;
    const Modulation modulation = modulation_of(p, group, missing_row);
    normalise_tokens<Element>(p, group * p.tokens + from, group * p.tokens + to, modulation);
  }
}

int modulated_norm(const ModulatedNormParams& p, int threads) {
  const int64_t elements = p.groups * p.tokens * p.width;
  if (elements == 0) return kOk;
  const int64_t row = missing_row(p);
  if (is_out_of_range(p, row)) return kStepOutOfRange;
  const int team = team_size(elements, threads);
  with_elements(p.out_dtype, [&](auto element) { normalise<decltype(element)>(p, row, team); });
  return kOk;
}

}  // namespace dimvida::cpu::DIMVIDA_SIMD
