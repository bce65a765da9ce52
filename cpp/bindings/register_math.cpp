// The elementary functions, bound so that their accuracy can be tested in every instruction set.
#include "arrays.hpp"
#include "gradproof/math.hpp"
#include "register.hpp"

namespace gradproof {

namespace {

template <class T, class F>
void bind(py::module_& m, const char* name, F function) {
  m.def(name, [function](Out<T> y, In<T> x) {
    T* out = y.of_shape(x.shape, "y");
    without_gil([&] { math::map(out, x.data, x.size(), function); });
  });
}

template <class T>
void register_for(py::module_& m) {
  bind<T>(m, "exp", [](T x) { return math::exp(x); });
  bind<T>(m, "expm1", [](T x) { return math::expm1(x); });
  bind<T>(m, "log", [](T x) { return math::log(x); });
  bind<T>(m, "log1p", [](T x) { return math::log1p(x); });
}

}  // namespace

void register_math(py::module_& m) {
  register_for<float>(m);
  register_for<double>(m);
}

}  // namespace gradproof
