"""How far a recipe reaches: what it may not ask for, so that a stranger's does nothing behind one's back."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any

from mgpp.lab.recipes.strict import RecipeError, shown

UPLOADS = "a recipe uploads nothing; mgpp export RUN --push-to-hub NAME does"
REFUSED = {
    r"push_to_hub|hub_.*": UPLOADS,
    r"trackio_.*|project": "a recipe sends nothing to other machines; the run's folder holds all that is logged",
    r"resume_from_checkpoint": "mgpp train --resume DIR goes on with a run",
    r"deepspeed": "only DDP and FSDP are supported",
}
# What the Trainer would take for the path of a file with settings of any kind, where it is text.
FILES = ("accelerator_config", "fsdp_config", "liger_kernel_config", "parallelism_config")
LOCAL_REPORTS = ("none", "tensorboard")


def check_reach(settings: Mapping[Any, Any]) -> None:
    """Refuse settings of the Trainer that upload, read settings from other files, or are no plain data.

    Raises:
        RecipeError: with the reason and the way out.

    Example:
        >>> check_reach({"max_grad_norm": 1.0})
        >>> check_reach({"push_to_hub": True})
        Traceback (most recent call last):
        ...
        mgpp.lab.recipes.strict.RecipeError: trainer.push_to_hub is refused: a recipe uploads nothing; mgpp export RUN
        --push-to-hub NAME does
    """
    for key, value in settings.items():
        if not isinstance(key, str):
            raise RecipeError(f"trainer.{shown(key)} is no argument of the Trainer, whose names are text")
        for pattern, reason in REFUSED.items():
            if re.fullmatch(pattern, key):
                raise RecipeError(f"trainer.{key} is refused: {reason}")
        if key in FILES and isinstance(value, str):
            raise RecipeError(f"trainer.{key}={shown(value)} is refused: write the settings of that file out here")
        reports = value if isinstance(value, list) else [value]
        if key == "report_to" and any(report not in LOCAL_REPORTS for report in reports):
            raise RecipeError(
                f"trainer.report_to={shown(value)} is refused: a recipe sends nothing to other machines; "
                f"it may be {' or '.join(LOCAL_REPORTS)}"
            )


def check_name(name: str) -> None:
    """Refuse a recipe's name that can't be part of a folder's name, or would lead out of the folder of the runs.

    Raises:
        RecipeError: if it can't.

    Example:
        >>> check_name("my recipe (2)")
        >>> check_name("../../elsewhere")
        Traceback (most recent call last):
        ...
        mgpp.lab.recipes.strict.RecipeError: name='../../elsewhere' must be text that a folder can be called, at
        most 100 letters without slashes, not beginning with a dot
    """
    if not re.fullmatch(r"[^./\\][^/\\]{0,99}", name) or not name.isprintable():
        raise RecipeError(
            f"name={shown(name)} must be text that a folder can be called, at most 100 letters without slashes, "
            "not beginning with a dot"
        )


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Say in a sentence why a recipe's model does not load, whatever is wrong with its files.

    Files of strangers make the libraries raise errors of many kinds, bare `Exception` among them. Want of memory or of
    disk is not the model's fault and passes through.

    Raises:
        RecipeError: instead of what the libraries raise.

    Example:
        >>> with loading("my-model"):
        ...     raise ValueError("the tokenizer can't be read")
        Traceback (most recent call last):
        ...
        mgpp.lab.recipes.strict.RecipeError: model='my-model' can't be loaded: the tokenizer can't be read; give minilm,
        or a folder or hub name of a kind that the task can use
    """
    try:
        yield
    except (RecipeError, MemoryError, RuntimeError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RecipeError(
            f"model={shown(model)} can't be loaded: {reason}; give minilm, or a folder or hub name of a kind that the "
            "task can use"
        ) from error


def safely(source: str) -> dict[str, Any]:
    """How `from_pretrained` is to load a model: without code of its own, and from a folder without pickles.

    From the hub, where some models of the published recipes have no other files, torch reads pickles with
    `weights_only`, which executes nothing either.

    Example:
        >>> safely("google-bert/bert-base-uncased")
        {'trust_remote_code': False, 'use_safetensors': None}
    """
    return {"trust_remote_code": False, "use_safetensors": True if Path(source).is_dir() else None}
