// The extension: stateless functions over arrays, the same in every instruction-set build.
#include "register.hpp"

namespace py = pybind11;

PYBIND11_MODULE(GRADPROOF_MODULE, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
  m.doc() = "Compiled kernels of gradproof; gradproof._core picks the build that fits the processor.";
  gradproof::register_config(m);
  gradproof::register_math(m);
  gradproof::register_layers(m);
  gradproof::register_losses(m);
  gradproof::register_network(m);
  gradproof::register_optimizers(m);
  gradproof::register_monitor(m);
  gradproof::register_training(m);
}
