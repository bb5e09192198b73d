"""Measure whether MGPP, L2 and no penalty find the true structure as n grows, on problems where it is known.

The theory (Sun, Song & Liang 2021; Zhang, Sun & Liang 2024) says that with a mixture Gaussian prior the sparse network
finds the true structure and the true function as n grows. This simulation measures both:

    FSR = false inputs among the selected / selected         false selection rate, 0 where nothing is selected
    NSR = true inputs that are missed / true inputs          negative selection rate
    excess risk = mean (g(x) - f(x))² over new examples      test error beyond the noise; g the model, f the truth

One command makes all runs and skips those that are finished:

    python -m studies.consistency --out data/consistency
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

from mgpp.lab.training.provenance import provenance
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.prior.penalties import L2
from mgpp.prior.schedules import AnnealedPrior, CubicSparsity, LinearRamp
from mgpp.pruning.pruner import PenaltySchedule, Pruner
from mgpp.runs import Run, RunWriter, load_run
from studies.consistency.problems import PROBLEMS, Problem, Sample

WARMUP, FROZEN, INTERVAL = 0.2, 0.6, 10  # shares of the steps before pruning and until the mask is frozen; steps
INITIAL_LAM, LAM = 0.1, 1e-5
TEST_EXAMPLES, TEST_SEED = 2000, 1_000_000
SEEDS = tuple(range(6))
TUNING_SEEDS, TUNING_SIZE = (100, 101, 102), 1000


@dataclass(frozen=True)
class Variances:
    """The variances of a method's prior. They are tuned once and stay fixed while n grows.

    Args:
        slab: σ1²; for L2 the variance of its Gaussian, so that its strength is 1/(n slab), as the slab's.
        spike: σ0²; None for L2.

    Example:
        >>> Variances(slab=0.1).penalty(n=1000, begin=0, end=10)
        L2(strength=0.01)
        >>> Variances(slab=0.1, spike=1e-3).penalty(n=1000, begin=0, end=10).at(10)
        MixtureGaussianPrior(lam=1e-05, spike_var=0.001, slab_var=0.1)
    """

    slab: float
    spike: float | None = None

    def times(self, factor: float) -> "Variances":
        """Return both variances times a factor, rounded to six digits.

        Example:
            >>> Variances(slab=0.1, spike=1e-3).times(10)
            Variances(slab=1.0, spike=0.01)
        """
        spike = None if self.spike is None else float(f"{factor * self.spike:.6g}")
        return Variances(float(f"{factor * self.slab:.6g}"), spike)

    def penalty(self, n: int, begin: int, end: int) -> PenaltySchedule:
        """Return L2, or the mixture with λ annealed from 0.1 to 1e-5 between two steps."""
        if self.spike is None:
            return L2(1 / (n * self.slab))
        prior = MixtureGaussianPrior(LAM, self.spike, self.slab)
        return AnnealedPrior(prior, lam=LinearRamp(INITIAL_LAM, LAM, begin_step=begin, end_step=end))


# four trials a method and problem, times the problem's `spread`, judged by validation loss at n = 1,000 on other seeds
TRIALS: dict[str, tuple[Variances, ...]] = {
    "mgpp": tuple(Variances(slab, spike) for slab in (0.01, 0.1) for spike in (1e-4, 1e-3)),
    "l2": tuple(Variances(slab) for slab in (1e-3, 0.01, 0.1, 1.0)),
}


def trials(problem: Problem, method: str) -> list[Variances]:
    """Return the settings that are tried for a method on a problem.

    Example:
        >>> [trial.slab for trial in trials(PROBLEMS["regression"], "l2")]
        [0.01, 0.1, 1.0, 10.0]
    """
    return [trial.times(problem.spread) for trial in TRIALS[method]]


@cache
def _samples(problem: Problem, n: int, seed: int) -> tuple[Sample, Sample, Sample]:
    """Draw examples for training, validation (a quarter of n) and testing (the same for every n and seed)."""
    rng = torch.Generator().manual_seed(seed)
    train, validation = problem.draw(n, rng), problem.draw(max(2, n // 4), rng)
    return train, validation, problem.draw(TEST_EXAMPLES, torch.Generator().manual_seed(TEST_SEED))


def replicate(problem: Problem, variances: Variances | None, *, n: int, seed: int, kept: int) -> dict[str, Any]:
    """Train and prune one student and measure what it found.

    Args:
        problem: data, student and budget.
        variances: of the penalty; None for no penalty.
        n: number of training examples; a quarter more are drawn for validation.
        seed: of data, start and batches; the same for all methods.
        kept: number of weights left in the end.

    Returns:
        step, the number of steps; seed; kept; validation_loss and its standard error; selected, the inputs that the
        student uses; importance, of each true input and the largest of a false one; fsr; nsr; excess_risk;
        pruning_threshold, at the last prune event.

    Example:
        >>> from dataclasses import replace
        >>> row = replicate(replace(PROBLEMS["teacher"], steps=10), None, n=20, seed=0, kept=5)
        >>> row["step"], row["kept"], 0 <= row["fsr"] <= 1
        (10, 5, True)
    """
    train, validation, test = _samples(problem, n, seed)
    model = problem.model(seed)
    pruner = _pruner(problem, variances, model, n, kept)
    _train_(problem, model, pruner, train, seed)
    pruner.audit()
    threshold = pruner.event.threshold if pruner.event else 0.0
    trained = {"step": problem.steps, "seed": seed, "kept": kept, "pruning_threshold": threshold}
    return trained | _errors(model, validation, test) | _structure(problem, model, test)


def _pruner(problem: Problem, variances: Variances | None, model: torch.nn.Module, n: int, kept: int) -> Pruner:
    targets = problem.targets(model)
    total = sum(weight.numel() for weight in targets.values())
    begin, end = round(WARMUP * problem.steps), round(FROZEN * problem.steps)
    penalty = None if variances is None else variances.penalty(n, begin, end)
    sparsity = CubicSparsity(0.0, 1 - kept / total, begin_step=begin, end_step=end)
    return Pruner(targets, sparsity=sparsity, penalty=penalty, n_train=n, interval=INTERVAL)


def _train_(problem: Problem, model: torch.nn.Module, pruner: Pruner, train: Sample, seed: int) -> None:
    """Train with Adam on random batches; the loss is half the mean squared error."""
    optimizer = torch.optim.Adam(model.parameters(), lr=problem.learning_rate)
    rate = LinearRamp(problem.learning_rate, 0.1 * problem.learning_rate, begin_step=0, end_step=problem.steps)
    rng = torch.Generator().manual_seed(seed)
    for step in range(problem.steps):
        optimizer.param_groups[0]["lr"] = rate(step)
        rows = torch.randint(len(train), (problem.batch,), generator=rng)
        optimizer.zero_grad()
        (0.5 * (model(train.x[rows]) - train.y[rows]).square().mean()).backward()
        pruner.before_step(step)
        optimizer.step()
        pruner.after_step(step)


@torch.no_grad()
def _errors(model: torch.nn.Module, validation: Sample, test: Sample) -> dict[str, float]:
    errors = (model(validation.x) - validation.y).square()
    return {
        "validation_loss": float(errors.mean()),
        "validation_se": float(errors.std()) / len(errors) ** 0.5,
        "excess_risk": float((model(test.x) - test.mean).square().mean()),
    }


def _structure(problem: Problem, model: torch.nn.Module, test: Sample) -> dict[str, Any]:
    importance = problem.importance(model, test.x[:500])
    selected = {place for place, value in enumerate(importance) if value > problem.least}
    true = set(problem.true)
    return {
        "selected": len(selected),
        "fsr": len(selected - true) / max(1, len(selected)),
        "nsr": len(true - selected) / len(true),
        "importance": [round(importance[place], 4) for place in problem.true],
        "largest_false": round(max(value for place, value in enumerate(importance) if place not in true), 4),
    }


def simulate(
    problem: Problem, method: str, variances: Variances | None, folder: Path, *, n: int, seeds: Iterable[int] = SEEDS
) -> Run:
    """Run all replications of a problem, a method and an n, and log them as one run: a row of metrics a training.

    A finished run in `folder` is read instead. An unfinished one is made again.

    Raises:
        RunError: if the folder holds something else.
    """
    started = (folder / "run.json").is_file()
    if started and load_run(folder).status == "finished":
        return load_run(folder)
    seeds, plain = list(seeds), None if variances is None else asdict(variances)
    recipe = {"problem": problem.name, "method": method, "n": n, "seeds": seeds, "variances": plain}
    schedule = {"warmup": WARMUP, "frozen": FROZEN, "interval": INTERVAL, "initial_lam": INITIAL_LAM, "lam": LAM}
    info = {"recipe": recipe | {"problem_settings": asdict(problem), "schedule": schedule}, **provenance()}
    with RunWriter(folder, info, replace=started) as writer:
        rows = []
        for seed in seeds:
            for kept in problem.kept:
                rows.append(replicate(problem, variances, n=n, seed=seed, kept=kept))
                writer.metrics(rows[-1])
            _samples.cache_clear()
        measures = ["validation_loss", "excess_risk", "fsr", "nsr"]
        writer.update(final={name: round(value, 6) for name, value in pd.DataFrame(rows)[measures].mean().items()})
    return load_run(folder)


def tune(problem: Problem, method: str, out: Path) -> Variances:
    """Return the trial of a method with the least validation loss, at the middle number of weights kept."""
    middle = replace(problem, kept=(problem.kept[len(problem.kept) // 2],))
    losses: dict[Variances, float] = {}
    for number, variances in enumerate(trials(problem, method)):
        folder = out / "tuning" / f"{problem.name}-{method}-trial{number}"
        run = simulate(middle, method, variances, folder, n=TUNING_SIZE, seeds=TUNING_SEEDS)
        losses[variances] = run.final["validation_loss"]
    return min(losses, key=lambda variances: losses[variances])


def simulate_all(problems: Mapping[str, Problem], out: Path) -> None:
    """Tune MGPP and L2 with four trials each, then run all three methods at every n."""
    for problem in problems.values():
        chosen = {method: tune(problem, method, out) for method in TRIALS}
        for n in problem.sizes:
            for method, variances in {**chosen, "gmp": None}.items():
                run = simulate(problem, method, variances, out / f"{problem.name}-{method}-n{n:05d}", n=n, seeds=SEEDS)
                measures = ", ".join(f"{name} {value:.3f}" for name, value in run.final.items())
                click.echo(f"{run.name}: {measures}")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("data/consistency"), show_default=True)
@click.option("--problem", type=click.Choice(list(PROBLEMS)), help="One problem alone")
def main(out: Path, problem: str | None) -> None:
    """Run the consistency simulation. Finished runs stay, so an interrupted simulation goes on."""
    torch.set_num_threads(1)
    simulate_all(PROBLEMS if problem is None else {problem: PROBLEMS[problem]}, out)


if __name__ == "__main__":
    main()
