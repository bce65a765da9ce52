#include "gradproof/plan.hpp"

#include <limits>
#include <stdexcept>
#include <string>

namespace gradproof {
namespace {

void require(bool condition, Index row, const char* what) {
  if (!condition) throw std::invalid_argument("ops[" + std::to_string(row) + "]: " + what);
}

// Whether [offset, offset + size) lies in a vector of the given length; no sum that could overflow.
bool inside(Index offset, Index size, Index length) { return offset >= 0 && size <= length && offset <= length - size; }

}  // namespace

Plan read_plan(const Index* ops, const double* scalars, Index n_ops, Index theta_size, Index buffers_size) {
  constexpr Index width_limit = std::numeric_limits<std::int32_t>::max();
  Plan plan;
  plan.reserve(static_cast<std::size_t>(n_ops));
  for (Index row = 0; row < n_ops; ++row) {
    const Index* r = ops + 6 * row;
    const Op op{static_cast<Kind>(r[0]), r[1], r[2], r[3], r[4], r[5], {scalars[2 * row], scalars[2 * row + 1]}};
    require(r[0] >= 0 && r[0] <= static_cast<Index>(Kind::dropout), row, "unknown kind");
    require(op.n_in >= 1 && op.n_in <= width_limit && op.n_out >= 1 && op.n_out <= width_limit, row, "bad width");
    require(row == 0 || plan.back().n_out == op.n_in, row, "n_in is not the width of the op before it");
    switch (op.kind) {
      case Kind::dense:
        require(inside(op.weight, op.n_in * op.n_out, theta_size), row, "W lies outside theta");
        require(op.bias == -1 || inside(op.bias, op.n_out, theta_size), row, "b lies outside theta");
        break;
      case Kind::batch_norm:
        require(op.n_in == op.n_out, row, "batch norm keeps the width");
        require(inside(op.weight, op.n_in, theta_size), row, "gamma lies outside theta");
        require(inside(op.bias, op.n_in, theta_size), row, "beta lies outside theta");
        require(inside(op.aux, 2 * op.n_in, buffers_size), row, "running statistics lie outside buffers");
        break;
      case Kind::maxout:
        require(op.aux >= 1 && op.n_in == op.n_out * op.aux, row, "n_in is not n_out * pieces");
        break;
      default:
        require(op.n_in == op.n_out, row, "an elementwise op keeps the width");
    }
    plan.push_back(op);
  }
  return plan;
}

}  // namespace gradproof
