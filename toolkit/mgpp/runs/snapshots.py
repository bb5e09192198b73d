"""Histograms of weight magnitudes, step by step and matrix by matrix: what shares lie below any threshold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from mgpp.architectures import kind_of, layer_of
from mgpp.runs import Run

# bins for weights that are at hand, far finer than those of the logs: 400 a decade, and one below them; few digits, so
# that they are short as text
FINE_EDGES = np.concatenate([[0.0], [float(f"{edge:.5g}") for edge in np.logspace(-8, 1, 3601)], [np.inf]])


@dataclass(frozen=True, eq=False)
class Snapshots:
    """Counts of weights by magnitude, at one step or many.

    Attributes:
        name: where the weights come from.
        edges: ascending magnitudes, the first 0; bin i holds `edges[i] <= |θ| < edges[i+1]`, exact zeros apart.
        targets: (layer, kind) of each matrix.
        steps: a row a step: `step`, and what the log knows of it.
        zeros: exact zeros, shape (steps, targets).
        counts: other weights by bin, shape (steps, targets, bins).

    Example:
        >>> weights = {"encoder.layer.0.output.dense.weight": np.array([0.0, 1e-4, -3e-4, 0.2])}
        >>> Snapshots.of_weights(weights, name="four weights").share_below(2e-4)
        0.5
    """

    name: str
    edges: np.ndarray
    targets: list[tuple[int, str]]
    steps: pd.DataFrame
    zeros: np.ndarray
    counts: np.ndarray

    @classmethod
    def of_weights(cls, weights: Mapping[str, Any], *, name: str) -> Self:
        """Weights as they are, by their names in the model: arrays, or tensors on the CPU.

        Raises:
            ValueError: if there are none, or one is not finite.
        """
        if not weights:
            raise ValueError("weights={} holds no weights; give names and arrays, for instance prunable_weights(model)")
        sizes = [np.abs(_as_array(weight)).ravel() for weight in weights.values()]
        for key, size in zip(weights, sizes, strict=True):
            if not np.isfinite(size).all():
                count = np.count_nonzero(~np.isfinite(size))
                raise ValueError(
                    f"{key} holds {count} weights that are not finite; give weights of a training that went well"
                )
        counts = np.array([_histogram(size[size > 0]) for size in sizes])
        zeros = np.array([np.count_nonzero(size == 0) for size in sizes])
        targets = [(layer_of(key), kind_of(key)) for key in weights]
        return cls(name, FINE_EDGES, targets, pd.DataFrame({"step": [0]}), zeros[None], counts[None])

    @classmethod
    def of_run(cls, run: Run) -> Self:
        """The histograms that a run has logged, with the row of `run.metrics` of each step.

        Raises:
            ValueError: if it has logged none.
        """
        rows = run.weights
        if rows.empty:
            raise ValueError(f"{run.name} has logged no histograms of weights; wait, or set log.histograms_every")
        steps, step = np.unique(rows["step"], return_inverse=True)
        targets = list(rows[["layer", "kind"]].drop_duplicates().itertuples(index=False, name=None))
        target = pd.MultiIndex.from_tuples(targets).get_indexer(pd.MultiIndex.from_frame(rows[["layer", "kind"]]))
        bounds = rows[["left", "right"]].abs()
        low, high = bounds.min(axis=1), bounds.max(axis=1)
        edges = np.unique([0.0, *low, *high])
        column = np.where(high == 0, 0, np.searchsorted(edges, low) + 1)  # the zeros first
        counts = np.zeros((len(steps), len(targets), len(edges)), dtype=np.int64)
        np.add.at(counts, (step, target, column), rows["count"])
        logged = run.metrics.groupby("step", as_index=False).last()  # a step may have rows for training and evaluation
        described = pd.DataFrame({"step": steps}).merge(logged, on="step", how="left")
        return cls(run.name, edges, targets, described, counts[..., 0], counts[..., 1:])

    def chosen(self, *, layer: int | None = None, kind: str | None = None) -> list[int]:
        """Indices of the matrices of a layer, of a kind, of both, or all."""
        wanted = [
            index
            for index, (its_layer, its_kind) in enumerate(self.targets)
            if layer in (None, its_layer) and kind in (None, its_kind)
        ]
        if not wanted:
            raise ValueError(f"layer={layer!r}, kind={kind!r} match no matrix of {self.name}")
        return wanted

    def row(self, step: int | None) -> int:
        """The index of a step, by default the last."""
        found = self.steps.index[self.steps["step"] == step] if step is not None else self.steps.index[-1:]
        if len(found) == 0:
            logged = ", ".join(map(str, self.steps["step"]))
            raise ValueError(f"step={step} of {self.name} has no histogram; logged steps: {logged}")
        return int(found[0])

    def share_below(
        self, threshold: float, *, step: int | None = None, layer: int | None = None, kind: str | None = None
    ) -> float:
        """Share of the weights, exact zeros included, with |θ| below a threshold.

        Within the bin that holds the threshold the weights count as evenly spread.
        """
        row, chosen = self.row(step), self.chosen(layer=layer, kind=kind)
        counts, zeros = self.counts[row, chosen].sum(axis=0), self.zeros[row, chosen].sum()
        below = np.concatenate([[0], counts.cumsum()])
        top = np.isfinite(self.edges)
        inside = zeros + np.interp(threshold, self.edges[top], below[top])
        return float(inside / (zeros + below[-1]))


def _as_array(weight: Any) -> np.ndarray:
    """An array; a tensor is detached first, and one in bfloat16, which numpy lacks, becomes float32."""
    if hasattr(weight, "detach"):
        weight = weight.detach().float().cpu()
    return np.asarray(weight)


def _histogram(sizes: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(FINE_EDGES, sizes, side="right") - 1, minlength=len(FINE_EDGES) - 1)
