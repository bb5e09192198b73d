import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainingArguments

from mgpp import RecipeError, load_recipe
from mgpp.lab.cli import main
from mgpp.lab.recipes.recipe import FOLDER, TrainerSettings, parse_override, recipe_from, recipe_names, recipe_schema
from mgpp.methods import METHODS, Method

DATA = Path(__file__).parents[1] / "data"
RUNS = sorted(path for path in DATA.rglob("run.json") if not path.is_relative_to(DATA / "consistency"))


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_comes_back_from_plain_data(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe_from(yaml.safe_load(yaml.safe_dump(recipe.as_dict()))) == recipe


def test_recipes_of_committed_runs_load():
    assert len(RUNS) > 100
    for path in RUNS:
        found = json.loads(path.read_text(encoding="utf-8"))["recipe"]
        loaded = recipe_from(found).as_dict()
        for key, value in found.items():
            assert loaded[key] == (loaded[key] | value if isinstance(value, dict) else value), f"{path}: {key}"


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("method: l2\nl2:\n  strength: 1e-3\n")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.method, recipe.l2.strength) == ("mine", "l2", 1e-3)


def test_overrides_reach_nested_keys():
    recipe = load_recipe("reviews", seed=3, **{"prior.lam": "1e-5", "sparsity.final": 0.9, "trainer.max_grad_norm": 2})
    assert (recipe.seed, recipe.prior.lam, recipe.sparsity.final) == (3, 1e-5, 0.9)
    assert recipe.trainer == {"max_grad_norm": 2}
    assert recipe.run_name == "reviews-mgpp-0.9-seed3"


def test_a_changed_copy_is_validated_too():
    recipe = load_recipe("reviews")
    assert replace(recipe, seed=3) == load_recipe("reviews", seed=3)
    with pytest.raises(ValueError, match="seed"):
        replace(recipe, seed=-1)
    with pytest.raises(ValueError, match="log.evaluate_every"):
        replace(recipe, log=replace(recipe.log, evaluate_every=25))


def test_a_new_method_has_its_section(monkeypatch):
    @dataclass(frozen=True)
    class Mine(Method):
        """A method of one's own."""

        section = "mine"
        strength: float = 0.5

    assert not hasattr(load_recipe("reviews"), "mine")
    monkeypatch.setitem(METHODS, "mine", Mine)
    recipe = load_recipe("reviews", method="mine", **{"mine.strength": 2})
    assert recipe.method_settings() == Mine(2.0)
    with pytest.raises(RecipeError, match="mine.strenght.*'mine.strength'"):
        load_recipe("reviews", **{"mine.strenght": 2})


MISTAKES = [  # setting, value, pattern of the message
    ("sede", 1, "^sede .*'seed'"),
    ("lam", 1e-5, "^lam .*'prior.lam'"),
    ("prior.lamb", 1, "^prior.lamb .*'prior.lam'"),
    ("sparsty.final", 0.9, "^sparsty .*'sparsity'"),
    ("trainer.max_gradnorm", 1, "^trainer.max_gradnorm .*'trainer.max_grad_norm'.*ddp_timeout"),
    ("trainer.learning_rate", 1, "^trainer.learning_rate .*'optimizer.learning_rate'"),
    ("trainer.max_steps", 10, "^trainer.max_steps .*'max_steps'"),
    ("method", "mggp", "^method='mggp'.*'mgpp'"),
    ("prior.lam", 1.5, "^prior: .*lam=1.5"),
    ("prior.lam", "x", "^prior.lam='x'"),
    ("prior.spike_var", 1.0, "^prior: .*spike_var=1 .*slab_var=0.05"),
    ("platon.beta1", 1.0, "^platon: .*beta1=1.0"),
    ("gmp_star.cycles", 0, "^gmp_star: .*cycles=0"),
    ("prior", 3, "^prior=3"),
    ("trainer", [], r"^trainer=\[\]"),
    ("task.x", 3, "^task.x=3: task"),
    ("targets.include", [1], "^targets.include=1"),
    ("name", "../up", "^name='../up'"),
    ("sparsity.initial", 0.99, "^sparsity.initial=0.99 .*sparsity.final=0.95"),
    ("sparsity.warmup", 0.71, "^sparsity.warmup=0.71 .*sparsity.frozen=0.3"),
    ("log.every", 30, "^log.evaluate_every=100 .*log.every=30"),
    ("log.evaluate_every", 25, "^log.evaluate_every=25 .*log.every=10"),
    ("epochs", float("nan"), "^epochs=nan"),
    ("trainer.save_total_limit", 2.0, "=2.0"),
    ("trainer.fsdp", 3, "=3"),
    ("trainer.fsdp_config", "/etc/passwd", "='/etc/passwd'"),
    ("trainer.report_to", "wandb", "='wandb'"),
    ("trainer.report_to", ["none", "all"], "'all'"),
    ("trainer.ddp_backend", "glo", "='glo'"),
    ("trainer.optim_args", "nonsense", "='nonsense'"),
]


