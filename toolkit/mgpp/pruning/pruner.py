"""Prune while training: the Pruner applies penalty, importance, schedule and mask at the right moments of a step.

Read this module first. The mathematics is in `mgpp.prior`, exact thresholds and masks in the modules beside this one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mgpp.prior.penalties import NoPenalty, Penalty, check_count
from mgpp.prior.schedules import CubicSparsity
from mgpp.pruning.importance import Importance
from mgpp.pruning.masks import apply_, pack, remove_lowest_, unpack
from mgpp.pruning.scope import Scope, groups, split_evenly
from mgpp.pruning.sharded.peers import Peers
from mgpp.pruning.sharded.shards import Shards


class PenaltySchedule(Protocol):
    """Give the penalty of a training step: a `Penalty` gives itself, an `AnnealedPrior` one that changes."""

    def at(self, step: int) -> Penalty:
        """Return the penalty of `step`."""


class SparsityError(RuntimeError):
    """The model does not hold exactly as many zeros as the schedule promises."""


@dataclass(frozen=True)
class PruneEvent:
    """Describe the last prune event.

    Attributes:
        step: training step of the event.
        threshold: the pruning threshold: the k-th smallest magnitude, or rank. With scope "matrix" the largest of the
            matrices' thresholds.
        regrown: share of the weights zeroed at the previous event that were nonzero again at this one. If weights are
            kept under the mask: the share that this event restores.
        churn: mask churn, the share of all weights that were kept at one of the two events and not at the other.
    """

    step: int
    threshold: float
    regrown: float
    churn: float


class Pruner:
    """Prune weights gradually during training.

    With a `MixtureGaussianPrior` and the defaults this is MGPP (Zhang, Sun & Liang 2024, algorithm 1). Other penalties
    and other importances give the methods of `mgpp.methods`. One training step t, counted in optimizer updates from 0:

        pruner.begin_step(t)        only for gates that are drawn at every step (`HardConcrete`)
        loss.backward()             the trainer accumulates, unscales and clips the data gradient
        pruner.before_step(t)       t <= t_f: importance reads the gradient, then the penalty's gradient is added
        optimizer.step()
        pruner.after_step(t)        at a prune event: set the k = round(v(t) N) lowest weights to 0, exactly k
                                    from t_f on: the mask is frozen, the same weights are zeroed after every step

    Prune events are at t_i, every `interval` steps after it, and at t_f.

    In data-parallel training every process has its own Pruner; all of them do the same. If a model is sharded (FSDP2),
    each Pruner works on the part of every weight that its process holds (`shards`). Together they remove what a single
    process would remove. Every method is then a collective: all processes must call it.

    Args:
        weights: the targets by name, see `prunable_weights`. They are changed in place.
        sparsity: the schedule v(t), with t_i and t_f.
        penalty: a `Penalty` or an `AnnealedPrior`. Default: no penalty.
        importance: what is ranked. Default: magnitudes.
        n_train: number of training examples, the n of the objective.
        interval: steps between prune events.
        allow_regrowth: True (MGPP): between two prune events zeroed weights may grow again, and the next event ranks
            them again. False: a weight that was removed stays 0.
        scope: "global": rank all targets together. "matrix": every target loses the same share, k in all.
        freeze: True: freeze the mask at t_f. False: from t_f on, rank again after every step.
        compiled: fuse the penalty's gradient with `torch.compile`, see `Penalty.add_grads_`.

    Raises:
        ValueError: if there are no weights, a weight is not trainable, or a number is out of range.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([0.1, -0.2, 0.3, -0.4]))
        >>> pruner = Pruner({"w": w}, sparsity=CubicSparsity(0.0, 0.5, begin_step=0, end_step=1), n_train=8)
        >>> for step in range(2):
        ...     (w**2).sum().backward()
        ...     pruner.before_step(step)  # an optimizer's step would come next
        ...     pruner.after_step(step)
        >>> w.tolist()[:2], pruner.audit()
        ([0.0, 0.0], 2)
    """

    def __init__(
        self,
        weights: Mapping[str, torch.nn.Parameter],
        *,
        sparsity: CubicSparsity,
        n_train: int,
        penalty: PenaltySchedule | None = None,
        importance: Importance | None = None,
        interval: int = 1,
        allow_regrowth: bool = True,
        scope: Scope = "global",
        freeze: bool = True,
        compiled: bool = False,
    ):
        _check_weights(weights)
        self.weights = dict(weights)
        self.shards = Shards(self.weights)
        self.penalty: PenaltySchedule = penalty or NoPenalty()
        self.n_train = check_count("Pruner", "n_train", n_train, 1)
        self.interval = check_count("Pruner", "interval", interval, 1)
        self.allow_regrowth, self.freeze = allow_regrowth, freeze
        self.compiled, self.scope = compiled, scope
        self.total = self.shards.total
        self.importance = importance or Importance()
        if self.importance.must_freeze and not freeze:
            raise ValueError("Pruner: freeze=False, but the gates are folded into the weights at t_f; set freeze=True")
        self.importance.attach(self.shards)
        self.sparsity = self.importance.schedule(sparsity)
        self._groups = groups(self.weights, scope)
        self.event: PruneEvent | None = None
        self.is_fresh = True  # until the first step or a loaded state
        self._bits: dict[str, Tensor] = {}  # packed masks; empty before the first prune event
        self._recent: list[tuple[int, float]] = []  # count and threshold of the last two events

    def bind(self, weights: Mapping[str, torch.nn.Parameter], *, copies: Peers | None = None) -> None:
        """Replace the targets by other parameters of the same names and shapes, for instance those of a wrapped model.

        Args:
            weights: the new targets.
            copies: processes that hold the same weights, as in data-parallel training. Every prune event checks that
                they find the same threshold.

        Raises:
            ValueError: if names or shapes differ.
        """
        _check_weights(weights)
        _check_same(weights, self.weights, "Pruner.bind")
        state, fresh = self.state_dict(), self.is_fresh
        self.weights = dict(weights)
        self.shards = Shards(self.weights)
        self.shards.copies = copies or self.shards.copies
        self.load_state_dict(state)
        self.is_fresh = fresh

    def begin_step(self, step: int) -> None:
        """Draw the gates of this step, if the importance has gates. Call it before the forward pass."""
        if self._is_ranking(step) and self.importance.begin_step(step):
            apply_(self.shards, self._bits)

    def before_step(self, step: int) -> None:
        """Read the data gradient and add the penalty's. Call it after backward and clipping, before optimizer.step."""
        self.is_fresh = False
        penalty = self.penalty.at(step)
        adds = step <= self.sparsity.end_step and not isinstance(penalty, NoPenalty)
        if adds:  # the penalty also acts on weights that have no data gradient
            self.shards.make_gradients()
        with self.shards.gradients():
            self._observe(step)
            if adds:
                parts = list(self.shards.values())
                penalty.add_grads_([part.grad for part in parts], parts, n=self.n_train, compiled=self.compiled)

    def _observe(self, step: int) -> None:
        """Pass the data gradient to the importance."""
        if not self._is_ranking(step):
            return
        if self.importance.by_magnitude or self._gradients_are_finite():
            self.importance.observe(step)
        else:
            self.importance.skip(step)
        if self.importance.keeps_weights:  # weights under the mask have no part in the loss
            gradients = {name: part.grad for name, part in self.shards.items() if part.grad is not None}
            apply_(gradients, {name: bits for name, bits in self._bits.items() if name in gradients})

    def _gradients_are_finite(self) -> bool:
        finite = [part.grad.isfinite().all() for part in self.shards.values() if part.grad is not None]
        broken = bool(finite) and not bool(torch.stack(finite).all())
        return not self.shards.peers.sum([broken])[0]

    def after_step(self, step: int) -> None:
        """Prune at a prune event, and apply the mask where it holds. Call it after optimizer.step."""
        is_event = self._prunes_at(step)
        if self._is_ranking(step):
            self.importance.update(step)
        stays = self.phase(step) == "frozen" or self.importance.keeps_weights
        if not self.allow_regrowth or (stays and not is_event):
            apply_(self.shards, self._bits)
        if is_event:
            self._prune_(step)
        if self.freeze and step == self.sparsity.end_step:
            self.importance.finish()
            apply_(self.shards, self._bits)

    def _prunes_at(self, step: int) -> bool:
        return self.sparsity.prunes_at(step, self.interval) or (not self.freeze and step >= self.sparsity.end_step)

    def _is_ranking(self, step: int) -> bool:
        """Tell whether weights are still ranked, which ends when the mask is frozen."""
        return step <= self.sparsity.end_step or not self.freeze

    def phase(self, step: int) -> str:
        """Return "warmup", "pruning" or "frozen"; with `freeze=False` it stays "pruning" to the end."""
        phase = self.sparsity.phase(step)
        return "pruning" if phase == "frozen" and not self.freeze else phase

    def target_sparsity(self, step: int) -> float:
        """Return the sparsity that the schedule asks for, 0 in the warm-up."""
        return 0.0 if self.phase(step) == "warmup" else self.sparsity(step)

    def target_count(self, step: int) -> int:
        """Return k = round(v(t) N), the number of weights to remove at `step`."""
        return round(self.target_sparsity(step) * self.total)

    def zeros(self) -> int:
        """Count the zeros in the targets now."""
        return int(self.shards.peers.sum([sum(int((part == 0).sum()) for part in self.shards.values())])[0])

    @property
    def masks(self) -> dict[str, Tensor]:
        """The masks as bool tensors (True = kept) in the shapes of `shards`; empty before the first prune event.

        They are unpacked at every call: the Pruner stores one bit a weight.
        """
        return {
            name: unpack(bits, self.shards[name].numel()).view(self.shards[name].shape)
            for name, bits in self._bits.items()
        }

    def _prune_(self, step: int) -> None:
        count, removed = self.target_count(step), self._recent[-1][0] if self._recent else 0
        ranks = None if self.importance.by_magnitude else self._ranks()
        threshold, changed, regrown = -math.inf, 0, 0
        bits: dict[str, Tensor] = {}
        for names, goes, gone in zip(self._groups, self._split(count), self._split(removed), strict=True):
            cut, pruned = remove_lowest_(
                self.shards.only(names),
                goes,
                ranks=None if ranks is None else {name: ranks[name] for name in names},
                old={name: self._bits[name] for name in names if self._bits},
                removed=gone,
                expected=self._expected_threshold(goes),
                allow_regrowth=self.allow_regrowth,
                under_mask=self.importance.keeps_weights,
            )
            threshold, bits = max(threshold, cut.threshold), bits | pruned.masks
            changed, regrown = changed + pruned.changed, regrown + pruned.regrown
        self._bits, self._recent = bits, [*self._recent, (count, threshold)][-2:]
        regrown, changed = self.shards.peers.sum([regrown, changed]).tolist()
        self.event = PruneEvent(step, threshold, regrown / removed if removed else 0.0, changed / self.total)

    def _ranks(self) -> dict[str, Tensor]:
        """Return what the importance ranks; without regrowth, removed weights rank lowest of all."""
        ranks = dict(self.importance.ranks())
        if self.allow_regrowth:
            return ranks
        return {name: ranks[name].masked_fill(~mask, -math.inf) for name, mask in self.masks.items()} or ranks

    def _split(self, count: int) -> list[int]:
        """Return how many of `count` weights each group of targets loses."""
        sizes = self.shards.sizes
        return split_evenly(count, [sum(sizes[name] for name in names) for names in self._groups])

    def _expected_threshold(self, count: int) -> float | None:
        """Extrapolate the thresholds of the last two events; the result is nearly always within 0.5%."""
        if len(self._recent) < 2 or len(self._groups) > 1 or not self.importance.by_magnitude:
            return None
        (k0, t0), (k1, t1) = self._recent
        return t1 + (t1 - t0) * (count - k1) / (k1 - k0) if k1 > k0 else t1

    def audit(self) -> int:
        """Return the number of zeros in the targets, after checking that it is exactly the promised one.

        Raises:
            SparsityError: if pruning has not reached t_f, or the count differs.
        """
        end, promised, found = self.sparsity.end_step, self.target_count(self.sparsity.end_step), self.zeros()
        if self.event is None or self.event.step < end:
            last = "there was no prune event" if self.event is None else f"the last one was at step {self.event.step}"
            raise SparsityError(f"pruning ends with a prune event at step {end}, but {last}; train to the end")
        if found != promised > 0:  # with nothing to prune, zeros are the model's own
            raise SparsityError(
                f"{found:,} of {self.total:,} targets are zero, but {promised:,} were promised; something changed the "
                "weights after the last step, or the model held more zeros from the start"
            )
        return found

    def state_dict(self, *, whole: bool = True) -> dict[str, Any]:
        """Return everything that is needed to continue exactly.

        Keys: `mask.<name>` (bool), `event` (the last prune event) and `importance.<key>` (what the importance stores).

        Args:
            whole: True: gather the parts of sharded weights; the state then fits any number of processes. False:
                return what this process holds, without communication.
        """
        state: dict[str, Any] = {f"mask.{name}": mask for name, mask in self.masks.items()}
        if not self._has_frozen(self.event):
            state |= {f"importance.{key}": part for key, part in self.importance.tensors().items()}
        if whole:
            state = {key: self._whole(key, part) for key, part in state.items()}
        if self.event is not None:
            state["event"] = torch.tensor(
                [self.event.step, self.event.threshold, self.event.regrown, self.event.churn], dtype=torch.float64
            )
        return state

    def _whole(self, key: str, part: Tensor) -> Tensor:
        """Gather a stored tensor if it belongs to a sharded weight."""
        name = self.shards.named_in(key)
        return part if name is None or part.shape != self.shards[name].shape else self.shards.gather(name, part)

    def _part(self, key: str, whole: Tensor) -> Tensor:
        """Take this process's part of a stored tensor: the inverse of `_whole`."""
        name = self.shards.named_in(key)
        return whole if name is None or whole.shape != self.weights[name].shape else self.shards.part(name, whole)

    def load_state_dict(self, state: Mapping[str, Any], *, whole: bool = True) -> None:
        """Restore a state from `state_dict`.

        Args:
            state: masks, event, and what the importance stores.
            whole: whether the state is of whole weights, or of the parts that this process holds.

        Raises:
            ValueError: if masks and targets differ in names or shapes, or the importance stores something else.
        """
        masks = {key.removeprefix("mask."): value for key, value in state.items() if key.startswith("mask.")}
        if masks:
            _check_same(masks, self.weights if whole else self.shards, "Pruner.load_state_dict")
        parts = {key: self._part(key, value) if whole else value for key, value in state.items()}
        step, *measures = state["event"].tolist() if "event" in state else (0,)
        event = PruneEvent(int(step), *measures) if measures else None
        if not self._has_frozen(event):
            own = "importance."
            self.importance.attach(self.shards)
            self.importance.load({key.removeprefix(own): parts[key] for key in parts if key.startswith(own)})
        self._bits = {
            name: pack(parts[f"mask.{name}"].to(self.shards[name].device, torch.bool, copy=True)) for name in masks
        }
        self.event, self.is_fresh = event, False
        self._recent = [(self.target_count(self.event.step), self.event.threshold)] if self.event else []
        if self._has_frozen(event):
            self.importance.finish()

    def _has_frozen(self, event: PruneEvent | None) -> bool:
        return self.freeze and event is not None and event.step >= self.sparsity.end_step


def _check_weights(weights: Mapping[str, torch.nn.Parameter]) -> None:
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError("Pruner: weights must be a dict of parameters by name; see prunable_weights(model)")
    if len({id(weight) for weight in weights.values()}) < len(weights):
        raise ValueError("Pruner: weights holds one parameter under two names; keep one, as prunable_weights does")
    for name, weight in weights.items():
        if not weight.requires_grad:
            raise ValueError(f"Pruner: {name} has requires_grad=False; unfreeze it, or exclude it from the targets")


def _check_same(tensors: Mapping[str, Tensor], targets: Mapping[str, Tensor], caller: str) -> None:
    """Raise ValueError unless tensors and targets have the same names and shapes."""
    for name in sorted(tensors.keys() | targets.keys()):
        shapes = [tuple(each[name].shape) if name in each else "missing" for each in (tensors, targets)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{caller}: {name} is {shapes[0]}, but the target is {shapes[1]}; use the same model")
