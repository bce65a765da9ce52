"""All differentiable operators of PyTorch in float64: right ones pass, three mistakes planted in each are found."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (pip install gradproof[torch])")
pytest.importorskip("expecttest", reason="PyTorch's database of operators needs the package expecttest")

import torch_ops  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # samples of deprecated and beta functions

# What does not pass, and why this is right.
EXPECTED = {
    "as_strided_scatter": ("fail", "the sample writes one place twice; its gradient counts both"),
    "nn.functional.max_unpool3d": ("fail", "the sample's indices repeat; values overwritten get gradients"),
    "native_group_norm": ("fail", "mean and rstd lose their gradient when the first output has none"),
    "nn.functional.hardsigmoid": ("fail", "backward holds 1/6 in float32: off by 3e-8"),
    "normal": ("fail", "with the noise held fixed it depends on mean and deviation; its gradient is declared 0"),
    "normal.number_mean": ("fail", "as normal"),
    "__rpow__": ("nonfinite", "a negative number to a fractional power"),
    "torch.ops.aten._safe_softmax.default": ("nonfinite", "the sample has infinite inputs"),
    "round.decimals_0": ("inconclusive", "a staircase"),
    "round.decimals_3": ("inconclusive", "a staircase"),
    "bernoulli": ("inconclusive", "a staircase"),
    "half": ("inconclusive", "returns float16: a staircase"),
    "bfloat16": ("inconclusive", "returns bfloat16: a staircase"),
    "chalf": ("inconclusive", "returns complex32: a staircase"),
    "sparse.sampled_addmm": ("refused", "sparse"),
    "sparse.mm.reduce": ("refused", "sparse"),
}
# Operators that return coarse numbers: one per cent is next to their rounding, and zero is the slope of a staircase.
LEFT_OPEN = {"half", "bfloat16", "chalf"}
EVERY_DAY = ("add", "sin", "matmul", "nn.functional.conv2d", "nn.functional.layer_norm", "linalg.svd", "cumsum", "prod")


def check(operator: str) -> None:
    op = next(op for op in torch_ops.operators() if torch_ops.name_of(op) == operator)
    expected, _ = EXPECTED.get(operator, ("pass", ""))
    for case in torch_ops.cases(op, 1):
        if expected == "refused":
            with pytest.raises(ValueError, match="layout"):
                torch_ops.ours(case, case.fn)
            continue
        report = torch_ops.ours(case, case.fn)
        assert report.verdict in ("pass", expected), str(report)
        place = torch_ops.largest_entry(report)
        for mistake in torch_ops.MISTAKES if place and report.ok else ():
            verdict = torch_ops.ours(case, torch_ops.planted(case, mistake, *place)).verdict
            assert verdict == "fail" or operator in LEFT_OPEN, mistake


@pytest.mark.parametrize("operator", EVERY_DAY)
def test_some_operators(operator: str) -> None:
    check(operator)


@pytest.mark.campaign
@pytest.mark.parametrize("operator", sorted(map(torch_ops.name_of, torch_ops.operators())))
def test_all_operators(operator: str) -> None:
    check(operator)
