#include "gradproof/difference.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <numeric>
#include <vector>

#include "gradproof/dense.hpp"
#include "gradproof/reduce.hpp"
#include "gradproof/thread_pool.hpp"
#include "lanes.hpp"
#include "loss_difference.hpp"
#include "propagation.hpp"
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
        propagation_(point, scheme),
        loss_(point),
        units_(point.plan, point.m, probes.entries, probes.count) {
    batch_norm_behind_.assign(point.plan.size() + 1, false);
    for (std::size_t k = point.plan.size(); k-- > 0;) {
      batch_norm_behind_[k] = batch_norm_behind_[k + 1] || point.plan[k].kind == Kind::batch_norm;
      widest_ = std::max(widest_, point.plan[k].n_out);
    }
  }

  bool run(const std::function<bool()>& interrupted) {
    using Clock = std::chrono::steady_clock;
    const int workers = units_.work() < parallel_threshold ? 1 : thread_count();
    std::vector<Scratch> scratch(static_cast<std::size_t>(workers));
    std::atomic<bool> stopped{false};
    Clock::time_point asked = Clock::now();
    const auto body = [&](Index index, int worker) {
      const Unit& unit = units_.list()[static_cast<std::size_t>(index)];
      if (worker == 0 && interrupted && Clock::now() - asked > std::chrono::milliseconds(50)) {  // the calling thread
        if (!stopped && interrupted()) stopped = true;
        asked = Clock::now();
      }
      Scratch& own = scratch[static_cast<std::size_t>(worker)];
      if (stopped) {
        leave_unit(unit, own);
      } else {
        run_unit(unit, own);
      }
    };
    const Index count = static_cast<Index>(units_.list().size());
    if (workers == 1) {
      for (Index index = 0; index < count; ++index) body(index, 0);
    } else {
      parallel_for(count, body);
    }
    return !stopped;
  }

 private:
  // Lanes at a time, of one column and of a panel: some that fit into the first and into the second cache.
  static constexpr Index column_lanes = 1024;
  static constexpr Index panel_lanes = sizeof(T) == 4 ? 256 : 128;

  // Buffers of one worker.
  struct Scratch {
    Seeds seeds;
    std::vector<T> steps;                      // of some seeds
    std::vector<double> changes, sums, lost;   // (m, seeds) of the loss of each row; added up over the rows
    std::vector<std::uint8_t> kinks;
    Lanes column_lanes, lanes;
    std::vector<Index> parameters;  // (lanes): of a column, or what is left of it
    std::vector<T> column, pieces;  // (lanes), (pieces, lanes)
    std::vector<std::uint8_t> active;  // seeds
    std::vector<RowLanes> left;
    std::vector<T> panel, next;     // (widest, lanes)
    std::vector<T> direction;       // (scores)
    std::vector<double> losses;     // (lanes)
    typename Propagation<T>::Beside beside;
    typename LossDifference<T>::Beside beside_loss;
  };

  // How far one changed column stays one: up to op `spread`, where it is column `at`.
  struct Way {
    std::size_t spread;
    Index at;
  };
  Way way_of(const Unit& unit) const {
    Way way{unit.op + 1, unit.column};
    for (; way.spread < point_.plan.size(); ++way.spread) {
      const Op& op = point_.plan[way.spread];
      if (op.kind == Kind::dense || op.kind == Kind::softmax) break;
      if (op.kind == Kind::maxout) way.at /= op.aux;
    }
    return way;
  }

  template <class V>
  static V* fill(std::vector<V>& buffer, Index count, V value) {
    buffer.assign(static_cast<std::size_t>(count), value);
    return buffer.data();
  }

  void leave_unit(const Unit& unit, Scratch& scratch) const {
    units_.seeds(unit, scratch.seeds);
    for (const Index place : scratch.seeds.places) change_[place] = std::numeric_limits<double>::quiet_NaN();
  }

  void run_unit(const Unit& unit, Scratch& scratch) const {
    const Way way = way_of(unit);
    units_.seeds(unit, scratch.seeds);
    const Index seeds = scratch.seeds.size();
    fill(scratch.kinks, seeds, std::uint8_t(0));
    // Batch norm mixes the rows of the batch: then those of a seed stay together.
    const bool whole = batch_norm_behind_[way.spread];
    const Index together = std::max<Index>(1, (whole ? panel_lanes : column_lanes) / point_.m);
    for (Index first = 0; first < seeds; first += together) {
      const Index count = std::min(together, seeds - first);
      change_column(unit, way, first, count, scratch);
      const Index lanes = leave_idle(count, whole, scratch), panel = whole ? lanes : panel_lanes;
      double* changes = fill(scratch.changes, point_.m * count, 0.0);
      for (Index at = 0; at < lanes; at += panel) {
        finish_panel(way, at, std::min(at + panel, lanes), scratch);
        const double* losses = scratch.losses.data();
        for (const RowLanes& run : scratch.lanes.runs()) {
          double* row = changes + run.sample * count - first;
          for (Index i = run.begin; i < run.end; ++i) row[scratch.lanes.parameter(i)] = losses[i];
        }
      }
      keep_means(first, count, scratch);
    }
  }

  // What the seeds first .. first + count - 1 do: the means of scratch.changes (m, count) over the rows.
  void keep_means(Index first, Index count, Scratch& scratch) const {
    double* sums = fill(scratch.sums, count, 0.0);
    double* lost = fill(scratch.lost, count, 0.0);
    for (Index s = 0; s < point_.m; ++s) add_accurately(sums, lost, scratch.changes.data() + s * count, count);
    const Index* places = scratch.seeds.places.data() + first;
    for (Index k = 0; k < count; ++k) {
      const double mean = accurate_sum(sums[k], lost[k]) / static_cast<double>(point_.m);
      // The textbook's loss is a number of the model's own precision.
      change_[places[k]] = scheme_ == Scheme::loss ? static_cast<double>(static_cast<T>(mean)) : mean;
      if (kink_) kink_[places[k]] = scratch.kinks[static_cast<std::size_t>(first + k)];
    }
  }

  // scratch.column (m, count): what the seeds first .. first + count - 1 make of their column, in front of op `spread`.
  void change_column(const Unit& unit, const Way& way, Index first, Index count, Scratch& scratch) const {
    const Index m = point_.m;
    const Op& op = point_.plan[unit.op];
    // d output[:, column] / d parameter: the input column for a weight, x_hat for gamma, 1 for biases and beta.
    const T* factors = op.kind == Kind::dense ? point_.input(unit.op) : point_.workspace.records[unit.op].x_hat + unit.column;
    const T* output = point_.input(unit.op + 1) + unit.column;
    scratch.column.resize(static_cast<std::size_t>(m * count));
    scratch.parameters.resize(static_cast<std::size_t>(m * count));
    scratch.beside.resize(m * count);
    Lanes& lanes = scratch.column_lanes;
    lanes.assign(scratch.parameters.data(), scratch.kinks.data());
    const Index* rows = scratch.seeds.rows.data() + first;
    const Index* places = scratch.seeds.places.data() + first;
    const bool own_steps = scheme_ != Scheme::tangent && !probes_.single_step;
    T* steps = fill(scratch.steps, count, scheme_ == Scheme::tangent ? T(1) : probes_.steps[0]);
    for (Index k = 0; own_steps && k < count; ++k) steps[k] = probes_.steps[places[k]];
    Index in_order = 0;  // of a whole column, all weights
    while (in_order < count && rows[0] >= 0 && rows[in_order] == rows[0] + in_order) ++in_order;
    for (Index s = 0; s < m; ++s) {
      T* d = scratch.column.data() + s * count;
      const T* row = factors + s * op.n_in;
#pragma omp simd
      for (Index k = 0; k < in_order; ++k) d[k] = steps[k] * row[rows[0] + k];
      for (Index k = in_order; k < count; ++k) d[k] = rows[k] < 0 ? steps[k] : steps[k] * row[rows[k]];
      for (Index k = 0; k < count && scheme_ == Scheme::loss; ++k) d[k] += output[s * op.n_out];
      std::iota(&scratch.parameters[0] + s * count, &scratch.parameters[0] + (s + 1) * count, first);
      lanes.append(s, count);
    }
    Index column = unit.column;
    for (std::size_t k = unit.op + 1; k < way.spread; ++k) {
      if (point_.plan[k].kind == Kind::maxout) {
        propagation_.maxout_of_one(k, column, lanes, scratch.column.data(), scratch.pieces, scratch.beside);
        column /= point_.plan[k].aux;
      } else {
        propagation_.feature(k, column, lanes, scratch.column.data(), scratch.beside);
      }
    }
  }

  // Moves the lanes of scratch.column (m, count) that go on to its front, and returns how many these are. Rows whose change is
  // zero do nothing behind this point, unless batch norm mixes them with others.
  Index leave_idle(Index count, bool whole, Scratch& scratch) const {
    const Index m = point_.m;
    T* d = scratch.column.data();
    const bool by_lane = !whole && scheme_ != Scheme::loss;
    std::uint8_t* active = fill(scratch.active, count, std::uint8_t(!whole || scheme_ == Scheme::loss));
    for (Index s = 0; whole && s < m; ++s) {
      for (Index k = 0; k < count; ++k) active[k] |= d[s * count + k] != T(0);
    }
    scratch.left.clear();
    Index* parameters = scratch.parameters.data();
    Index kept = 0;
    for (Index s = 0; s < m; ++s) {
      const Index begin = kept, row = s * count;
      for (Index k = 0; by_lane && k < count; ++k) active[k] = d[row + k] != T(0);
      const Index going = std::accumulate(active, active + count, Index(0));
      if (going == count) {
        std::copy(d + row, d + row + count, d + kept);
        std::copy(parameters + row, parameters + row + count, parameters + kept);
        kept += count;
      }
      for (Index k = 0; going > 0 && going < count && k < count; ++k) {
        d[kept] = d[row + k];
        parameters[kept] = parameters[row + k];
        kept += active[k];
      }
      if (kept > begin) scratch.left.push_back({s, begin, kept});
    }
    return kept;
  }

  // Takes the lanes begin .. end - 1 of what is left of a column to the loss.
  void finish_panel(const Way& way, Index begin, Index end, Scratch& scratch) const {
    const Plan& plan = point_.plan;
    const Index count = end - begin;
    Lanes& lanes = scratch.lanes;
    lanes.assign(scratch.parameters.data() + begin, scratch.kinks.data());
    for (const RowLanes& run : scratch.left) {
      if (run.begin < end && run.end > begin) lanes.append(run.sample, std::min(run.end, end) - std::max(run.begin, begin));
    }
    scratch.losses.resize(static_cast<std::size_t>(count));
    if (const T* direction = direction_of(way, scratch)) {
      const bool tangent = scheme_ == Scheme::tangent;
      return loss_.along(tangent, lanes, scratch.column.data() + begin, direction, scratch.losses.data(), scratch.beside_loss);
    }

    const std::size_t capacity = static_cast<std::size_t>(count * widest_ + LossDifference<T>::beyond);
    if (scratch.panel.size() < capacity) {
      scratch.panel.resize(capacity);
      scratch.next.resize(capacity);
    }
    scratch.beside.resize(count);
    std::size_t k = spread(way, scratch.column.data() + begin, scratch);
    while (k < plan.size()) {
      const Op& op = plan[k];
      if (op.kind == Kind::softmax) {
        propagation_.softmax(k, lanes, scratch.panel.data());
      } else if (op.kind == Kind::maxout) {
        for (Index u = 0; u < op.n_out; ++u) {
          propagation_.maxout(k, u, lanes, scratch.panel.data() + u * op.aux * count, scratch.panel.data() + u * count,
                              scratch.beside);
        }
      } else {
        matmul(scratch.next.data(), point_.theta + op.weight, scratch.panel.data(), op.n_out, op.n_in, count, true, false);
        scratch.panel.swap(scratch.next);
      }
      const T* bias = op.kind == Kind::dense && op.bias >= 0 && scheme_ == Scheme::loss ? point_.theta + op.bias : nullptr;
      k = through_features(k + 1, op.n_out, scratch, [&](Index c, T* d) {
        for (Index i = 0; bias && i < count; ++i) d[i] += bias[c];
      });
    }
    loss_.lanes(scheme_, lanes, scratch.panel.data(), scratch.losses.data(), scratch.beside_loss);
  }

  // Along which direction the changed column moves the scores, where it does no more than that; else null.
  const T* direction_of(const Way& way, Scratch& scratch) const {
    const Plan& plan = point_.plan;
    if (scheme_ == Scheme::loss || point_.targets.loss != Loss::softmax_cross_entropy) return nullptr;
    if (way.spread == plan.size()) {
      fill(scratch.direction, plan.back().n_out, T(0))[way.at] = 1;
      return scratch.direction.data();
    }
    const Op& op = plan[way.spread];
    if (op.kind != Kind::dense || way.spread + 1 < plan.size()) return nullptr;
    return point_.theta + op.weight + way.at * op.n_out;
  }

  // Fills the panel with what the changed column, start (lanes), makes of all features: behind op `spread` if that is dense,
  // else in front of it. Returns the op that comes next.
  std::size_t spread(const Way& way, T* start, Scratch& scratch) const {
    const Plan& plan = point_.plan;
    const Lanes& lanes = scratch.lanes;
    const Index count = lanes.count();
    const bool values = scheme_ == Scheme::loss;
    const Index width = way.spread < plan.size() ? plan[way.spread].n_in : plan.back().n_out;
    const T* base = point_.input(way.spread);
    if (way.spread < plan.size() && plan[way.spread].kind == Kind::dense) {
      const Op& op = plan[way.spread];
      const T* weights = point_.theta + op.weight + way.at * op.n_out;
      const T* output = point_.input(way.spread + 1);
      for (const RowLanes& run : lanes.runs()) {
        for (Index i = run.begin; values && i < run.end; ++i) start[i] -= base[run.sample * width + way.at];
      }
      return through_features(way.spread + 1, op.n_out, scratch, [&](Index c, T* d) {
        const T weight = weights[c];
        if (values) {
          lanes.spread(d, output, op.n_out, c);
          for (Index i = 0; i < count; ++i) d[i] += start[i] * weight;
        } else {
          for (Index i = 0; i < count; ++i) d[i] = start[i] * weight;
        }
      });
    }
    return through_features(way.spread, width, scratch, [&](Index c, T* d) {
      if (c == way.at) {
        std::copy(start, start + count, d);
      } else if (values) {
        lanes.spread(d, base, width, c);
      } else {
        std::fill(d, d + count, T(0));
      }
    });
  }

  // Makes one feature of the panel after the other, by fetch(c, d), and takes it through the ops from `first` on that work on
  // each feature by itself, while it is in the first cache. Returns the op that comes next.
  template <class Fetch>
  std::size_t through_features(std::size_t first, Index width, Scratch& scratch, const Fetch& fetch) const {
    std::size_t end = first;
    while (end < point_.plan.size() && Propagation<T>::by_feature(point_.plan[end].kind)) ++end;
    for (Index c = 0; c < width; ++c) {
      T* d = scratch.panel.data() + c * scratch.lanes.count();
      fetch(c, d);
      for (std::size_t k = first; k < end; ++k) propagation_.feature(k, c, scratch.lanes, d, scratch.beside);
    }
    return end;
  }

  const Point<T>& point_;
  const Scheme scheme_;
  const Probes<T>& probes_;
  double* const change_;
  std::uint8_t* const kink_;
  const Propagation<T> propagation_;
  const LossDifference<T> loss_;
  std::vector<bool> batch_norm_behind_;  // [k]: some op at or behind k is a batch norm
  const Units units_;
  Index widest_ = 0;
};

}  // namespace

template <class T>
bool structured_pass(const Point<T>& point, Scheme scheme, const Probes<T>& probes, double* change, std::uint8_t* kink,
                     const std::function<bool()>& interrupted) {
  return StructuredPass<T>(point, scheme, probes, change, kink).run(interrupted);
}

template bool structured_pass<float>(const Point<float>&, Scheme, const Probes<float>&, double*, std::uint8_t*,
                                     const std::function<bool()>&);
template bool structured_pass<double>(const Point<double>&, Scheme, const Probes<double>&, double*, std::uint8_t*,
                                      const std::function<bool()>&);

}  // namespace gradproof
