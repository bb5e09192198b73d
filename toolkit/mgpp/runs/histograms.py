"""Define histograms of weights: the bins of all logs, and the densities and shares that follow from the counts.

A row of `Run.weights` counts the weights of one matrix with left <= θ < right. The bins are logarithmic in |θ| and lie
on both sides of zero. The weights that are exactly zero have a bin of their own: left = right = 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
import pandas as pd

from mgpp.architectures import kinds_of, layer_of
from mgpp.runs.reader import Run


def _round_to_bfloat16(values: np.ndarray) -> np.ndarray:
    bits = (values.astype(np.float32).view(np.uint32) + 0x8000) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


# Magnitudes of the edges in all logs: twenty bins a decade from 1e-7 to 10, within 0.4%. They are rounded to bfloat16,
# so that the upper half of a float32's bits tells its bin.
BIN_EDGES = _round_to_bfloat16(np.logspace(-7, 1, 161))
# For weights that are at hand: 400 bins a decade. Five digits keep the edges short as text in the explorer's page.
FINE_EDGES = np.concatenate([[0.0], [float(f"{edge:.5g}") for edge in np.logspace(-8, 1, 3601)], [np.inf]])


@cache
def signed_bins() -> tuple[np.ndarray, np.ndarray]:
    """Return the left and the right edges of all bins in ascending order, the zero bin in the middle.

    The bins next to zero reach from 0 (exclusive) to the smallest edge, the outermost ones to infinity.

    Example:
        >>> lefts, rights = signed_bins()
        >>> [(float(lefts[bin]), float(rights[bin])) for bin in (0, 162, 324)]
        [(-inf, -10.0), (0.0, 0.0), (10.0, inf)]
    """
    magnitudes = np.concatenate([[0.0], BIN_EDGES, [np.inf]])
    lefts = np.concatenate([-magnitudes[:0:-1], [0.0], magnitudes[:-1]])
    rights = np.concatenate([-magnitudes[-2::-1], [0.0], magnitudes[1:]])
    return lefts, rights + 0.0  # + 0.0 turns -0.0 into 0.0


def bin_upper_halves(counts: np.ndarray) -> np.ndarray:
    """Return the counts by signed bin of float32 values that are counted by the upper half of their bits.

    A magnitude equal to an edge counts with the bin further from zero. Magnitudes below 1e-40 count as zeros.

    Args:
        counts: shape (65536,), of the upper halves as signed 16-bit numbers, ascending from -32768.
    """
    starts, bins = _runs_of_halves()
    result = np.zeros(len(signed_bins()[0]), dtype=np.int64)
    np.add.at(result, bins, np.add.reduceat(counts, starts))
    return result


@cache
def _runs_of_halves() -> tuple[np.ndarray, np.ndarray]:
    """Return where, among all upper halves in ascending order, those of another bin begin, and which bin it is."""
    halves = np.arange(-(1 << 15), 1 << 15, dtype=np.int32)
    values = np.abs((halves << 16).view(np.float32))
    values[np.isnan(values)] = np.inf
    away = np.searchsorted(BIN_EDGES, values, side="right") + 1
    index = len(BIN_EDGES) + 1 + np.where(values == 0, 0, np.where(halves < 0, -away, away))
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    return starts, index[starts]


def histogram_frame(names: Sequence[str], counts: np.ndarray, step: int) -> pd.DataFrame:
    """Return the rows of `Run.weights` of one step; empty bins are left out.

    In a model with several stacks, such as encoder and decoder, a kind has the name of its stack before it.

    Args:
        names: of the matrices.
        counts: by signed bin, shape (matrices, bins).
        step: the logged step.
    """
    matrix, hit = counts.nonzero()
    lefts, rights = signed_bins()
    layers, kinds = np.array([layer_of(name) for name in names]), np.array([*kinds_of(names).values()])
    return pd.DataFrame(
        {
            "step": np.int32(step),
            "layer": layers[matrix].astype(np.int16),
            "kind": kinds[matrix],
            "left": lefts[hit],
            "right": rights[hit],
            "count": counts[matrix, hit].astype(np.int32),
        }
    )


def is_zero_bin(rows: pd.DataFrame) -> pd.Series:
    """Return whether each row counts the weights that are exactly zero."""
    return (rows["left"] == 0) & (rows["right"] == 0)


def histogram_at(weights: pd.DataFrame, step: int | None = None) -> pd.DataFrame:
    """Return the rows of `Run.weights` of one logged step, by default the last.

    Raises:
        ValueError: if no histogram was logged at this step.
    """
    if weights.empty:
        raise ValueError("no histogram of the weights is logged; wait for the first logged step")
    rows = weights[weights["step"] == (weights["step"].max() if step is None else step)]
    if rows.empty:
        raise ValueError(f"no histogram of the weights at step={step}; see Run.weights['step'].unique()")
    return rows


def share_of_zeros(rows: pd.DataFrame) -> float:
    """Return the share of the counted weights that are exactly zero.

    Example:
        >>> share_of_zeros(pd.DataFrame({"left": [0.0, 0.1], "right": [0.0, 0.2], "count": [9, 1]}))
        0.9
    """
    return float(rows.loc[is_zero_bin(rows), "count"].sum() / rows["count"].sum())


def remaining_density(weights: pd.DataFrame, step: int | None = None, *, beyond: float = 0.0) -> pd.DataFrame:
    """Return the density of the nonzero weights of a model at one logged step.

    A bin of `count` weights has the density count / (M · (right - left)), with M all weights in these bins.

    Args:
        weights: frame of `Run.weights`.
        step: a logged step; the last by default.
        beyond: a magnitude, such as the pruning threshold; the bins that hold it begin there.

    Returns:
        Columns left, right (edges of the bins, finite), count (over all targets), density (integrates to 1).

    Raises:
        ValueError: if no histogram was logged at this step.

    Example:
        >>> rows = {"step": [7, 7], "left": [0.0, 0.1], "right": [0.0, 0.3], "count": [9, 1]}
        >>> remaining_density(pd.DataFrame(rows))
           left  right  count  density
        0   0.1    0.3      1      5.0
    """
    rows = histogram_at(weights, step)
    bins = rows[~is_zero_bin(rows)].groupby(["left", "right"], as_index=False)["count"].sum()
    bins = bins[np.isfinite(bins["left"]) & np.isfinite(bins["right"])]
    bins["right"] = bins["right"].mask(bins["left"].lt(-beyond) & bins["right"].between(-beyond, 0), -beyond)
    bins["left"] = bins["left"].mask(bins["right"].gt(beyond) & bins["left"].between(0, beyond), beyond)
    bins["density"] = bins["count"] / bins["count"].sum() / (bins["right"] - bins["left"])
    return bins.sort_values("left", ignore_index=True)


def magnitude_shares(weights: pd.DataFrame, step: int | None = None) -> pd.DataFrame:
    """Return the share of a model's weights per decade of magnitude at one logged step, both signs together.

    A bin of `count` weights from `left` to `right` holds count / (N · log10(right / left)) of the weights per decade,
    with N all weights, the zeros among them. The area over a logarithmic axis is the share that is not zero.

    Args:
        weights: frame of `Run.weights`.
        step: a logged step; the last by default.

    Returns:
        Columns left, right (edges of the magnitudes), count (over all targets), per_decade. Zeros and the weights
        beyond the outermost edges count in N but have no row.

    Raises:
        ValueError: if no histogram was logged at this step.

    Example:
        >>> rows = {"step": [7, 7, 7], "left": [-0.1, 0.0, 0.01], "right": [-0.01, 0.0, 0.1], "count": [1, 6, 3]}
        >>> magnitude_shares(pd.DataFrame(rows))
           left  right  count  per_decade
        0  0.01    0.1      4         0.4
    """
    rows = histogram_at(weights, step)
    bins = _magnitudes(rows).assign(count=rows["count"])
    bins = bins[(bins["left"] > 0) & np.isfinite(bins["right"])].groupby(["left", "right"], as_index=False).sum()
    bins["per_decade"] = bins["count"] / rows["count"].sum() / np.log10(bins["right"] / bins["left"])
    return bins


def _magnitudes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the bins' edges as magnitudes, `left` the one nearer to zero."""
    bounds = rows[["left", "right"]].abs()
    return pd.DataFrame({"left": bounds.min(axis=1), "right": bounds.max(axis=1)})


