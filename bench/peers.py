"""The ways to check the gradient of a multilayer perceptron, ours and others', behind one interface.

A contender is made for a network and has ``run(count)``: check about `count` parameters, and say how many were.
``whole`` says that it cannot check a part. All work in float64 on the same weights, batch and loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gradproof as gp

Array = NDArray[Any]
STEP = 1e-6
FEW = 2000  # entries


class Net:
    """A network of dense layers with ReLU or tanh between them and softmax cross-entropy, and one batch."""

    def __init__(self, sizes: list[int], m: int, activation: str) -> None:
        self.sizes, self.m, self.activation = sizes, m, activation
        layers: list[Any] = []
        for width in sizes[1:-1]:
            layers += [gp.Dense(width), gp.ReLU() if activation == "relu" else gp.Tanh()]
        self.model = gp.Sequential(
            [*layers, gp.Dense(sizes[-1])], sizes[0], loss="softmax_cross_entropy", dtype="float64", seed=1
        )
        rng = np.random.default_rng(0)
        for name, parameter in self.model.parameters.items():
            if name.endswith(".b"):
                parameter[...] = 0.1 * rng.standard_normal(parameter.shape)
        self.X = rng.standard_normal((m, sizes[0]))
        self.y = rng.integers(0, sizes[-1], m)
        self.size = self.model.theta.size

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.sizes))} m={self.m} {self.activation}"

    @property
    def arrays(self) -> list[Array]:
        """Copies of W, b, W, b, ..."""
        return [np.array(parameter) for parameter in self.model.parameters.values()]

    @property
    def flops(self) -> float:
        """Of the products of one structured pass over all parameters: one per layer behind the next is a full one."""
        total, n = 0.0, self.sizes
        for layer in range(1, len(n)):
            behind = 2.0 * self.m * (n[layer + 1] if layer + 1 < len(n) else 1)
            behind += sum(2.0 * self.m * n[k - 1] * n[k] for k in range(layer + 2, len(n)))
            total += (n[layer - 1] + 1) * n[layer] * behind
        return total


class NumpyLoss:
    """The loss as a good NumPy programmer writes it: one flat theta, views into it, no validation."""

    def __init__(self, net: Net) -> None:
        self.theta = net.model.theta.copy()
        self.X, self.y = net.X, net.y
        self.rows = np.arange(net.m)
        self.activate: Any = (lambda z: np.maximum(z, 0, out=z)) if net.activation == "relu" else self._tanh
        self.layers = []
        offset = 0
        for n_in, n_out in zip(net.sizes, net.sizes[1:], strict=False):
            W = self.theta[offset : offset + n_in * n_out].reshape(n_in, n_out)
            b = self.theta[offset + n_in * n_out : offset + (n_in + 1) * n_out]
            self.layers.append((W, b))
            offset += (n_in + 1) * n_out
        assert np.isclose(self(), net.model.loss(net.X, net.y), rtol=1e-13)

    @staticmethod
    def _tanh(z: Array) -> Array:
        return np.tanh(z, out=z)

    def __call__(self) -> float:
        a = self.X
        for W, b in self.layers[:-1]:
            z = a @ W
            z += b
            a = self.activate(z)
        W, b = self.layers[-1]
        s = a @ W
        s += b
        s -= s.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(s).sum(axis=1)) - s[self.rows, self.y]))

    def of(self, entries: Array) -> Callable[[Array], float]:
        """The loss as a function of some entries; as a function of all of theta where they are all."""
        whole = len(entries) == len(self.theta)

        def loss(values: Array) -> float:
            if whole:
                self.theta[...] = values
            else:
                self.theta[entries] = values
            return self()

        return loss


class Contender:
    exhaustive = True
    whole = False
    note = ""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.rng = np.random.default_rng(5)

    def entries(self, count: int) -> Array:
        if count >= self.net.size:
            return np.arange(self.net.size)
        return np.sort(self.rng.choice(self.net.size, count, replace=False))

    def run(self, count: int) -> int:
        raise NotImplementedError


class Ours(Contender):
    """gp.check_model, from the arguments to the verdict, which is what gradcheck gives."""

    whole = True
    scheme = "difference"

    def run(self, count: int) -> int:
        report = gp.check_model(self.net.model, self.net.X, self.net.y, scheme=self.scheme)
        self.note = str(report.verdict.value)
        checked = sum(tensor.checked for tensor in report.tensors.values())
        assert checked == self.net.size
        return checked


class OursTangent(Ours):
    scheme = "tangent"


class OursPrinted(Ours):
    def run(self, count: int) -> int:
        str(gp.check_model(self.net.model, self.net.X, self.net.y))
        return self.net.size


class Torch(Contender):
    """torch.autograd.gradcheck in slow mode on a module's parameters: the only peer that is made to check them all."""

    def __init__(self, net: Net) -> None:
        import torch

        super().__init__(net)
        layers: list[Any] = []
        for n_in, n_out in zip(net.sizes, net.sizes[1:], strict=False):
            layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU() if net.activation == "relu" else torch.nn.Tanh()]
        self.module = torch.nn.Sequential(*layers[:-1]).double()
        self.X, self.y = torch.from_numpy(net.X), torch.from_numpy(net.y)
        with torch.no_grad():
            for parameter, array in zip(self.module.parameters(), net.arrays, strict=True):
                parameter.copy_(torch.from_numpy(array.T if array.ndim == 2 else array))
        self.names = [name for name, _ in self.module.named_parameters()]
        self.tensors = [p.detach().clone() for p in self.module.parameters()]
        loss = float(self.loss(self.names, *self.tensors))
        assert np.isclose(loss, net.model.loss(net.X, net.y), rtol=1e-12)

    def loss(self, names: list[str], *tensors: Any) -> Any:
        from torch.func import functional_call
        from torch.nn.functional import cross_entropy

        return cross_entropy(functional_call(self.module, dict(zip(names, tensors, strict=True)), (self.X,)), self.y)

    def run(self, count: int) -> int:
        """Whole tensors, the smallest first: an evaluation costs the same whichever is moved. As many as fit four times
        `count`, and `FEW` in any case: the time of a handful of entries is that of the overhead around them."""
        from torch.autograd import gradcheck

        order = sorted(range(len(self.tensors)), key=lambda k: self.tensors[k].numel())
        sizes = np.cumsum([self.tensors[k].numel() for k in order])
        chosen = sorted(order[: max(1, int(np.searchsorted(sizes, max(4 * count, FEW), side="right")))])
        wanted = [self.tensors[k].clone().requires_grad_() for k in chosen]
        passed = gradcheck(
            lambda *tensors: self.loss([self.names[k] for k in chosen], *tensors),
            wanted,
            eps=STEP,
            raise_exception=False,
            fast_mode=False,
        )
        self.note = "pass" if passed else "fail"
        return sum(tensor.numel() for tensor in wanted)


