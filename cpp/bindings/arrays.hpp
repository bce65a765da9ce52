// How arrays cross the boundary: In<T> and Out<T>, views of NumPy arrays. The only file that knows py::array.
//
// An argument must be what the kernels take: exact dtype, C-contiguous, aligned, native byte order. Nothing is cast or
// copied. Another dtype or layout does not match the overload (TypeError), a read-only output is a ValueError. A view
// holds a plain pointer, taken under the GIL; the caller's argument keeps the array alive during the call.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>  // std::optional

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

#include "gradproof/types.hpp"

namespace gradproof {

namespace py = pybind11;

template <class Pointer>
class View {
 public:
  Pointer data = nullptr;
  std::vector<Index> shape;

  Index size() const {
    Index product = 1;
    for (const Index extent : shape) product *= extent;
    return product;
  }
  Index extent(std::size_t axis, const char* name) const {
    if (axis >= shape.size()) throw std::invalid_argument(std::string(name) + ": too few dimensions: " + describe(shape));
    return shape[axis];
  }
  // Returns the data of an array that must have this shape.
  Pointer of_shape(const std::vector<Index>& expected, const char* name) const {
    if (shape != expected) {
      throw std::invalid_argument(std::string(name) + ": expected shape " + describe(expected) + ", got " +
                                  describe(shape));
    }
    return data;
  }

 private:
  static std::string describe(const std::vector<Index>& shape) {
    std::string text = "(";
    for (const Index extent : shape) text += std::to_string(extent) + (shape.size() == 1 ? "," : ", ");
    if (shape.size() > 1) text.resize(text.size() - 2);
    return text + ")";
  }
};

template <class T>
struct In : View<const T*> {};
template <class T>
struct Out : View<T*> {};

// The data of an argument that may be None.
template <class Array>
auto of_shape_or_null(const std::optional<Array>& array, const std::vector<Index>& expected, const char* name) {
  return array ? array->of_shape(expected, name) : nullptr;
}

// Runs a kernel without the GIL.
template <class Kernel>
auto without_gil(Kernel kernel) {
  py::gil_scoped_release release;
  return kernel();
}

}  // namespace gradproof

namespace pybind11::detail {

template <class T, class ViewType>
struct view_caster {
  PYBIND11_TYPE_CASTER(ViewType, const_name("numpy.typing.NDArray[") + npy_format_descriptor<T>::name + const_name("]"));

 protected:
  using Array = array_t<T, array::c_style>;
  static bool matches(handle source) {
    return isinstance<Array>(source) && (reinterpret_borrow<array>(source).flags() & npy_api::NPY_ARRAY_ALIGNED_) != 0;
  }
  void take(const array& source) { value.shape.assign(source.shape(), source.shape() + source.ndim()); }
};

template <class T>
struct type_caster<gradproof::In<T>> : view_caster<T, gradproof::In<T>> {
  bool load(handle source, bool /*convert*/) {
    if (!this->matches(source)) return false;
    const auto array = reinterpret_borrow<pybind11::array>(source);
    this->take(array);
    this->value.data = static_cast<const T*>(array.data());
    return true;
  }
};

template <class T>
struct type_caster<gradproof::Out<T>> : view_caster<T, gradproof::Out<T>> {
  bool load(handle source, bool /*convert*/) {
    if (!this->matches(source)) return false;
    auto array = reinterpret_borrow<pybind11::array>(source);
    if (!array.writeable()) throw value_error("an output array is read-only");
    this->take(array);
    this->value.data = static_cast<T*>(array.mutable_data());
    return true;
  }
};

}  // namespace pybind11::detail
