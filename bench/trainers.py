"""The ways to train a multilayer perceptron, ours and others', behind one interface.

A trainer is made for a task and has ``run(steps)``: so many steps of Adam on the task's batches in turn. All start from
the same weights and do the same work; ``losses`` gives what the first steps reported, so that this can be seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import gradproof as gp
from gradproof.train.optimizers import Adam
from gradproof.train.step import Step

Array = NDArray[Any]

# So small that the weights stay where they are however long the clock runs: small gradients would change the time.
RATE = 1e-6
BATCHES = 8
KEEP = 0.8


class Task:
    """Layer widths, rows per batch, batch norm and dropout behind every hidden layer or not, and random data."""

    def __init__(self, text: str, dtype: str) -> None:
        widths, m, *rest = text.split(":")
        self.sizes = [int(width) for width in widths.split("-")]
        self.m, self.normalized, self.dtype = int(m), bool(rest), dtype
        layers: list[Any] = []
        for width in self.sizes[1:-1]:
            extra = [gp.BatchNorm(), gp.ReLU(), gp.Dropout(KEEP)] if self.normalized else [gp.ReLU()]
            layers += [gp.Dense(width), *extra]
        self.model = gp.Sequential(
            [*layers, gp.Dense(self.sizes[-1])], self.sizes[0], "softmax_cross_entropy", dtype=dtype, seed=1
        )
        rng = np.random.default_rng(0)
        rows = BATCHES * self.m
        self.X = rng.standard_normal((rows, self.sizes[0])).astype(dtype)
        self.y = rng.integers(0, self.sizes[-1], rows)
        self.size = self.model.theta.size

    @property
    def name(self) -> str:
        kind = " batch norm, dropout" if self.normalized else ""
        return f"{'-'.join(map(str, self.sizes))} m={self.m}{kind} {self.dtype}"

    @property
    def batches(self) -> list[tuple[Array, Array]]:
        cut = [slice(k * self.m, (k + 1) * self.m) for k in range(BATCHES)]
        return [(self.X[rows].copy(), self.y[rows].copy()) for rows in cut]

    @property
    def dense(self) -> list[tuple[Array, Array]]:
        """Copies of (W, b) of every dense layer. Those before a batch norm have beta in place of b."""
        p = self.model.parameters
        biases = [
            f"batch_norm_{k}.beta" if f"batch_norm_{k}.beta" in p else f"dense_{k}.b"
            for k in range(len(self.sizes) - 1)
        ]
        return [(p[f"dense_{k}.W"].copy(), p[b].copy()) for k, b in enumerate(biases)]

    @property
    def flops(self) -> float:
        """Of the products: forward, dW, and dX of all but the first layer."""
        products = [2.0 * self.m * n_in * n_out for n_in, n_out in zip(self.sizes, self.sizes[1:], strict=False)]
        return 3 * sum(products) - products[0]


class Trainer:
    def __init__(self, task: Task) -> None:
        self.task = task
        self.batches = task.batches
        self.position = 0

    @staticmethod
    def can(task: Task) -> bool:
        return True

    def next(self) -> Any:
        batch = self.batches[self.position % BATCHES]
        self.position += 1
        return batch

    def losses(self, count: int) -> list[float]:
        """Of the first steps."""
        return [float(self.step(*self.next())) for _ in range(count)]

    def step(self, x: Any, y: Any) -> Any:
        raise NotImplementedError

    def run(self, steps: int) -> None:
        step, following = self.step, self.next
        for _ in range(steps):
            step(*following())


class Ours(Trainer):
    """model.step from Python."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.model = task.model.copy()
        self.optimizer = Adam(RATE)
        self.state = self.optimizer.init(self.model.theta)

    def step(self, x: Array, y: Array) -> float:
        return self.model.step(x, y, self.optimizer, self.state)


