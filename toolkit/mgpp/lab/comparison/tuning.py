"""Read the trials that chose the methods' settings: what was tried, its score, and which trial won. No torch needed."""

import math
from collections.abc import Iterable
from typing import Any

from mgpp.lab.sweeps.record import dotted
from mgpp.methods import METHODS, Method
from mgpp.plots.style import method_label
from mgpp.runs import Run

UNTRIED = ("log.", "precision", "threads", "save_", "seed", "name")  # may differ between trials without being tried


def tuned_as(method: str) -> str:
    """Return the method whose trials chose this method's settings.

    Example:
        >>> tuned_as("platon-frozen"), tuned_as("l2")
        ('platon', 'l2')
    """
    return METHODS.get(method, Method).tuned_as or method


def has_settings(method: str) -> bool:
    """Return whether a method has hyperparameters that can be tuned; True for a method that is not registered.

    Example:
        >>> has_settings("l2"), has_settings("gmp")
        (True, False)
    """
    known = METHODS.get(method)
    return known is None or (known.section is not None and known.prunes)


def tried_settings(trials: Iterable[Run]) -> list[dict[str, Any]]:
    """What each of one method's trials set: the method's own hyperparameters, and whatever else varies among them.

    Returns:
        One dictionary a trial, by dotted key, without what is unset.

    Example:
        >>> from pathlib import Path
        >>> recipes = [{"method": "l2", "l2": {"strength": s}, "epochs": 3, "seed": 1} for s in (0.1, 0.2)]
        >>> tried_settings([Run(Path("a"), {"recipe": recipe}) for recipe in recipes])
        [{'l2.strength': 0.1}, {'l2.strength': 0.2}]
    """
    trials = list(trials)
    flat = [dotted(run.recipe) for run in trials]
    keys = dict.fromkeys(key for recipe in flat for key in recipe)
    section = f"{METHODS.get(trials[0].method, Method).section}." if trials else ""
    shown = [key for key in keys if key.startswith(section) or _varies(key, flat)]
    return [{key: recipe[key] for key in shown if recipe.get(key) is not None} for recipe in flat]


def _varies(key: str, recipes: list[dict[str, Any]]) -> bool:
    return not key.startswith(UNTRIED) and len({repr(recipe.get(key)) for recipe in recipes}) > 1


def chosen_trial(trials: Iterable[Run]) -> Run | None:
    """The trial with the best validation score, the first of several; None if none has finished.

    The metric is that of the runs; the test set has no say.

    Example:
        >>> from pathlib import Path
        >>> scores = {"a": 0.7, "b": 0.9, "c": 0.8}
        >>> finals = [(name, {"accuracy": 1 - score, "validation_accuracy": score}) for name, score in scores.items()]
        >>> chosen_trial([Run(Path(name), {"status": "finished", "final": final}) for name, final in finals]).name
        'b'
    """
    finished = [run for run in trials if run.status == "finished" and not math.isnan(_validation_score(run))]
    sign = 1 if all(run.info.get("metric", {}).get("higher_is_better", True) for run in finished) else -1
    return max(finished, key=lambda run: sign * _validation_score(run), default=None)


def _validation_score(run: Run) -> float:
    return float(run.final[f"validation_{run.metric}"])


def tuning_markdown(trials: Iterable[Run]) -> str:
    """A table of trials, by method; the chosen ones in bold."""
    lines = ["| method | settings | 1/(nσ1²) or strength | validation accuracy, % | seconds |", "|---|---|---|---|---|"]
    by_method: dict[str, list[Run]] = {}
    for run in sorted(trials, key=lambda run: (run.method, run.name)):
        by_method.setdefault(run.method, []).append(run)
    for runs in by_method.values():
        chosen = chosen_trial(runs) if len(runs) > 1 else None
        lines += [_row(run, tried, run is chosen) for run, tried in zip(runs, tried_settings(runs), strict=True)]
    return "\n".join(lines)


def _row(run: Run, tried: dict[str, Any], chosen: bool) -> str:
    words = ", ".join(f"{key.rpartition('.')[2]} {_number(value)}" for key, value in tried.items())
    score = f"{_validation_score(run):.1%}".rstrip("%") if run.final else run.status
    cells = [method_label(run.method), words, _as_ridge(run), f"**{score}**" if chosen else score]
    return f"| {' | '.join(cells)} | {run.info.get('wall_seconds', float('nan')):.0f} |"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _as_ridge(run: Run) -> str:
    """The strength of the L2 penalty that a trial amounts to far from zero; empty where there is none."""
    if run.method == "l2":
        return f"{run.recipe['l2']['strength']:.2g}"
    if run.method == "mgpp":
        return f"{1 / (run.info['examples']['train'] * run.recipe['prior']['slab_var']):.2g}"
    return ""
