"""Make the loss of accumulated batches their mean, whatever a model does with `num_items_in_batch`."""

import sys
from typing import Any

from torch import Tensor, nn
from transformers import Trainer, TrainerCallback
from transformers.loss.loss_utils import LOSS_MAPPING, ForCausalLMLoss


class MeanLoss:
    """Weight each micro-batch's mean loss by its share of the labels of one optimizer update.

    The Trainer counts the labels of all micro-batches of an update, N. It hands `num_items_in_batch` = N to every model
    whose forward takes **kwargs, and leaves averaging to the model. Llama-like models divide by N. BERT-like ones
    return the mean of the micro-batch all the same: the data gradient of k micro-batches (or of k processes) is k times
    too large. While these hooks are on, the model does not see N, and the loss is mean · nᵢ/N, where the micro-batch
    has nᵢ labels. The sum is the mean over all labels of the update, for any model whose loss is a mean.

    Args:
        model: the Trainer's, wrapped or not.
        sums: whether the Trainer sums the losses of a batch if the model is not given N, see `sums_own_loss`.

    Raises:
        ValueError: in a forward pass without N, if the Trainer sums.

    Example:
        >>> class Model(nn.Module):
        ...     def forward(self, labels, **kwargs):
        ...         return {"loss": labels.float().mean()}
        >>> import torch
        >>> model = Model()
        >>> hooks = MeanLoss(model)
        >>> model(labels=torch.tensor([1, 3]), num_items_in_batch=8)["loss"]  # 2 of 8 labels
        tensor(0.5000)
        >>> hooks.remove()
    """

    def __init__(self, model: nn.Module, *, sums: bool = False):
        self.sums = sums
        loss = LOSS_MAPPING.get(str(getattr(model, "loss_type", None)))
        config = getattr(model, "config", None)
        # the Trainer's own rule: such a loss predicts the label after each position, so the first is none
        self.shifts = loss is ForCausalLMLoss and not getattr(config, "is_encoder_decoder", False)
        self._total: Any = None
        self._hooks = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after, with_kwargs=True),
        ]

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def _before(self, model: nn.Module, args: Any, inputs: dict[str, Any]) -> Any:
        self._total = inputs.get("num_items_in_batch") if model.training else None
        if self._total is None:
            if self.sums and model.training:
                raise ValueError(
                    "the Trainer has a compute_loss of its own and accumulates gradients; set its "
                    "loss_is_scaled_for_ga: False if this loss is the mean of a micro-batch, True if it is divided"
                )
            return None
        return args, {name: each for name, each in inputs.items() if name != "num_items_in_batch"}

    def _after(self, model: nn.Module, args: Any, inputs: dict[str, Any], outputs: Any) -> Any:
        loss = _loss(outputs)
        if self._total is None or loss is None or inputs.get("labels") is None:
            return None
        loss = loss * (self._count(inputs) / self._total)
        if isinstance(outputs, dict):
            outputs["loss"] = loss
            return outputs
        return (loss, *outputs[1:])

    def _count(self, inputs: dict[str, Any]) -> Tensor:
        labels = inputs.get("shift_labels")
        if labels is None:
            labels = inputs["labels"][..., 1:] if self.shifts else inputs["labels"]
        return labels.ne(-100).sum()


def _loss(outputs: Any) -> Any:
    return outputs.get("loss") if isinstance(outputs, dict) else outputs[0]


def sums_own_loss(trainer: Any) -> bool:
    """Return whether a Trainer has a `compute_loss` of its own, whose losses it would sum over the micro-batches."""
    is_own = getattr(trainer.compute_loss, "__func__", None) is not Trainer.compute_loss
    sums = trainer.model_accepts_loss_kwargs and getattr(trainer, "loss_is_scaled_for_ga", None) is None
    return is_own and sums and trainer.args.gradient_accumulation_steps > 1


def trainer_of(callback: TrainerCallback) -> Any:
    """Return the Trainer that calls a callback, or None: transformers hands a callback everything but the Trainer."""
    frame = sys._getframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if callback in getattr(getattr(caller, "callback_handler", None), "callbacks", ()):
            return caller
        frame = frame.f_back  # type: ignore[assignment]
    return None
