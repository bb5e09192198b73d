"""Load models by name, with options that execute nothing and errors that name the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mgpp.lab.recipes.recipe import RecipeError


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Raise RecipeError with the model's name if its files cannot be loaded.

    The libraries raise errors of many kinds for damaged files, bare `Exception` among them. Lack of memory passes
    through.

    Example:
        >>> with loading("my-model"):
        ...     raise ValueError("the tokenizer cannot be read")
        Traceback (most recent call last):
        ...
        mgpp.lab.recipes.recipe.RecipeError: model='my-model' cannot be loaded: the tokenizer cannot be read
    """
    try:
        yield
    except (RecipeError, MemoryError, RuntimeError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RecipeError(f"model={model!r:.80} cannot be loaded: {reason}") from error


def safely(source: str) -> dict[str, Any]:
    """Return arguments of `from_pretrained` with which a model runs no code of its own, and a folder no pickle.

    From the hub, where some models of the published recipes have no other files, torch reads pickles with
    `weights_only`, which executes nothing either.

    Example:
        >>> safely("google-bert/bert-base-uncased")
        {'trust_remote_code': False, 'use_safetensors': None}
    """
    return {"trust_remote_code": False, "use_safetensors": True if Path(source).is_dir() else None}
