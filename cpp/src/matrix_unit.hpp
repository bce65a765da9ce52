// Products of floats on a unit for small matrices of bfloat16 (AMX), which some processors have beside their vector units.
#pragma once

#include "operands.hpp"

namespace gradproof {

// Whether a product is made there: the processor has such a unit, this thread allows it (MatrixUnit), and the product is
// large enough to pay for taking the numbers apart.
bool matrix_unit_serves(Index m, Index k, Index n);

// As product() of floats, a (m, k) and b (k, n).
void matrix_unit_product(const Result<float>& result, const View<float>& a, const View<float>& b, Index m, Index k, Index n);

}  // namespace gradproof