class TorchPlain(Torch):
    """The same on a bare function of tensors, without the module's overhead."""

    def loss(self, names: list[str], *tensors: Any) -> Any:
        from torch.nn.functional import cross_entropy, linear

        moved = dict(zip(names, tensors, strict=True))
        parameters = [moved.get(name, tensor) for name, tensor in zip(self.names, self.tensors, strict=True)]
        a = self.X
        for k in range(0, len(parameters) - 2, 2):
            z = linear(a, parameters[k], parameters[k + 1])
            a = z.relu() if self.net.activation == "relu" else z.tanh()
        return cross_entropy(linear(a, parameters[-2], parameters[-1]), self.y)


class FunctionPeer(Contender):
    """Peers that take a NumPy function of a vector."""

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self.loss = NumpyLoss(net)
        self.gradient = net.model.loss_and_gradient(net.X, net.y)[1].astype(np.float64)

    def run(self, count: int) -> int:
        entries = self.entries(count)
        start = self.net.model.theta[entries].astype(np.float64)
        numeric = self.measure(self.loss.of(entries), start, entries)
        self.loss.theta[...] = self.net.model.theta
        self.note = f"{np.linalg.norm(numeric - self.gradient[entries]) / np.linalg.norm(self.gradient[entries]):.0e}"
        return len(entries)

    def measure(self, loss: Callable[[Array], float], start: Array, entries: Array) -> Array:
        raise NotImplementedError


