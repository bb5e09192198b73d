from dataclasses import MISSING, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainingArguments

from mgpp import RecipeError, load_recipe
from mgpp.lab.recipes.trainer_section import REFUSED, RESERVED, check_trainer_section

ARGUMENTS = {each.name: each for each in fields(TrainingArguments) if each.name not in RESERVED}
NUMBERS = [name for name, each in ARGUMENTS.items() if type(each.default) in (int, float)]
FLAGS = [name for name, each in ARGUMENTS.items() if type(each.default) is bool]


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("max_gradnorm", 1, " is no argument of the Trainer; did you mean 'max_grad_norm'"),
        ("save_total_limit", "x", "='x' must be a whole number or null"),
        ("save_total_limit", 2.0, "=2.0 must be a whole number or null"),
        ("save_total_limit", 0, "=0 must be at least 1; for no checkpoints leave save_every out"),
        ("neftune_noise_alpha", "x", "='x' must be a finite number or null"),
        ("neftune_noise_alpha", -1, "=-1 must not be negative"),
        ("parallelism_config", {"tp_size": 2}, "={'tp_size': 2} must be null"),
        ("max_grad_norm", float("nan"), "=nan must be a finite number"),
        ("max_grad_norm", float("inf"), "=inf must be a finite number"),
        ("max_grad_norm", 10**400, "=1000"),
        ("max_grad_norm", None, "=None must be a finite number"),
        ("max_grad_norm", True, "=True must be a finite number"),
        (
            "adam_epsilon",
            "1e-7",
            "='1e-7' must be a finite number; this is text: write it without quotes, and with a po",
        ),
        ("adam_beta2", 1, "=1 must be below 1"),
        ("gradient_accumulation_steps", "two", "='two' must be a whole number"),
        ("gradient_accumulation_steps", 0, "=0 must be at least 1"),
        ("torch_empty_cache_steps", 0, "=0 must be at least 1"),
        (
            "train_sampling_strategy",
            "by_length",
            "='by_length' is none of the Trainer's choices; did you mean 'group_by",
        ),
        ("train_sampling_strategy", 3, "=3 must be text"),
        ("ddp_backend", "glo", "='glo' is none of the Trainer's choices; did you mean 'gloo'?"),
        ("dataloader_persistent_workers", True, "=True needs workers: set trainer.dataloader_num_workers, too"),
        ("dataloader_prefetch_factor", 2, "=2 needs workers: set trainer.dataloader_num_workers, too"),
        ("optim", "adamw_torh", "='adamw_torh' must be one of the Trainer's; did you mean 'adamw_torch'?"),
        ("gradient_checkpointing", "yes", "='yes' must be true or false or null"),
        ("gradient_checkpointing_kwargs", "x", "='x' must be null or keys and values"),
        ("accelerator_config", {1: 2}, "={1: 2} must be null or keys and values"),
        ("label_names", "labels", "='labels' must be null or a list"),
        ("label_names", ["labels", 3], "=['labels', 3] must be null or a list"),
        ("fsdp", 3, "=3 must be text or null or true or false"),
        ("optim_args", "nonsense", "='nonsense' must have the form name=value,name=value"),
        ("optim_args", "=1, b=2", "='=1, b=2' must have the form name=value,name=value"),
        ("enable_jit_checkpoint", True, "=True is refused: it would save in the middle of a step"),
        ("load_best_model_at_end", True, "=True is refused: the best model by the metric may not be as sparse"),
        ("save_only_model", True, "=True is refused: no training could go on from such checkpoints"),
        ("ignore_data_skip", True, "=True is refused: a resumed training would see other data"),
        (
            "auto_find_batch_size",
            True,
            "=True is refused: a training that starts over logs steps twice; lower batch_size",
        ),
    ],
)
def test_what_the_trainer_has_no_use_for_is_refused_when_a_recipe_is_read(setting, value, words):
    with pytest.raises(RecipeError) as error:
        load_recipe("reviews", **{f"trainer.{setting}": value})
    assert str(error.value).startswith(f"trainer.{setting}{words}")


def test_what_the_trainer_takes_is_taken():
    settings = {
        "fsdp": True,
        "fsdp_config": {"fsdp_version": 2},
        "optim": "sgd",
        "ddp_backend": None,
        "warmup_steps": 3,
    }
    settings |= {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    settings |= {"dataloader_persistent_workers": True, "dataloader_num_workers": 1}
    settings |= {"save_total_limit": None, "max_grad_norm": 0, "adam_beta2": np.float64(0.98), "tf32": None}
    settings |= {"gradient_accumulation_steps": np.int64(2), "label_names": ["labels"], "report_to": ["none"]}
    settings |= {"load_best_model_at_end": False, "debug": "", "include_num_input_tokens_seen": "no"}
    check_trainer_section(settings)
    assert load_recipe("reviews", trainer=settings).trainer == settings


def test_every_default_of_the_trainer_fits():
    for name, each in ARGUMENTS.items():
        if each.default is not MISSING:
            check_trainer_section({name: each.default})


@pytest.mark.parametrize("value", ["x", "3", [1], {"a": 1}, float("nan"), True, 2**70])
def test_no_number_may_be_anything_else(value):
    assert len(NUMBERS) > 10
    for name in NUMBERS:
        with pytest.raises(RecipeError, match=f"trainer.{name}="):
            check_trainer_section({name: value})


@pytest.mark.parametrize("value", ["yes", 2, 1.0, [True]])
def test_no_flag_may_be_anything_else(value):
    assert len(FLAGS) > 15
    for name in FLAGS:
        with pytest.raises(RecipeError, match=f"trainer.{name}="):
            check_trainer_section({name: value})


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["no", "1e-5"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(sorted(ARGUMENTS.keys() - REFUSED.keys())), PLAIN)
def test_any_value_is_taken_or_refused_in_a_sentence(name, value):
    words = ""
    try:
        check_trainer_section({name: value})
    except RecipeError as error:
        words = str(error)
    assert not words or words.startswith(f"trainer.{name}=")
    assert len(words) < 1500


@pytest.mark.parametrize("key", RESERVED)
def test_what_the_toolkit_sets_is_refused_with_the_recipes_own_key(key):
    with pytest.raises(RecipeError, match=f"trainer.{key} is set by the toolkit; use {RESERVED[key]} instead"):
        check_trainer_section({key: 1})
