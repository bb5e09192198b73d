import numpy as np
import pytest
import yaml

from mgpp import RecipeError, load_recipe
from mgpp.lab.recipes.recipe import parse_override, recipe_from, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_comes_back_from_plain_data(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe_from(yaml.safe_load(yaml.safe_dump(recipe.as_dict()))) == recipe


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


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"prior.lamb": 1}, r"prior.lamb=1: there is no such key; did you mean 'prior.lam'"),
        ({"sede": 1}, "sede=1: there is no such key; did you mean 'seed'"),
        ({"prior.lam": 1.5}, "lam=1.5 must be a number from 0 to 1"),
        ({"prior.lam": "x"}, "prior.lam='x' must be a number"),
        ({"prior.initial_lam": -1}, "lam=-1"),
        ({"prior.spike_var": 1.0}, "spike_var=1 is larger than slab_var=0.05"),
        ({"sparsity.final": 1.0}, "final_sparsity=1.0"),
        ({"sparsity.initial": 0.99}, "initial_sparsity=0.99 is larger"),
        ({"seed": 1.5}, "seed=1.5 must be a whole number"),
        ({"seed": True}, "seed=True must be a whole number, not bool"),
        ({"seed": 2**70}, r"seed=1180591620717411303424 must be a whole number, not one from 2\*\*63 on"),
        ({"threads": 1_000_000}, "threads=1000000 must be at most 4096"),
        ({"trainer": []}, r"trainer=\[\] must be keys and values, not list"),
        ({"sparsty.final": 0.9}, "sparsty={'final': 0.9}: there is no such key; did you mean 'sparsity'"),
        ({"piror.lam": 0.9}, "did you mean 'prior'"),
        ({"sparsity.allow_regrowth": 1}, "sparsity.allow_regrowth=1 must be true or false"),
        ({"precision": "fp8"}, "precision='fp8' must be one of auto, fp32"),
        ({"method": "mggp"}, "method='mggp' is unknown; did you mean 'mgpp'"),
        ({"epochs": 0}, "epochs=0.0 must be above 0"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"sparsity.warmup": 1.5}, "sparsity.warmup=1.5 must be a fraction"),
        ({"l2.strength": -1}, "l2: L2: strength=-1.0"),
        ({"prior": 3}, "prior=3 must hold keys"),
        ({"seed.x": 3}, "seed.x: seed holds a value"),
        ({"targets.include": [1]}, "targets.include"),
        ({"trainer.learning_rate": 1}, "trainer.learning_rate is set by the toolkit; use optimizer.learning_rate"),
        ({"log.trajectories": -1}, "log.trajectories=-1 must not be negative"),
        ({"seed": -1}, "seed=-1 must not be negative"),
        ({"sparsity.warmup": 0.5, "sparsity.frozen": 0.6}, "together they stay at 1 or below"),
        ({"sparsity.warmup": float("inf")}, "sparsity.warmup=inf must be a fraction"),
        ({"optimizer.final_factor": 2}, "optimizer.final_factor=2.0"),
        ({"log.every": 30}, "log.evaluate_every=100 must be a multiple of log.every=30"),
        ({"trainer.max_steps": 10}, "trainer.max_steps is set by the toolkit; use max_steps"),
        ({"method": "l0", "sparsity.freeze": False}, "sparsity.freeze=False: l0 folds its gates"),
        ({"optimizer.rewinds": 2, "optimizer.final_factor": 1}, "optimizer.rewinds=2 has nothing to start again"),
        ({"gmp_star.cycles": 0}, "gmp_star: gmp_star: cycles=0 must be a whole number from 1"),
        ({"platon.beta1": 1.0}, "platon: PLATON: beta1=1.0"),
        ({"lam": 1e-5}, "lam=1e-05: there is no such key; did you mean 'prior.lam'"),
    ],
)
def test_mistakes_are_named(overrides, words):
    overrides = {"seed": 0, **overrides} if "seed.x" in overrides else overrides
    with pytest.raises(RecipeError, match=words):
        load_recipe("reviews", **overrides)


@pytest.mark.parametrize(
    ("text", "words"),
    [("- a\n- b", "must hold keys and values"), ("a: [", "is not YAML"), ("1: 2", "1=2: there is no")],
)
def test_files_that_are_no_recipe(tmp_path, text, words):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=words):
        load_recipe(path)


def test_yaml_can_not_smuggle_code(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("seed: !!python/object/apply:os.system ['touch evil']")
    with pytest.raises(RecipeError, match="is not YAML"):
        load_recipe(path)


@pytest.mark.parametrize("text", ["", "# seed: 1\n"])
def test_an_empty_file_is_no_recipe(tmp_path, text):
    (tmp_path / "cut-off.yaml").write_text(text)
    with pytest.raises(RecipeError, match="cut-off.yaml is empty; a recipe holds keys and values"):
        load_recipe(tmp_path / "cut-off.yaml")


def test_an_unknown_recipe():
    with pytest.raises(RecipeError, match="did you mean 'reviews'"):
        load_recipe("review")


def test_schedule_from_fractions_and_steps():
    schedule = load_recipe("reviews", **{"sparsity.warmup": 0.1, "sparsity.frozen": 20}).schedule(100)
    assert (schedule.begin_step, schedule.end_step) == (10, 80)
    always_one_frozen = load_recipe("reviews", **{"sparsity.frozen": 0}).schedule(100)
    assert always_one_frozen.end_step == 99


def test_a_warmup_longer_than_the_training_is_refused():
    with pytest.raises(RecipeError, match="leave no step of 100 to prune in"):
        load_recipe("reviews", **{"sparsity.warmup": 200}).schedule(100)


def test_a_dense_run_prunes_nothing():
    schedule = load_recipe("reviews", method="dense").schedule(100)
    assert schedule(99) == 0


def test_overrides_on_the_command_line():
    assert parse_override("prior.lam=1e-5") == ("prior.lam", "1e-5")  # text for YAML, a number for the recipe
    assert parse_override("prior.initial_lam=null") == ("prior.initial_lam", None)
    for text in ("seed", "=3", "seed=[1"):
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
