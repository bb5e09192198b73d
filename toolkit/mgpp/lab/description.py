"""Describe the training of a Pruner as run.json does: recipe, method, schedule and targets."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from mgpp.lab.training.provenance import provenance
from mgpp.methods import METHODS
from mgpp.prior.penalties import NoPenalty
from mgpp.pruning.importance import Importance
from mgpp.pruning.pruner import Pruner
from mgpp.pruning.targets import target_table


def describe(
    pruner: Pruner, total_steps: int | None = None, method: str | None = None, about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what run.json says of a loop's run from the start, under the keys that `mgpp train` writes.

    Args:
        pruner: of the training.
        total_steps: optimizer updates, if they are known.
        method: its name; by default `method_of(pruner)`.
        about: settings that the Pruner does not know: name, task, model, seed and others.

    Raises:
        ValueError: if pruning does not end before the training.
    """
    method = method or method_of(pruner)
    schedule = pruner.sparsity
    if total_steps is not None and total_steps <= schedule.end_step:
        raise ValueError(
            f"record: pruning ends at step {schedule.end_step}, but total_steps={total_steps}; train longer, or "
            "shorten the warm-up and the pruning phase"
        )
    about = dict(about or {})
    steps = {} if total_steps is None else {"steps": steps_of(pruner, total_steps)}
    recipe = {**about, "method": method, "sparsity": _rule(pruner, total_steps), **_section(pruner, method)}
    return {
        "recorded": True,
        "recipe": {key: value for key, value in recipe.items() if value is not None},
        "seed": about.get("seed"),
        **provenance(),
        **steps,
        "examples": {"train": pruner.n_train},
        "targets": targets_of(pruner),
        "ranks_magnitudes": pruner.importance.by_magnitude,
    }


def method_of(pruner: Pruner) -> str:
    """Return the name of the registered method with this penalty and importance, or the names of their classes.

    Example:
        >>> import torch
        >>> from mgpp import L1, CubicSparsity
        >>> w = torch.nn.Parameter(torch.ones(2))
        >>> method_of(Pruner({"w": w}, penalty=L1(0.1), sparsity=CubicSparsity(0.0, 0.5, 0, 1), n_train=1))
        'l1'
    """
    own = (type(pruner.penalty.at(0)), type(pruner.importance))
    if own == (NoPenalty, Importance):
        return "gmp" if pruner.sparsity.final_sparsity else "dense"
    made = {name: method() for name, method in METHODS.items()}
    same = [
        name
        for name, each in made.items()
        if own == (type(each.penalty(pruner.sparsity).at(0)), type(each.importance()))
    ]
    rules = {name: (METHODS[name].freeze == pruner.freeze, METHODS[name].scope == pruner.scope) for name in same}
    if same:
        return max(same, key=lambda name: rules[name])
    return "+".join(kind.__name__ for kind in own if kind not in (NoPenalty, Importance))


def _section(pruner: Pruner, method: str) -> dict[str, Any]:
    """Return the method's section of a recipe, as far as penalty and importance have its hyperparameters."""
    section = METHODS[method].section if method in METHODS else None
    if section is None:
        return {}
    first, last = pruner.penalty.at(0), pruner.penalty.at(pruner.sparsity.end_step)
    found: dict[str, Any] = {}
    for field in fields(METHODS[method]):
        start = field.name.removeprefix("initial_")
        places = (first, start) if start != field.name else (last, field.name)
        found[field.name] = getattr(*places, getattr(pruner.importance, field.name, None))
    return {section: {name: value for name, value in found.items() if isinstance(value, int | float)}}


def _rule(pruner: Pruner, total_steps: int | None) -> dict[str, Any]:
    schedule = pruner.sparsity
    return {
        "initial": schedule.initial_sparsity,
        "final": schedule.final_sparsity,
        "warmup": schedule.begin_step,
        "frozen": None if total_steps is None else total_steps - schedule.end_step,
        "interval": pruner.interval,
        "allow_regrowth": pruner.allow_regrowth,
        "scope": pruner.scope,
        "freeze": pruner.freeze,
    }


def targets_of(pruner: Pruner) -> dict[str, Any]:
    """Return the targets as run.json lists them."""
    table = target_table(pruner.weights)
    table["shape"] = table["shape"].map(list)
    return {"count": pruner.total, "table": table.drop(columns=["share", "share_of_blocks"]).to_dict("records")}


def steps_of(pruner: Pruner, total: int) -> dict[str, int]:
    """Return the steps of a training as run.json lists them: all, t_i and t_f."""
    return {"total": total, "begin": pruner.sparsity.begin_step, "end": pruner.sparsity.end_step}
