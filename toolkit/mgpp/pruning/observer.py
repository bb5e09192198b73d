"""What a run logs of its weights, measured without touching them: rows a step, a layer, histograms, single weights."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mgpp.architectures import kind_of, layer_of
from mgpp.prior.chunks import chunks
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.pruning.magnitudes import Magnitudes
from mgpp.pruning.pruner import Pruner
from mgpp.pruning.sharded.shards import Shards


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """The nearest numbers whose float32 has a lower half of zeros."""
    bits = (values.astype(np.float32).view(np.uint32) + 0x8000) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


# Magnitudes of the histograms' bin edges: twenty bins a decade from 1e-7 to 10, within 0.4%. Rounded to bfloat16, so
# that the upper half of a float32's bits tells its bin.
BIN_EDGES = _bfloat16(np.logspace(-7, 1, 161))


class Writer(Protocol):
    """Where rows go, `mgpp.RunWriter` or anything like it."""

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Append one row of metrics."""

    def part(self, frame: str, step: int, rows: pd.DataFrame) -> None:
        """Store the rows of one step of a frame."""

    def update(self, **info: Any) -> None:
        """Add to what is known of the run."""


class Observer:
    """Looks at a Pruner's weights on logged steps and writes what it sees; it never changes the training.

    Where processes share out the weights each needs an Observer: what they measure adds up, so all of them see the
    whole model, and one of them is meant to write.

    A step is logged if it lies a multiple of `every` from t_i, so that prune events are seen right after they happened,
    and at t_f and the last step.

    Args:
        pruner: whose weights to look at.
        writer: receives the rows.
        every: steps between logged steps.
        histograms_every: steps between histograms of the weights, a multiple of `every`.
        trajectories: number of single weights to follow, the same ones in every run on a model.
        evaluate: called on every `evaluate_every`-th step; returns metrics, logged as `eval_<name>`.
        evaluate_every: steps between evaluations, a multiple of `every`.
        show: called with each row that was written, for a progress display.

    Example:
        >>> Observer(pruner, RunWriter("my-run"), every=10)  # doctest: +SKIP
    """

    def __init__(
        self,
        pruner: Pruner,
        writer: Writer,
        *,
        every: int = 10,
        histograms_every: int = 50,
        trajectories: int = 500,
        evaluate: Callable[[], Mapping[str, float]] | None = None,
        evaluate_every: int = 100,
        show: Callable[[Mapping[str, Any]], None] | None = None,
    ):
        self.pruner, self.writer, self.every, self.show = pruner, writer, every, show
        self.histograms_every = histograms_every
        self.evaluate, self.evaluate_every = evaluate, evaluate_every
        self.followed = follow(pruner.shards, trajectories)
        self._row: dict[str, Any] | None = None
        self._last_step = -1

    @property
    def is_pending(self) -> bool:
        """Whether a row has been measured and waits for its loss."""
        return self._row is not None

    def is_due(self, step: int, max_steps: int) -> bool:
        """Whether `step` is logged."""
        self._last_step = max_steps - 1
        return self._falls_on(step, self.every)

    def _falls_on(self, step: int, every: int) -> bool:
        schedule = self.pruner.sparsity
        return (step - schedule.begin_step) % every == 0 or step in (schedule.end_step, self._last_step)

    def measure(self, step: int) -> None:
        """Measure now, right after the prune event; the loss follows with `write`."""
        penalty = self.pruner.penalty.at(step)
        prior = penalty if isinstance(penalty, MixtureGaussianPrior) else None
        layers = layer_rows(self.pruner.shards, step, prior)
        self._row = metrics_row(self.pruner, step, prior, layers)
        self.writer.part("layers", step, layers)
        if self.followed:
            self.writer.part("trajectories", step, trajectory_rows(self.pruner.shards, self.followed, step))
        if self._falls_on(step, self.histograms_every):
            self.writer.part("weights", step, histogram_rows(self.pruner.shards, step))
        if self.evaluate is not None and self._falls_on(step, self.evaluate_every):
            self._row |= {f"eval_{name}": value for name, value in self._evaluated().items()}

    def _evaluated(self) -> Mapping[str, float]:
        """Evaluate with the random state set aside, so that the training does not notice."""
        assert self.evaluate is not None
        with torch.random.fork_rng():
            return self.evaluate()

    def write(self, logs: Mapping[str, float]) -> None:
        """Write the measured row with the Trainer's loss, learning rate and epoch."""
        assert self._row is not None
        taken = {name: logs.get(name) for name in ("epoch", "loss", "learning_rate", "grad_norm")}
        row, self._row = self._row | taken, None
        self.writer.metrics(row)
        if self.show is not None:
            self.show(row)