@dataclass(frozen=True, eq=False)
class Snapshots:
    """Histograms of magnitudes, step by step and matrix by matrix: what shares lie below any threshold.

    Attributes:
        name: where the weights come from.
        edges: ascending magnitudes, the first 0; bin i holds `edges[i] <= |θ| < edges[i+1]`, exact zeros apart.
        targets: (layer, kind) of each matrix; the kind has the name of its stack before it if there are several.
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
        """Count weights that are at hand.

        Args:
            weights: arrays or tensors, by their names in the model.
            name: where they come from.

        Raises:
            ValueError: if there are none, or some are not finite.
        """
        if not weights:
            raise ValueError("weights={} holds no weights; give names and arrays, for instance prunable_weights(model)")
        sizes = [np.abs(_as_array(weight)).ravel() for weight in weights.values()]
        for key, size in zip(weights, sizes, strict=True):
            if not np.isfinite(size).all():
                raise ValueError(f"{key} holds weights that are not finite; give weights of a training that went well")
        counts = np.array([np.histogram(size[size > 0], FINE_EDGES)[0] for size in sizes])
        zeros = np.array([np.count_nonzero(size == 0) for size in sizes])
        targets = [(layer_of(key), kind) for key, kind in kinds_of(weights).items()]
        return cls(name, FINE_EDGES, targets, pd.DataFrame({"step": [0]}), zeros[None], counts[None])

    @classmethod
    def of_run(cls, run: Run, weights: pd.DataFrame | None = None) -> Self:
        """Read the histograms that a run has logged, with the row of `run.metrics` of each step.

        Args:
            run: a logged run.
            weights: the rows that count, such as `run.last_weights`; `run.weights` by default.

        Raises:
            ValueError: if it has logged none.
        """
        rows = run.weights if weights is None else weights
        if rows.empty:
            raise ValueError(f"{run.name} has logged no histograms of weights; wait, or set log.histograms_every")
        steps, step = np.unique(rows["step"], return_inverse=True)
        targets = list(rows[["layer", "kind"]].drop_duplicates().itertuples(index=False, name=None))
        target = pd.MultiIndex.from_tuples(targets).get_indexer(pd.MultiIndex.from_frame(rows[["layer", "kind"]]))
        bins = _magnitudes(rows)
        edges = np.unique([0.0, *bins["left"], *bins["right"]])
        column = np.where(is_zero_bin(rows), 0, np.searchsorted(edges, bins["left"]) + 1)  # the zeros first
        counts = np.zeros((len(steps), len(targets), len(edges)), dtype=np.int64)
        np.add.at(counts, (step, target, column), rows["count"])
        logged = run.metrics.groupby("step", as_index=False).last()  # a step may have rows for training and evaluation
        described = pd.DataFrame({"step": steps}).merge(logged, on="step", how="left")
        return cls(run.name, edges, targets, described, counts[..., 0], counts[..., 1:])

    def share_below(
        self, threshold: float, *, step: int | None = None, layer: int | None = None, kind: str | None = None
    ) -> float:
        """Return the share of the weights, exact zeros included, with |θ| below a threshold.

        Within the bin that holds the threshold the weights count as evenly spread.

        Args:
            threshold: a magnitude.
            step: a logged step; the last by default.
            layer: number of the layer whose matrices count; all by default.
            kind: kind of the matrices that count; all by default.

        Raises:
            ValueError: if no histogram is of this step, layer and kind.
        """
        row = self.steps["step"] == (self.steps["step"].iloc[-1] if step is None else step)
        chosen = [layer in (None, its_layer) and kind in (None, its_kind) for its_layer, its_kind in self.targets]
        if not row.any() or not any(chosen):
            raise ValueError(f"step={step}, layer={layer!r}, kind={kind!r} match no histogram of {self.name}")
        counts, zeros = self.counts[row][:, chosen].sum(axis=(0, 1)), self.zeros[row][:, chosen].sum()
        below = np.concatenate([[0], counts.cumsum()])
        top = np.isfinite(self.edges)
        inside = zeros + np.interp(threshold, self.edges[top], below[top])
        return float(inside / (zeros + below[-1]))


def _as_array(weight: Any) -> np.ndarray:
    """Return an array; a tensor becomes float32 first, since numpy has no bfloat16."""
    if hasattr(weight, "detach"):
        weight = weight.detach().float().cpu()
    return np.asarray(weight)
