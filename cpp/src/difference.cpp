#include "gradproof/difference.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "difference_forms.hpp"
#include "gradproof/activations.hpp"
#include "gradproof/batch_norm.hpp"
#include "gradproof/dense.hpp"
#include "gradproof/dropout.hpp"
#include "gradproof/maxout.hpp"
#include "gradproof/reduce.hpp"
#include "gradproof/thread_pool.hpp"
#include "slopes.hpp"
#include "units.hpp"

namespace gradproof {
namespace {

template <class T>
class StructuredPass {
 public:
  StructuredPass(const Point<T>& point, Scheme scheme, const Probes<T>& probes, double* change, std::uint8_t* kink)
      : point_(point),
        scheme_(scheme),
        probes_(probes),
        change_(change),
        kink_(kink),
        loss_(point),
        units_(point.plan, point.m, probes.entries, probes.count) {
    if (scheme == Scheme::tangent) slopes_ = measured_slopes(point);
    batch_norm_behind_.assign(point.plan.size() + 1, false);
    for (std::size_t k = point.plan.size(); k-- > 0;) {
      batch_norm_behind_[k] = batch_norm_behind_[k + 1] || point.plan[k].kind == Kind::batch_norm;
      widest_ = std::max({widest_, point.plan[k].n_in, point.plan[k].n_out});
    }
    // Products are fastest on some 100 rows; more only push the stack out of the cache.
    rows_ = std::max<Index>(point.m, sizeof(T) == 4 ? 192 : 96);
  }

  void run() {
    const int workers = units_.work() < parallel_threshold ? 1 : thread_count();
    std::vector<Scratch> scratch(static_cast<std::size_t>(workers));
    if (workers == 1) {
      for (const Unit& unit : units_.list()) run_unit(unit, scratch[0]);
    } else {
      parallel_for(static_cast<Index>(units_.list().size()), [&](Index unit, int worker) {
        run_unit(units_.list()[static_cast<std::size_t>(unit)], scratch[static_cast<std::size_t>(worker)]);
      });
    }
  }

 private:
  // Buffers of one worker.
  struct Scratch {
    std::vector<Seed> seeds;
    std::vector<Sum> sums;  // over the rows of a seed
    std::vector<std::uint8_t> kinks;
    std::vector<T> direction, column;         // (m)
    std::vector<std::vector<T>> base;         // base columns of the ops that keep a single column
    std::vector<T> pending;                   // the changed column, one scalar a row
    std::vector<Index> sample, seed;          // the row of the batch and the seed that each pending row belongs to
    std::vector<T> stack, next;               // (rows, widest)
    std::vector<T> row;                       // (widest)
  };

  // d output[:, column] / d parameter: the input column for a weight, x_hat for gamma, 1 for biases and beta.
  void seed_direction(const Unit& unit, Index row, T* direction) const {
    const Op& op = point_.plan[unit.op];
    if (row < 0) {
      std::fill(direction, direction + point_.m, T(1));
      return;
    }
    const T* column = op.kind == Kind::dense ? point_.input(unit.op) + row
                                             : point_.workspace.records[unit.op].x_hat + unit.column;
    for (Index s = 0; s < point_.m; ++s) direction[s] = column[s * op.n_in];
  }

  T step_of(const Seed& seed) const { return probes_.steps[probes_.single_step ? 0 : seed.place]; }

