"""The Pruner: the one place where penalty, importance, schedule and mask rule meet a training step."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from mgpp.prior.penalties import NoPenalty, Penalty, check_count
from mgpp.prior.schedules import CubicSparsity
from mgpp.pruning.events import PruneEvent, remove_lowest_
from mgpp.pruning.importance import Importance
from mgpp.pruning.masks import apply_, pack, unpack
from mgpp.pruning.scope import Scope, groups, split_evenly
from mgpp.pruning.sharded.peers import Peers
from mgpp.pruning.sharded.shards import Shards


class PenaltySchedule(Protocol):
    """What gives the penalty of a step: a `Penalty` itself, or an `AnnealedPrior`."""

    def at(self, step: int) -> Penalty:
        """The penalty that acts at `step`."""


class SparsityError(RuntimeError):
    """The model is not as sparse as was promised."""


class Pruner:
    """Gradual pruning: a penalty, what is ranked, a schedule, and a rule for the mask.

    With a `MixtureGaussianPrior`, magnitudes and the defaults it is MGPP, Zhang, Sun & Liang (2024), algorithm 1; other
    compositions are the methods of `mgpp.methods.registry`. One training step t, counted in optimizer updates from 0:

        pruner.begin_step(t)        only gates that are drawn anew at every step need it (`HardConcrete`)
        loss.backward()             data gradient: accumulated, unscaled and clipped by the trainer
        pruner.before_step(t)       t <= t_f: importance reads the gradient; then the penalty's gradient is added
        optimizer.step()
        pruner.after_step(t)        at a prune event: the k = round(v(t) N) lowest become 0, exactly k
                                    from t_f on: the mask is frozen, the same weights become 0 after every step
    Prune events come at t_i, every `interval` steps after it, and at t_f.

    In data-parallel training every process has a Pruner of its own, and all do the same. Where a model is sharded
    (FSDP2), each Pruner works on the part of every weight that its process holds, `shards`, and all of them together
    remove what one process would; every method is then a collective, to be called by all.

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
        self.shards = Shards(self.weights)
        self.penalty: PenaltySchedule = penalty or NoPenalty()
        self.n_train = check_count("Pruner", "n_train", n_train, 1)
        self.interval = check_count("Pruner", "interval", interval, 1)
        self.allow_regrowth, self.freeze = allow_regrowth, freeze
        self.compiled = compiled
        if compiled:
            _check_compiler(self.penalty, next(iter(self.shards.values())))
        self.total = self.shards.total
        self.importance = importance or Importance()
        if self.importance.must_freeze and not freeze:
            raise ValueError("Pruner: these gates are folded into the weights when the mask is frozen; say freeze=True")
        self.importance.attach(self.shards)
        self.sparsity = self.importance.schedule(sparsity)
        self._groups = groups(self.weights, scope)
        self.event: PruneEvent | None = None
        self.is_fresh = True  # until the first step, or until a state is loaded
        self._bits: dict[str, Tensor] = {}  # packed masks; empty before the first prune event
        self._recent: list[tuple[int, float]] = []  # count and threshold of the last two events

    def bind(self, weights: Mapping[str, torch.nn.Parameter], *, copies: Peers | None = None) -> None:
        """Go on with other parameters of the same names and shapes, as wrapping or sharding a model makes them.

        Args:
            weights: what takes the place of `weights`.
            copies: processes that hold the same weights, as in data-parallel training: that they find the same
                thresholds is checked at every prune event.

        Raises:
            ValueError: if names or shapes differ.
        """
        for name in self.weights.keys() ^ weights.keys():
            raise ValueError(f"Pruner.bind: {name} is not among both the old and the new weights; bind all targets")
        _check_weights(weights)
        _check_shapes({name: weight.shape for name, weight in weights.items()}, self.weights, "Pruner.bind: the new")
        state, fresh = self.state_dict(), self.is_fresh
        self.weights = dict(weights)
        self.shards = Shards(self.weights)
        self.shards.copies = copies or self.shards.copies
        self.load_state_dict(state)
        self.is_fresh = fresh

    def begin_step(self, step: int) -> None:
        """Before the forward pass: draw this step's gates, where there are any."""
        if self._is_ranking(step) and self.importance.begin_step(step):
            apply_(self.shards, self._bits)

    def before_step(self, step: int) -> None:
        """Read the loss's gradient and add the penalty's, after backward and clipping, before the optimizer's step."""
        self.is_fresh = False
        penalty = self.penalty.at(step)
        adds = step <= self.sparsity.end_step and not isinstance(penalty, NoPenalty)
        if adds:  # the penalty acts on weights that the loss did not reach, too
            self.shards.make_gradients()
        with self.shards.gradients():
            self._observe(step)
            if adds:
                parts = list(self.shards.values())
                penalty.add_grads_([part.grad for part in parts], parts, n=self.n_train, compiled=self.compiled)

    def _observe(self, step: int) -> None:
        """Let importance read the loss's gradient."""
        if self._is_ranking(step):
            if self.importance.by_magnitude or self._gradients_are_finite():
                self.importance.observe(step)
            else:
                self.importance.skip(step)
            if self.importance.keeps_weights:  # what is under the mask has no part in the loss
                gradients = {name: part.grad for name, part in self.shards.items() if part.grad is not None}
                apply_(gradients, {name: bits for name, bits in self._bits.items() if name in gradients})

    def _gradients_are_finite(self) -> bool:
        finite = [part.grad.isfinite().all() for part in self.shards.values() if part.grad is not None]
        broken = bool(finite) and not bool(torch.stack(finite).all())
        return not self.shards.peers.sum([broken])[0]

    def after_step(self, step: int) -> None:
        """Prune if this step ends in a prune event, and keep the mask where it is in force."""
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
        return int(self.shards.peers.sum([sum(int((part == 0).sum()) for part in self.shards.values())])[0])

    @property
    def masks(self) -> dict[str, Tensor]:
        """Bool tensors of the shapes of what is held here, `shards`, True = kept; none before the first prune event.

        They are unpacked anew at every call: the Pruner itself keeps one bit a weight.
        """
        return {
            name: unpack(bits, self.shards[name].numel()).view(self.shards[name].shape)
            for name, bits in self._bits.items()
        }

    def _prune_(self, step: int) -> None:
        count, removed = self.target_count(step), self._recent[-1][0] if self._recent else 0
        ranks = None if self.importance.by_magnitude else self._ranks()
        shares = zip(self._groups, self._split(count), self._split(removed), strict=True)
        threshold, changed, regrown = -math.inf, 0, 0
        bits: dict[str, Tensor] = {}
        for names, goes, gone in shares:
            cut, pruned = remove_lowest_(
                self.shards.only(names),
                goes,
                None if ranks is None else {name: ranks[name] for name in names},
                {name: self._bits[name] for name in names if self._bits},
                gone,
                expected=self._expected_threshold(goes),
                allow_regrowth=self.allow_regrowth,
                under_mask=self.importance.keeps_weights,
            )
            threshold, changed = max(threshold, cut.threshold), changed + pruned.changed
            regrown, bits = regrown + pruned.regrown, bits | pruned.masks
        self._bits, self._recent = bits, [*self._recent, (count, threshold)][-2:]
        regrown, changed = self.shards.peers.sum([regrown, changed]).tolist()
        self.event = PruneEvent(step, threshold, regrown / removed if removed else 0.0, changed / self.total)

    def _ranks(self) -> dict[str, Tensor]:
        """What importance ranks; where nothing may regrow, what is removed ranks lowest of all."""
        ranks = dict(self.importance.ranks())
        if self.allow_regrowth:
            return ranks
        return {name: ranks[name].masked_fill(~mask, -math.inf) for name, mask in self.masks.items()} or ranks

    def _split(self, count: int) -> list[int]:
        """How many of `count` each group of targets loses."""
        sizes = self.shards.sizes
        return split_evenly(count, [sum(sizes[name] for name in names) for names in self._groups])

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

    def state_dict(self, *, whole: bool = True) -> dict[str, Any]:
        """All tensors that it takes to go on exactly.

        Masks (bool, under `mask.<name>`), the last prune event, and what importance remembers (`importance.<key>`).

        Args:
            whole: gather the parts of sharded weights, so that the state fits any number of processes; False: what
                this process holds, and nobody is asked.
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
        """What is remembered, gathered where it belongs to a weight."""
        name = self.shards.named_in(key)
        return part if name is None or part.shape != self.shards[name].shape else self.shards.gather(name, part)

    def _part(self, key: str, whole: Tensor) -> Tensor:
        """The inverse of `_whole`."""
        name = self.shards.named_in(key)
        return whole if name is None or whole.shape != self.weights[name].shape else self.shards.part(name, whole)

    def load_state_dict(self, state: Mapping[str, Any], *, whole: bool = True) -> None:
        """Restore what `state_dict` gave.

        Args:
            state: masks, event, and what importance remembers.
            whole: whether it is of whole weights, or of the parts that this process holds.

        Raises:
            ValueError: if a mask's name or shape fits no target, or importance remembers something else.
        """
        masks = {key.removeprefix("mask."): value for key, value in state.items() if key.startswith("mask.")}
        if masks and masks.keys() != self.weights.keys():
            strange = sorted(masks.keys() ^ self.weights.keys())
            raise ValueError(f"load_state_dict: masks and targets differ in {strange[:3]}; load the same model")
        targets: Mapping[str, Tensor] = self.weights if whole else self.shards
        _check_shapes({name: mask.shape for name, mask in masks.items()}, targets, "load_state_dict: mask")
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
        raise ValueError("Pruner: weights must be parameters by name; choose some with prunable_weights(model)")
    if len({id(weight) for weight in weights.values()}) < len(weights):
        raise ValueError("Pruner: a weight goes by two names; keep one, as prunable_weights(model) does")
    untrained = [name for name, weight in weights.items() if not weight.requires_grad]
    if untrained:
        raise ValueError(f"Pruner: {untrained[0]} has requires_grad=False; unfreeze it or exclude it from the targets")


def _check_shapes(shapes: Mapping[str, torch.Size], weights: Mapping[str, Tensor], what: str) -> None:
    for name, shape in shapes.items():
        if shape != weights[name].shape:
            raise ValueError(
                f"{what} {name} has shape {tuple(shape)}, its weight {tuple(weights[name].shape)}; load the same model"
            )


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
