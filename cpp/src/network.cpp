#include "gradproof/network.hpp"

#include <algorithm>

#include "gradproof/activations.hpp"
#include "gradproof/batch_norm.hpp"
#include "gradproof/careful.hpp"
#include "gradproof/dense.hpp"
#include "gradproof/dropout.hpp"
#include "gradproof/losses.hpp"
#include "gradproof/maxout.hpp"

namespace gradproof {

template <class T>
Workspace<T> lay_out(const Plan& plan, Index m, T* memory) {
  Workspace<T> workspace;
  const auto take = [&](Index count) -> T* {
    T* start = memory ? memory + workspace.size : nullptr;
    workspace.size += count;
    return start;
  };
  Index widest = 0;
  for (const Op& op : plan) {
    Record<T> record{};
    record.output = take(m * op.n_out);
    if (op.kind == Kind::batch_norm) {
      record.x_hat = take(m * op.n_in);
      record.mean = take(op.n_in);
      record.inv_std = take(op.n_in);
      record.variance = take(op.n_in);
    } else if (op.kind == Kind::maxout) {
      record.winner = reinterpret_cast<std::int32_t*>(take(m * op.n_out));  // sizeof(T) >= sizeof(int32)
    } else if (op.kind == Kind::dropout) {
      record.mask = take(m * op.n_in);
    }
    widest = std::max({widest, op.n_in, op.n_out});
    workspace.records.push_back(record);
  }
  workspace.dy = take(m * widest);
  workspace.dx = take(m * widest);
  return workspace;
}

namespace {

template <class T>
using DenseForward = void (*)(T*, const T*, const T*, const T*, Index, Index, Index);

template <class T>
void run_forward(const Plan& plan, const T* theta, const T* buffers, const T* x, Index m,
                 const Workspace<T>& workspace, bool training, Stream stream, DenseForward<T> dense,
                 std::size_t first) {
  if (first > 0) x = workspace.records[first - 1].output;
  for (std::size_t k = first; k < plan.size(); ++k) {
    const Op& op = plan[k];
    const Record<T>& record = workspace.records[k];
    T* y = record.output;
    const Index size = m * op.n_in;
    switch (op.kind) {
      case Kind::dense:
        dense(y, x, theta + op.weight, op.bias < 0 ? nullptr : theta + op.bias, m, op.n_in, op.n_out);
        break;
      case Kind::batch_norm:
        if (training) {
          batch_norm_forward(y, record.x_hat, record.mean, record.inv_std, record.variance, x, theta + op.weight,
                             theta + op.bias, m, op.n_in, static_cast<T>(op.scalar[0]));
        } else {
          batch_norm_inference(y, x, theta + op.weight, theta + op.bias, buffers + op.aux, buffers + op.aux + op.n_in,
                               m, op.n_in, static_cast<T>(op.scalar[0]));
        }
        break;
      case Kind::relu:
        relu_forward(y, x, size);
        break;
      case Kind::leaky_relu:
        leaky_relu_forward(y, x, size, static_cast<T>(op.scalar[0]));
        break;
      case Kind::tanh:
        tanh_forward(y, x, size);
        break;
      case Kind::sigmoid:
        sigmoid_forward(y, x, size);
        break;
      case Kind::softmax:
        softmax_forward(y, x, m, op.n_in);
        break;
      case Kind::maxout:
        maxout_forward(y, record.winner, x, m, op.n_out, op.aux);
        break;
      case Kind::dropout:
        if (training) {
          dropout_mask(record.mask, size, op.scalar[0], stream.seed,
                       static_cast<std::uint64_t>(op.aux), stream.step);
          dropout_forward(y, x, record.mask, size);
        } else {
          std::copy(x, x + size, y);
        }
        break;
    }
    x = y;
  }
}

}  // namespace

template <class T>
void network_forward(const Plan& plan, const T* theta, const T* buffers, const T* x, Index m,
                     const Workspace<T>& workspace, bool training, Stream stream, std::size_t first) {
  run_forward<T>(plan, theta, buffers, x, m, workspace, training, stream, dense_forward<T>, first);
}

template <class T>
void careful_forward(const Plan& plan, const T* theta, const T* x, Index m, const Workspace<T>& workspace,
                     Stream stream) {
  run_forward<T>(plan, theta, nullptr, x, m, workspace, true, stream, careful_dense_forward<T>, 0);
}

template <class T>
void network_update_statistics(const Plan& plan, T* buffers, const Workspace<T>& workspace) {
  for (std::size_t k = 0; k < plan.size(); ++k) {
    const Op& op = plan[k];
    if (op.kind != Kind::batch_norm) continue;
    batch_norm_update(buffers + op.aux, buffers + op.aux + op.n_in, workspace.records[k].mean,
                      workspace.records[k].variance, op.n_in, static_cast<T>(op.scalar[1]));
  }
}

template <class T>
void network_backward(const Plan& plan, const T* theta, const T* x, Index m, const T* dy, T* gradient, T* dx,
                      const Workspace<T>& workspace, std::vector<std::vector<T>>* inner, bool fresh) {
  T* spare[2] = {workspace.dx, workspace.dy};
  for (std::size_t k = plan.size(); k-- > 0;) {
    const Op& op = plan[k];
    const Record<T>& record = workspace.records[k];
    const T* input = k == 0 ? x : workspace.records[k - 1].output;
    // Below the first op nobody needs dJ/dx unless the caller asks for it.
    T* down = k == 0 ? dx : spare[k % 2];
    const Index size = m * op.n_in;
    if (op.kind == Kind::dense) {
      dense_backward(down, gradient + op.weight, op.bias < 0 ? nullptr : gradient + op.bias, dy, input,
                     theta + op.weight, m, op.n_in, op.n_out, fresh);
    } else {
      if (!down && op.kind != Kind::batch_norm) return;
      if (!down) down = spare[0];  // batch norm first: its parameters still want their gradient
      switch (op.kind) {
        case Kind::batch_norm:
          if (fresh) {
            std::fill_n(gradient + op.weight, op.n_in, T(0));
            std::fill_n(gradient + op.bias, op.n_in, T(0));
          }
          batch_norm_backward(down, gradient + op.weight, gradient + op.bias, dy, record.x_hat, record.inv_std,
                              theta + op.weight, m, op.n_in);
          break;
        case Kind::relu:
          relu_backward(down, dy, input, size);
          break;
        case Kind::leaky_relu:
          leaky_relu_backward(down, dy, input, size, static_cast<T>(op.scalar[0]));
          break;
        case Kind::tanh:
          tanh_backward(down, dy, record.output, size);
          break;
        case Kind::sigmoid:
          sigmoid_backward(down, dy, record.output, size);
          break;
        case Kind::softmax:
          softmax_backward(down, dy, record.output, m, op.n_in);
          break;
        case Kind::maxout:
          maxout_backward(down, dy, record.winner, m, op.n_out, op.aux);
          break;
        case Kind::dropout:
          dropout_backward(down, dy, record.mask, size);
          break;
        case Kind::dense:
          break;
      }
    }
    if (inner && k > 0) (*inner)[k].assign(down, down + size);
    dy = down;
  }
}

template <class T>
double data_loss(const Targets<T>& targets, T* dscores, const T* scores, Index m, Index n) {
  switch (targets.loss) {
    case Loss::softmax_cross_entropy:
      return softmax_cross_entropy(dscores, scores, targets.labels, m, n);
    case Loss::hinge:
      return hinge(dscores, scores, targets.labels, m, n, T(1));
    case Loss::binary_cross_entropy:
      return binary_cross_entropy(dscores, scores, targets.values, m, n);
    case Loss::mse:
      break;
  }
  return mse(dscores, scores, targets.values, m, n);
}

#define GRADPROOF_INSTANTIATE(T)                                                                                     \
  template Workspace<T> lay_out<T>(const Plan&, Index, T*);                                                          \
  template void network_forward<T>(const Plan&, const T*, const T*, const T*, Index, const Workspace<T>&, bool,      \
                                   Stream, std::size_t);                                                             \
  template void careful_forward<T>(const Plan&, const T*, const T*, Index, const Workspace<T>&, Stream);             \
  template void network_update_statistics<T>(const Plan&, T*, const Workspace<T>&);                                  \
  template void network_backward<T>(const Plan&, const T*, const T*, Index, const T*, T*, T*, const Workspace<T>&,  \
                                    std::vector<std::vector<T>>*, bool);                                                 \
  template double data_loss<T>(const Targets<T>&, T*, const T*, Index, Index);

GRADPROOF_INSTANTIATE(float)
GRADPROOF_INSTANTIATE(double)
#undef GRADPROOF_INSTANTIATE

}  // namespace gradproof
