// How changes, derivatives or perturbed values pass through the operations that work on each row, or on each feature, by
// itself. Panels (features, lanes) as in lanes.hpp.
#pragma once

#include <algorithm>
#include <vector>

#include "difference_forms.hpp"
#include "gradproof/activations.hpp"
#include "gradproof/difference.hpp"
#include "lanes.hpp"
#include "slopes.hpp"

namespace gradproof {

template <class T>
class Propagation {
 public:
  Propagation(const Point<T>& point, Scheme scheme) : point_(point), scheme_(scheme) {
    if (scheme == Scheme::tangent) slopes_ = measured_slopes(point);
  }

  // Numbers of the base point beside the lanes, one buffer for each worker.
  struct Beside {
    std::vector<T> inputs, outputs;

    void resize(Index lanes) {
      if (static_cast<Index>(inputs.size()) >= lanes) return;
      inputs.resize(static_cast<std::size_t>(lanes));
      outputs.resize(static_cast<std::size_t>(lanes));
    }
  };

  static bool by_feature(Kind kind) { return kind != Kind::dense && kind != Kind::softmax && kind != Kind::maxout; }

  // Feature c through op k, in place. Batch norm wants as many lanes in every row of the batch.
  void feature(std::size_t k, Index c, const Lanes& lanes, T* d, Beside& beside) const {
    const Op& op = point_.plan[k];
    const Record<T>& record = point_.workspace.records[k];
    const Index n = lanes.count();
    const auto scale = [&](const T* factors) {
      lanes.stretches<T>([&](Index begin, Index count, const auto& base) {
        const auto factor = base(factors, op.n_in, c, beside.inputs.data());
#pragma omp simd
        for (Index i = 0; i < count; ++i) d[begin + i] *= factor[i];
      });
    };
    if (op.kind == Kind::batch_norm) {
      const T gamma = point_.theta[op.weight + c];
      if (scheme_ == Scheme::loss) {
        batch_norm_values(d, gamma, point_.theta[op.bias + c], point_.m, n / point_.m, static_cast<T>(op.scalar[0]));
      } else {
        batch_norm_difference(scheme_ == Scheme::tangent, d, record.x_hat + c, op.n_in, record.inv_std[c], gamma,
                              point_.m, n / point_.m);
      }
    } else if (op.kind == Kind::dropout) {
      scale(record.mask);
    } else if (scheme_ == Scheme::loss) {
      activate(op, d, n);
    } else if (scheme_ == Scheme::tangent) {
      scale(slopes_[k].data());
    } else {
      lanes.stretches<T>([&](Index begin, Index count, const auto& base) {
        activation_difference(op, d + begin, base(point_.input(k), op.n_in, c, beside.inputs.data()),
                              base(record.output, op.n_out, c, beside.outputs.data()), count,
                              [&](Index i) { lanes.mark(begin + i); });
      });
    }
  }

  // The pieces of unit u of maxout k, (pieces, lanes), become its maximum.
  void maxout(std::size_t k, Index u, const Lanes& lanes, const T* pieces, T* maximum, Beside& beside) const {
    const Op& op = point_.plan[k];
    const Index n = lanes.count();
    T* best = beside.outputs.data();
    if (scheme_ == Scheme::loss) {
      std::copy(pieces, pieces + n, best);
      for (Index p = 1; p < op.aux; ++p) {
        for (Index i = 0; i < n; ++i) best[i] = std::max(best[i], pieces[p * n + i]);
      }
    } else {
      for (const RowLanes& run : lanes.runs()) {
        maxout_difference(scheme_ == Scheme::tangent, best + run.begin, pieces + run.begin, n,
                          point_.input(k) + run.sample * op.n_in + u * op.aux,
                          Index(point_.workspace.records[k].winner[run.sample * op.n_out + u]), op.aux, run.end - run.begin,
                          [&](Index i) { lanes.mark(run.begin + i); });
      }
    }
    std::copy(best, best + n, maximum);
  }

  // The same where feature `column` alone has changed, to d (lanes).
  void maxout_of_one(std::size_t k, Index column, const Lanes& lanes, T* d, std::vector<T>& pieces, Beside& beside) const {
    const Op& op = point_.plan[k];
    const Index n = lanes.count(), u = column / op.aux;
    pieces.assign(static_cast<std::size_t>(op.aux * n), T(0));
    for (Index p = 0; scheme_ == Scheme::loss && p < op.aux; ++p) {
      lanes.spread(pieces.data() + p * n, point_.input(k), op.n_in, u * op.aux + p);
    }
    std::copy(d, d + n, pieces.data() + (column - u * op.aux) * n);
    maxout(k, u, lanes, pieces.data(), d, beside);
  }

  // A panel (n_in, lanes) through softmax k, in place.
  void softmax(std::size_t k, const Lanes& lanes, T* panel) const {
    const Index n = point_.plan[k].n_in, stride = lanes.count();
    std::vector<T> row(static_cast<std::size_t>(n));
    for (const RowLanes& run : lanes.runs()) {
      for (Index lane = run.begin; lane < run.end; ++lane) {
        for (Index c = 0; c < n; ++c) row[static_cast<std::size_t>(c)] = panel[c * stride + lane];
        if (scheme_ == Scheme::loss) {
          softmax_forward(row.data(), row.data(), Index(1), n);
        } else {
          softmax_difference(scheme_ == Scheme::tangent, row.data(), point_.input(k) + run.sample * n,
                             point_.workspace.records[k].output + run.sample * n, n);
        }
        for (Index c = 0; c < n; ++c) panel[c * stride + lane] = row[static_cast<std::size_t>(c)];
      }
    }
  }

 private:
  // The ordinary forward functions of the elementwise activations, in place.
  static void activate(const Op& op, T* x, Index size) {
    switch (op.kind) {
      case Kind::relu:
        relu_forward(x, x, size);
        break;
      case Kind::leaky_relu:
        leaky_relu_forward(x, x, size, static_cast<T>(op.scalar[0]));
        break;
      case Kind::tanh:
        tanh_forward(x, x, size);
        break;
      default:
        sigmoid_forward(x, x, size);
    }
  }

  const Point<T>& point_;
  const Scheme scheme_;
  std::vector<std::vector<T>> slopes_;  // per op, empty but for activations in the tangent scheme
};

}  // namespace gradproof
