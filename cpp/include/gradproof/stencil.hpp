// Derivatives of scalar functions from their values alone.
#pragma once

#include <algorithm>
#include <cmath>

namespace gradproof {

// The slope of f at z by central differences at h, h/2, h/4 and two Richardson extrapolations (Romberg's scheme),
// error O(h^6). A kink at 0, which symmetric differences may not see, shows in the two slopes there: then only values on
// the side of z are used, and at z = 0 those below, the branch that max(z, 0) records.
template <class F>
double measured_slope(const F& f, double z) {
  const auto central = [&](double h) {
    const double right = z + h, left = z - h;
    return (f(right) - f(left)) / (right - left);
  };
  const auto romberg = [&](double h, double& disagreement) {
    const double c0 = central(h), c1 = central(h / 2), c2 = central(h / 4);
    const double r0 = (4 * c1 - c0) / 3, r1 = (4 * c2 - c1) / 3;
    disagreement = std::abs(r1 - r0);
    return (16 * r1 - r0) / 15;
  };
  // h^6 and rounding / h are both near 1e-14 for tanh and sigmoid; z + h has to differ from z.
  const double step = std::max(0x1p-7, std::abs(z) * 0x1p-26);
  constexpr double tolerance = 0x1p-26;  // far above both, far below the slope that a kink changes
  if (std::abs(z) < step) {
    constexpr double near = 0x1p-30;  // curvature and rounding make 1e-7 of it
    const double below = (f(0) - f(-near)) / near, above = (f(near) - f(0)) / near;
    if (std::abs(above - below) > 0x1p-20) return z > 0 ? (f(2 * z) - f(z)) / z : z < 0 ? (f(z) - f(2 * z)) / -z : below;
  }
  double disagreement = 0;
  const double wide = romberg(step, disagreement);
  return disagreement <= tolerance ? wide : romberg(std::min(step, std::abs(z) / 2), disagreement);
}

}  // namespace gradproof
