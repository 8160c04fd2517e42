"""Counts multiply-accumulates whose weight is zero, by running a program once.

In most runtimes a pruned network costs as much as a dense one. Counting both shows what a sparse
one could save.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from frm_mlflow.zoo.operators import Tally, counting


@dataclass(frozen=True)
class Sparsity:
    """Multiply-accumulates of a call whose weight is not zero, and the share of weights that are zero."""

    effective_gmacs: float
    weight_sparsity: float


def count_sparsity(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> Sparsity | None:
    """Run `graph` on `inputs` and scale the cost of each convolution and matrix product by its share of non-zeros.

    A weight is an operand that does not depend on the inputs: a parameter, or a value computed from
    parameters (a mask times a parameter, as in torch's pruning). Products of two activations
    count as dense.

    Returns
    -------
    Sparsity or None
        None if the graph has no weights.
    """
    with counting() as tally:
        weigher = _Weigher(graph, tally)
        weigher.run(*inputs)
    if weigher.weights == 0:
        return None
    return Sparsity(weigher.effective_macs / 1e9, 1 - weigher.non_zeros / weigher.weights)


class _Weigher(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule, tally: Tally) -> None:
        super().__init__(graph)
        self._tally = tally
        self._constant: set[fx.Node] = set()
        self.effective_macs = 0.0
        self.weights = self.non_zeros = 0

    def run_node(self, n: fx.Node) -> Any:
        before = self._tally.macs
        result = super().run_node(n)
        if n.op == "get_attr" or (n.op == "call_function" and self._constant.issuperset(n.all_input_nodes)):
            self._constant.add(n)
        elif (macs := self._tally.macs - before) > 0:
            self.effective_macs += macs * self._density(n)
        return result

    def _density(self, node: fx.Node) -> float:
        """Return the share of non-zeros in the weight of a convolution or matrix product; 1 without a weight."""
        operands = [self.env[operand] for operand in node.all_input_nodes if operand in self._constant]
        weights = [w for w in operands if isinstance(w, Tensor) and w.ndim > 1 and w.is_floating_point()]
        if not weights:
            return 1.0
        size = sum(weight.numel() for weight in weights)
        non_zeros = sum(int(torch.count_nonzero(weight)) for weight in weights)
        self.weights += size
        self.non_zeros += non_zeros
        return non_zeros / size
