"""A recipe's section `trainer`: what the Trainer knows, may be asked for, and takes values of which kind."""

import math
import numbers
import types
import typing
from collections.abc import Mapping
from dataclasses import Field, fields
from enum import Enum
from functools import cache
from typing import Any, Literal

from mgpp.lab.recipes.strict import LARGEST, RecipeError, did_you_mean, shown

# What the Trainer's arguments may not set, because the recipe or the toolkit does.
RESERVED = {
    "output_dir": "--out",
    "seed": "seed",
    "data_seed": "seed",
    "learning_rate": "optimizer.learning_rate",
    "lr_scheduler_type": "optimizer.final_factor",
    "lr_scheduler_kwargs": "optimizer.final_factor",
    "num_train_epochs": "epochs",
    "max_steps": "max_steps",
    "per_device_train_batch_size": "batch_size",
    "bf16": "precision",
    "fp16": "precision",
    "eval_strategy": "log.evaluate_every",
    "logging_strategy": "log.every",
    "save_strategy": "save_every",
    "save_steps": "save_every",
}
# Settings of the Trainer that a training which can be resumed exactly has no use for, and what to do instead.
REFUSED = {
    "load_best_model_at_end": "the best model by the metric may not be as sparse as promised; the last one is kept",
    "metric_for_best_model": "the last model is kept, not the best",
    "save_only_model": "no training could go on from such checkpoints; mgpp export writes the model alone",
    "ignore_data_skip": "a resumed training would see other data",
    "restore_callback_states_from_checkpoint": "the toolkit restores what its callbacks need",
    "resume_from_checkpoint": "say mgpp train --resume DIR",
    "auto_find_batch_size": "a training that starts over logs steps twice; lower batch_size",
    "eval_on_start": "log.evaluate_every says when the model is evaluated",
    "enable_jit_checkpoint": "it would save in the middle of a step; save_every says when a checkpoint is saved",
    "push_to_hub": "say mgpp export RUN --push-to-hub NAME when the run is finished",
}
# What the Trainer's annotations do not say, and what to do instead.
FROM_ONE = {
    "save_total_limit": "for no checkpoints leave save_every out",
    **dict.fromkeys(("gradient_accumulation_steps", "ddp_timeout", "per_device_eval_batch_size"), "leave it out"),
    **dict.fromkeys(("torch_empty_cache_steps", "dataloader_prefetch_factor", "ddp_bucket_cap_mb"), "leave it out"),
}
BELOW_ONE = ("adam_beta1", "adam_beta2", "label_smoothing_factor")
WITH_WORKERS = ("dataloader_persistent_workers", "dataloader_prefetch_factor", "dataloader_multiprocessing_context")
WORDS = {types.NoneType: "null", bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}


def check_trainer_section(settings: Mapping[str, Any]) -> None:
    """Refuse what the Trainer does not know, what breaks checkpoints, and values that it has no use for.

    Of which kind a value may be say the annotations of `transformers.TrainingArguments`, and its lists of choices.

    Raises:
        RecipeError: with the setting, its value and the way out.

    Example:
        >>> check_trainer_section({"max_grad_norm": 0.5, "fsdp": True})
        >>> check_trainer_section({"save_total_limit": "x"})
        Traceback (most recent call last):
        ...
        mgpp.lab.recipes.strict.RecipeError: trainer.save_total_limit='x' must be a whole number or null
    """
    for key in settings:
        if key in RESERVED:
            raise RecipeError(f"trainer.{key} is set by the toolkit; use {RESERVED[key]} instead")
    for key, value in settings.items():
        if key in REFUSED and value:
            raise RecipeError(f"trainer.{key}={shown(value)} is refused: {REFUSED[key]}")
        if key not in _known():
            raise RecipeError(f"trainer.{key} is no argument of the Trainer{did_you_mean(key, sorted(_known()))}")
        about, options = _known()[key]
        if not any(_fits(option, value) for option in options):
            raise RecipeError(f"trainer.{key}={shown(value)} must be {_wanted(options, value)}")
        _check_choice(key, value, about)
        _check_size(key, value, about)
        if key in WITH_WORKERS and value and not settings.get("dataloader_num_workers"):
            raise RecipeError(f"trainer.{key}={value!r} needs workers: set trainer.dataloader_num_workers, too")


@cache
def _known() -> dict[str, tuple[Field[Any], list[Any]]]:
    """The Trainer's arguments by name, and of which kinds their values may be."""
    from transformers import TrainingArguments  # takes seconds, and few recipes have the section

    hints = typing.get_type_hints(TrainingArguments)
    return {each.name: (each, _options(hints[each.name], each)) for each in fields(TrainingArguments)}


def _options(hint: Any, about: Field[Any]) -> list[Any]:
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    options = list(typing.get_args(hint)) if is_union else [hint]
    if any(_is_enum(option) or _plain(option) is dict for option in options):
        options = [option for option in options if option is not str]  # any text would do, also what is no choice
    if about.metadata.get("const") is True:  # what an option of the command line means without a value
        options.append(bool)
    return options


def _plain(option: Any) -> Any:
    return typing.get_origin(option) or option


def _is_enum(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, Enum)


def _fits(option: Any, value: Any) -> bool:
    kind = _plain(option)
    if kind is Literal:
        return any(value is choice for choice in typing.get_args(option))
    if _is_enum(option):
        return value in [each.value for each in option]
    if kind in (int, float):
        whole = isinstance(value, numbers.Integral) and abs(int(value)) < LARGEST
        real = kind is float and isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral)
        return not isinstance(value, bool) and (whole or (real and math.isfinite(value)))
    if kind is list:
        return isinstance(value, list) and all(_fits(item, each) for item in typing.get_args(option) for each in value)
    if kind is dict:
        return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    return isinstance(value, kind)


def _wanted(options: list[Any], value: Any) -> str:
    """What a value must be, in words, and what is wrong with text that looks like a number."""
    words = [WORDS[option] for option in options if option in WORDS]
    words += ["keys and values" for option in options if _plain(option) is dict]
    words += ["a list" for option in options if _plain(option) is list]
    words += [f"one of the Trainer's{did_you_mean(str(value), _values(each))}" for each in options if _is_enum(each)]
    hint = "; this is text: write it without quotes, and with a point, 1.0e-5" if _is_number(value) else ""
    return " or ".join(sorted(set(words), key=words.index)) + hint


def _values(option: Any) -> list[str]:
    return [str(each.value) for each in option]


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _check_choice(key: str, value: Any, about: Field[Any]) -> None:
    choices = about.metadata.get("choices")
    if choices and value is not None and value not in choices:
        known = did_you_mean(str(value), list(choices))
        raise RecipeError(f"trainer.{key}={shown(value)} is none of the Trainer's choices{known}")
    if key == "optim_args" and value and not all(each.find("=") > 0 for each in value.replace(" ", "").split(",")):
        raise RecipeError(f"trainer.{key}={shown(value)} must have the form name=value,name=value")


def _check_size(key: str, value: Any, about: Field[Any]) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return
    size = float(value)
    if key in FROM_ONE and size < 1:
        raise RecipeError(f"trainer.{key}={value} must be at least 1; {FROM_ONE[key]}")
    if key in BELOW_ONE and size >= 1:
        raise RecipeError(f"trainer.{key}={value} must be below 1")
    if size < 0 and not (isinstance(about.default, int | float) and about.default < 0):
        raise RecipeError(f"trainer.{key}={value} must not be negative")