  void run_unit(const Unit& unit, Scratch& scratch) const {
    const Plan& plan = point_.plan;
    const Index m = point_.m;
    units_.seeds(unit, scratch.seeds);
    scratch.sums.assign(scratch.seeds.size(), Sum());
    scratch.kinks.assign(scratch.seeds.size(), 0);
    scratch.direction.resize(static_cast<std::size_t>(m));
    scratch.column.resize(static_cast<std::size_t>(m));

    // The ops that keep the change in a single column.
    std::size_t spread = unit.op + 1;  // the first op that does not
    std::vector<Index> columns;        // the column it is in, before each of them
    Index column = unit.column;
    scratch.base.clear();
    while (spread < plan.size() && plan[spread].kind != Kind::dense && plan[spread].kind != Kind::softmax) {
      columns.push_back(column);
      gather_base(spread, column, scratch.base);
      if (plan[spread].kind == Kind::maxout) column /= plan[spread].aux;
      ++spread;
    }
    const bool whole_groups = batch_norm_behind_[spread] || scheme_ == Scheme::loss;

    scratch.pending.clear();
    scratch.sample.clear();
    scratch.seed.clear();
    for (std::size_t k = 0; k < scratch.seeds.size(); ++k) {
      const Seed& seed = scratch.seeds[k];
      seed_direction(unit, seed.row, scratch.direction.data());
      T* d = scratch.column.data();
      const T step = scheme_ == Scheme::tangent ? T(1) : step_of(seed);
      if (scheme_ == Scheme::loss) {
        const T* output = point_.input(unit.op + 1);
        for (Index s = 0; s < m; ++s) {
          d[s] = output[s * plan[unit.op].n_out + unit.column] + step * scratch.direction[s];
        }
      } else {
        for (Index s = 0; s < m; ++s) d[s] = step * scratch.direction[s];
      }
      bool kink = false;
      for (std::size_t t = unit.op + 1; t < spread; ++t) {
        kink |= column_op(t, columns[t - unit.op - 1], scratch.base[t - unit.op - 1], d);
      }
      scratch.kinks[k] = kink;
      append(k, whole_groups, scratch);
      if (static_cast<Index>(scratch.pending.size()) >= rows_) finish_rows(spread, column, scratch);
    }
    finish_rows(spread, column, scratch);

    for (std::size_t k = 0; k < scratch.seeds.size(); ++k) {
      const double mean = scratch.sums[k].value() / static_cast<double>(m);
      // The textbook's loss is a number of the model's own precision.
      change_[scratch.seeds[k].place] = scheme_ == Scheme::loss ? static_cast<double>(static_cast<T>(mean)) : mean;
      if (kink_) kink_[scratch.seeds[k].place] = scratch.kinks[k];
    }
  }

  // Rows whose change is zero do nothing behind this point, unless batch norm mixes the rows of a group.
  void append(std::size_t seed, bool whole_groups, Scratch& scratch) const {
    const T* d = scratch.column.data();
    if (whole_groups && scheme_ != Scheme::loss &&
        std::all_of(d, d + point_.m, [](T value) { return value == T(0); })) {
      return;
    }
    for (Index s = 0; s < point_.m; ++s) {
      if (!whole_groups && d[s] == T(0)) continue;
      scratch.pending.push_back(d[s]);
      scratch.sample.push_back(s);
      scratch.seed.push_back(static_cast<Index>(seed));
    }
  }

  // What column_op needs of the base point, one contiguous column after another.
  void gather_base(std::size_t k, Index column, std::vector<std::vector<T>>& base) const {
    const Op& op = point_.plan[k];
    const Record<T>& record = point_.workspace.records[k];
    const Index m = point_.m;
    std::vector<T> columns;
    const auto gather = [&](const T* matrix, Index width, Index first, Index count) {
      for (Index c = first; c < first + count; ++c) {
        for (Index s = 0; s < m; ++s) columns.push_back(matrix[s * width + c]);
      }
    };
    switch (op.kind) {
      case Kind::batch_norm:
        gather(record.x_hat, op.n_in, column, 1);
        break;
      case Kind::maxout:
        gather(point_.input(k), op.n_in, column / op.aux * op.aux, op.aux);
        break;
      case Kind::dropout:
        gather(record.mask, op.n_in, column, 1);
        break;
      default:
        gather(point_.input(k), op.n_in, column, 1);
        gather(record.output, op.n_out, column, 1);
        if (scheme_ == Scheme::tangent) gather(slopes_[k].data(), op.n_in, column, 1);
    }
    base.push_back(std::move(columns));
  }

  // Passes the change (or the perturbed values) of one column through op k, in place. True: a kink was met.
  bool column_op(std::size_t k, Index column, const std::vector<T>& base, T* d) const {
    const Op& op = point_.plan[k];
    const Record<T>& record = point_.workspace.records[k];
    const Index m = point_.m;
    const T* const b = base.data();
    switch (op.kind) {
      case Kind::batch_norm: {
        const T* gamma = point_.theta + op.weight + column;
        if (scheme_ == Scheme::loss) {
          batch_norm_values(d, gamma, point_.theta + op.bias + column, m, Index(1), static_cast<T>(op.scalar[0]));
        } else {
          batch_norm_difference(scheme_ == Scheme::tangent, d, b, record.inv_std + column, gamma, m, Index(1));
        }
        return false;
      }
      case Kind::maxout: {
        const Index piece = column % op.aux;
        bool kink = false;
        for (Index s = 0; s < m; ++s) {
          T others = -std::numeric_limits<T>::infinity();
          for (Index p = 0; p < op.aux; ++p) {
            if (p != piece) others = std::max(others, b[p * m + s]);
          }
          const T z = b[piece * m + s];
          if (scheme_ == Scheme::loss) {
            d[s] = std::max(d[s], others);
            continue;
          }
          const bool won = record.winner[s * op.n_out + column / op.aux] == piece;
          if (scheme_ == Scheme::tangent) {
            d[s] = won ? d[s] : T(0);
            continue;
          }
          const T best = std::max(z, others);
          const T moved = (z - best) + d[s];
          kink |= d[s] != T(0) && (won ? moved < others - best || z == others : moved > T(0) || z == best);
          d[s] = std::max(others - best, moved);
        }
        return kink;
      }
      case Kind::dropout:
        for (Index s = 0; s < m; ++s) d[s] *= b[s];
        return false;
      default:
        break;
    }
    if (scheme_ == Scheme::tangent) {
      for (Index s = 0; s < m; ++s) d[s] *= b[2 * m + s];
      return false;
    }
    if (scheme_ == Scheme::loss) {
      activate(op, d, m);
      return false;
    }
    return activation_difference(op, d, b, b + m, m);
  }

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

