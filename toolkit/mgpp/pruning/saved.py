"""Load saved models of transformers; nothing that is read is executed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, PreTrainedModel

CODE = ("auto_map", "custom_pipelines")  # keys of a configuration that name code, which is not exported


def _class_of(architectures: Sequence[str] | None) -> type[PreTrainedModel] | None:
    """Return the class of transformers that a configuration names first, None if it names no such class."""
    named = getattr(transformers, (architectures or ["None"])[0], None)
    return named if isinstance(named, type) and issubclass(named, PreTrainedModel) else None


def is_saved(folder: Path) -> bool:
    """Tell whether a folder holds a model of a class of transformers.

    Example:
        >>> is_saved(Path("a-folder-that-does-not-exist"))
        False
    """
    config = folder / "config.json"
    return config.is_file() and _class_of(json.loads(config.read_bytes()).get("architectures")) is not None


def load_saved(folder: str | Path, dtype: Any = "auto") -> PreTrainedModel:
    """Load a model as the class of transformers that its config.json names, whose parameters have the names in memory.

    The names and shapes in its files can differ from them, as those of experts do.

    Args:
        folder: that `save_pretrained` wrote, with safetensors.
        dtype: of the weights; "auto" keeps that of the files.

    Raises:
        OSError: if a file is missing.
        ValueError: if the class is none of transformers, or the files do not hold exactly its weights. Damaged files
            raise RuntimeError or SafetensorError, too.

    Example:
        >>> load_saved("my-run/checkpoints/final")  # doctest: +SKIP
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    for key in CODE:
        config.__dict__.pop(key, None)
    model_class = _class_of(config.architectures)
    if model_class is None:
        raise ValueError(f"architectures={config.architectures} names no model class of transformers")
    loaded: Any = model_class.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        attn_implementation="eager",  # whatever the config asks for: kernels can be code from the hub
        output_loading_info=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    model, keys = loaded
    if wrong := sorted(keys["missing_keys"] | keys["unexpected_keys"]):
        raise ValueError(f"it does not hold exactly the weights of a {model_class.__name__}: {wrong[0]}")
    return model
