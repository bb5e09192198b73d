"""Build models without their weights: published configurations by hub name, on the meta device."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from mgpp.lab.models.made_models import MADE_MODELS, place_of
from mgpp.lab.models.packages import MINILM
from mgpp.lab.recipes.recipe import RecipeError

# Hub name -> model type and what differs from its defaults, as far as the names and shapes of the weights depend on it.
# fmt: off
KNOWN_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "google-bert/bert-base-uncased": ("bert", {}),
    "microsoft/deberta-v3-base": ("deberta-v2", {
        "vocab_size": 128100, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "type_vocab_size": 0, "relative_attention": True, "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"], "position_buckets": 256, "share_att_key": True, "norm_rel_ebd": "layer_norm",
    }),
    "facebook/bart-base": ("bart", {
        "d_model": 768, "encoder_layers": 6, "encoder_attention_heads": 12, "encoder_ffn_dim": 3072,
        "decoder_layers": 6, "decoder_attention_heads": 12, "decoder_ffn_dim": 3072,
    }),
    "facebook/bart-large": ("bart", {}),
    "openai-community/gpt2": ("gpt2", {}),
}
# fmt: on


def local_folder(name_or_folder: str | Path) -> Path | None:
    """Return where a model lies on this machine: packaged, made before, a folder, the hub's cache; None if nowhere.

    The cache is looked up as files: `from_pretrained` asks the hub for other things even with `local_files_only`.

    Example:
        >>> (local_folder("minilm") / "config.json").is_file()
        True
    """
    name = str(name_or_folder)
    if name == "minilm":
        return MINILM.locate().parent
    if name in MADE_MODELS:
        place = place_of(name)
        return place if place.is_dir() else None
    if Path(name, "config.json").is_file():
        return Path(name)
    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # it is a path
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def model_config(name_or_folder: str | Path) -> PretrainedConfig:
    """Return the configuration of a model, from what is on this machine alone: no hub is asked.

    Args:
        name_or_folder: a key of `KNOWN_MODELS`, a folder with a config.json, or a hub name that was downloaded before.

    Raises:
        RecipeError: if it is none of these; the message says how to get it.

    Example:
        >>> model_config("minilm").hidden_size
        384
    """
    name, folder = str(name_or_folder), local_folder(name_or_folder)
    if folder is not None:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if name in MADE_MODELS:
        return MADE_MODELS[name].config()
    if name not in KNOWN_MODELS:
        raise RecipeError(
            f"model={name!r} is neither a known model nor a folder with a config.json, nor in the hub's local cache; "
            f"download it once (hf download {name}), or use one of "
            + ", ".join(["minilm", *MADE_MODELS, *KNOWN_MODELS])
        )
    kind, changes = KNOWN_MODELS[name]
    return AutoConfig.for_model(kind, **changes)


def empty_model(name_or_folder: str | Path, auto_class: Any, **changes: Any) -> PreTrainedModel:
    """Build a model with the right names and shapes on torch's meta device: no weights, no memory, no hub.

    Args:
        name_or_folder: as for `model_config`.
        auto_class: such as `transformers.AutoModelForSequenceClassification`: which head it gets.
        changes: of the configuration, such as `num_labels=3`.

    Raises:
        RecipeError: if the configuration is not on this machine, or has no such head.

    Example:
        >>> from transformers import AutoModelForSequenceClassification
        >>> model = empty_model("google-bert/bert-base-uncased", AutoModelForSequenceClassification)
        >>> model.num_parameters(), model.device.type
        (109483778, 'meta')
    """
    config = model_config(name_or_folder)
    config.update(changes)
    try:
        with torch.device("meta"):
            return auto_class.from_config(config)
    except ValueError:
        raise RecipeError(
            f"model={str(name_or_folder)!r} is a {config.model_type}, which has no head of the kind of "
            f"{auto_class.__name__}; take another model or task"
        ) from None
