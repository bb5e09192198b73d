"""Measure the weights of a Pruner on logged steps, without touching them, and write what a run records."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mgpp.architectures import kind_of, layer_of
from mgpp.prior.chunks import chunks
from mgpp.prior.penalties import Penalty
from mgpp.pruning.dynamics import Dynamics, values_at
from mgpp.pruning.magnitudes import Magnitudes
from mgpp.pruning.pruner import Pruner
from mgpp.pruning.sharded.shards import Shards
from mgpp.runs.histograms import bin_upper_halves, histogram_frame


class Writer(Protocol):
    """What rows are written to: `mgpp.RunWriter`, or a class of your own with these methods."""

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Append one row of metrics."""

    def part(self, frame: str, step: int, rows: pd.DataFrame) -> None:
        """Store the rows of one step of a frame."""

    def update(self, **info: Any) -> None:
        """Add to what is known of the run."""


class Observer:
    """Measure a Pruner's weights on logged steps and write the rows; the training never changes by it.

    In sharded training each process needs an Observer. Their measurements add up, so all of them see the whole model;
    one of them writes.

    A step is logged if it lies a multiple of `every` from t_i, so that prune events are seen right after they happened,
    and at t_f and the last step.

    Args:
        pruner: its weights, penalty and prune events are measured.
        writer: receives the rows.
        every: steps between logged steps.
        histograms_every: steps between histograms of the weights, a multiple of `every`.
        trajectories: number of single weights to follow, the same ones in every run on a model.
        dynamics_every: steps between rows of `Dynamics` of the followed weights; 0: none. It needs a
            `PruningCallback`, which knows the optimizer.
        evaluate: called every `evaluate_every` steps; returns metrics, which are logged as `eval_<name>`.
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
        dynamics_every: int = 0,
        evaluate: Callable[[], Mapping[str, float]] | None = None,
        evaluate_every: int = 100,
        show: Callable[[Mapping[str, Any]], None] | None = None,
    ):
        self.pruner, self.writer, self.every, self.show = pruner, writer, every, show
        self.histograms_every = histograms_every
        self.evaluate, self.evaluate_every = evaluate, evaluate_every
        self.followed = follow(pruner.shards, trajectories)
        self.dynamics_every, self._dynamics = dynamics_every, Dynamics(pruner, self.followed)
        self._row: dict[str, Any] | None = None
        self._last_step = -1

    @property
    def is_pending(self) -> bool:
        """Return whether a row has been measured and waits for its loss."""
        return self._row is not None

    def is_due(self, step: int, max_steps: int) -> bool:
        """Return whether `step` is logged."""
        self._last_step = max_steps - 1
        return self._falls_on(step, self.every)

    def _falls_on(self, step: int, every: int) -> bool:
        schedule = self.pruner.sparsity
        return (step - schedule.begin_step) % every == 0 or step in (schedule.end_step, self._last_step)

    def dynamics(self, step: int) -> Dynamics | None:
        """Return what measures the optimizer's step, on steps whose dynamics are logged."""
        due = self.dynamics_every and self.followed and self._falls_on(step, self.dynamics_every)
        return self._dynamics if due else None

    def measure(self, step: int) -> None:
        """Measure the weights right after the prune event of `step`; the loss follows with `write`."""
        layers = layer_rows(self.pruner.shards, step, self.pruner.penalty.at(step))
        self._row = metrics_row(self.pruner, step, layers)
        self.writer.part("layers", step, layers)
        if self.followed:
            self.writer.part("trajectories", step, trajectory_rows(self.pruner.shards, self.followed, step))
        if self._falls_on(step, self.histograms_every):
            self.writer.part("weights", step, histogram_rows(self.pruner.shards, step))
        if self.evaluate is not None and self._falls_on(step, self.evaluate_every):
            with torch.random.fork_rng():  # the training goes on as without it
                self._row |= {f"eval_{name}": value for name, value in self.evaluate().items()}

    def write(self, logs: Mapping[str, float]) -> None:
        """Write the measured row together with the Trainer's loss, learning rate and epoch, and what else it logs."""
        assert self._row is not None
        taken = {name: logs.get(name) for name in ("epoch", "loss", "learning_rate", "grad_norm")}
        row, self._row = {**taken, **logs, **self._row}, None
        self.writer.metrics(row)
        if self.show is not None:
            self.show(row)


