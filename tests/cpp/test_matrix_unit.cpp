// Products on the matrix unit against long double and against the ordinary ones. On a processor without one, both are ordinary.
#include <algorithm>
#include <array>
#include <limits>
#include <random>
#include <vector>

#include "check.hpp"
#include "gradproof/product.hpp"
#include "gradproof/thread_pool.hpp"

using namespace gradproof;

namespace {

constexpr double unit_roundoff = std::numeric_limits<float>::epsilon() / 2;

std::mt19937 generator(11);

std::vector<float> normal(Index size, double scale = 1) {
  std::normal_distribution<float> distribution;
  std::vector<float> values(static_cast<std::size_t>(size));
  for (float& value : values) value = static_cast<float>(scale * distribution(generator));
  return values;
}

struct Problem {
  Index m, k, n;
  bool transpose_a, transpose_b;
  Start start;
  std::vector<float> a = normal(m * k), b = normal(k * n), c = normal(m * n), row = normal(n);

  std::vector<float> product(bool on_unit) const {
    std::vector<float> result = c;
    const auto make = [&] {
      gradproof::product(result.data(), a.data(), b.data(), m, k, n, transpose_a, transpose_b, start,
                         start == Start::row ? row.data() : nullptr);
    };
    if (on_unit) {
      const MatrixUnit scope;
      make();
    } else {
      make();
    }
    return result;
  }

  // Of the errors, in roundings of the sum of the terms' sizes.
  struct Errors {
    double root_mean_square, largest;
  };
  Errors errors(const std::vector<float>& result) const {
    double squares = 0, largest = 0;
    for (Index i = 0; i < m; ++i) {
      for (Index j = 0; j < n; ++j) {
        const std::size_t at = static_cast<std::size_t>(i * n + j), column = static_cast<std::size_t>(j);
        double sum = start == Start::zero ? 0.0 : start == Start::c ? double(c[at]) : double(row[column]);
        double size = std::fabs(sum);
        for (Index l = 0; l < k; ++l) {
          const double term = double(a[static_cast<std::size_t>(transpose_a ? l * m + i : i * k + l)]) *
                              double(b[static_cast<std::size_t>(transpose_b ? j * k + l : l * n + j)]);
          sum += term;
          size += std::fabs(term);
        }
        const double error = (double(result[at]) - sum) / (unit_roundoff * size);
        largest = std::max(largest, std::fabs(error));
        squares += error * error;
      }
    }
    return {std::sqrt(squares / double(m * n)), largest};
  }
};

// Sizes beside whole tiles, blocks of k and panels; all ways to store the matrices, and to start.
void test_accuracy() {
  for (const auto& [m, k, n] : {std::array<Index, 3>{128, 128, 128}, {77, 1030, 131}, {999, 33, 57}, {33, 1600, 47},
                                {40, 520, 1900}, {1900, 520, 40}}) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        for (const Start start : {Start::zero, Start::c, Start::row}) {
          const Problem problem{m, k, n, transpose_a, transpose_b, start};
          const auto ordinary = problem.errors(problem.product(false)), there = problem.errors(problem.product(true));
          CHECK(there.root_mean_square < std::max(0.3, 1.2 * ordinary.root_mean_square));
          CHECK(there.largest < std::max(2.5, 1.2 * ordinary.largest));
        }
      }
    }
  }
}

void test_threads_and_scope() {
  const Problem problem{300, 700, 200, false, true, Start::row};
  set_thread_count(1);
  const auto ordinary = problem.product(false), one = problem.product(true);
  set_thread_count(3);
  CHECK(problem.product(true) == one);
  CHECK(problem.product(false) == ordinary);
  CHECK((one != ordinary) == matrix_unit());
  allow_matrix_unit(false);
  CHECK(!matrix_unit());
  CHECK(problem.product(true) == ordinary);
  allow_matrix_unit(true);
  set_thread_count(1);
}

// Numbers of any size that a float can hold well; and what is not finite stays so.
void test_range() {
  for (const double scale : {0x1p-80, 0x1p60}) {
    Problem problem{64, 400, 96, false, false, Start::zero};
    problem.a = normal(64 * 400, scale);
    CHECK(problem.errors(problem.product(true)).largest < 2.5);
  }
  Problem largest{64, 400, 96, false, false, Start::zero};
  largest.a[5 * 400 + 7] = std::numeric_limits<float>::max();  // no bfloat16 is as large
  largest.b = normal(400 * 96, 0.1);
  const auto finite = largest.product(true);
  for (const float value : finite) CHECK(std::isfinite(value));
  CHECK(largest.errors(finite).largest < 2.5);
  Problem problem{64, 400, 96, false, false, Start::zero};
  problem.a[5 * 400 + 7] = std::numeric_limits<float>::infinity();
  problem.b[9 * 96 + 3] = std::numeric_limits<float>::quiet_NaN();
  const auto result = problem.product(true);
  for (Index i = 0; i < 64; ++i) {
    for (Index j = 0; j < 96; ++j) CHECK(std::isfinite(result[static_cast<std::size_t>(i * 96 + j)]) == (i != 5 && j != 3));
  }
}

}  // namespace

int main() {
  std::printf("matrix unit: %s\n", matrix_unit() ? "yes" : "no");
  test_accuracy();
  test_threads_and_scope();
  test_range();
  return failures;
}
