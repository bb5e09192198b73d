"""Train and prune a toy in less than a second on a CPU, the right way or with a mistake.

The toy is a linear regression with more inputs than examples, of which 12 of 800 matter, after Sun, Song & Liang
(2021), section 5. Its true structure is known, so one can count what a method found of it. The inputs enter through two
layers, and the true ones are divided unequally between them. `mgpp.Pruner` prunes, as in a real training.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import pandas as pd
import torch
from torch import nn

from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.prior.schedules import AnnealedPrior, CubicSparsity, LinearRamp
from mgpp.pruning.pruner import PenaltySchedule, Pruner, SparsityError
from mgpp.workshop.toy_problem import INPUTS, TRUE_INPUTS, TextbookPrior, ToyData, ToyModel, toy_data

STEPS = 200
TOY_SPARSITY = CubicSparsity(0.0, 1 - sum(TRUE_INPUTS.values()) / INPUTS, begin_step=50, end_step=175)
TOY_PRIOR = AnnealedPrior(
    MixtureGaussianPrior(lam=0.1, spike_var=2e-3, slab_var=1.0), lam=LinearRamp(0.9, 0.1, begin_step=0, end_step=125)
)
LEARNING_RATES = {"adam": 0.02, "sgd": 0.1}  # fall linearly to a tenth


@dataclass(frozen=True)
class ToyRun:
    """The result of a toy training, as tidy frames.

    Attributes:
        metrics: a row a logged step, columns as in `Run.metrics`, and test_loss; found, the share of the true inputs
            whose weight is not zero; false, the share of the nonzero weights that belong to no true input; data_norm
            and prior_norm, the lengths of the two gradients; passed, the factor by which clipping shortened the data
            gradient.
        weights: a row a weight at the end: layer, input, value, kept, true_weight.
        audit: the result of `Pruner.audit` after the last step: the number of zeros, or its error.
    """

    metrics: pd.DataFrame
    weights: pd.DataFrame
    audit: str

    def ends(self, *columns: str) -> pd.DataFrame:
        """Return metrics in the last logged step of `compare_toys`: a row a variant, a column a metric and seed."""
        last = self.metrics.groupby(["variant", "seed"], sort=False)[list(columns)].last()
        return last.pivot_table(index="variant", columns="seed", values=list(columns), sort=False)

    def kept_by_layer(self) -> pd.DataFrame:
        """Count the weights that each layer of `compare_toys` kept, and how many of these are true."""
        kept = self.weights[self.weights["kept"]]
        kept = kept.assign(kept=1, true=(kept["true_weight"] != 0).astype(int))
        keys, counts = ["variant", "seed"], ["kept", "true"]
        return kept.pivot_table(counts, index=keys, columns="layer", aggfunc="sum", sort=False, fill_value=0)


@cache
def train_toy(
    seed: int = 0,
    *,
    penalty: PenaltySchedule | None = TOY_PRIOR,
    sparsity: CubicSparsity = TOY_SPARSITY,
    interval: int = 5,
    allow_regrowth: bool = True,
    steps: int = STEPS,
    every: int = 5,
    optimizer: Literal["adam", "sgd"] = "adam",
    learning_rate: float | None = None,
    max_grad_norm: float = math.inf,
    clip_prior_too: bool = False,
    prior_dtype: torch.dtype | None = None,
    loss: Literal["mean", "sum"] = "mean",
    prior_n: int | None = None,
    threshold_per_layer: bool = False,
    second_scale: float = 1.0,
) -> ToyRun:
    """Train and prune the toy, the right way unless told otherwise.

    The same arguments give the same run; a repetition costs nothing, since runs are kept. Don't change their frames.

    Args:
        seed: of data and start.
        penalty: a penalty or an annealed prior; None for gradual pruning without one.
        sparsity: the schedule; 12 of 800 weights are left by default.
        interval: steps between prune events.
        allow_regrowth: see `mgpp.Pruner`.
        steps: when to stop. The learning rate is on its way to a tenth at step 200, whatever `steps` is.
        every: steps between logged steps.
        optimizer: adam or sgd, full batch.
        learning_rate: 0.02 for adam, 0.1 for sgd by default.
        max_grad_norm: the length to which the data gradient is clipped.
        clip_prior_too: a mistake: clip after the prior's gradient was added, instead of before.
        prior_dtype: a mistake: compute and add the prior's gradient in this type, see `TextbookPrior`.
        loss: sum is a mistake: it makes the prior n times too weak.
        prior_n: the n that the prior is divided by; 1 is a mistake: it makes the prior n times too strong.
        threshold_per_layer: a mistake: a Pruner and so a threshold for each layer, instead of one for both.
        second_scale: units of the second layer's inputs, see `toy_data`.

    Example:
        >>> run = train_toy(steps=30, every=10)
        >>> run.metrics["step"].tolist()
        [0, 10, 20, 29]
    """
    data, model = toy_data(seed, second_scale=second_scale), ToyModel(seed)
    if prior_dtype is not None and penalty is not None:
        penalty = TextbookPrior(penalty, prior_dtype)
    layers = [{name: weight} for name, weight in model.targets.items()]
    n = len(data.x) if prior_n is None else prior_n
    how: dict[str, Any] = {"sparsity": sparsity, "penalty": penalty, "n_train": n, "interval": interval}
    how["allow_regrowth"] = allow_regrowth
    pruners = [Pruner(group, **how) for group in (layers if threshold_per_layer else [model.targets])]
    start = LEARNING_RATES[optimizer] if learning_rate is None else learning_rate
    mover = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer](model.parameters(), lr=start)
    if clip_prior_too:
        _clip_in_step(mover, max_grad_norm)
    rate, rows, finite = LinearRamp(start, 0.1 * start, begin_step=0, end_step=STEPS), [], True
    for step in range(steps):
        mover.param_groups[0]["lr"] = rate(step)
        row = {"step": step} | _gradients_(model, data, loss, pruners, step, max_grad_norm, clip_prior_too)
        mover.step()
        finite = bool(model.flat.isfinite().all())
        if finite:
            for pruner in pruners:
                pruner.after_step(step)
        if step % every == 0 or step == steps - 1 or not finite:
            rows.append(row | _pruning(pruners, step) | _found(model, data))
        if not finite:
            break
    verdict = _audit(pruners) if finite else f"at step {step} the weights were no longer finite; the training stopped"
    return ToyRun(pd.DataFrame(rows), _weight_rows(model, data), verdict)


def _gradients_(
    model: ToyModel,
    data: ToyData,
    loss: str,
    pruners: Iterable[Pruner],
    step: int,
    max_norm: float,
    clip_prior_too: bool,
) -> dict[str, float]:
    """Run backward, clip and add the prior in the right or the wrong order; return the loss and gradient norms."""
    model.zero_grad()
    errors = 0.5 * (model(data.x) - data.y).square()
    {"mean": errors.mean, "sum": errors.sum}[loss]().backward()
    data_norm = float(model.flat_grad.norm())
    length = torch.tensor(0.0) if clip_prior_too else nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    clipped = model.flat_grad
    for pruner in pruners:
        pruner.before_step(step)
    prior_norm = float((model.flat_grad - clipped).norm())
    if clip_prior_too:
        length = nn.utils.get_total_norm([weight.grad for weight in model.parameters() if weight.grad is not None])
    passed = min(1.0, max_norm / max(float(length), 1e-30))
    return {"loss": 2 * errors.mean().item(), "data_norm": data_norm, "prior_norm": prior_norm, "passed": passed}


def _clip_in_step(optimizer: torch.optim.Optimizer, max_norm: float) -> None:
    """Clip all gradients within the optimizer's step: the Pruner refuses it before."""

    def _clip(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        nn.utils.clip_grad_norm_((w for group in optimizer.param_groups for w in group["params"]), max_norm)

    optimizer.register_step_pre_hook(_clip)


def _pruning(pruners: Sequence[Pruner], step: int) -> dict[str, Any]:
    """Return what the pruners did, averaged over their shares of the weights."""
    first, prior = pruners[0], pruners[0].penalty.at(step)
    row: dict[str, Any] = {"phase": first.phase(step), "sparsity_target": first.target_sparsity(step)}
    row["sparsity"] = sum(pruner.zeros() for pruner in pruners) / INPUTS
    row["prior_threshold"] = prior.threshold if prior.has_threshold else math.nan
    for column, name in (("pruning_threshold", "threshold"), ("regrown", "regrown"), ("mask_churn", "churn")):
        row[column] = sum(getattr(p.event, name) * p.total / INPUTS if p.event else math.nan for p in pruners)
    return row


@torch.no_grad()
def _found(model: ToyModel, data: ToyData) -> dict[str, float]:
    """Return test loss, share of the true inputs that are kept, and share of the kept ones that are not true."""
    kept, true = model.flat != 0, data.true_weights != 0
    return {
        "test_loss": float((model(data.x_test) - data.y_test).square().mean()),
        "found": float((kept & true).sum() / true.sum()),
        "false": float((kept & ~true).sum() / max(1, int(kept.sum()))),
    }


def _weight_rows(model: ToyModel, data: ToyData) -> pd.DataFrame:
    names = [name for name, weight in model.targets.items() for _ in range(weight.numel())]
    value = model.flat.numpy().copy()
    rows = {"layer": names, "input": range(INPUTS), "value": value, "kept": value != 0}
    return pd.DataFrame(rows | {"true_weight": data.true_weights.numpy()})


def _audit(pruners: Iterable[Pruner]) -> str:
    try:
        return f"{sum(pruner.audit() for pruner in pruners)} of {INPUTS} weights are zero, as promised"
    except SparsityError as error:
        return str(error)


def compare_toys(variants: Mapping[str, Mapping[str, Any]], *, seeds: Iterable[int] = (0,), **common: Any) -> ToyRun:
    """Train the toy in several ways, each with several seeds.

    Args:
        variants: a name for each way, and the arguments of `train_toy` that make it.
        seeds: each variant is trained with each of them.
        common: arguments that all share.

    Returns:
        Frames of all runs one below the other, with the columns variant and seed in front. `audit` has a line a run.

    Example:
        >>> runs = compare_toys({"with": {}, "without": {"penalty": None}}, seeds=[0, 1], steps=2)
        >>> runs.metrics.groupby(["variant", "seed"], sort=False).size().index.tolist()
        [('with', 0), ('with', 1), ('without', 0), ('without', 1)]
    """
    seeds = list(seeds)
    runs = {(name, seed): train_toy(seed, **common | dict(way)) for name, way in variants.items() for seed in seeds}
    metrics, weights = (
        _stacked({key: getattr(run, frame) for key, run in runs.items()}) for frame in ("metrics", "weights")
    )
    audits = [f"{name}, seed {seed}: {run.audit}" for (name, seed), run in runs.items()]
    return ToyRun(metrics, weights, "\n".join(audits))


def _stacked(frames: Mapping[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    """Stack the frames of all runs, with the columns variant and seed in front."""
    stacked = pd.concat(frames, names=["variant", "seed", None])
    return stacked.reset_index(level=["variant", "seed"]).reset_index(drop=True)
