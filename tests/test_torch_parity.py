"""Networks and training steps against PyTorch's in float64: layers, losses, running statistics, optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof.train.optimizers import SGD, Adam, Momentum, RMSprop
from gradproof.train.step import Step

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install gradproof[torch]")

TOLERANCE = 1e-12
M, N_IN, N_OUT = 24, 6, 5
DECAY = 0.9


class Maxout(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, n_in: int, units: int, pieces: int) -> None:
        super().__init__()
        self.linear, self.units, self.pieces = torch.nn.Linear(n_in, units * pieces), units, pieces

    def forward(self, x: Any) -> Any:
        return self.linear(x).reshape(len(x), self.units, self.pieces).amax(dim=2)


class Masked(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Dropout with the masks of the other side: random numbers are nobody's standard."""

    def __init__(self, model: Any, index: int, keep_prob: float) -> None:
        super().__init__()
        self.model, self.index, self.keep_prob = model, index, keep_prob

    def forward(self, x: Any) -> Any:
        if not self.training:
            return x
        model = self.model
        mask = gp.kernels.dropout_mask(
            tuple(x.shape), self.keep_prob, seed=model.seed, stream=self.index, step=model.dropout_step
        )
        return x * torch.from_numpy(mask)


LAYERS: dict[str, list[Any]] = {
    "dense": [gp.Dense(8)],
    "relu": [gp.Dense(8), gp.ReLU()],
    "leaky_relu": [gp.Dense(8), gp.LeakyReLU(0.1)],
    "tanh": [gp.Dense(8), gp.Tanh()],
    "sigmoid": [gp.Dense(8), gp.Sigmoid()],
    "softmax": [gp.Dense(8), gp.Softmax()],
    "maxout": [gp.Maxout(6, 3)],
    "dropout": [gp.Dropout(0.9), gp.Dense(8), gp.Tanh(), gp.Dropout(0.6)],
    "batch_norm": [gp.Dense(8, bias=False), gp.BatchNorm(decay=DECAY, epsilon=1e-3), gp.Tanh()],
    "all": [
        gp.BatchNorm(decay=DECAY),
        gp.Maxout(9, 2),
        gp.BatchNorm(decay=DECAY),
        gp.ReLU(),
        gp.Dropout(0.8),
        gp.Dense(7),
        gp.LeakyReLU(0.2),
    ],
}
LOSSES = ("softmax_cross_entropy", "hinge", "binary_cross_entropy", "mse")


def module_of(model: Any) -> Any:
    """The same network, with the same parameters."""
    modules: list[Any] = []
    pairs: list[tuple[str, Any]] = []
    for node in model.structure.nodes:
        match node.layer:
            case gp.Dense():
                module: Any = torch.nn.Linear(node.n_in, node.n_out, bias="b" in node.shapes)
                pairs += [(node.path("W"), module.weight), (node.path("b"), module.bias)]
            case gp.Maxout(units=units, pieces=pieces):
                module = Maxout(node.n_in, units, pieces)
                pairs += [(node.path("W"), module.linear.weight), (node.path("b"), module.linear.bias)]
            case gp.BatchNorm(epsilon=epsilon, decay=decay):
                module = torch.nn.BatchNorm1d(node.n_in, eps=epsilon, momentum=1 - decay)
                pairs += [(node.path("gamma"), module.weight), (node.path("beta"), module.bias)]
            case gp.Dropout(keep_prob=keep_prob):
                module = Masked(model, node.index, keep_prob)
            case gp.LeakyReLU(slope=slope):
                module = torch.nn.LeakyReLU(slope)
            case gp.Softmax():
                module = torch.nn.Softmax(dim=1)
            case layer:
                module = {gp.ReLU: torch.nn.ReLU, gp.Tanh: torch.nn.Tanh, gp.Sigmoid: torch.nn.Sigmoid}[type(layer)]()
        modules.append(module)
    network = torch.nn.Sequential(*modules).double()
    network.pairs = [(name, parameter) for name, parameter in pairs if parameter is not None]
    with torch.no_grad():
        for name, parameter in network.pairs:
            parameter.copy_(torch.from_numpy(model.parameters[name].T.copy()))
    return network


def flat(model: Any, tensors: dict[str, Any]) -> np.ndarray:
    """Tensors by our names as one vector in the layout of theta."""
    vector = np.zeros(model.theta.size)
    for name, tensor in tensors.items():
        model.layout.view(vector, name)[...] = tensor.detach().numpy().T
    return vector


def loss_of(name: str, scores: Any, y: Any) -> Any:
    functional = torch.nn.functional
    if name == "softmax_cross_entropy":
        return functional.cross_entropy(scores, y)
    if name == "hinge":  # PyTorch's divides by the number of classes
        return functional.multi_margin_loss(scores, y) * scores.shape[1]
    if name == "binary_cross_entropy":
        return functional.binary_cross_entropy_with_logits(scores, y)
    return functional.mse_loss(scores, y)


def statistics(network: Any, m: int) -> np.ndarray:
    """PyTorch's, whose variance is the unbiased one: started at 1, it is 0.9 + 0.1 v m / (m - 1) after a step."""
    parts = []
    for module in network:
        if isinstance(module, torch.nn.BatchNorm1d):
            steps = int(module.num_batches_tracked)
            start = DECAY**steps
            biased = start + (module.running_var.numpy() - start) * (m - 1) / m
            parts += [module.running_mean.numpy(), biased]
    return np.concatenate(parts) if parts else np.zeros(0)


