// The structured difference engine against the ordinary forward pass, for every kind of op and loss; exact kinks;
// bit-identical results for any number of threads; rounding errors as predicted; plans that must be refused.
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "gradproof/difference.hpp"
#include "gradproof/thread_pool.hpp"

using namespace gradproof;

namespace {

std::mt19937 generator(11);

struct Layer {
  Kind kind;
  Index n_out = 0;      // dense
  Index pieces = 0;     // maxout
  double scalar = 0.0;  // slope, keep_prob, epsilon
  bool bias = true;     // dense
};

const Layer relu{Kind::relu}, tanh_layer{Kind::tanh}, sigmoid_layer{Kind::sigmoid}, softmax{Kind::softmax};
const Layer leaky{Kind::leaky_relu, 0, 0, 0.1}, dropout{Kind::dropout, 0, 0, 0.7}, batch_norm{Kind::batch_norm, 0, 0, 1e-3};
Layer dense(Index n_out, bool bias = true) { return {Kind::dense, n_out, 0, 0, bias}; }
Layer maxout(Index pieces) { return {Kind::maxout, 0, pieces}; }

template <class T>
constexpr double unit_roundoff = std::numeric_limits<T>::epsilon() / 2.0;

// A network with everything that it points to, at a training forward pass.
template <class T>
class Net {
 public:
  Net(Index n_in, const std::vector<Layer>& layers, Loss loss, Index m, double scale = 1.0) : m(m) {
    std::vector<Index> ops;
    std::vector<double> scalars;
    Index width = n_in, size = 0, statistics = 0, stream = 0;
    for (const Layer& layer : layers) {
      Index n_out = width, weight = -1, bias = -1, aux = 0;
      if (layer.kind == Kind::dense) {
        n_out = layer.n_out;
        weight = size;
        size += width * n_out;
        if (layer.bias) {
          bias = size;
          size += n_out;
        }
      } else if (layer.kind == Kind::batch_norm) {
        weight = size;
        bias = size + width;
        aux = statistics;
        size += 2 * width;
        statistics += 2 * width;
      } else if (layer.kind == Kind::maxout) {
        aux = layer.pieces;
        n_out = width / layer.pieces;
      } else if (layer.kind == Kind::dropout) {
        aux = stream;
      }
      ++stream;
      ops.insert(ops.end(), {static_cast<Index>(layer.kind), width, n_out, weight, bias, aux});
      scalars.insert(scalars.end(), {layer.scalar, 0.9});
      width = n_out;
    }
    std::normal_distribution<double> normal;
    const auto fill = [&](std::vector<T>& values, Index count, double by) {
      for (Index i = 0; i < count; ++i) values.push_back(static_cast<T>(by * normal(generator)));
    };
    fill(theta, size, scale / std::sqrt(3.0));
    fill(x, m * n_in, 1.0);
    buffers.assign(static_cast<std::size_t>(statistics), T(1));
    plan = read_plan(ops.data(), scalars.data(), static_cast<Index>(layers.size()), size, statistics);
    targets.loss = loss;
    for (Index s = 0; s < m; ++s) labels.push_back(s % width);
    fill(values, m * width, 1.0);
    if (loss == Loss::binary_cross_entropy) {
      for (T& value : values) value = std::abs(value) < 1 ? std::abs(value) : T(1);
    }
    run();
  }
  Net(const Net&) = delete;

  // The training forward pass, after a change of theta or x.
  void run() {
    memory.resize(static_cast<std::size_t>(lay_out<T>(plan, m, nullptr).size));
    workspace = lay_out(plan, m, memory.data());
    network_forward(plan, theta.data(), buffers.data(), x.data(), m, workspace, true, stream);
    targets.labels = labels.data();
    targets.values = values.data();
  }

  Point<T> point() const {
    return {plan, theta.data(), static_cast<Index>(theta.size()), x.data(), m, targets, workspace};
  }

  double loss() const { return data_loss<T>(targets, nullptr, point().scores(), m, plan.back().n_out); }

  std::vector<T> gradient() const {
    const Point<T> at = point();
    std::vector<T> dscores(static_cast<std::size_t>(m * plan.back().n_out)), dtheta(theta.size(), T(0));
    data_loss(targets, dscores.data(), at.scores(), m, plan.back().n_out);
    network_backward<T>(plan, theta.data(), x.data(), m, dscores.data(), dtheta.data(), nullptr, workspace);
    return dtheta;
  }