  // Whether op k works on each row by itself.
  bool row_by_row(std::size_t k) const {
    return point_.plan[k].kind != Kind::dense && point_.plan[k].kind != Kind::batch_norm;
  }

  // Spreads the pending rows over op `spread` (or into the loss), takes them through all ops behind it, and adds what
  // arrives to the sums of their seeds. Ops that work row by row run on one row after another, while it is in the cache.
  void finish_rows(std::size_t spread, Index column, Scratch& scratch) const {
    const Plan& plan = point_.plan;
    const Index rows = static_cast<Index>(scratch.pending.size());
    if (rows == 0) return;
    const std::size_t capacity = static_cast<std::size_t>((rows_ + point_.m) * widest_);
    if (scratch.stack.size() < capacity) {
      scratch.stack.resize(capacity);
      scratch.next.resize(capacity);
      scratch.row.resize(static_cast<std::size_t>(widest_));
    }
    std::size_t k = spread < plan.size() && plan[spread].kind == Kind::dense ? spread + 1 : spread;
    k = through_rows(k, rows, scratch, [&](Index r, T* row) { spread_row(spread, column, r, row, scratch); });
    while (k < plan.size()) {
      const Op& op = plan[k];
      if (op.kind == Kind::batch_norm) {
        stack_batch_norm(k, rows, scratch.stack.data());
      } else {
        const T* bias = op.bias >= 0 && scheme_ == Scheme::loss ? point_.theta + op.bias : nullptr;
        dense_forward(scratch.next.data(), scratch.stack.data(), point_.theta + op.weight, bias, rows, op.n_in,
                      op.n_out);
        scratch.stack.swap(scratch.next);
      }
      if (++k == plan.size() || !row_by_row(k)) continue;
      const Index n = op.n_out;
      k = through_rows(k, rows, scratch, [&](Index r, T* row) {
        std::copy(scratch.stack.data() + r * n, scratch.stack.data() + (r + 1) * n, row);
      });
    }
    const Index n = plan.back().n_out;
    const bool small = all_tiny(scratch.stack.data(), rows * n, tiny<T>() / 2);
    for (Index r = 0; r < rows; ++r) {
      const std::size_t at = static_cast<std::size_t>(r), seed = static_cast<std::size_t>(scratch.seed[at]);
      bool kink = false;
      scratch.sums[seed] += loss_.row(scheme_, scratch.sample[at], scratch.stack.data() + r * n, small, kink);
      scratch.kinks[seed] |= kink;
    }
    scratch.pending.clear();
    scratch.sample.clear();
    scratch.seed.clear();
  }

  // Takes every row that fetch(r, row) provides through the ops from `first` on that work row by row, into the stack.
  // Returns the op that comes next. Rows never get wider on the way, so they may come from the stack itself.
  template <class Fetch>
  std::size_t through_rows(std::size_t first, Index rows, Scratch& scratch, const Fetch& fetch) const {
    const Plan& plan = point_.plan;
    std::size_t end = first;
    while (end < plan.size() && row_by_row(end)) ++end;
    const Index n = plan[end - 1].n_out;
    if (first == end) {
      for (Index r = 0; r < rows; ++r) fetch(r, scratch.stack.data() + r * n);
      return end;
    }
    T* row = scratch.row.data();
    for (Index r = 0; r < rows; ++r) {
      const std::size_t at = static_cast<std::size_t>(r);
      fetch(r, row);
      bool kink = false;
      for (std::size_t k = first; k < end; ++k) {
        if (scheme_ == Scheme::loss) {
          row_forward(k, scratch.sample[at], row);
        } else {
          kink |= row_change(k, scratch.sample[at], row);
        }
      }
      std::copy(row, row + n, scratch.stack.data() + r * n);
      scratch.kinks[static_cast<std::size_t>(scratch.seed[at])] |= kink;
    }
    return end;
  }

