"""The shapes of models without their weights: published configurations by hub name, and models that take no memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import (
    AutoConfig,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    GPT2Config,
    PretrainedConfig,
    PreTrainedModel,
)

from mgpp.lab.models.made_models import MADE_MODELS, place_of
from mgpp.lab.models.packages import MINILM
from mgpp.lab.recipes.recipe import RecipeError


def bert_base() -> PretrainedConfig:
    """BERT-base uncased (Devlin et al. 2019): the defaults of its class.

    Example:
        >>> bert_base().num_hidden_layers, bert_base().hidden_size
        (12, 768)
    """
    return BertConfig()


def deberta_v3_base() -> PretrainedConfig:
    """DeBERTa-v3-base (He et al. 2021): relative positions only, in buckets, with keys shared; no token types.

    Example:
        >>> deberta_v3_base().vocab_size
        128100
    """
    # the last three stand in no signature: they are read from the published file, which this stands for
    shape: dict[str, Any] = {
        "vocab_size": 128100,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
        "relative_attention": True,
        "max_relative_positions": -1,
        "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 256,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
    }
    return DebertaV2Config(**shape)


def bart_base() -> PretrainedConfig:
    """BART-base (Lewis et al. 2020): six layers of width 768 on either side.

    Example:
        >>> bart_base().d_model
        768
    """
    sides = {"layers": 6, "attention_heads": 12, "ffn_dim": 3072}
    shape: dict[str, Any] = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in sides.items()}
    return BartConfig(d_model=768, **shape)


def bart_large() -> PretrainedConfig:
    """BART-large (Lewis et al. 2020): the defaults of its class, twelve layers of width 1024 on either side.

    Example:
        >>> bart_large().d_model
        1024
    """
    return BartConfig()


def gpt2() -> PretrainedConfig:
    """GPT-2 (Radford et al. 2019), the smallest: the defaults of its class.

    Example:
        >>> gpt2().n_layer
        12
    """
    return GPT2Config()


KNOWN_MODELS: dict[str, Callable[[], PretrainedConfig]] = {
    "google-bert/bert-base-uncased": bert_base,
    "microsoft/deberta-v3-base": deberta_v3_base,
    "facebook/bart-base": bart_base,
    "facebook/bart-large": bart_large,
    "openai-community/gpt2": gpt2,
}


def local_folder(name_or_folder: str | Path) -> Path | None:
    """Where a model lies on this machine: packaged, made here before, a folder, or the hub's cache; None if nowhere.

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
    """The configuration of a model, from what is on this machine alone: no hub is asked.

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
            f"model={name!r} is no known model, no folder with a config.json, and not in the hub's local cache; "
            f"download it once (hf download {name}), give a folder, or take one of "
            + ", ".join(["minilm", *MADE_MODELS, *KNOWN_MODELS])
        )
    return KNOWN_MODELS[name]()


def empty_model(name_or_folder: str | Path, auto_class: Any, **changes: Any) -> PreTrainedModel:
    """A model with the right names and shapes on torch's meta device: no weights, no memory, no hub.

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