  std::vector<double> pass(Scheme scheme, const std::vector<T>& steps, std::vector<std::uint8_t>* kink = nullptr,
                           const std::vector<Index>* entries = nullptr) const {
    const std::size_t count = entries ? entries->size() : theta.size();
    std::vector<double> change(count, 0.0);
    if (kink) kink->assign(count, 0);
    const Probes<T> probes{entries ? entries->data() : nullptr, static_cast<Index>(count), steps.data(),
                           steps.size() == 1};
    structured_pass(point(), scheme, probes, change.data(), kink ? kink->data() : nullptr);
    return change;
  }

  // Predicted standard deviations of the rounding errors of the gradient and, as the value, of the loss.
  double errors(std::vector<double>& error) const {
    error.assign(theta.size(), 0.0);
    const double loss_error = unit_roundoff<T> * rounding_errors(point(), 0.0, error.data());
    for (double& e : error) e *= unit_roundoff<T>;
    return loss_error;
  }

  Plan plan;
  Index m;
  std::vector<T> theta, x, buffers, values, memory;
  std::vector<std::int64_t> labels;
  Targets<T> targets{};
  Workspace<T> workspace;
  Stream stream{5, 6};
};

struct Case {
  const char* name;
  std::vector<Layer> layers;
  bool smooth;  // the network has no maxima
};

const std::vector<Case> cases{
    {"dense", {dense(4)}, true},
    {"relu", {dense(6), relu, dense(4)}, false},
    {"leaky relu", {dense(6), leaky, dense(5), leaky, dense(4)}, false},
    {"tanh", {dense(6), tanh_layer, dense(5), tanh_layer, dense(4)}, true},
    {"sigmoid", {dense(6), sigmoid_layer, dense(5), sigmoid_layer, dense(4)}, true},
    {"softmax inside", {dense(6), softmax, dense(5), softmax, dense(4)}, true},
    {"softmax twice", {dense(4), softmax, softmax}, true},
    {"maxout", {dense(12), maxout(3), dense(10), maxout(2), dense(4)}, false},
    {"maxout at the end", {dense(6), maxout(1), tanh_layer, dense(8), maxout(2)}, false},
    {"dropout", {dropout, dense(9), relu, dropout, dense(7), tanh_layer, dropout, dense(4)}, false},
    {"batch norm", {dense(6, false), batch_norm, relu, dense(5, false), batch_norm, tanh_layer, dense(4)}, false},
    {"batch norm first and last", {batch_norm, dense(6), tanh_layer, dense(4), batch_norm}, true},
    {"batch norm behind maxout", {dense(12), maxout(2), batch_norm, dropout, dense(4), batch_norm}, false},
    {"elementwise only behind", {dense(6), tanh_layer, sigmoid_layer, leaky, dropout, dense(4), tanh_layer}, false},
    {"deep",
     {dense(7), tanh_layer, dense(6), relu, dense(6), sigmoid_layer, dense(6), batch_norm, leaky, dense(8), maxout(2),
      dense(4)},
     false},
};

constexpr Loss losses[] = {Loss::softmax_cross_entropy, Loss::hinge, Loss::binary_cross_entropy, Loss::mse};

// Changes at finite steps, values of the loss scheme and tangents, all against ordinary forward passes.
template <class T>
void test_against_ordinary_losses(const Case& which, Loss loss, Index m) {
  const Net<T> net(5, which.layers, loss, m);
  const Index size = static_cast<Index>(net.theta.size());
  std::vector<Index> all(net.theta.size());
  std::vector<T> steps(net.theta.size());
  for (Index i = 0; i < size; ++i) {
    all[i] = i;
    const T wanted = T(i % 2 ? 0.5 : -0.25);
    steps[i] = (net.theta[i] + wanted) - net.theta[i];  // what theta + step really is
  }
  std::vector<double> ordinary(net.theta.size());
  ordinary_losses(net.point(), net.buffers.data(), net.stream, all.data(), steps.data(), size, ordinary.data());
  const double base = net.loss();
  const std::vector<double> change = net.pass(Scheme::difference, steps), moved = net.pass(Scheme::loss, steps);
  std::vector<double> error;
  const double allowed = 32 * (net.errors(error) + unit_roundoff<T> * (1 + std::abs(base)));
  for (Index i = 0; i < size; ++i) {
    const double tolerance = allowed + 32 * unit_roundoff<T> * std::abs(ordinary[i]);
    if (!(std::abs(change[i] - (ordinary[i] - base)) <= tolerance) || !(std::abs(moved[i] - ordinary[i]) <= tolerance)) {
      std::printf("%s, loss %d, m %d, parameter %d: base %.17g, ordinary %.17g, difference %.17g, loss %.17g\n",
                  which.name, int(loss), int(m), int(i), base, ordinary[i], change[i], moved[i]);
      ++failures;
      return;
    }
  }
}

// At a step that has no truncation: difference, tangent and backpropagation agree to the rounding that is predicted for
// the gradient, entries or not.
template <class T>
void test_derivatives(const Case& which, Loss loss, Index m) {
  const Net<T> net(5, which.layers, loss, m);
  const Index size = static_cast<Index>(net.theta.size());
  const T h = sizeof(T) == 4 ? T(0x1p-48) : T(0x1p-300);
  std::vector<std::uint8_t> kink, entry_kink;
  const std::vector<double> change = net.pass(Scheme::difference, {h}, &kink), slope = net.pass(Scheme::tangent, {T(1)});
  std::vector<double> error;
  net.errors(error);
  const std::vector<T> gradient = net.gradient();
  std::vector<Index> entries;
  for (Index i = size - 1; i >= 0; i -= 3) entries.push_back(i);
  entries.push_back(entries.front());  // twice the same is legal
  const std::vector<double> chosen = net.pass(Scheme::difference, {h}, &entry_kink, &entries);
  for (Index i = 0; i < size; ++i) {
    const double numeric = change[i] / double(h), tolerance = 12 * error[i] + double(std::numeric_limits<T>::min());
    CHECK(!kink[i]);
    CHECK(std::isfinite(error[i]) && (error[i] > 0 || gradient[i] == 0));
    if (!(std::abs(numeric - gradient[i]) <= tolerance) ||
        !(std::abs(slope[i] - gradient[i]) <= tolerance + 1e-11 / unit_roundoff<T> * error[i])) {
      std::printf("%s, loss %d, m %d, parameter %d: gradient %.17g, difference %.17g, tangent %.17g, error %.3g\n",
                  which.name, int(loss), int(m), int(i), double(gradient[i]), numeric, slope[i], error[i]);
      ++failures;
      return;
    }
  }
  for (std::size_t e = 0; e < entries.size(); ++e) {
    CHECK(std::abs(chosen[e] - change[entries[e]]) <= 12 * error[entries[e]] * double(h));
    CHECK(entry_kink[e] == 0);
  }
}

// Exact ties, by hand. The loss is (f - t)^2 with one row and one output, so that dJ = 2 (f - t) df.
template <class T>
void test_ties() {
  const T h = sizeof(T) == 4 ? T(0x1p-40) : T(0x1p-100);
  std::vector<std::uint8_t> right_kink, left_kink;
  const auto sides = [&](Net<T>& net, std::size_t i, double right, double left, bool kink, const char* what) {
    net.run();
    const double r = net.pass(Scheme::difference, {h}, &right_kink)[i] / double(h);
    const double l = net.pass(Scheme::difference, {-h}, &left_kink)[i] / double(-h);
    check_close(r, right, 4 * unit_roundoff<T>, what);
    check_close(l, left, 4 * unit_roundoff<T>, what);
    if (bool(right_kink[i]) != kink || bool(left_kink[i]) != kink) {
      std::printf("%s: kink %d and %d\n", what, int(right_kink[i]), int(left_kink[i]));
      ++failures;
    }
  };
  {  // relu(0 + 0), then times 2, target 1: dJ/db = 2 (0 - 1) 2 from the right; W sees an input of 0
    Net<T> net(1, {dense(1), relu, dense(1)}, Loss::mse, 1);
    net.theta = {T(3), T(0), T(2), T(0)};
    net.x = {T(0)};
    net.values = {T(1)};
    sides(net, 1, -4, 0, true, "relu, bias");
    sides(net, 0, 0, 0, false, "relu, weight with a zero input");
    sides(net, 2, 0, 0, false, "weight behind a dead relu");
    sides(net, 3, -2, -2, false, "last bias");
  }
  {  // the tie is in the layer behind: a change reaches it through a product
    Net<T> net(1, {dense(1), tanh_layer, dense(1), leaky, dense(1)}, Loss::mse, 1);
    net.theta = {T(0), T(0), T(2), T(0), T(1), T(0)};
    net.x = {T(1)};
    net.values = {T(1)};
    sides(net, 0, -4, -4 * 0.1, true, "leaky relu behind tanh");
    sides(net, 3, -2, -2 * 0.1, true, "leaky relu, own bias");
  }
  {  // two equal pieces; the first is recorded, raising either raises the maximum, lowering either does not
    Net<T> net(1, {dense(2), maxout(2), dense(1)}, Loss::mse, 1);
    net.theta = {T(1), T(1), T(0), T(0), T(2), T(0)};
    net.x = {T(3)};
    net.values = {T(7)};
    CHECK(net.workspace.records[1].winner[0] >= 0);
    sides(net, 0, 2 * (6 - 7) * 2 * 3, 0, true, "maxout, the recorded piece");
    sides(net, 1, 2 * (6 - 7) * 2 * 3, 0, true, "maxout, the other piece");
    CHECK(net.workspace.records[1].winner[0] == 0);
    net.theta[1] = T(0.5);
    sides(net, 0, -12, -12, false, "maxout, the winner");
    sides(net, 1, 0, 0, false, "maxout, a loser");
  }
  {  // maxout with its tie in the rows behind a dense op
    Net<T> net(1, {dense(1), dense(2), maxout(2), dense(1)}, Loss::mse, 1);
    net.theta = {T(1), T(0), T(1), T(2), T(2), T(0), T(1), T(0)};  // pieces 2 + 2 and 2 * 2 + 0
    net.x = {T(2)};
    net.values = {T(3)};
    sides(net, 0, 2 * (4 - 3) * 2 * 2, 2 * (4 - 3) * 2 * 1, true, "maxout behind dense");
  }
  {  // hinge with a margin of exactly 0: raising the wrong score costs, lowering it does not
    Net<T> net(1, {dense(2)}, Loss::hinge, 1);
    net.theta = {T(1), T(0), T(0), T(0)};
    net.x = {T(1)};
    net.labels = {0};
    sides(net, 3, 1, 0, true, "hinge, wrong class");
    sides(net, 2, 0, -1, true, "hinge, true class");
    net.theta[0] = T(0.5);
    sides(net, 3, 1, 1, false, "hinge, inside the margin");
    net.theta[0] = T(2);
    sides(net, 3, 0, 0, false, "hinge, outside the margin");
  }
}

// Pre-activations closer to a kink than any ordinary step: exact all the same.
template <class T>
void test_next_to_a_tie() {
  const T h = sizeof(T) == 4 ? T(0x1p-48) : T(0x1p-300), near = sizeof(T) == 4 ? T(1e-9) : T(1e-15);
  for (const T bias : {near, -near}) {
    Net<T> net(1, {dense(1), relu, dense(1)}, Loss::mse, 1);
    net.theta = {T(1), bias, T(2), T(0)};
    net.x = {T(0)};
    net.values = {T(1)};
    net.run();
    std::vector<std::uint8_t> kink;
    const double slope = net.pass(Scheme::difference, {h}, &kink)[1] / double(h);
    check_close(slope, bias > 0 ? 2 * (2 * bias - 1) * 2 : T(0), 4 * unit_roundoff<T>, "next to a tie");
    CHECK(!kink[1]);
    // A step across it is seen, and its change is that of the straight line to the other side.
    const double across = net.pass(Scheme::difference, {-4 * bias}, &kink)[1];
    const double f0 = 2 * std::max(double(bias), 0.0), f1 = 2 * std::max(-3 * double(bias), 0.0);
    check_close(across / double(near), ((f1 - 1) * (f1 - 1) - (f0 - 1) * (f0 - 1)) / double(near),
                sizeof(T) == 4 ? 0.1 : 0.5, "across a tie");
    CHECK(kink[1]);
  }
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Enough work for the loop to be shared.
template <class T>
void test_threads() {
  const std::vector<Layer> layers{dense(40), relu, dense(40), batch_norm, tanh_layer, dense(40), sigmoid_layer, dense(10)};
  const Net<T> net(24, layers, Loss::softmax_cross_entropy, 8);
  std::vector<std::uint8_t> one_kink, two_kink;
  std::vector<Index> entries;
  for (Index i = 0; i < static_cast<Index>(net.theta.size()); i += 2) entries.push_back(i);
  const std::vector<Index>* const subsets[] = {nullptr, &entries};
  for (const Scheme scheme : {Scheme::difference, Scheme::tangent, Scheme::loss}) {
    for (const std::vector<Index>* chosen : subsets) {
      set_thread_count(1);
      const std::vector<double> one = net.pass(scheme, {T(0.01)}, &one_kink, chosen);
      for (const int threads : {2, 3}) {
        set_thread_count(threads);
        const std::vector<double> two = net.pass(scheme, {T(0.01)}, &two_kink, chosen);
        CHECK(same_bits(one, two));
        CHECK(same_bits(one_kink, two_kink));
      }
    }
  }
  const std::vector<T> steps(entries.size(), T(0.01));
  std::vector<double> one(entries.size()), two(entries.size());
  const Index count = static_cast<Index>(entries.size());
  set_thread_count(1);
  ordinary_losses(net.point(), net.buffers.data(), net.stream, entries.data(), steps.data(), count, one.data());
  set_thread_count(2);
  ordinary_losses(net.point(), net.buffers.data(), net.stream, entries.data(), steps.data(), count, two.data());
  CHECK(same_bits(one, two));
}

void test_plans() {
  constexpr Index huge = Index(1) << 40;
  const Index largest = std::numeric_limits<Index>::max();
  const auto refused = [](std::vector<Index> ops, Index theta_size, Index buffers_size, const char* message) {
    const std::vector<double> scalars(ops.size() / 3);
    try {
      read_plan(ops.data(), scalars.data(), static_cast<Index>(ops.size() / 6), theta_size, buffers_size);
    } catch (const std::invalid_argument& error) {
      if (std::string(error.what()).find(message) == std::string::npos) {
        std::printf("refused with '%s', expected '%s'\n", error.what(), message);
        ++failures;
      }
      return;
    }
    std::printf("not refused: %s\n", message);
    ++failures;
  };
  const Index dense_op = 0, norm = 1, relu_op = 2, maxout_op = 7, dropout_op = 8;
  refused({9, 1, 1, -1, -1, 0}, 10, 10, "ops[0]: unknown kind");
  refused({-1, 1, 1, -1, -1, 0}, 10, 10, "unknown kind");
  refused({relu_op, 0, 0, -1, -1, 0}, 10, 10, "bad width");
  refused({relu_op, -3, -3, -1, -1, 0}, 10, 10, "bad width");
  refused({dense_op, 1, huge, 0, -1, 0}, largest, 10, "bad width");
  refused({dense_op, 2, 3, 0, 6, 0, relu_op, 4, 4, -1, -1, 0}, 9, 0, "ops[1]: n_in is not the width");
  refused({dense_op, 2, 3, 0, 6, 0}, 8, 0, "b lies outside theta");
  refused({dense_op, 2, 3, 0, -2, 0}, 9, 0, "b lies outside theta");
  refused({dense_op, 2, 3, 4, 0, 0}, 9, 0, "W lies outside theta");
  refused({dense_op, 2, 3, -1, 0, 0}, 9, 0, "W lies outside theta");
  refused({dense_op, 2, 3, largest, 0, 0}, 9, 0, "W lies outside theta");
  refused({norm, 2, 3, 0, 2, 0}, 9, 9, "batch norm keeps the width");
  refused({norm, 2, 2, -1, 2, 0}, 4, 4, "gamma lies outside theta");
  refused({norm, 2, 2, 0, 3, 0}, 4, 4, "beta lies outside theta");
  refused({norm, 2, 2, 0, 2, 0}, 4, 3, "running statistics lie outside buffers");
  refused({maxout_op, 6, 3, -1, -1, 3}, 0, 0, "n_in is not n_out * pieces");
  refused({maxout_op, 6, 3, -1, -1, 0}, 0, 0, "n_in is not n_out * pieces");
  refused({dropout_op, 6, 3, -1, -1, 0}, 0, 0, "keeps the width");
}

template <class T>
void test_all() {
  for (const Case& which : cases) {
    for (const Loss loss : losses) {
      for (const Index m : {1, 3, 110}) {  // 110 rows and few perturbations: groups longer than a stack is wide
        test_against_ordinary_losses<T>(which, loss, m);
        test_derivatives<T>(which, loss, m);
      }
    }
  }
  test_ties<T>();
  test_next_to_a_tie<T>();
  test_threads<T>();
}

}  // namespace

int main() {
  test_plans();
  test_all<float>();
  test_all<double>();
  return failures != 0;
}