class ScipyCheckGrad(FunctionPeer):
    """scipy.optimize.check_grad: forward differences."""

    def measure(self, loss: Callable[[Array], float], start: Array, entries: Array) -> Array:
        from scipy.optimize import check_grad

        error = check_grad(loss, lambda values: self.gradient[entries], start)
        wanted = self.gradient[entries]
        return wanted + error / np.sqrt(len(wanted))  # all that check_grad tells is the norm of the error


class ScipyCentral(FunctionPeer):
    """scipy's 3-point differences (a private function, there is no public one that loops over a scalar loss)."""

    def measure(self, loss: Callable[[Array], float], start: Array, entries: Array) -> Array:
        from scipy.optimize._numdiff import approx_derivative

        return np.asarray(approx_derivative(loss, start, method="3-point"))


class Numdifftools(FunctionPeer):
    def measure(self, loss: Callable[[Array], float], start: Array, entries: Array) -> Array:
        import numdifftools

        return np.atleast_1d(numdifftools.Gradient(loss)(start))


class NumpyLoop(FunctionPeer):
    """The textbook's loop by hand, theta changed in place: two evaluations per parameter and nothing else."""

    def measure(self, loss: Callable[[Array], float], start: Array, entries: Array) -> Array:
        theta, evaluate = self.loss.theta, self.loss
        numeric = np.empty(len(entries))
        for k, i in enumerate(entries):
            kept = theta[i]
            theta[i] = kept + STEP
            above = evaluate()
            theta[i] = kept - STEP
            numeric[k] = (above - evaluate()) / (2 * STEP)
            theta[i] = kept
        return numeric


class Jax(Contender):
    """jax.test_util.check_grads: one random direction, so a mistake in one entry is likely to pass."""

    exhaustive = False
    whole = True

    def __init__(self, net: Net) -> None:
        import jax
        import jax.numpy as jnp

        super().__init__(net)
        jax.config.update("jax_enable_x64", True)
        X, y = jnp.asarray(net.X), jnp.asarray(net.y)
        activate = jax.nn.relu if net.activation == "relu" else jnp.tanh
        self.parameters = [jnp.asarray(array) for array in net.arrays]

        @jax.jit
        def loss(parameters: Any) -> Any:
            a = X
            for k in range(0, len(parameters) - 2, 2):
                a = activate(a @ parameters[k] + parameters[k + 1])
            s = a @ parameters[-2] + parameters[-1]
            return -jnp.mean(jax.nn.log_softmax(s)[jnp.arange(net.m), y])

        self.loss = loss

    def run(self, count: int) -> int:
        from jax.test_util import check_grads

        self.note = "pass"
        try:
            check_grads(self.loss, (self.parameters,), order=1, modes=("rev",))
        except AssertionError:  # its difference steps over kinks of ReLU
            self.note = "fail"
        return self.net.size


# Name in the tables, class, the package that it needs.
CONTENDERS: dict[str, tuple[type[Contender], str | None]] = {
    "gradproof, difference": (Ours, None),
    "gradproof, tangent": (OursTangent, None),
    "gradproof, difference, printed": (OursPrinted, None),
    "torch gradcheck slow, module": (Torch, "torch"),
    "torch gradcheck slow, function": (TorchPlain, "torch"),
    "scipy check_grad": (ScipyCheckGrad, "scipy"),
    "scipy 3-point": (ScipyCentral, "scipy"),
    "numdifftools Gradient": (Numdifftools, "numdifftools"),
    "NumPy loop in place": (NumpyLoop, None),
    "jax check_grads (one direction)": (Jax, "jax"),
}