  // From the one changed scalar of pending row r to the whole row behind op `spread` if that is dense, else before it.
  void spread_row(std::size_t spread, Index column, Index r, T* row, const Scratch& scratch) const {
    const Plan& plan = point_.plan;
    const std::size_t at = static_cast<std::size_t>(r);
    const Index s = scratch.sample[at];
    const T d = scratch.pending[at];
    const Index width = spread < plan.size() ? plan[spread].n_in : plan.back().n_out;
    const T* base = point_.input(spread) + s * width;
    if (spread < plan.size() && plan[spread].kind == Kind::dense) {
      const Index n = plan[spread].n_out;
      const T* weights = point_.theta + plan[spread].weight + column * n;
      if (scheme_ == Scheme::loss) {
        const T* output = point_.input(spread + 1) + s * n;
        for (Index c = 0; c < n; ++c) row[c] = output[c] + (d - base[column]) * weights[c];
      } else {
        for (Index c = 0; c < n; ++c) row[c] = d * weights[c];
      }
      return;
    }
    if (scheme_ == Scheme::loss) {
      std::copy(base, base + width, row);
    } else {
      std::fill(row, row + width, T(0));
    }
    row[column] = d;
  }

  void stack_batch_norm(std::size_t k, Index rows, T* stack) const {
    const Op& op = point_.plan[k];
    const Record<T>& record = point_.workspace.records[k];
    const Index m = point_.m, n = op.n_in;
    const T* gamma = point_.theta + op.weight;
    for (T* group = stack; group < stack + rows * n; group += m * n) {
      if (scheme_ == Scheme::loss) {
        batch_norm_values(group, gamma, point_.theta + op.bias, m, n, static_cast<T>(op.scalar[0]));
      } else {
        batch_norm_difference(scheme_ == Scheme::tangent, group, record.x_hat, record.inv_std, gamma, m, n);
      }
    }
  }

  // Op k of a perturbed row that stands in place of row s of the batch, in place.
  void row_forward(std::size_t k, Index s, T* row) const {
    const Op& op = point_.plan[k];
    switch (op.kind) {
      case Kind::softmax:
        softmax_forward(row, row, Index(1), op.n_in);
        break;
      case Kind::maxout:
        for (Index u = 0; u < op.n_out; ++u) row[u] = *std::max_element(row + u * op.aux, row + (u + 1) * op.aux);
        break;
      case Kind::dropout:
        dropout_forward(row, row, point_.workspace.records[k].mask + s * op.n_in, op.n_in);
        break;
      default:
        activate(op, row, op.n_in);
    }
  }

  // The change (or derivative) before op k in row s of the batch becomes the one behind it, in place.
  bool row_change(std::size_t k, Index s, T* row) const {
    const Op& op = point_.plan[k];
    const Record<T>& record = point_.workspace.records[k];
    const bool tangent = scheme_ == Scheme::tangent;
    const Index n = op.n_in;
    const T* z = point_.input(k) + s * n;
    switch (op.kind) {
      case Kind::maxout:
        return maxout_difference(tangent, row, row, z, record.winner + s * op.n_out, op.n_out, op.aux);
      case Kind::softmax:
        softmax_difference(tangent, row, z, record.output + s * n, n);
        return false;
      case Kind::dropout:
        dropout_forward(row, row, record.mask + s * n, n);
        return false;
      default:
        break;
    }
    if (tangent) {
      const T* slope = slopes_[k].data() + s * n;
      for (Index c = 0; c < n; ++c) row[c] *= slope[c];
      return false;
    }
    return activation_difference(op, row, z, record.output + s * n, n);
  }

  const Point<T>& point_;
  const Scheme scheme_;
  const Probes<T>& probes_;
  double* const change_;
  std::uint8_t* const kink_;
  const LossDifference<T> loss_;
  std::vector<std::vector<T>> slopes_;          // per op, empty but for activations in the tangent scheme
  std::vector<bool> batch_norm_behind_;  // [k]: some op at or behind k is a batch norm
  const Units units_;
  Index widest_ = 0, rows_ = 0;
};

}  // namespace

template <class T>
void structured_pass(const Point<T>& point, Scheme scheme, const Probes<T>& probes, double* change,
                     std::uint8_t* kink) {
  StructuredPass<T>(point, scheme, probes, change, kink).run();
}

template void structured_pass<float>(const Point<float>&, Scheme, const Probes<float>&, double*, std::uint8_t*);
template void structured_pass<double>(const Point<double>&, Scheme, const Probes<double>&, double*, std::uint8_t*);

}  // namespace gradproof
