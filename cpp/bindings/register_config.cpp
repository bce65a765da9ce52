// What this build is: reported by gradproof.config() and in every gradient report.
#include <Eigen/Core>
#include <string>

#include "gradproof/product.hpp"
#include "register.hpp"

namespace gradproof {

namespace {

std::string eigen_version() {
  return std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
         std::to_string(EIGEN_MINOR_VERSION);
}

std::string compiler() {
#if defined(__clang__)
  return "Clang " + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__);
#elif defined(__GNUC__)
  return "GCC " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__);
#elif defined(_MSC_VER)
  return "MSVC " + std::to_string(_MSC_VER);
#endif
}

}  // namespace

void register_config(py::module_& m) {
  m.def("version", [] { return GRADPROOF_VERSION; }, "Version of gradproof that this module was built from.");
  m.def("isa", [] { return GRADPROOF_ISA; }, "Instruction set of this module: v1, v3, v4 or neon.");
  m.def("eigen_version", &eigen_version, "Version of Eigen that this module was built with.");
  m.def("matrix_unit", &matrix_unit, "Whether training uses the matrix unit of this processor.");
  m.def("allow_matrix_unit", &allow_matrix_unit, "Allows its use or forbids it.");
  m.def("compiler", &compiler, "Compiler that built this module.");
}

}  // namespace gradproof