class OursMany(Ours):
    """What fit calls: batches of a shuffled training set, gathered on the way, in one call."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.steps = Step(self.model, task.X, task.y, self.optimizer, self.state)
        self.order = np.arange(len(task.y))

    def losses(self, count: int) -> list[float]:
        return self.steps.run(self.order[: count * self.task.m], self.task.m).sum(axis=1).tolist()

    def run(self, steps: int) -> None:
        rows = np.random.default_rng(steps).permutation(len(self.order))
        self.steps.run(np.resize(rows, steps * self.task.m), self.task.m)


class Torch(Trainer):
    options: dict[str, Any] = {}
    compiled = False

    def __init__(self, task: Task) -> None:
        import torch

        super().__init__(task)
        torch.manual_seed(0)
        torch.set_num_threads(gp.config()["threads"])
        layers: list[Any] = []
        for n_in, n_out in zip(task.sizes[:-2], task.sizes[1:-1], strict=False):
            layers.append(torch.nn.Linear(n_in, n_out, bias=not task.normalized))
            if task.normalized:
                layers.append(torch.nn.BatchNorm1d(n_out))
            layers.append(torch.nn.ReLU())
            if task.normalized:
                layers.append(torch.nn.Dropout(1 - KEEP))
        module = torch.nn.Sequential(*layers, torch.nn.Linear(*task.sizes[-2:])).to(getattr(torch, task.dtype))
        with torch.no_grad():
            linear = [layer for layer in module if isinstance(layer, torch.nn.Linear)]
            for layer, (W, b) in zip(linear, task.dense, strict=True):
                layer.weight.copy_(torch.from_numpy(W.T))
                if layer.bias is not None:
                    layer.bias.copy_(torch.from_numpy(b))
        self.batches = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in self.batches]
        self.optimizer = torch.optim.Adam(module.parameters(), lr=RATE, **self.options)
        self.module = torch.compile(module) if self.compiled else module
        self.cross_entropy = torch.nn.functional.cross_entropy

    def step(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad()
        loss = self.cross_entropy(self.module(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class TorchFused(Torch):
    options = {"fused": True}


class TorchCompiled(TorchFused):
    compiled = True


class Jax(Trainer):
    """One jitted function whose state is donated."""

    def __init__(self, task: Task) -> None:
        import jax
        import jax.numpy as jnp

        super().__init__(task)
        jax.config.update("jax_enable_x64", True)
        dtype = task.dtype
        parameters: list[Any] = [[jnp.asarray(W), jnp.asarray(b)] for W, b in task.dense]
        statistics: list[Any] = []
        if task.normalized:
            for n, layer in zip(task.sizes[1:-1], parameters, strict=False):
                layer.append(jnp.ones(n, dtype))
                statistics.append([jnp.zeros(n, dtype), jnp.ones(n, dtype)])
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        self.state = (parameters, statistics, zeros, jax.tree.map(jnp.zeros_like, parameters), jnp.zeros((), dtype))
        self.key = jax.random.key(0)

        def loss(parameters: Any, statistics: Any, x: Any, y: Any, key: Any) -> Any:
            moved = []
            for k, (W, b, *scale) in enumerate(parameters[:-1]):
                x = x @ W
                if scale:
                    mean, variance = x.mean(0), x.var(0)
                    x = scale[0] * (x - mean) * jax.lax.rsqrt(variance + 1e-5)
                    moved.append([0.9 * s + 0.1 * v for s, v in zip(statistics[k], (mean, variance), strict=True)])
                x = jax.nn.relu(x + b)
                if scale:
                    key, own = jax.random.split(key)
                    kept = jax.random.bernoulli(own, KEEP, x.shape)
                    x = jnp.where(kept, x / KEEP, 0).astype(dtype)
            W, b = parameters[-1]
            scores = jax.nn.log_softmax(x @ W + b)
            return -jnp.mean(scores[jnp.arange(len(y)), y]), moved

        def step(state: Any, x: Any, y: Any, key: Any) -> Any:
            parameters, statistics, m, s, t = state
            (value, moved), g = jax.value_and_grad(loss, has_aux=True)(parameters, statistics, x, y, key)
            t = t + 1
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            s = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, s, g)
            first, second = 1 / (1 - 0.9**t), 1 / (1 - 0.999**t)
            parameters = jax.tree.map(
                lambda p, m, s: p - RATE * (m * first) / (jnp.sqrt(s * second) + 1e-8), parameters, m, s
            )
            return (parameters, moved, m, s, t), value, jax.random.fold_in(key, 1) if task.normalized else key

        self.jitted = jax.jit(step, donate_argnums=(0, 3) if task.normalized else (0,))
        self.batches = [(jnp.asarray(x), jnp.asarray(y)) for x, y in self.batches]

    def step(self, x: Any, y: Any) -> Any:
        self.state, value, self.key = self.jitted(self.state, x, y, self.key)
        return value

    def run(self, steps: int) -> None:
        super().run(steps)
        self.state[-1].block_until_ready()


class Sklearn(Trainer):
    """MLPClassifier.partial_fit, one batch per call."""

    @staticmethod
    def can(task: Task) -> bool:
        return not task.normalized

    def __init__(self, task: Task) -> None:
        from sklearn.neural_network import MLPClassifier

        super().__init__(task)
        self.classes = np.arange(task.sizes[-1])
        hidden = tuple(task.sizes[1:-1])
        self.network = MLPClassifier(hidden, alpha=0, batch_size=task.m, learning_rate_init=RATE, random_state=0)
        self.network.partial_fit(*self.batches[0], classes=self.classes)
        for k, (W, b) in enumerate(task.dense):
            self.network.coefs_[k][...] = W
            self.network.intercepts_[k][...] = b
        adam = self.network._optimizer  # has made a step
        adam.t = 0
        for moment in (*adam.ms, *adam.vs):
            moment[...] = 0

    def step(self, x: Array, y: Array) -> float:
        self.network.partial_fit(x, y)
        return self.network.loss_


class Numpy(Trainer):
    """As a good NumPy programmer writes it: one flat theta, views into it, temporaries reused where that is natural."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        arrays = []
        for k, (W, b) in enumerate(task.dense):
            arrays += [W, b]
            if task.normalized and k < len(task.sizes) - 2:
                arrays.append(np.ones_like(b))
        self.theta = np.concatenate([a.ravel() for a in arrays])
        self.gradient, self.m, self.s, self.work = (np.zeros_like(self.theta) for _ in range(4))
        self.statistics = [[np.zeros_like(b), np.ones_like(b)] for _, b in task.dense]
        self.t = 0
        self.rows = np.arange(task.m)
        self.rng = np.random.default_rng(0)
        self.p, self.g = self._views(self.theta, arrays), self._views(self.gradient, arrays)

    def _views(self, vector: Array, arrays: list[Array]) -> list[list[Array]]:
        ends = np.cumsum([a.size for a in arrays])
        views = [v.reshape(a.shape) for v, a in zip(np.split(vector, ends[:-1]), arrays, strict=True)]
        per = 3 if self.task.normalized else 2
        return [views[k : k + per] for k in range(0, len(views), per)]

    def step(self, x: Array, y: Array) -> float:
        tape: list[Any] = []
        for (W, b, *scale), running in zip(self.p[:-1], self.statistics, strict=False):
            z = x @ W
            kept: Any = None
            if scale:
                mean = z.mean(0)
                z -= mean
                variance = np.square(z).mean(0)
                inverse = 1 / np.sqrt(variance + 1e-5)
                z *= inverse
                for old, new in zip(running, (mean, variance), strict=True):
                    old *= 0.9
                    old += 0.1 * new
                a = scale[0] * z
                a += b
                positive = a > 0
                mask = self.rng.random(a.shape, dtype=np.float32) < KEEP
                mask &= positive
                a *= mask.astype(a.dtype) / a.dtype.type(KEEP)
                kept = (z, inverse, mask)
            else:
                z += b
                a = np.maximum(z, 0, out=z)
            tape.append((x, a, kept))
            x = a
        W, b = self.p[-1]
        d = x @ W
        d += b
        d -= d.max(axis=1, keepdims=True)
        chosen = d[self.rows, y]
        np.exp(d, out=d)
        total = d.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(total[:, 0]) - chosen))
        d /= total
        d[self.rows, y] -= 1
        d /= len(y)
        for k in reversed(range(len(self.p))):
            if k < len(tape):
                _, a, kept = tape[k]
                if kept is None:
                    d *= a > 0
                else:
                    z, inverse, mask = kept
                    d *= mask.astype(d.dtype) / d.dtype.type(KEEP)
                    gamma, dgamma, dbeta = self.p[k][2], self.g[k][2], self.g[k][1]
                    np.sum(d * z, axis=0, out=dgamma)
                    np.sum(d, axis=0, out=dbeta)
                    d = (gamma * inverse) * (d - dbeta / len(y) - z * (dgamma / len(y)))
            below = tape[k][0] if k < len(tape) else x
            np.matmul(below.T, d, out=self.g[k][0])
            if k == len(tape) or tape[k][2] is None:
                np.sum(d, axis=0, out=self.g[k][1])
            if k:
                d = d @ self.p[k][0].T
        self._adam()
        return loss

    def _adam(self) -> None:
        self.t += 1
        g, m, s, work = self.gradient, self.m, self.s, self.work
        m *= 0.9
        np.multiply(g, 0.1, out=work)
        m += work
        s *= 0.999
        np.multiply(g, g, out=work)
        work *= 0.001
        s += work
        np.sqrt(s, out=work)
        work *= 1 / np.sqrt(1 - 0.999**self.t)
        work += 1e-8
        np.divide(m, work, out=work)
        work *= RATE / (1 - 0.9**self.t)
        self.theta -= work


# Name in the tables, class, the package that it needs.
TRAINERS: dict[str, tuple[type[Trainer], str | None]] = {
    "gradproof, many batches": (OursMany, None),
    "gradproof, model.step": (Ours, None),
    "torch eager": (Torch, "torch"),
    "torch eager, fused Adam": (TorchFused, "torch"),
    "torch.compile, fused Adam": (TorchCompiled, "torch"),
    "JAX jit": (Jax, "jax"),
    "scikit-learn partial_fit": (Sklearn, "sklearn"),
    "NumPy by hand": (Numpy, None),
}
