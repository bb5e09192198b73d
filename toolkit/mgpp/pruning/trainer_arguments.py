"""Arguments of `transformers.Trainer` with which it would train otherwise than the Pruner believes."""

import os
from collections.abc import Callable
from typing import Any

Test = Callable[[Any], bool]


def _starts(*words: str) -> Test:
    return lambda value: str(getattr(value, "value", value) or "").startswith(words)


def _ends(word: str) -> Test:
    return lambda value: str(getattr(value, "value", value) or "").endswith(word)


_ENGINE = "DeepSpeed's engine keeps the gradients to itself, so the penalty would be lost; use DDP or FSDP2"

# argument, when it is refused, why and what to do; recipes and the callback share this list
REFUSED: tuple[tuple[str, Test, str], ...] = (
    (
        "n_gpu",
        lambda count: count > 1,
        "start one process for each GPU: torchrun --nproc-per-node {}, or set CUDA_VISIBLE_DEVICES=0",
    ),
    ("deepspeed", bool, _ENGINE),
    ("deepspeed_plugin", bool, _ENGINE),
    ("optim", _starts("lomo", "adalomo"), "it updates within backward, where no penalty is; use adamw_torch"),
    ("optim", _ends("layerwise"), "it updates within backward, where no penalty is; leave out 'layerwise'"),
    (
        "optim",
        _starts("schedule_free"),
        "the Trainer evaluates and saves an average that no mask reaches; use adamw_torch, or a loop of your own and "
        "pruner.apply_to(model)",
    ),
)


def check_arguments(arguments: Any) -> None:
    """Raise ValueError, with the argument's name, if pruning would go wrong without a word.

    Args:
        arguments: `transformers.TrainingArguments`.

    Example:
        >>> from types import SimpleNamespace
        >>> check_arguments(SimpleNamespace(optim="lomo"))
        Traceback (most recent call last):
        ...
        ValueError: optim='lomo': it updates within backward, where no penalty is; use adamw_torch
    """
    for field, is_refused, words in REFUSED:
        value = getattr(arguments, field, None)
        if value is not None and is_refused(value):
            raise ValueError(f"{field}={getattr(value, 'value', value)!r}: {words.format(value)}")
    if uses_fsdp(arguments) and fsdp_version(arguments) != 2:
        raise ValueError("fsdp_config: FSDP1 flattens the pruned matrices; use FSDP2, fsdp_config={'version': 2}")


def uses_fsdp(arguments: Any) -> bool:
    """Return whether the arguments, or accelerate's launcher, ask for a sharded model."""
    asked = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("true", "1")
    return asked or bool(getattr(arguments, "fsdp", None))


def fsdp_version(arguments: Any) -> int:
    """Return 2 for `fully_shard`, 1 for the older FSDP."""
    settings = getattr(arguments, "fsdp_plugin_args", None) or {}
    return int(settings.get("fsdp_version") or os.environ.get("FSDP_VERSION", "1"))