@pytest.mark.parametrize(("key", "value", "message"), MISTAKES)
def test_mistakes_are_named(key, value, message):
    with pytest.raises(RecipeError, match=message):
        recipe_from(load_recipe("reviews").as_dict(), **{key: value})


def test_all_mistakes_are_named_at_once():
    with pytest.raises(RecipeError, match="epochs=0 .*\nsede "):
        load_recipe("reviews", sede=1, epochs=0)


EDGES = {  # a value that is allowed, one that is not
    "epochs": (1e-9, 0),
    "max_steps": (1, 0),
    "batch_size": (1, 0),
    "batch_size ": (1, True),
    "threads": (4096, 4097),
    "save_every": (1, 0),
    "seed": (2**32 - 1, 2**32),
    "seed ": (0, 1.5),
    "seed  ": (0, "yes"),
    "precision": ("bf16", "fp8"),
    "text.stride": (0, -1),
    "log.trajectories": (0, -1),
    "optimizer.learning_rate": (1, True),
    "optimizer.final_factor": (0.0, -1e-9),
    "sparsity.final": (0.99, 1.0),
    "sparsity.warmup": (0.69, float("inf")),
    "sparsity.frozen": (20, 20.5),
    "sparsity.allow_regrowth": (False, 1),
    "trainer.adam_beta2": (0.98, 1),
    "trainer.max_grad_norm": (0, None),
    "trainer.save_total_limit": (1, 0),
    "trainer.gradient_accumulation_steps": (2, "two"),
    "trainer.gradient_checkpointing": (True, "yes"),
}


@pytest.mark.parametrize("key", EDGES)
def test_ranges_and_types(key):
    (allowed, refused), key = EDGES[key], key.strip()
    load_recipe("reviews", **{key: allowed})
    with pytest.raises(RecipeError, match=f"^{key}="):
        load_recipe("reviews", **{key: refused})


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"method": "l0", "sparsity.freeze": False}, "sparsity.freeze"),
        ({"optimizer.rewinds": 2, "optimizer.final_factor": 1}, "optimizer.rewinds"),
    ],
)
def test_settings_that_exclude_each_other(settings, key):
    with pytest.raises(RecipeError, match=key):
        load_recipe("reviews", **settings)