def metrics_row(pruner: Pruner, step: int, prior: MixtureGaussianPrior | None, layers: pd.DataFrame) -> dict[str, Any]:
    """The row of `Run.metrics` for one step, but for what the Trainer knows. No value: None."""
    event = pruner.event
    return {
        "step": step,
        "phase": pruner.phase(step),
        "sparsity_target": pruner.target_sparsity(step),
        "sparsity": float(np.average(layers["sparsity"], weights=layers["n"])),
        "pruning_threshold": event.threshold if event else None,
        "prior_threshold": prior.threshold if prior and prior.has_threshold else None,
        "lam": prior.lam if prior else None,
        "spike_var": prior.spike_var if prior else None,
        "slab_var": prior.slab_var if prior else None,
        "spike_fraction": float(np.average(layers["spike_fraction"], weights=layers["n"])) if prior else None,
        "regrown": event.regrown if event else None,
        "mask_churn": event.churn if event else None,
    }


@torch.no_grad()
def layer_rows(weights: Mapping[str, Tensor], step: int, prior: MixtureGaussianPrior | None) -> pd.DataFrame:
    """One row a target: sparsity, mean and standard deviation of the magnitudes, share of the weights in the spike."""
    shards = Shards.of(weights)
    sums, sizes, edge = {name: np.zeros(4) for name in shards}, Magnitudes(shards), spike_edge(prior)
    for name, _, size in sizes:
        zeros, in_spike = len(size) - int(size.bool().count_nonzero()), float(sizes.where(torch.lt, size, edge).sum())
        sums[name] += (zeros, float(size.sum()), float(size.dot(size)), in_spike)
    rows = []
    for (name, n), of_all in zip(shards.sizes.items(), shards.peers.sum(np.array([*sums.values()])), strict=True):
        sparsity, mean, square, in_spike = of_all / n
        row = {"step": step, "layer": layer_of(name), "kind": kind_of(name), "name": name, "n": n}
        row |= {"sparsity": sparsity, "abs_mean": mean, "abs_std": math.sqrt(max(square - mean**2, 0.0))}
        rows.append(row | {"spike_fraction": in_spike if prior else math.nan})
    return pd.DataFrame(rows)


def spike_edge(prior: MixtureGaussianPrior | None) -> float:
    """The magnitude below which the spike probability exceeds ½: τ, or infinity or 0 where there is no τ."""
    if prior is None or not prior.has_threshold:
        return math.inf if prior and prior.spike_probability(0.0) > 0.5 else 0.0
    return prior.threshold


