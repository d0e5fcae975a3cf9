#include "bindings/overlap.h"

#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <string>

namespace py = pybind11;

namespace dimvida {
namespace {

// The bytes of a tensor: rows of a matrix, or one run. None where the pointer is null or there are no
// elements.
struct Span {
  const char* name;
  int64_t begin, end;
  int64_t step;   // from row to row
  int64_t width;  // of a row
};

int64_t bytes_of(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

Span run(const char* name, const void* data, int64_t bytes) {
  const int64_t begin = reinterpret_cast<intptr_t>(data);
  if (!data) bytes = 0;
  return {name, begin, begin + bytes, bytes, bytes};
}

template <class T>
Span run_of(const char* name, const T* data, int64_t count) {
  return run(name, data, count * static_cast<int64_t>(sizeof(T)));
}

Span matrix(const char* name, const void* data, DType dtype, int64_t rows, int64_t columns, int64_t stride) {
  const int64_t size = bytes_of(dtype), width = columns * size;
  if (!data || rows < 2 || columns < 1) return run(name, data, rows * width);
  const int64_t begin = reinterpret_cast<intptr_t>(data);
  return {name, begin, begin + (rows - 1) * stride * size + width, stride * size, width};
}

// Whether two tensors may have a byte in common. Columns side by side in rows of one length have none.
bool overlap(const Span& a, const Span& b) {
  if (a.begin == a.end || b.begin == b.end || a.begin >= b.end || b.begin >= a.end) return false;
  if (a.step != b.step || a.step == 0) return true;
  const int64_t remainder = (b.begin - a.begin) % a.step;
  const int64_t behind = remainder < 0 ? remainder + a.step : remainder;
  return behind < a.width || behind + b.width > a.step;
}

bool same(const Span& a, const Span& b) {
  return a.begin == b.begin && a.end == b.end && a.step == b.step && a.width == b.width;
}

using Spans = std::initializer_list<Span>;

// `in_place` is read element by element before the same place is written: it may be a written tensor, but no
// part.
void refuse(Spans written, Spans read, Spans in_place = {}) {
  for (const Span* ours = written.begin(); ours != written.end(); ++ours) {
    const std::string name = ours->name;
    for (const Span* other = ours + 1; other != written.end(); ++other) {
      if (overlap(*ours, *other)) throw py::value_error(name + " and " + other->name + " share memory");
    }
    for (const Span& other : read) {
      if (overlap(*ours, other)) throw py::value_error(name + " shares memory with " + other.name);
    }
    for (const Span& other : in_place) {
      if (overlap(*ours, other) && !same(*ours, other)) {
        throw py::value_error(name + " shares memory with " + other.name);
      }
    }
  }
}

Span step_span(const void* step, int32_t is_int64) { return run("step", step, is_int64 ? 8 : 4); }

}  // namespace

void refuse_overlap(const MaskedStepParams& p) {
  const int64_t count = p.batch * p.views * p.dim;
  refuse({run_of("x", p.x, count), run_of("x0_prev", p.x0_prev, count),
          run("low", p.low, count * bytes_of(p.low_dtype))},
         {run_of("known", p.known, p.batch * p.views), run_of("table", p.table, p.rows * kStepTableColumns),
          step_span(p.step, p.step_is_int64), run_of("sample_ids", p.sample_ids, p.batch),
          run_of("seed", p.seed, 1)},
         {run("out", p.out, count * bytes_of(p.out_dtype)), run_of("noise", p.noise, count)});
}

void refuse_overlap(const GroupNormSiluParams& p) {
  const Span out = matrix("out", p.out, p.out_dtype, p.batch, p.width, p.out_stride);
  const Span left = matrix("left", p.left, p.in_dtype, p.batch, p.left_width, p.left_stride);
  const Span right = matrix("right", p.right, p.in_dtype, p.batch, p.width - p.left_width, p.right_stride);
  const Span residual = matrix("residual", p.residual, p.in_dtype, p.batch, p.left_width, p.residual_stride);
  const Span sum = matrix("sum", p.sum, p.in_dtype, p.batch, p.left_width, p.sum_stride);
  const Span weight = run_of("weight", p.weight, p.width), bias = run_of("bias", p.bias, p.width);
  // From the first row to the last: what lies between rows counts as theirs.
  const int64_t extent = (p.masks - 1) * p.mask_stride + (p.steps - 1) * p.step_stride + p.width;
  const Span rows = run_of("rows", p.rows, extent), mask = run_of("mask", p.mask, p.batch);
  const Span step = step_span(p.step, p.step_is_int64);
  refuse({out}, {weight, bias, rows, mask, step, left, right, residual});
  refuse({sum}, {weight, bias, rows, mask, step, right, out}, {left, residual});
}

void refuse_overlap(const PhiloxNormalParams& p) {
  refuse({run_of("z", p.z, p.batch * p.count)},
         {run_of("sample_ids", p.sample_ids, p.batch), run_of("seed", p.seed, 1)});
}

}  // namespace dimvida
