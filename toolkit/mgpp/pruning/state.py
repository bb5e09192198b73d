"""Save and restore what a Pruner remembers: masks, prune event, what the importance stores, schedule."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mgpp.pruning.checks import check_same
from mgpp.pruning.events import PruneEvent

if TYPE_CHECKING:
    from mgpp.pruning.pruner import Pruner

MASK, IMPORTANCE = "mask.", "importance."


def saved_state(pruner: "Pruner", *, whole: bool) -> dict[str, Any]:
    """Return the state, see `Pruner.state_dict`."""
    state: dict[str, Any] = {f"{MASK}{name}": mask for name, mask in pruner.masks.items()}
    if pruner.is_ranking:
        state |= {f"{IMPORTANCE}{key}": part for key, part in pruner.importance.tensors().items()}
    if whole:
        state = {key: _whole(pruner, key, part) for key, part in state.items()}
    state["schedule"] = torch.tensor(list(_plan(pruner).values()), dtype=torch.float64)
    if pruner.next_step is not None:
        state["step"] = torch.tensor(pruner.next_step)
    if (event := pruner.event) is not None:
        numbers = [event.step, event.threshold, event.regrown, event.churn]
        state["event"] = torch.tensor(numbers, dtype=torch.float64)
    return state


def load_state(pruner: "Pruner", state: Mapping[str, Any], *, whole: bool) -> None:
    """Restore masks, event, step and what the importance stores, see `Pruner.load_state_dict`."""
    _check_plan(pruner, state)
    masks = {key.removeprefix(MASK): value for key, value in state.items() if key.startswith(MASK)}
    if masks:
        check_same(masks, pruner.weights if whole else pruner.shards, "Pruner.load_state_dict")
    parts = {key: _part(pruner, key, value) if whole else value for key, value in state.items()}
    step, *measures = state["event"].tolist() if "event" in state else (0,)
    event = PruneEvent(int(step), *measures) if measures else None
    stored = {key.removeprefix(IMPORTANCE): part for key, part in parts.items() if key.startswith(IMPORTANCE)}
    if not pruner.has_frozen(event):
        pruner.importance.attach(pruner.shards)
        pruner.importance.load(stored)
    pruner.events.restore(
        {name: parts[MASK + name] for name in masks}, event, pruner.target_count(event.step) if event else 0
    )
    pruner.next_step = int(state["step"]) if "step" in state else None
    if pruner.has_frozen(event):
        pruner.importance.finish()


def check_continues_at(pruner: "Pruner", step: int) -> None:
    """Raise ValueError unless a Pruner's state is that of a training that goes on at `step`."""
    found: tuple[int | None, ...] = (pruner.event.step if pruner.event else None,)
    wanted: tuple[int | None, ...] = (pruner.newest_event(step - 1),)
    if pruner.next_step is not None:
        found, wanted = (*found, pruner.next_step), (*wanted, step)
    if found != wanted:
        raise ValueError(
            f"the training goes on at step {step}, but the Pruner's state is of another: its last prune event and "
            f"next step are {found}, not {wanted}; restore the state of the checkpoint that the training resumes"
        )


def _plan(pruner: "Pruner") -> dict[str, float]:
    """Return what a state must have been saved with."""
    rule = pruner.sparsity
    return {
        "initial_sparsity": rule.initial_sparsity,
        "final_sparsity": rule.final_sparsity,
        "begin_step": rule.begin_step,
        "end_step": rule.end_step,
        "interval": pruner.interval,
        "n_train": pruner.n_train,
    }


def _check_plan(pruner: "Pruner", state: Mapping[str, Any]) -> None:
    plan = _plan(pruner)
    saved = state["schedule"].tolist() if "schedule" in state else plan.values()  # older states have none
    for (field, own), other in zip(plan.items(), saved, strict=True):
        if own != other:
            raise ValueError(
                f"Pruner.load_state_dict: the state was saved with {field}={other:.12g}, but the Pruner has "
                f"{field}={own:.12g}; make the Pruner as it was, or train from the start"
            )


def _whole(pruner: "Pruner", key: str, part: Tensor) -> Tensor:
    """Gather a stored tensor if it belongs to a sharded weight."""
    shards, name = pruner.shards, pruner.shards.named_in(key)
    return part if name is None or part.shape != shards[name].shape else shards.gather(name, part)


def _part(pruner: "Pruner", key: str, whole: Tensor) -> Tensor:
    """Take this process's part of a stored tensor: the inverse of `_whole`."""
    shards, name = pruner.shards, pruner.shards.named_in(key)
    return whole if name is None or whole.shape != shards.whole[name].shape else shards.part(name, whole)