@torch.no_grad()
def histogram_rows(weights: Mapping[str, Tensor], step: int) -> pd.DataFrame:
    """Counts of each target's weights in signed logarithmic bins; zeros in a bin of their own, empty bins left out.

    The bins of `BIN_EDGES` lie on both sides of zero. Below the smallest edge a bin reaches to 0 (exclusive), beyond
    the largest to infinity. A zero has left = right = 0; magnitudes below 1e-40 count as zeros.
    """
    lefts, rights = _bins()
    shards = Shards.of(weights)
    counts = shards.peers.sum(np.array([_signed_counts(part.detach(), len(lefts)) for part in shards.values()]))
    target, hit = counts.nonzero()
    layers, kinds = np.array([layer_of(name) for name in weights]), np.array([kind_of(name) for name in weights])
    return pd.DataFrame(
        {
            "step": np.int32(step),
            "layer": layers[target].astype(np.int16),
            "kind": kinds[target],
            "left": lefts[hit],
            "right": rights[hit],
            "count": counts[target, hit].astype(np.int32),
        }
    )


def _bins() -> tuple[np.ndarray, np.ndarray]:
    """Left and right edges of all bins in ascending order, the zero bin in the middle."""
    magnitudes = np.concatenate([[0.0], BIN_EDGES, [np.inf]])
    lefts = np.concatenate([-magnitudes[:0:-1], [0.0], magnitudes[:-1]])
    rights = np.concatenate([-magnitudes[-2::-1], [0.0], magnitudes[1:]])
    return lefts, rights + 0.0


def _signed_counts(weight: Tensor, bins: int) -> np.ndarray:
    """How many values lie in each bin. Magnitudes equal to an edge count with the bin further from zero."""
    counts = torch.zeros(1 << 16, dtype=torch.int64, device=weight.device)
    for (part,) in chunks(weight):
        upper_half = part.reshape(-1).float().view(torch.int32) >> 16
        counts += torch.bincount(upper_half.add_(1 << 15), minlength=1 << 16)
    starts, their_bins = _runs(bins)
    result = np.zeros(bins, dtype=np.int64)
    np.add.at(result, their_bins, np.add.reduceat(counts.cpu().numpy(), starts))
    return result


@cache
def _runs(bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Where, among all upper halves in ascending order, those of another bin begin, and which bin that is."""
    halves = np.arange(-(1 << 15), 1 << 15, dtype=np.int32)
    values = np.abs((halves << 16).view(np.float32))
    values[np.isnan(values)] = np.inf
    away = np.searchsorted(BIN_EDGES, values, side="right") + 1
    index = bins // 2 + np.where(values == 0, 0, np.where(halves < 0, -away, away))
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    return starts, index[starts]


def follow(weights: Mapping[str, Tensor], count: int, seed: int = 0) -> dict[str, Tensor]:
    """Flat indices of `count` weights to follow, spread over the targets by their sizes; the same in every run."""
    shards = Shards.of(weights)
    total = shards.total
    picks = np.sort(np.random.default_rng(seed).choice(total, size=min(count, total), replace=False))
    chosen, start = {}, 0
    for name, size in shards.sizes.items():
        inside = picks[(picks >= start) & (picks < start + size)] - start
        if len(inside):
            chosen[name] = torch.from_numpy(inside)
        start += size
    return chosen


def _values(shards: Shards, name: str, index: Tensor) -> np.ndarray:
    """The weights at flat indices; 0 where another process holds them."""
    part, first = shards[name].detach().flatten(), shards.first(name)
    here = (index >= first) & (index < first + len(part))
    values = torch.zeros(len(index))
    values[here] = part[(index[here] - first).to(part.device)].float().cpu()
    return values.numpy()


@torch.no_grad()
def trajectory_rows(weights: Mapping[str, Tensor], followed: Mapping[str, Tensor], step: int) -> pd.DataFrame:
    """Value of every followed weight, and whether it is nonzero (kept) now."""
    shards = Shards.of(weights)
    value = shards.peers.sum(np.concatenate([_values(shards, name, index) for name, index in followed.items()]))
    value = value.astype(np.float32)
    return pd.DataFrame(
        {
            "step": np.int32(step),
            "name": np.repeat(list(followed), [len(index) for index in followed.values()]),
            "index": torch.cat(list(followed.values())).numpy(),
            "value": value,
            "kept": value != 0,
        }
    )