def close(ours: Any, theirs: Any) -> None:
    theirs = np.asarray(theirs)
    scale = float(np.max(np.abs(theirs), initial=0.0))
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE * max(scale, 1e-3))


@pytest.fixture
def problem(rng: np.random.Generator, targets: Any) -> Any:
    def make(layers: str, loss: str) -> tuple[Any, Any, np.ndarray, np.ndarray]:
        model = gp.Sequential([*LAYERS[layers], gp.Dense(N_OUT)], N_IN, loss, dtype="float64", seed=4)
        for parameter in model.parameters.values():
            if parameter.ndim == 1:
                parameter[...] += 0.3 * rng.normal(size=parameter.shape)
        return model, module_of(model), rng.normal(size=(M, N_IN)), targets(loss, M, N_OUT)

    return make


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layers", LAYERS)
def test_losses_gradients_and_predictions(layers: str, loss: str, problem: Any):
    model, network, X, y = problem(layers, loss)
    x, t = torch.from_numpy(X), torch.from_numpy(y)
    network.train()
    value = loss_of(loss, network(x), t)
    value.backward()
    ours, gradient = model.loss_and_gradient(X, y)
    close(ours, value.item())
    close(gradient, flat(model, {name: parameter.grad for name, parameter in network.pairs}))

    optimizer = SGD(0.0)
    model.step(X, y, optimizer, optimizer.init(model.theta))  # for the statistics
    close(model.buffers, statistics(network, M))
    network.eval()
    for module in network:
        if isinstance(module, torch.nn.BatchNorm1d):  # biased, as ours
            module.running_var.copy_(DECAY + (module.running_var - DECAY) * (M - 1) / M)
    with torch.no_grad():
        close(model.forward(X), network(x).numpy())
        close(model.loss(X, y, training=False), loss_of(loss, network(x), t).item())


OPTIMIZERS: dict[str, tuple[Any, Any]] = {
    "sgd": (SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    # PyTorch's average has weight 1 / (1 - beta) in all, ours 1.
    "momentum": (Momentum(0.1, beta=0.9), lambda p: torch.optim.SGD(p, lr=0.1 * (1 - 0.9), momentum=0.9)),
    "rmsprop": (RMSprop(1e-2, beta=0.9), lambda p: torch.optim.RMSprop(p, lr=1e-2, alpha=0.9, eps=1e-8)),
    "adam": (Adam(1e-2), lambda p: torch.optim.Adam(p, lr=1e-2)),
    "adamw": (Adam(1e-2, weight_decay=0.1), lambda p: torch.optim.AdamW(_groups(p), lr=1e-2)),
    "clipped": (Adam(1e-2, clip_norm=1e-3, epsilon=1e-3), lambda p: torch.optim.Adam(p, lr=1e-2, eps=1e-3)),
}


def _groups(parameters: list[Any]) -> list[dict[str, Any]]:
    """Weights decay, biases do not."""
    matrices = [p for p in parameters if p.ndim == 2]
    return [
        {"params": matrices, "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("layers", ["tanh", "batch_norm", "all"])
def test_training_steps(layers: str, optimizer: str, problem: Any):
    """Twelve steps on three batches. Rounding grows on the way: where a ReLU is at its kink, or a gradient of Adam near
    zero, it may grow without bounds, but not with these."""
    model, network, X, y = problem(layers, "softmax_cross_entropy")
    rule, make = OPTIMIZERS[optimizer]
    theirs = make([parameter for _, parameter in network.pairs])
    state = rule.init(model.theta)
    step = Step(model, X, y, rule, state)
    network.train()
    order = np.arange(M)
    for _ in range(4):
        for start in range(0, M, 8):
            rows = order[start : start + 8]
            theirs.zero_grad()
            value = loss_of(model.loss_name, network(torch.from_numpy(X[rows])), torch.from_numpy(y[rows]))
            value.backward()
            if rule.clip_norm is not None:
                # PyTorch's own adds 1e-6 to the norm.
                norm = float(torch.sqrt(sum((p.grad**2).sum() for _, p in network.pairs)))
                for _, parameter in network.pairs:
                    parameter.grad *= min(1.0, rule.clip_norm / norm)
            theirs.step()
            cost = step.run(rows, 8)
            np.testing.assert_allclose(cost[0, 0], value.item(), rtol=1e-11)
    theta = flat(model, dict(network.pairs))
    np.testing.assert_allclose(model.theta, theta, rtol=0, atol=1e-11 * np.abs(theta).max())
    np.testing.assert_allclose(model.buffers, statistics(network, 8), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_sample_weights(loss: str, problem: Any, rng: np.random.Generator):
    """sum w_i L_i / sum w_i, with PyTorch's losses row by row."""
    model, network, X, y = problem("tanh", loss)
    weights = rng.random(M)
    network.train()
    scores = network(torch.from_numpy(X))
    rows = [loss_of(loss, scores[i : i + 1], torch.from_numpy(y[i : i + 1])) for i in range(M)]
    value = sum(float(w) * row for w, row in zip(weights, rows, strict=True)) / float(weights.sum())
    value.backward()
    optimizer = SGD(0.0)
    step = Step(model, X, y, optimizer, optimizer.init(model.theta), weights=weights)
    close(step.run(np.arange(M), M)[0, 0], value.item())
    close(model.gradient, flat(model, {name: parameter.grad for name, parameter in network.pairs}))
