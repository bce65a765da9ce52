"""The same networks in plain NumPy, to read and to test against.

Backpropagation is the chain rule, layer by layer from the end: each layer is given ``dy``, the derivative of the cost
with respect to its output, and returns ``dx``, that with respect to its input, which is the ``dy`` of the layer before.
On the way it leaves the derivatives with respect to its parameters. What the forward pass computed and the backward
pass needs again is kept on a tape, one entry per layer.

    layer        forward                           backward
    dense        y = x W + b                       dW = x^T dy;  db = sum over rows of dy;  dx = dy W^T
    relu         y = max(x, 0)                     dx = dy where x > 0
    tanh         y = tanh x                        dx = dy (1 - y^2)
    sigmoid      y = 1 / (1 + exp(-x))             dx = dy y (1 - y)
    softmax      y = exp x / sum exp x             dx = y (dy - sum of dy y)
    maxout       y = max over pieces               dx = dy for the piece that won
    dropout      y = x mask / keep_prob            dx = dy mask / keep_prob
    batch norm   y = gamma (x - mean) / std + beta dx = gamma / std (dy - mean(dy) - x_hat mean(dy x_hat))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from numpy.typing import NDArray

from gradproof.nn import python_layer
from gradproof.nn.layers import BatchNorm, Dense, Dropout, LeakyReLU, Maxout, ReLU, Sigmoid, Softmax, Tanh
from gradproof.nn.layout import Views
from gradproof.nn.network import Network
from gradproof.nn.reference import kernels
from gradproof.nn.structure import Node

Array = NDArray[Any]
Tape: TypeAlias = list[Any]


class Sequential(Network):
    """The twin of :class:`gradproof.Sequential`: the same arguments, parameter names, layout of theta and methods.

    Parameters
    ----------
    layers, input_size, loss, l1, l2, dtype, seed
        As there.

    Examples
    --------
    >>> twin = reference.Sequential(model.layers, model.input_size, model.loss_name, seed=model.seed)
    >>> twin.theta = model.theta
    """

    def _forward(self, X: Array, training: bool) -> tuple[Array, Tape]:
        tape = []
        for node in self.structure.nodes:
            X, cache = self._layer_forward(node, X, training)
            tape.append(cache)
        return X, tape

    def _backward(self, dscores: Array, tape: Tape, gradient: Array) -> None:
        dy = dscores
        gradients = Views(self.layout, gradient)
        for node, cache in zip(reversed(self.structure.nodes), reversed(tape), strict=True):
            dy = self._layer_backward(node, dy, cache, gradients)

    def _data_loss(self, scores: Array, targets: Array) -> tuple[float, Array]:
        loss: Callable[[Array, Array], tuple[float, Array]] = getattr(kernels, self.loss_name)
        return loss(scores, targets)

    def _add_penalty(self, kind: str, strength: float, W: Array, dW: Array | None) -> float:
        value, derivative = (kernels.l1 if kind == "l1" else kernels.l2)(W, strength)
        if dW is not None:
            dW += derivative
        return value

    def _layer_forward(self, node: Node, x: Array, training: bool) -> tuple[Array, Any]:
        """``y``, and what the backward pass of the layer needs."""
        match node.layer:
            case Dense():
                W, b = self._parameter(node, "W"), self._parameter(node, "b")
                return kernels.dense_forward(x, W, b), x
            case ReLU():
                return kernels.relu_forward(x), x
            case LeakyReLU(slope=slope):
                return kernels.leaky_relu_forward(x, slope), x
            case Tanh():
                y = kernels.tanh_forward(x)
                return y, y
            case Sigmoid():
                y = kernels.sigmoid_forward(x)
                return y, y
            case Softmax():
                y = kernels.softmax_forward(x)
                return y, y
            case Maxout(pieces=pieces):
                z = kernels.dense_forward(x, self._parameter(node, "W"), self._parameter(node, "b"))
                y, winner = kernels.maxout_forward(z, pieces)
                return y, (x, winner)
            case Dropout(keep_prob=keep_prob):
                if not training:
                    return x, None
                mask = kernels.dropout_mask(
                    x.shape, keep_prob, seed=self.seed, stream=node.index, step=self.dropout_step, dtype=self.dtype.name
                )
                return kernels.dropout_forward(x, mask), mask
            case BatchNorm(epsilon=epsilon):
                gamma, beta = self._parameter(node, "gamma"), self._parameter(node, "beta")
                if not training:
                    mean, variance = self._running(node)
                    return kernels.batch_norm_inference(x, gamma, beta, mean, variance, epsilon), None
                y, x_hat, mean, inv_std, variance = kernels.batch_norm_forward(x, gamma, beta, epsilon)
                return y, (x_hat, mean, inv_std, variance)
            case _:
                return python_layer.forward(node, x, self.parameters, training)

    def _layer_backward(self, node: Node, dy: Array, cache: Any, gradients: Views) -> Array:
        """``dx``; the derivatives with respect to the layer's parameters are added to `gradients`."""
        match node.layer:
            case Dense():
                return self._dense_backward(node, dy, cache, gradients)
            case ReLU():
                return kernels.relu_backward(dy, cache)
            case LeakyReLU(slope=slope):
                return kernels.leaky_relu_backward(dy, cache, slope)
            case Tanh():
                return kernels.tanh_backward(dy, cache)
            case Sigmoid():
                return kernels.sigmoid_backward(dy, cache)
            case Softmax():
                return kernels.softmax_backward(dy, cache)
            case Maxout(pieces=pieces):
                x, winner = cache
                return self._dense_backward(node, kernels.maxout_backward(dy, winner, pieces), x, gradients)
            case Dropout():
                return kernels.dropout_backward(dy, cache)
            case BatchNorm():
                x_hat, _, inv_std, _ = cache
                dx, dgamma, dbeta = kernels.batch_norm_backward(dy, x_hat, inv_std, self._parameter(node, "gamma"))
                gradients[node.path("gamma")] += dgamma
                gradients[node.path("beta")] += dbeta
                return dx
            case _:
                return python_layer.backward(node, dy, cache, self.parameters, gradients)

    def _dense_backward(self, node: Node, dy: Array, x: Array, gradients: Views) -> Array:
        dx, dW, db = kernels.dense_backward(dy, x, self._parameter(node, "W"))
        gradients[node.path("W")] += dW
        if "b" in node.shapes:
            gradients[node.path("b")] += db
        return dx

    def _update_statistics(self, tape: Tape) -> None:
        for node, cache in zip(self.structure.nodes, tape, strict=True):
            if isinstance(node.layer, BatchNorm):
                _, mean, _, variance = cache
                updated = kernels.batch_norm_update(*self._running(node), mean, variance, node.layer.decay)
                self.statistics[node.path("running_mean")], self.statistics[node.path("running_variance")] = updated

    def _parameter(self, node: Node, name: str) -> Any:
        return self.parameters[node.path(name)] if name in node.shapes else None

    def _running(self, node: Node) -> tuple[Array, Array]:
        return self.statistics[node.path("running_mean")], self.statistics[node.path("running_variance")]
