"""What a Python layer hands back in fewer digits than it was given: said of the mistakes that come from there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from gradproof.check.report import Finding
from gradproof.nn.model import Sequential
from gradproof.nn.python_layer import Narrowed


def named(findings: Sequence[Finding], narrowed: Collection[Narrowed], model: Sequential) -> list[Finding]:
    """Findings of lost digits that say which layer lost them, where one did."""
    return [_named(finding, narrowed, model) for finding in findings] if narrowed else list(findings)


def _named(finding: Finding, narrowed: Collection[Narrowed], model: Sequential) -> Finding:
    if finding.cause != "precision" or finding.tensor is None:
        return finding
    at = next(node.index for node in model.structure.nodes if finding.tensor in map(node.path, node.shapes))
    behind = [n for n in narrowed if (n.node.path(n.parameter) == finding.tensor if n.parameter else n.node.index > at)]
    if not behind:
        return finding
    first = min(behind, key=lambda n: n.node.index)
    what = f"the gradient of {first.parameter}" if first.parameter else "dx"
    layer = f"layers[{first.node.index}] ({first.node.name}), a {type(first.node.layer).__qualname__}"
    message = (
        f"{finding.tensor}: its gradient has only the digits of {first.came}, because backward of {layer}, returned "
        f"{what} as {first.came}, expected {first.given} as dy is."
    )
    evidence = {**finding.evidence, "layer": first.node.name, "dtype": first.came, "expected": first.given}
    return replace(finding, message=message, evidence=evidence)
