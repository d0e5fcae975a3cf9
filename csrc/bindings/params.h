// Python classes for the parameter structs of the kernels, made from their lists of fields (core/params.h).
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <type_traits>

#include "bindings/overlap.h"
#include "core/params.h"

namespace dimvida {

// Lists the names of all fields, and of the tensors that are written.
struct FieldNames {
  pybind11::list all, written;

  template <class T>
  void tensor(const char* name, T*, Access access, const Extent&) {
    all.append(name);
    if (access == Access::kWritten) written.append(name);
  }

  template <class T>
  void number(const char* name, const T&) {
    all.append(name);
  }
};

// Reads the fields of a struct from a dict. Tensors that are absent are null; numbers have to be there. The
// names come as Python strings, in the order of the fields: finding one that is made anew takes longer.
class FieldReader {
 public:
  FieldReader(const pybind11::dict& given, const pybind11::tuple& names) : given_(given), names_(names) {}

  template <class T>
  void tensor(const char*, T*& address, Access, const Extent&) {
    const pybind11::handle value = next();
    address = value ? reinterpret_cast<T*>(pybind11::cast<uintptr_t>(value)) : nullptr;
  }

  template <class T>
  void number(const char* name, T& value) {
    const pybind11::handle given = next();
    if (!given) throw pybind11::type_error(std::string(name) + " is missing");
    if constexpr (std::is_same_v<T, DType>) {
      const int code = pybind11::cast<int>(given);
      if (code < 0 || code > static_cast<int>(DType::kInt64)) {
        throw pybind11::value_error("no such dtype code");
      }
      value = static_cast<DType>(code);
    } else {
      value = pybind11::cast<T>(given);
    }
  }

  void require_all_read() const {
    if (read_ != given_.size()) throw pybind11::type_error("there is a name that is none of a field");
  }

 private:
  pybind11::handle next() {
    PyObject* const found = PyDict_GetItemWithError(given_.ptr(), PyTuple_GET_ITEM(names_.ptr(), place_++));
    if (found) ++read_;
    return found;
  }

  const pybind11::dict& given_;
  const pybind11::tuple& names_;
  Py_ssize_t place_ = 0;
  std::size_t read_ = 0;
};

// The class takes a dict of all fields, addresses and numbers, and refuses tensors that may not share memory.
// Its objects can be launched many times: what changes from step to step lies in the tensors. FIELDS and
// WRITTEN are the names that FieldNames lists.
template <class Params>
void bind_params(pybind11::module_& m, const std::string& name) {
  FieldNames listed;
  Params{}.visit(listed);
  const pybind11::tuple names(listed.all);
  pybind11::class_<Params> python(m, name.c_str());
  python.def(pybind11::init([names](const pybind11::dict& given) {
    Params params{};
    FieldReader reader(given, names);
    params.visit(reader);
    reader.require_all_read();
    refuse_overlap(params);
    return params;
  }));
  python.attr("FIELDS") = names;
  python.attr("WRITTEN") = pybind11::tuple(listed.written);
}

}  // namespace dimvida
