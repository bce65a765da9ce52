"""Check the backward pass of a ``torch.autograd.Function``: swish, ``x sigmoid(s x)``, with a term forgotten."""

from __future__ import annotations

from typing import Any

import torch

import gradproof as gp


class Swish(torch.autograd.Function):
    """``y = x sigmoid(s x)`` with a slope ``s`` for every feature."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        """The value."""
        ctx.save_for_backward(x, s)
        return x * torch.sigmoid(s * x)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of ``x`` and ``s``."""
        x, s = ctx.saved_tensors
        gate = torch.sigmoid(s * x)
        inner = dy * x * gate * (1 - gate)
        return dy * gate + inner * s, (inner * x).sum(0)


class Forgetful(Swish):
    """The same, but for the path of ``x`` through the gate."""

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of ``x`` and ``s``."""
        x, s = ctx.saved_tensors
        return dy * torch.sigmoid(s * x), Swish.backward(ctx, dy)[1]


def main() -> None:
    """Print the reports of both."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    s = torch.rand(3, generator=generator, dtype=torch.float64, requires_grad=True)
    for function in (Swish, Forgetful):
        print(f"{function.__name__}:")
        print(gp.torch.gradcheck(function.apply, (x, s), raise_exception=False))
        print()


if __name__ == "__main__":
    main()
