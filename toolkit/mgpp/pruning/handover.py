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
        self._left: dict[int, tuple[str, Any, int]] = {}  # by the weight's id: its name, gradient and version
        self._hook: Any = None
        self._unread: list[tuple[str, weakref.ref[Any]]] = []  # gradients that no optimizer has read

    def begin(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Note the gradients of this step, and look at them again when an optimizer steps."""
        self.end()
        self.step = step
        self._left = {id(w): (name, w.grad, _version(w.grad)) for name, w in weights.items() if w.grad is not None}
        self._unread = [(name, weakref.ref(grad)) for name, grad, _ in list(self._left.values())[:1]]
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
        if any(grad() is not None and grad() is weights[name].grad for name, grad in self._unread):
            raise StepError(
                f"accelerate has accumulated gradients since before_step({self.step}) without a step of the optimizer, "
                "so the penalty would be added several times; call before_step and after_step, and count a step, only "
                "if accelerator.sync_gradients"
            )

    def _check(self, optimizer: Optimizer) -> None:
        for weight in (weight for group in optimizer.param_groups for weight in group["params"]):
            if id(weight) not in self._left:
                continue
            self._unread = []
            name, grad, version = self._left[id(weight)]
            is_same = weight.grad is grad and _version(grad) == version
            if not is_same or getattr(optimizer, "grad_scale", None) is not None:  # a fused optimizer unscales itself
                raise StepError(
                    f"the gradient of {name} was changed after before_step({self.step}); first "
                    "scaler.unscale_(optimizer), clipping and all that computes gradients, a closure too, then "
                    "before_step, then the optimizer's step"
                )


def _version(grad: Any) -> int:
    """Return how often a tensor was changed in place; a DTensor's local part counts."""
    return getattr(grad, "_local_tensor", grad)._version


def _ignore(optimizer: Optimizer) -> None:
    """Stand for a Handover that is gone."""
