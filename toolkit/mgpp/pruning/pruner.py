"""Prune while training: the Pruner applies penalty, importance, schedule and mask at the right moments of a step.

Read this module first. The mathematics is in `mgpp.prior`, exact thresholds and masks in the modules beside this one.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any, Protocol

import torch
from torch import Tensor

from mgpp.prior.penalties import NoPenalty, Penalty, check_count
from mgpp.prior.schedules import CubicSparsity
from mgpp.pruning import state as states
from mgpp.pruning.checks import check_same, check_weights, warn_of_half_precision
from mgpp.pruning.copies import zero_in_copy_
from mgpp.pruning.events import PruneEvent, PruneEvents
from mgpp.pruning.handover import Handover, StepError
from mgpp.pruning.importance import Importance
from mgpp.pruning.scope import Scope
from mgpp.pruning.sharded.peers import Peers
from mgpp.pruning.sharded.shards import Shards


class PenaltySchedule(Protocol):
    """Give the penalty of a training step: a `Penalty` gives itself, an `AnnealedPrior` one that changes."""

    def at(self, step: int) -> Penalty:
        """Return the penalty of `step`."""


class SparsityError(RuntimeError):
    """The model does not hold exactly as many zeros as the schedule promises."""


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

    Prune events are at t_i, every `interval` steps after it, and at t_f. If `after_step` does not come for some steps,
    as when a loop leaves out updates that fp16 loss scaling skips, the newest event among them is made up for at the
    next step. Steps never go back: each comes once, over all epochs. For another training make another Pruner, or call
    `reset`.

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
        StepError: if the calls of a step come in another order, or a gradient changes between `before_step` and the
            optimizer.

    Warns:
        UserWarning: if weights are bfloat16 or float16, which drop small updates.

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
        check_weights(weights)
        warn_of_half_precision(weights)
        self.weights = copy(weights) if isinstance(weights, dict) else dict(weights)  # `Targets` know more than names
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
        self.events = PruneEvents(self.shards, self.importance, scope, allow_regrowth=allow_regrowth)
        self._handover = Handover()
        self._forget()

    def _forget(self) -> None:
        self.events.forget()
        self.is_fresh, self.is_restored = True, False  # until the first step or a loaded state; from one to a step
        self.next_step: int | None = 0  # None: after loading a state of a version that did not note it
        self._open = -1  # the step whose before_step came and whose after_step did not
        self._handover.end()

    def reset(self) -> None:
        """Forget masks, prune events and importance, for another training; the weights stay as they are."""
        self.importance.skip(0)  # weights under the mask come back
        self.importance.attach(self.shards)
        self._forget()

    def bind(self, weights: Mapping[str, torch.nn.Parameter], *, copies: Peers | None = None) -> None:
        """Replace the targets by other parameters of the same names and shapes, for instance those of a wrapped model.

        Args:
            weights: the new targets.
            copies: processes that hold the same weights, as in data-parallel training. Every prune event checks that
                they find the same threshold.

        Raises:
            ValueError: if names or shapes differ.
        """
        check_weights(weights)
        check_same(weights, self.weights, "Pruner.bind")
        state, fresh, restored = self.state_dict(), self.is_fresh, self.is_restored
        self.weights = copy(self.weights)
        self.weights.update(weights)
        self.shards = Shards(self.weights)
        self.shards.copies = copies or self.shards.copies
        self.events.shards = self.shards
        self.load_state_dict(state)
        self.is_fresh, self.is_restored = fresh, restored

    def begin_step(self, step: int) -> None:
        """Draw the gates of this step, if the importance has gates. Call it before the forward pass."""
        if self.is_ranking and self.importance.begin_step(step):
            self.events.apply_()

    def before_step(self, step: int) -> None:
        """Read the data gradient and add the penalty's, once an optimizer update.

        Call it after backward, `GradScaler.unscale_` and clipping, right before optimizer.step.

        Raises:
            StepError: if this step came before, or accelerate is still accumulating gradients. And the optimizer's step
                raises it if a gradient has changed since this call.
        """
        self._check_is_new(step)
        self._handover.check_read(self.weights)
        self._handover.end()
        self.is_fresh = self.is_restored = False
        if self._adds(step):  # the penalty also acts on weights that have no data gradient
            self.shards.make_gradients()
        with self.shards.gradients():
            self._observe(step)
            if self._adds(step):
                parts = list(self.shards.values())
                grads = [part.grad for part in parts]
                self.penalty.at(step).add_grads_(grads, parts, n=self.n_train, compiled=self.compiled)
        self._open = step
        if self._has_work(step):
            self._handover.begin(step, self.weights)

    def _check_is_new(self, step: int) -> None:
        """Raise StepError if a step, or one after it, came before."""
        if step == self._open:
            raise StepError(
                f"before_step({step}) came twice: the penalty would be added twice. Call it once an optimizer update, "
                "after all of its backward passes; optimizers that compute the gradient several times a step, such as "
                "LBFGS, are not supported"
            )
        noted = self.next_step - 1 if self.next_step is not None else self.event.step if self.event else -1
        if step <= (last := max(noted, self._open)):
            raise StepError(
                f"step {step} comes after step {last}: count optimizer updates over all epochs, each once. For another "
                "training make a new Pruner, or call pruner.reset()"
            )

    def _adds(self, step: int) -> bool:
        return step <= self.sparsity.end_step and not isinstance(self.penalty.at(step), NoPenalty)

    def _has_work(self, step: int) -> bool:
        """Tell whether `before_step` adds to the gradient or reads it."""
        reads = type(self.importance).observe is not Importance.observe
        return self._adds(step) or (reads and self.is_ranking)

    def _observe(self, step: int) -> None:
        """Pass the data gradient to the importance."""
        if not self.is_ranking:
            return
        if self.importance.by_magnitude or self._gradients_are_finite():
            self.importance.observe(step)
        else:
            self.importance.skip(step)
        if self.importance.keeps_weights:  # weights under the mask have no part in the loss
            self.events.apply_to_gradients_()

    def _gradients_are_finite(self) -> bool:
        finite = [part.grad.isfinite().all() for part in self.shards.values() if part.grad is not None]
        broken = bool(finite) and not bool(torch.stack(finite).all())
        return not self.shards.peers.sum([broken])[0]

    def after_step(self, step: int) -> None:
        """Prune at a prune event, and apply the mask where it holds. Call it after optimizer.step.

        Raises:
            StepError: if `before_step` did not come for this step, where it adds a penalty or reads gradients; or if
                this step came before.
        """
        if self._open != step and (self._open >= 0 or self._has_work(step)):
            raise StepError(
                f"after_step({step}) came without before_step({step}), so this update had no penalty and its gradient "
                f"was not read; call before_step({step}) between backward and optimizer.step"
            )
        if self._open < 0:
            self._check_is_new(step)
        self._handover.end()
        event = self.newest_event(step)
        is_event = event is not None and (self.event is None or self.event.step < event)
        if self.is_ranking:
            self.importance.update(step)
        stays = self.phase(step) == "frozen" or self.importance.keeps_weights
        if not self.allow_regrowth or (stays and not is_event):
            self.events.apply_()
        if event is not None and is_event:
            self.events.prune_(event, self.target_count(event))
            if not self.is_ranking:
                self.importance.finish()
                self.events.apply_()
        self.is_fresh, self._open, self.next_step = False, -1, step + 1

    def newest_event(self, step: int) -> int | None:
        """Return the step of the newest prune event up to `step`; an event that was missed is made up for."""
        if not self.freeze and step >= self.sparsity.end_step:
            return step
        return self.sparsity.newest_event(step, self.interval)

    @property
    def event(self) -> PruneEvent | None:
        """The last prune event, None before the first."""
        return self.events.last

    @property
    def is_ranking(self) -> bool:
        """Tell whether weights are still ranked, which ends when the mask is frozen."""
        return not self.has_frozen(self.event)

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
        return self.events.masks

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
                "weights after the last step, or the model held more zeros from the start. Averaged weights need "
                "pruner.apply_to(model)"
            )
        return found

    def apply_to(self, model: torch.nn.Module | Mapping[str, Tensor]) -> int:
        """Set the mask's zeros in other weights of the same model, in place, and return how many targets are zero.

        Averages of weights have no zeros of their own: those of an exponential moving average (EMA), of stochastic
        weight averaging (SWA), of a schedule-free optimizer in evaluation mode, or of merged checkpoints.

        Args:
            model: a model or a state dict with the targets' names, or with one prefix before all of them.

        Raises:
            SparsityError: if there was no prune event yet.
            ValueError: if a target is missing or has another shape.

        Example:
            >>> model = torch.nn.Linear(2, 2, bias=False)
            >>> pruner = Pruner(dict(model.named_parameters()), sparsity=CubicSparsity(0, 0.5, 0, 1), n_train=8)
            >>> average = torch.optim.swa_utils.AveragedModel(model)
            >>> for step in range(3):
            ...     average.update_parameters(model)
            ...     pruner.after_step(step)
            >>> int((average.module.weight == 0).sum()), pruner.apply_to(average)
            (0, 2)
        """
        if self.event is None:
            raise SparsityError("there was no prune event yet, so there is no mask to apply; train first")
        return zero_in_copy_(model, self.shards, self.masks)

    def state_dict(self, *, whole: bool = True) -> dict[str, Any]:
        """Return everything that is needed to continue exactly.

        Keys: `mask.<name>` (bool), `event` (the last prune event), `importance.<key>` (what the importance stores),
        `step` (the next one) and `schedule` (see `mgpp.pruning.state`).

        Args:
            whole: True: gather the parts of sharded weights; the state then fits any number of processes. False:
                return what this process holds, without communication.
        """
        return states.saved_state(self, whole=whole)

    def load_state_dict(self, state: Mapping[str, Any], *, whole: bool = True) -> None:
        """Restore a state from `state_dict`.

        Args:
            state: masks, event, and what the importance stores.
            whole: whether the state is of whole weights, or of the parts that this process holds.

        Raises:
            ValueError: if masks and targets differ in names or shapes, the schedule or `n_train` is another, or the
                importance stores something else.
        """
        states.load_state(self, state, whole=whole)
        self.is_fresh, self.is_restored, self._open = False, True, -1
        self._handover.end()

    def has_frozen(self, event: PruneEvent | None) -> bool:
        """Tell whether the mask stays as it is after this prune event."""
        return self.freeze and event is not None and event.step >= self.sparsity.end_step
