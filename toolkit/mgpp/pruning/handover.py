"""Check that the optimizer reads the gradients as the Pruner left them."""

import sys
import weakref
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook


class StepError(RuntimeError):
    """The calls of a training step came in an order that would give another method than the one asked for."""


class Handover:
    """Watch gradients from `Pruner.before_step` to the step of a torch optimizer.

    A gradient that is changed in between has lost the penalty (a closure computed it anew), or holds it at another
    scale (`GradScaler.step` divided it by the loss scale, or it was clipped). Optimizers that are not torch's are not
    seen.

    Example:
        >>> import torch
        >>> w = torch.nn.Parameter(torch.ones(2))
        >>> w.sum().backward()
        >>> handover = Handover()
        >>> handover.begin(0, {"w": w})
        >>> w.grad *= 0.5
        >>> torch.optim.SGD([w], lr=0.1).step()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        mgpp.pruning.handover.StepError: the gradient of w was changed after before_step(0); ...
        >>> handover.end()
    """

    def __init__(self) -> None:
        self._left: dict[int, _Gradient] = {}  # by the weight's id
        self._hook: Any = None
        self._unread: tuple[str, weakref.ref[Any]] | None = None  # one of the gradients, if no optimizer has read it
        self._samples = 3  # steps that are compared by values, too: unscaling does not count as a change in place

    def begin(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Note the gradients of this step, and look at them again when an optimizer steps."""
        self.step = step
        self._left = {id(w): _Gradient(name, w, self._samples > 0) for name, w in weights.items() if w.grad is not None}
        self._unread = next(((each.name, weakref.ref(each.tensor)) for each in self._left.values()), None)
        me = weakref.WeakMethod(self._check)
        self._hook = register_optimizer_step_pre_hook(lambda optimizer, *_: (me() or _ignore)(optimizer))

    def end(self) -> None:
        """Stop watching, and let the gradients go."""
        self._left = {}
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def check_read(self, weights: Mapping[str, Tensor]) -> None:
        """Raise StepError if accelerate goes on accumulating into gradients that hold a penalty already."""
        accelerate: Any = sys.modules.get("accelerate.state")
        if accelerate is None or accelerate.GradientState._shared_state.get("sync_gradients", True):
            return
        if self._unread and self._unread[1]() is weights[self._unread[0]].grad is not None:
            raise StepError(
                f"accelerate has accumulated gradients since before_step({self.step}) without a step of the optimizer, "
                "so the penalty would be added several times; call before_step and after_step, and count a step, only "
                "if accelerator.sync_gradients"
            )

    def _check(self, optimizer: Optimizer) -> None:
        mine = [w for group in optimizer.param_groups for w in group["params"] if id(w) in self._left]
        unscales = getattr(optimizer, "grad_scale", None) is not None  # a fused optimizer does so within its step
        for weight in mine:
            if unscales or not self._left[id(weight)].is_still_that_of(weight):
                raise StepError(
                    f"the gradient of {self._left[id(weight)].name} was changed after before_step({self.step}); first "
                    "scaler.unscale_(optimizer), clipping and all that computes gradients, a closure too, then "
                    "before_step, then the optimizer's step"
                )
        if mine:
            self._unread, self._samples = None, max(self._samples - 1, 0)


class _Gradient:
    """A weight's gradient as it is now; of a sharded one, the part that this process holds."""

    def __init__(self, name: str, weight: Any, sampled: bool):
        self.name, self.tensor = name, weight.grad
        self.version, self.sample = self._part()._version, self._sample() if sampled else None

    def is_still_that_of(self, weight: Any) -> bool:
        """Return whether a weight's gradient is this one, as it was."""
        if weight.grad is not self.tensor or self._part()._version != self.version:
            return False
        return self.sample is None or self.sample.equal(self._sample())

    def _part(self) -> Any:
        return getattr(self.tensor, "_local_tensor", self.tensor)

    def _sample(self) -> Tensor:
        flat = self._part().detach().flatten()
        return flat[:: max(1, len(flat) // 256)].nan_to_num()


def _ignore(optimizer: Optimizer) -> None:
    """Stand for a Handover that is gone."""
