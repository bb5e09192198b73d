"""The Pruner: the one place where penalty, importance, schedule and mask rule meet a training step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mgpp.prior.penalties import NoPenalty, Penalty, check_count
from mgpp.prior.schedules import CubicSparsity
from mgpp.pruning.importance import Importance
from mgpp.pruning.masks import Pruned, apply_, pack, prune_, unpack
from mgpp.pruning.scope import Scope, groups, split_evenly
from mgpp.pruning.threshold import Cut, find_cut


class PenaltySchedule(Protocol):
    """What gives the penalty of a step: a `Penalty` itself, or an `AnnealedPrior`."""

    def at(self, step: int) -> Penalty:
        """The penalty that acts at `step`."""


class SparsityError(RuntimeError):
    """The model is not as sparse as was promised."""


@dataclass(frozen=True)
class PruneEvent:
    """What the last prune event did.

    Attributes:
        step: training step of the event.
        threshold: the pruning threshold, the k-th smallest magnitude or rank; the largest of the matrices' thresholds
            where each has its own.
        regrown: share of the weights zeroed at the event before that were nonzero again when this one came; where
            weights live on under the mask, that this event lets back.
        churn: mask churn, the share of all weights whose fate differs from the event before.
    """

    step: int
    threshold: float
    regrown: float
    churn: float


class Pruner:
    """Gradual pruning: a penalty, what is ranked, a schedule, and a rule for the mask.

    With a `MixtureGaussianPrior`, magnitudes and the defaults it is MGPP, Zhang, Sun & Liang (2024), algorithm 1; other
    compositions are the methods of `mgpp.pruning.methods`. One training step t, counted in optimizer updates from 0:

        pruner.begin_step(t)        only gates that are drawn anew at every step need it (`HardConcrete`)
        loss.backward()             data gradient: accumulated, unscaled and clipped by the trainer
        pruner.before_step(t)       t <= t_f: importance reads the gradient; then the penalty's gradient is added
        optimizer.step()
        pruner.after_step(t)        at a prune event: the k = round(v(t) N) lowest become 0, exactly k
                                    from t_f on: the mask is frozen, the same weights become 0 after every step
    Prune events come at t_i, every `interval` steps after it, and at t_f.

    Args:
        weights: the targets by name, see `prunable_weights`. They are changed in place.
        sparsity: the schedule v(t) with t_i and t_f.
        penalty: a `Penalty`, or an `AnnealedPrior`; none by default.
        importance: what is ranked; magnitudes by default.
        n_train: number of training examples, the n of the objective.
        interval: steps between prune events.
        allow_regrowth: MGPP's choice, True: between two prune events zeroed weights may grow again and are judged
            anew at the next. False: what was once removed stays 0.
        scope: "global", all targets are ranked together; "matrix", each loses the same share, and k in all.
        freeze: False: from t_f on the lowest k are judged anew after every step, instead of freezing the mask.
        compiled: fuse the penalty's gradient with `torch.compile`, see `Penalty.add_grads_`.

    Raises:
        ValueError: if there are no weights, a weight is not trainable, a number is out of range, or nothing compiles.

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
        _check_schedules(sparsity, penalty)
        self.weights = dict(weights)
        self.penalty: PenaltySchedule = penalty or NoPenalty()
        self.n_train = check_count("Pruner", "n_train", n_train, 1)
        self.interval = check_count("Pruner", "interval", interval, 1)
        self.allow_regrowth, self.freeze = allow_regrowth, freeze
        self.compiled = compiled
        if compiled:
            _check_compiler(self.penalty, next(iter(self.weights.values())))
        self.total = sum(weight.numel() for weight in self.weights.values())
        self.importance = importance or Importance()
        if self.importance.must_freeze and not freeze:
            raise ValueError("Pruner: these gates are folded into the weights when the mask is frozen; say freeze=True")
        self.importance.attach(self.weights)
        self.sparsity = self.importance.schedule(sparsity)
        self._groups = groups(self.weights, scope)
        self.event: PruneEvent | None = None
        self.is_fresh = True  # until the first step, or until a state is loaded
        self._bits: dict[str, Tensor] = {}  # packed masks; empty before the first prune event
        self._recent: list[tuple[int, float]] = []  # count and threshold of the last two events

    def begin_step(self, step: int) -> None:
        """Before the forward pass: draw this step's gates, where there are any."""
        if self._is_ranking(step) and self.importance.begin_step(step):
            apply_(self.weights, self._bits)

    def before_step(self, step: int) -> None:
        """Read the loss's gradient and add the penalty's, after backward and clipping, before the optimizer's step."""
        self.is_fresh = False
        if self._is_ranking(step):
            if self.importance.by_magnitude or self._gradients_are_finite():
                self.importance.observe(step)
            else:
                self.importance.skip(step)
            if self.importance.keeps_weights:  # what is under the mask has no part in the loss
                gradients = {name: weight.grad for name, weight in self.weights.items() if weight.grad is not None}
                apply_(gradients, {name: bits for name, bits in self._bits.items() if name in gradients})
        if step <= self.sparsity.end_step:
            self._add_penalty_(step)

    def _gradients_are_finite(self) -> bool:
        finite = [weight.grad.isfinite().all() for weight in self.weights.values() if weight.grad is not None]
        return bool(torch.stack(finite).all()) if finite else True

    def _add_penalty_(self, step: int) -> None:
        penalty = self.penalty.at(step)
        if isinstance(penalty, NoPenalty):
            return
        weights = list(self.weights.values())
        for weight in weights:
            if weight.grad is None:  # the penalty acts on weights that the loss did not reach, too
                weight.grad = torch.zeros_like(weight)
        penalty.add_grads_([weight.grad for weight in weights], weights, n=self.n_train, compiled=self.compiled)

    def after_step(self, step: int) -> None:
        """Prune if this step ends in a prune event, and keep the mask where it is in force."""
        is_event = self._prunes_at(step)
        if self._is_ranking(step):
            self.importance.update(step)
        stays = self.phase(step) == "frozen" or self.importance.keeps_weights
        if not self.allow_regrowth or (stays and not is_event):
            apply_(self.weights, self._bits)
        if is_event:
            self._prune_(step)
        if self.freeze and step == self.sparsity.end_step:
            self.importance.finish()
            apply_(self.weights, self._bits)

    def _prunes_at(self, step: int) -> bool:
        return self.sparsity.prunes_at(step, self.interval) or (not self.freeze and step >= self.sparsity.end_step)

    def _is_ranking(self, step: int) -> bool:
        """Whether weights are still judged: until the mask is frozen."""
        return step <= self.sparsity.end_step or not self.freeze

    def phase(self, step: int) -> str:
        """warmup, pruning or frozen; pruning to the end where the mask is never frozen."""
        phase = self.sparsity.phase(step)
        return "pruning" if phase == "frozen" and not self.freeze else phase

    def target_sparsity(self, step: int) -> float:
        """The sparsity that the schedule asks for; 0 in the warm-up, where nothing is pruned."""
        return 0.0 if self.phase(step) == "warmup" else self.sparsity(step)

    def target_count(self, step: int) -> int:
        """The number of weights to remove at `step`, k = round(v(t) N)."""
        return round(self.target_sparsity(step) * self.total)

    def zeros(self) -> int:
        """Number of zeros in the targets now."""
        return sum(int((weight == 0).sum()) for weight in self.weights.values())

    @property
    def masks(self) -> dict[str, Tensor]:
        """Bool tensors of the weights' shapes, True = kept; none before the first prune event.

        They are unpacked anew at every call: the Pruner itself keeps one bit a weight.
        """
        return {
            name: unpack(bits, self.weights[name].numel()).view(self.weights[name].shape)
            for name, bits in self._bits.items()
        }

    def _prune_(self, step: int) -> None:
        count, removed = self.target_count(step), self._recent[-1][0] if self._recent else 0
        ranks = None if self.importance.by_magnitude else self._ranks()
        shares = zip(self._groups, self._split(count), self._split(removed), strict=True)
        threshold, changed, regrown = -math.inf, 0, 0
        bits: dict[str, Tensor] = {}
        for names, goes, gone in shares:
            cut, pruned = self._prune_group_(names, goes, gone, ranks)
            threshold, changed = max(threshold, cut.threshold), changed + pruned.changed
            regrown, bits = regrown + pruned.regrown, bits | pruned.masks
        self._bits, self._recent = bits, [*self._recent, (count, threshold)][-2:]
        self.event = PruneEvent(step, threshold, regrown / removed if removed else 0.0, changed / self.total)

    def _prune_group_(
        self, names: list[str], count: int, removed: int, ranks: Mapping[str, Tensor] | None
    ) -> tuple[Cut, Pruned]:
        """Remove the lowest `count` of the weights with these names, of which `removed` are gone already."""
        weights, old = ({name: each[name] for name in names if each} for each in (self.weights, self._bits))
        judged = weights if ranks is None else {name: ranks[name] for name in names}
        lowest = 0.0 if ranks is None else -math.inf
        cut = Cut(lowest, 0, 0)
        if count:
            cut = find_cut(judged, count, expected=self._expected_threshold(count), by_magnitude=ranks is None)
        # zeros that ties do not stand for
        stays = 0 if self.allow_regrowth or cut.threshold > lowest else removed
        ties = count - cut.below - stays
        pruned = prune_(
            weights,
            cut,
            ties,
            old,
            allow_regrowth=self.allow_regrowth,
            ranks=None if ranks is None else judged,
            under_mask=self.importance.keeps_weights,
        )
        return cut, pruned

    def _ranks(self) -> dict[str, Tensor]:
        """What importance ranks; where nothing may regrow, what is removed ranks lowest of all."""
        ranks = dict(self.importance.ranks())
        if self.allow_regrowth:
            return ranks
        return {name: ranks[name].masked_fill(~mask, -math.inf) for name, mask in self.masks.items()} or ranks

    def _split(self, count: int) -> list[int]:
        """How many of `count` each group of targets loses."""
        return split_evenly(count, [sum(self.weights[name].numel() for name in names) for names in self._groups])

    def _expected_threshold(self, count: int) -> float | None:
        """The threshold on a straight line through those of the last two events: right within 0.5% almost always."""
        if len(self._recent) < 2 or len(self._groups) > 1 or not self.importance.by_magnitude:
            return None
        (k0, t0), (k1, t1) = self._recent
        return t1 + (t1 - t0) * (count - k1) / (k1 - k0) if k1 > k0 else t1

    def audit(self) -> int:
        """The number of zeros, if it is exactly the number promised.

        Raises:
            SparsityError: if pruning has not reached its end, or the count differs.
        """
        promised = self.target_count(self.sparsity.end_step)
        if self.event is None or self.event.step < self.sparsity.end_step:
            last = "no prune event yet" if self.event is None else f"the last prune event was at step {self.event.step}"
            raise SparsityError(f"pruning ends at step {self.sparsity.end_step}, but {last}; train to the end")
        found = self.zeros()
        if found != promised > 0:  # where nothing was to be pruned, zeros are the model's own
            raise SparsityError(
                f"{found:,} of {self.total:,} targets are zero, but {promised:,} were promised; "
                "something changed the weights after the last step, or they held more zeros from the start"
            )
        return found

    def state_dict(self) -> dict[str, Any]:
        """All tensors that it takes to go on exactly.

        Masks (bool, under `mask.<name>`), the last prune event, and what importance remembers (`importance.<key>`).
        """
        state: dict[str, Any] = {f"mask.{name}": mask for name, mask in self.masks.items()}
        if not self._has_frozen(self.event):
            state |= {f"importance.{key}": value for key, value in self.importance.tensors().items()}
        if self.event is not None:
            state["event"] = torch.tensor(
                [self.event.step, self.event.threshold, self.event.regrown, self.event.churn], dtype=torch.float64
            )
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: if a mask's name or shape fits no target, or importance remembers something else.
        """
        masks = {key.removeprefix("mask."): value for key, value in state.items() if key.startswith("mask.")}
        if masks and masks.keys() != self.weights.keys():
            strange = sorted(masks.keys() ^ self.weights.keys())
            raise ValueError(f"load_state_dict: masks and targets differ in {strange[:3]}; load the same model")
        for name, mask in masks.items():
            if mask.shape != self.weights[name].shape:
                raise ValueError(
                    f"load_state_dict: mask {name} has shape {tuple(mask.shape)}, "
                    f"its weight {tuple(self.weights[name].shape)}; load the same model"
                )
        step, *measures = state["event"].tolist() if "event" in state else (0,)
        event = PruneEvent(int(step), *measures) if measures else None
        if not self._has_frozen(event):
            own = "importance."
            self.importance.attach(self.weights)
            self.importance.load({key.removeprefix(own): state[key] for key in state if key.startswith(own)})
        self._bits = {name: pack(mask.to(self.weights[name].device, torch.bool)) for name, mask in masks.items()}
        self.event, self.is_fresh = event, False
        self._recent = [(self.target_count(self.event.step), self.event.threshold)] if self.event else []
        if self._has_frozen(event):
            self.importance.finish()

    def _has_frozen(self, event: PruneEvent | None) -> bool:
        return self.freeze and event is not None and event.step >= self.sparsity.end_step


def _check_weights(weights: Mapping[str, torch.nn.Parameter]) -> None:
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError("Pruner: weights must be parameters by name; choose some with prunable_weights(model)")
    if len({id(weight) for weight in weights.values()}) < len(weights):
        raise ValueError("Pruner: a weight goes by two names; keep one, as prunable_weights(model) does")
    untrained = [name for name, weight in weights.items() if not weight.requires_grad]
    if untrained:
        raise ValueError(f"Pruner: {untrained[0]} has requires_grad=False; unfreeze it or exclude it from the targets")


def _check_schedules(sparsity: CubicSparsity, penalty: PenaltySchedule | None) -> None:
    if not isinstance(sparsity, CubicSparsity):
        raise ValueError(f"Pruner: sparsity={sparsity!r} must be a schedule such as CubicSparsity(0.0, 0.9, 100, 1000)")
    if penalty is not None and not hasattr(penalty, "at"):
        raise ValueError(f"Pruner: penalty={penalty!r} must be a Penalty such as L2(0.001), or an AnnealedPrior")


def _check_compiler(penalty: PenaltySchedule, weight: Tensor) -> None:
    """Compile something small now, rather than fail when the training has begun."""
    try:
        penalty.at(0).add_grads_([weight.new_zeros(8)], [weight.new_zeros(8)], n=1, compiled=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"Pruner: compiled=True, but nothing compiles here ({reason}); "
            "say compiled=False, in a recipe compile_prior: false"
        ) from error