def metrics_row(pruner: Pruner, step: int, layers: pd.DataFrame) -> dict[str, Any]:
    """Return the row of `Run.metrics` of one step, without the Trainer's columns; None where there is no value.

    Args:
        pruner: right after the step.
        step: the logged step.
        layers: the rows of `layer_rows`.
    """
    event, penalty = pruner.event, pruner.penalty.at(step)
    spike_fraction = float(np.average(layers["spike_fraction"], weights=layers["n"]))
    return {
        "step": step,
        "phase": pruner.phase(step),
        "sparsity_target": pruner.target_sparsity(step),
        "sparsity": float(np.average(layers["sparsity"], weights=layers["n"])),
        "pruning_threshold": event.threshold if event else None,
        "prior_threshold": penalty.threshold if penalty.has_threshold else None,
        **{name: getattr(penalty, name, None) for name in ("lam", "spike_var", "slab_var")},
        "spike_fraction": None if math.isnan(spike_fraction) else spike_fraction,
        "regrown": event.regrown if event else None,
        "mask_churn": event.churn if event else None,
    }


@torch.no_grad()
def layer_rows(weights: Mapping[str, Tensor], step: int, penalty: Penalty) -> pd.DataFrame:
    """Return one row a target: sparsity, mean and standard deviation of the magnitudes, share in the spike."""
    shards = Shards.of(weights)
    sums, sizes, edge = {name: np.zeros(4) for name in shards}, Magnitudes(shards), spike_edge(penalty)
    for name, _, size in sizes:
        zeros, in_spike = len(size) - int(size.bool().count_nonzero()), float(sizes.where(torch.lt, size, edge).sum())
        sums[name] += (zeros, float(size.sum()), float(size.dot(size)), in_spike)
    rows = []
    for (name, n), of_all in zip(shards.sizes.items(), shards.peers.sum(np.array([*sums.values()])), strict=True):
        sparsity, mean, square, in_spike = of_all / n
        row = {"step": step, "layer": layer_of(name), "kind": kind_of(name), "name": name, "n": n}
        row |= {"sparsity": sparsity, "abs_mean": mean, "abs_std": math.sqrt(max(square - mean**2, 0.0))}
        rows.append(row | {"spike_fraction": math.nan if math.isnan(edge) else in_spike})
    return pd.DataFrame(rows)


def spike_edge(penalty: Penalty) -> float:
    """Return the magnitude below which a weight belongs to the spike: τ, or NaN for a penalty without a spike.

    Where a spike has no τ, it is the more probable component everywhere (infinity) or nowhere (0).

    Example:
        >>> from mgpp import L2, MixtureGaussianPrior
        >>> prior = MixtureGaussianPrior(1e-4, 1e-8, 0.1)
        >>> spike_edge(prior) == prior.threshold, spike_edge(L2())
        (True, nan)
    """
    if penalty.has_threshold:
        return penalty.threshold
    if not hasattr(penalty, "spike_var"):
        return math.nan
    return math.inf if penalty.spike_probability(0.0) > 0.5 else 0.0


@torch.no_grad()
def histogram_rows(weights: Mapping[str, Tensor], step: int) -> pd.DataFrame:
    """Return the counts of each target's weights in the signed bins of `mgpp.runs.histograms`, one row a filled bin."""
    shards = Shards.of(weights)
    counts = shards.peers.sum(np.array([signed_counts(part.detach()) for part in shards.values()]))
    return histogram_frame(list(weights), counts, step)


def signed_counts(weight: Tensor) -> np.ndarray:
    """Return how many values of a tensor lie in each signed bin.

    The edges are bfloat16 numbers, so the upper half of a value's float32 bits tells its bin: no search is needed.
    """
    counts = torch.zeros(1 << 16, dtype=torch.int64, device=weight.device)
    for (part,) in chunks(weight):
        upper_half = part.reshape(-1).float().view(torch.int32) >> 16
        counts += torch.bincount(upper_half.add_(1 << 15), minlength=1 << 16)
    return bin_upper_halves(counts.cpu().numpy())


def follow(weights: Mapping[str, Tensor], count: int, seed: int = 0) -> dict[str, Tensor]:
    """Draw the flat indices of `count` weights to follow, uniformly over all targets; the same in every run."""
    shards = Shards.of(weights)
    picks = np.sort(np.random.default_rng(seed).choice(shards.total, size=min(count, shards.total), replace=False))
    ends = np.cumsum([*shards.sizes.values()])
    parts = np.split(picks, np.searchsorted(picks, ends[:-1]))
    chosen = zip(shards.sizes, parts, ends - [*shards.sizes.values()], strict=True)
    return {name: torch.from_numpy(inside - start) for name, inside, start in chosen if len(inside)}


@torch.no_grad()
def trajectory_rows(weights: Mapping[str, Tensor], followed: Mapping[str, Tensor], step: int) -> pd.DataFrame:
    """Return the value of every followed weight, and whether it is nonzero (kept) now."""
    shards = Shards.of(weights)
    value = values_at(shards, followed, shards)
    return pd.DataFrame(
        {
            "step": np.int32(step),
            "name": np.repeat(list(followed), [len(index) for index in followed.values()]),
            "index": torch.cat(list(followed.values())).numpy(),
            "value": value,
            "kept": value != 0,
        }
    )