def test_trainer_arguments_are_those_of_transformers():
    assert TrainerSettings.__annotations__.keys() <= {each.name for each in fields(TrainingArguments)}
    settings = {"fsdp": True, "fsdp_config": {"fsdp_version": 2}, "optim": "sgd", "optim_args": "a=1, b=2"}
    settings |= {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    settings |= {"max_grad_norm": 0, "adam_beta2": np.float64(0.98), "adam_epsilon": "1e-7", "tf32": None}
    settings |= {"gradient_accumulation_steps": np.int64(2), "report_to": ["none"], "ddp_backend": None}
    assert load_recipe("reviews", trainer=settings).trainer == settings | {"adam_epsilon": 1e-7}


@pytest.mark.parametrize("field", ["fsdp_config", "gradient_checkpointing_kwargs"])
def test_a_section_without_names_of_its_own_holds_no_nan(field):
    for number in (float("nan"), float("inf")):
        with pytest.raises(RecipeError, match=field):
            load_recipe("reviews", trainer={field: {"a": [number]}})


def test_the_message_on_many_wrong_keys_is_short():
    with pytest.raises(RecipeError, match="trainer.wrong_0") as error:
        load_recipe("reviews", trainer={f"wrong_{i}" + "x" * 500: 1 for i in range(200)})
    assert len(str(error.value)) < 3000


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["no", "1e-5"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from([f"trainer.{name}" for name in TrainerSettings.__annotations__] + ["seed", "log", "prior.lam"])


@given(KEYS, PLAIN)
def test_any_value_is_taken_or_refused_by_its_key(key, value):
    message = ""
    try:
        recipe = load_recipe("reviews", **{key: value})
        assert recipe_from(json.loads(json.dumps(recipe.as_dict()))) == recipe
    except RecipeError as error:
        message = str(error)
    assert not message or message.startswith(key.split(".")[0])


@pytest.mark.parametrize("text", ["", "# seed: 1\n", "- a\n- b", "a: [", "seed: !!python/name:os.system", "a: \0"])
def test_files_that_are_no_recipe(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match="broken.yaml"):
        load_recipe(path)


def test_an_unknown_recipe():
    with pytest.raises(RecipeError, match="'review'.*'reviews'"):
        load_recipe("review")


def test_schedule_from_fractions_and_steps():
    schedule = load_recipe("reviews", **{"sparsity.warmup": 0.1, "sparsity.frozen": 20}).schedule(100)
    assert (schedule.begin_step, schedule.end_step) == (10, 80)
    always_one_frozen = load_recipe("reviews", **{"sparsity.frozen": 0}).schedule(100)
    assert always_one_frozen.end_step == 99
    assert load_recipe("reviews", method="dense").schedule(100)(99) == 0
    with pytest.raises(RecipeError, match="sparsity.warmup=200"):
        load_recipe("reviews", **{"sparsity.warmup": 200}).schedule(100)


def test_overrides_on_the_command_line():
    assert parse_override("prior.lam=1e-5") == ("prior.lam", "1e-5")  # text for YAML, a number for the recipe
    assert parse_override("prior.initial_lam=null") == ("prior.initial_lam", None)
    for text in ("seed", "=3", "seed=[1", "seed=!!python/name:os.system"):
        with pytest.raises(RecipeError, match="--set"):
            parse_override(text)


def test_a_section_changes_only_what_it_names_and_nothing_of_the_caller():
    section = {"final": 0.5}
    changed = load_recipe("reviews", **{"sparsity": section, "sparsity.interval": 3}).sparsity
    original = load_recipe("reviews").sparsity
    assert (changed.final, changed.interval, changed.frozen) == (0.5, 3, original.frozen)
    assert section == {"final": 0.5}


def test_numbers_of_numpy_are_numbers():
    recipe = load_recipe("reviews", seed=np.int64(3), **{"prior.lam": np.float64(1e-5)})
    assert (type(recipe.seed), recipe.seed, recipe.prior.lam) == (int, 3, 1e-5)


def test_the_schema_is_up_to_date_and_named_in_every_recipe():
    hint = "run: mgpp recipe --schema > toolkit/mgpp/lab/recipes/schema.json"
    assert json.loads((FOLDER / "schema.json").read_text(encoding="utf-8")) == recipe_schema(), hint
    for name in recipe_names():
        first = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=schema.json", name


def test_mgpp_recipe_lists_and_prints(tmp_path):
    runner = CliRunner()
    assert runner.invoke(main, ["recipe"]).output.split() == recipe_names()
    assert json.loads(runner.invoke(main, ["recipe", "--schema"]).output) == recipe_schema()
    printed = runner.invoke(main, ["recipe", "reviews", "--set", "seed=3"]).output
    (tmp_path / "mine.yaml").write_text(printed)
    assert load_recipe(tmp_path / "mine.yaml") == load_recipe("reviews", seed=3)
