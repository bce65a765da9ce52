"""Gradients of PyTorch: what is right passes, every planted mistake is found, and nothing of the user's is changed."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (pip install gradproof[torch])")

import gradproof as gp  # noqa: E402

F = torch.nn.functional


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    torch.manual_seed(7)


def normal(*shape: int, dtype: Any = torch.float64, grad: bool = True) -> Any:
    return torch.randn(shape, dtype=dtype, requires_grad=grad)


def custom(forward: Any, backward: Any) -> Any:
    """An operator of one input with its own backward ``backward(x, grad_output)``."""

    class Operator(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return forward(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return backward(*ctx.saved_tensors, g)

    return Operator.apply


def verdict(fn: Any, inputs: Any, **keywords: Any) -> str:
    return str(gp.torch.gradcheck(fn, inputs, raise_exception=False, **keywords).verdict)


RIGHT = {
    "one input": (lambda x: 5 * x, lambda: normal(3, 4)),
    "0-d": (torch.sin, lambda: normal()),
    "no entries": (lambda x: x.sum() + 1, lambda: normal(0, 3)),
    "two inputs": (torch.matmul, lambda: (normal(3, 4), normal(4, 2))),
    "transposed": (lambda x: torch.tanh(x) @ x.T, lambda: normal(4, 3).detach().T.requires_grad_()),
    "several outputs": (lambda x: (x.sin(), (x * x).sum(), [x[0].exp()]), lambda: normal(3, 2)),
    "integer output beside": (lambda x: torch.max(x, dim=1), lambda: normal(3, 4)),
    "in place": (lambda x: x.clone().mul_(2).sin_(), lambda: normal(5)),
    "view": (lambda x: x.view(6)[::2], lambda: normal(2, 3)),
    "unused input": (lambda x, y: x * 2, lambda: (normal(3), normal(2))),
    "constant input beside": (lambda x, y: x * y, lambda: (normal(3), normal(3, grad=False))),
    "argument that is no tensor": (lambda x, n: x**n, lambda: (normal(3), 3)),
    "dropout": (lambda x: F.dropout(x.sin(), 0.5), lambda: normal(4, 5)),
    "noise": (lambda x: x + torch.randn_like(x), lambda: normal(4)),
    "gradient inside": (
        lambda x: torch.autograd.grad(x.pow(3).sum(), x, create_graph=True)[0],
        lambda: normal(3),
    ),
    "complex to complex": (lambda z: z * z * z.conj(), lambda: normal(3, dtype=torch.complex128)),
    "complex to real": (torch.abs, lambda: normal(3, dtype=torch.complex128)),
    "real to complex": (torch.fft.rfft, lambda: normal(6)),
    "small complex": (
        lambda z: 1 / z.abs(),
        lambda: (1e-2 * normal(4, dtype=torch.complex128).detach()).requires_grad_(),
    ),
    "far scales": (
        lambda x: torch.exp(20 * x),
        lambda: torch.linspace(-1, 1, 5, dtype=torch.float64, requires_grad=True),
    ),
    "relu near its kink": (torch.relu, lambda: torch.tensor([5e-7, -5e-7], dtype=torch.float64, requires_grad=True)),
    "relu at its kink": (torch.relu, lambda: torch.zeros(2, dtype=torch.float64, requires_grad=True)),
    "fast oscillation": (lambda x: torch.sin(1e6 * x), lambda: normal(2)),
    "float32": (lambda x: torch.tanh(x).sum(), lambda: normal(3, 4, dtype=torch.float32)),
    "float16": (lambda x: torch.tanh(x), lambda: normal(3, 4, dtype=torch.float16)),
    "bfloat16": (lambda x: torch.tanh(x), lambda: normal(3, 4, dtype=torch.bfloat16)),
}


@pytest.mark.parametrize("case", RIGHT)
def test_right_gradients_pass(case: str) -> None:
    fn, inputs = RIGHT[case]
    assert gp.torch.gradcheck(fn, inputs()).ok


def _zero_entry(x: Any, g: Any) -> Any:
    g = 3 * g
    g.view(-1)[-1] = 0
    return g


WRONG = {
    "doubled": (custom(torch.sin, lambda x, g: 2 * g * x.cos()), lambda: normal(5)),
    "sign": (custom(torch.sin, lambda x, g: -g * x.cos()), lambda: normal(5)),
    "1 % off": (custom(torch.sin, lambda x, g: 1.01 * g * x.cos()), lambda: normal(5)),
    "one entry of many": (custom(lambda x: 3 * x, _zero_entry), lambda: normal(100)),
    "tiny function without gradient": (custom(lambda x: 1e-6 * x.sin(), lambda x, g: 0 * g), lambda: normal(3)),
    "complex identity": (custom(lambda x: x.clone(), lambda x, g: g + 1e-2), lambda: normal(3, dtype=torch.complex128)),
    "conjugate forgotten": (custom(lambda z: z * z, lambda z, g: g * 2 * z), lambda: normal(3, dtype=torch.complex128)),
    "detached": (lambda x: x.detach().sin(), lambda: normal(3)),
    "float32": (custom(torch.sin, lambda x, g: 1.5 * g * x.cos()), lambda: normal(5, dtype=torch.float32)),
    "float16": (custom(torch.sin, lambda x, g: 1.5 * g * x.cos()), lambda: normal(5, dtype=torch.float16)),
    "not multiplied by grad_output": (custom(lambda x: x.clone(), lambda x, g: g + 1e-9), lambda: normal(5)),
    "clipped grad_output": (custom(lambda x: x.clone(), lambda x, g: g.clamp(-1.5, 1.5)), lambda: normal(40)),
}


@pytest.mark.parametrize("case", WRONG)
def test_planted_mistakes_are_found(case: str) -> None:
    fn, inputs = WRONG[case]
    with pytest.raises(gp.GradientError, match="input0") as caught:
        gp.torch.gradcheck(fn, inputs())
    assert caught.value.report.verdict == "fail"


def test_the_wrong_output_is_named() -> None:
    wrong = custom(torch.sin, lambda x, g: 2 * g * x.cos())
    report = gp.torch.gradcheck(lambda x: (x * x, wrong(x)), normal(3), raise_exception=False)
    assert [part.ok for part in report.parts.values()] == [True, False]


def test_a_backward_that_does_not_repeat_is_nondeterministic() -> None:
    jitter = custom(lambda x: x.clone(), lambda x, g: g * (1 + 1e-6 * torch.rand(g.shape, generator=generator)))
    generator = torch.Generator()
    assert verdict(jitter, normal(4)) == "nondeterministic"


def test_outputs_whose_shape_or_dtype_depends_on_values() -> None:
    one = torch.ones((), dtype=torch.float64, requires_grad=True)
    for fn in (
        lambda x: torch.stack([x, x]) if x >= 1 else x,
        lambda x: x if x >= 1 else x.float(),
        lambda x: (x, x) if x >= 1 else x,
    ):
        report = gp.torch.gradcheck(fn, one, raise_exception=False)
        assert report.verdict == "fail"
        assert "depend on the values" in report.findings[0].message


def test_an_undefined_gradient_counts_as_zero() -> None:
    class Pair(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx: Any, g0: Any, g1: Any) -> Any:
            return (torch.ones(3, dtype=torch.float64) if g0 is None else 2 * g0) + (0 if g1 is None else 3 * g1)

    report = gp.torch.gradcheck(Pair.apply, normal(3), raise_exception=False)
    assert report.verdict == "fail"
    assert "None" in report.findings[0].message


def test_nothing_to_differentiate_in_the_outputs_passes() -> None:
    assert gp.torch.gradcheck(lambda x: (x > 0, x.argmax()), normal(3)).ok
    assert gp.torch.gradcheck(lambda x: (), normal(3)).ok


def test_bad_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="requires a gradient"):
        gp.torch.gradcheck(torch.sin, normal(3, grad=False))
    with pytest.raises(ValueError, match="overlaps itself"):
        gp.torch.gradcheck(torch.sin, normal(1).expand(3))
    with pytest.raises(ValueError, match="overlaps itself"):
        gp.torch.gradcheck(torch.sin, torch.as_strided(normal(4, grad=False), (3, 2), (1, 1)).requires_grad_())
    with pytest.raises(ValueError, match="layout"):
        gp.torch.gradcheck(torch.sparse.sum, torch.eye(2, dtype=torch.float64).to_sparse().requires_grad_())
    with pytest.raises(ValueError, match="input0 is on the device 'meta', without values"):
        gp.torch.gradcheck(torch.sin, torch.ones(3, device="meta", dtype=torch.float64, requires_grad=True))
    with pytest.raises(ValueError, match="^weight is on the device 'meta', without values"):
        gp.torch.check_module(torch.nn.Linear(3, 2, device="meta"), normal(4, 3))
    with pytest.raises(ValueError, match="order"):
        gp.torch.gradcheck(torch.sin, normal(3), order=3)
    with pytest.raises(RuntimeError, match="shape"):
        gp.torch.gradcheck(lambda x: x.view(7), normal(3))
    with pytest.raises(TypeError, match="returned float"):
        gp.torch.gradcheck(lambda x: x.sum().item(), normal(3))
    with pytest.raises(TypeError, match="Module"):
        gp.torch.check_module(torch.sin, normal(3))


def test_nonfinite_raises_too() -> None:
    with pytest.raises(gp.GradientError):
        gp.torch.gradcheck(torch.sqrt, torch.tensor([-1.0, 1.0], dtype=torch.float64, requires_grad=True))


def test_arguments_of_the_original_are_understood() -> None:
    assert gp.torch.gradcheck(torch.sin, normal(3), eps=1e-6, atol=1e-4, nondet_tol=1e-8)
    report = gp.torch.gradcheck(torch.sin, normal(300), fast_mode=True)
    assert report.method == "projected"


def test_nothing_is_changed() -> None:
    x = normal(3, 2)
    x.grad = torch.ones_like(x)
    before, grad = x.detach().clone(), x.grad
    state = torch.get_rng_state()
    gp.torch.gradcheck(lambda x: F.dropout(x * x), x)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x.detach(), before)
    assert x.grad is grad and torch.equal(grad, torch.ones_like(x))
    assert x.requires_grad and x.is_leaf


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_second_order(dtype: Any) -> None:
    report = gp.torch.gradcheck(lambda x: (x * x * x).sin(), normal(3, dtype=dtype), order=2)
    assert [stage.label for stage in report.stages] == ["first order", "second order"]


def test_second_order_mistakes_are_found() -> None:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 2 * ctx.saved_tensors[0].detach() * g

    assert verdict(Square.apply, normal(3)) == "pass"
    report = gp.torch.gradcheck(Square.apply, normal(3), order=2, raise_exception=False)
    assert [str(stage.verdict) for stage in report.stages] == ["pass", "fail"]
    assert report.culprits == ["input0"]


# Modules


class Scaled(torch.nn.Module):
    """A linear layer one of whose gradients can be made wrong."""

    def __init__(self, wrong: float = 1.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(4, 4, dtype=torch.float64))
        self.bias = torch.nn.Parameter(torch.randn(4, dtype=torch.float64), requires_grad=False)
        self.scale = custom(lambda x: x.clone(), lambda x, g: wrong * g)

    def forward(self, x: Any) -> Any:
        return x @ self.scale(self.weight) + self.bias


def network(dtype: Any = torch.float64) -> Any:
    layers = (
        torch.nn.Linear(4, 5),
        torch.nn.BatchNorm1d(5),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(5, 3),
    )
    return torch.nn.Sequential(*layers).to(dtype)


@pytest.mark.parametrize("training", [True, False])
def test_modules_by_name(training: bool) -> None:
    module = network().train(training)
    report = gp.torch.check_module(module, normal(6, 4, grad=False))
    assert list(report.tensors) == ["input0", *dict(module.named_parameters())]


def test_modules_come_back_as_they_were() -> None:
    module = network()
    module[0].bias.requires_grad_(False)
    module[4].weight.grad = torch.ones_like(module[4].weight)
    module[1].eval()
    module[1].train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    pointers = {name: value.data_ptr() for name, value in module.state_dict().items()}
    flags = [p.requires_grad for p in module.parameters()]
    grads = [p.grad for p in module.parameters()]
    x = normal(6, 4, grad=False)
    state = torch.get_rng_state()
    gp.torch.check_module(module, x)
    after = module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {name: value.data_ptr() for name, value in after.items()} == pointers
    assert [p.requires_grad for p in module.parameters()] == flags
    assert all(p.grad is grad for p, grad in zip(module.parameters(), grads, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert module.training


def test_a_wrong_parameter_is_named() -> None:
    module = torch.nn.Sequential(Scaled(), Scaled(wrong=5.0), Scaled())
    with pytest.raises(gp.GradientError) as caught:
        gp.torch.check_module(module, normal(3, 4))
    assert caught.value.report.culprits == ["1.weight"]


def test_a_loss_of_the_users() -> None:
    module = network().eval()
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    report = gp.torch.check_module(module, normal(6, 4), loss=lambda scores: F.cross_entropy(scores, labels))
    assert report.ok


def test_tied_weights_recurrence_and_nested_inputs() -> None:
    tied = torch.nn.Sequential(Scaled(), Scaled())
    tied[1].weight = tied[0].weight
    assert "1.weight" not in gp.torch.check_module(tied, normal(2, 4)).tensors
    lstm = torch.nn.LSTM(2, 3).double()
    report = gp.torch.check_module(lstm, normal(4, 1, 2), (normal(1, 1, 3), normal(1, 1, 3)))
    assert list(report.tensors)[:3] == ["input0", "input1.0", "input1.1"]


def test_integer_inputs_and_float32() -> None:
    embedding = torch.nn.Embedding(5, 3)
    report = gp.torch.check_module(embedding, torch.tensor([1, 3, 1]))
    assert list(report.tensors) == ["weight"]
    assert (
        gp.torch.check_module(
            network(torch.float32).eval(), normal(6, 4, dtype=torch.float32), raise_exception=False
        ).verdict
        != "fail"
    )
    with pytest.raises(ValueError, match="float16"):
        gp.torch.check_module(network(torch.float16), normal(6, 4))


def test_the_power_is_stated_and_true() -> None:
    """A mistake of the stated size in one entry of the Jacobian is seen."""
    x = normal(8)
    report = gp.torch.gradcheck(torch.tanh, x)
    assert any("none is zero" in note for note in report.notes)
    error = 10 * max(report.detectable, math.ulp(1.0))

    def backward(x: Any, g: Any) -> Any:
        g = g * (1 - x.tanh() ** 2)
        g[3] *= 1 + error
        return g

    assert error < 1e-3
    assert verdict(custom(torch.tanh, backward), x) == "fail"


def test_a_backward_in_half_precision_is_not_said_to_be_clipped() -> None:
    half = custom(torch.sin, lambda x, g: (g * x.cos()).half().double())
    report = gp.torch.gradcheck(half, normal(6), raise_exception=False)
    assert report.verdict == "fail" and report.findings[0].cause == "precision"
    clipped = custom(torch.clone, lambda x, g: g.clamp(-1.2, 1.2))
    assert gp.torch.gradcheck(clipped, normal(40), raise_exception=False).findings[0].cause == "clipping"
