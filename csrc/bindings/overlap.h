// Refuses tensors that share memory with one that a kernel writes: its result would depend on the order of
// the threads.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <type_traits>

#include "core/params.h"

namespace dimvida {

// The bytes of a tensor: rows of a matrix, or one run. None where the address is null or there are no
// elements.
struct Span {
  const char* name;
  Access access;
  int64_t begin, end;
  int64_t step;   // from row to row
  int64_t width;  // of a row
};

// Whether two tensors may have a byte in common. Columns side by side in rows of one length have none.
inline bool overlap(const Span& a, const Span& b) {
  if (a.begin == a.end || b.begin == b.end || a.begin >= b.end || b.begin >= a.end) return false;
  if (a.step != b.step || a.step == 0) return true;
  const int64_t remainder = (b.begin - a.begin) % a.step;
  const int64_t behind = remainder < 0 ? remainder + a.step : remainder;
  return behind < a.width || behind + b.width > a.step;
}

inline bool same(const Span& a, const Span& b) {
  return a.begin == b.begin && a.end == b.end && a.step == b.step && a.width == b.width;
}

// The spans of all tensors of a struct, in order.
struct Spans {
  static constexpr int kMost = 16;
  Span spans[kMost];
  int count = 0;

  template <class T>
  void tensor(const char* name, T* address, Access access, const Extent& extent) {
    int64_t element = extent.element;
    if constexpr (!std::is_void_v<T>) element = sizeof(T);
    const int64_t begin = reinterpret_cast<intptr_t>(address), width = extent.columns * element;
    if (count == kMost) throw pybind11::value_error("a kernel has more tensors than Spans holds");
    Span& span = spans[count++];
    if (!address || extent.rows < 2 || width < 1) {
      const int64_t bytes = address ? extent.rows * width : 0;
      span = {name, access, begin, begin + bytes, bytes, bytes};
    } else {
      const int64_t step = extent.stride * element;
      span = {name, access, begin, begin + (extent.rows - 1) * step + width, step, width};
    }
  }

  template <class T>
  void number(const char*, const T&) {}
};

// Throws ValueError, which names the two tensors.
template <class Params>
void refuse_overlap(Params& params) {
  Spans all;
  params.visit(all);
  for (int i = 0; i < all.count; ++i) {
    const Span& ours = all.spans[i];
    if (ours.access != Access::kWritten) continue;
    const std::string name = ours.name;
    for (int j = 0; j < all.count; ++j) {
      const Span& other = all.spans[j];
      if (other.access == Access::kWritten) {
        if (j > i && overlap(ours, other))
          throw pybind11::value_error(name + " and " + other.name + " share memory");
      } else if (overlap(ours, other) && !(other.access == Access::kInPlace && same(ours, other))) {
        throw pybind11::value_error(name + " shares memory with " + other.name);
      }
    }
  }
}

}  // namespace dimvida
