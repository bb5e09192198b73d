"""The recipes hold the published settings, say where they come from, and their page lists them all."""

import re
from pathlib import Path

import pytest

from mgpp import load_recipe
from mgpp.lab.dry_run import plan_of
from mgpp.lab.models.known_models import KNOWN_MODELS
from mgpp.lab.models.made_models import MADE_MODELS
from mgpp.lab.recipes.recipe import TrainerSettings, recipe_names
from mgpp.lab.tasks import TASKS

FOLDER = Path(__file__).parents[1] / "toolkit/mgpp/lab/recipes"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
TESTS = Path(__file__).parent

# task: epochs, batch of an update, learning rate, its factor, σ0², σ1², warm-up in steps, interval, first sparsity
PUBLISHED = {
    "glue-mnli": (8, 32, 5e-5, 0.1, 1e-10, 0.05, 12_272, 100, 0.3),
    "glue-qqp": (10, 32, 5e-5, 0.1, 1e-10, 0.05, 2 * 11_371, 100, 0.3),
    "glue-qnli": (10, 32, 5e-5, 0.1, 1e-9, 0.05, 2 * 3_274, 100, 0.5),
    "glue-sst2": (6, 32, 5e-5, 0.01, 1e-9, 0.1, 1000, 10, 0.3),
    "squad": (10, 16, 5e-5, 0.1, 1e-10, 0.05, 11_000, 100, 0.5),
    "mlm": (5, 256, 5e-4, 0.01, 1e-10, 0.01, 2 * 32_731, 200, 0.3),
}
MODELS = {"bert": "google-bert/bert-base-uncased", "deberta": "microsoft/deberta-v3-base"}
NAMES = [f"{task}-{model}" for task in PUBLISHED for model in MODELS if model == "bert" or task.startswith("glue")]


@pytest.mark.parametrize("name", NAMES)
def test_published_settings(name):
    task, _, model = name.rpartition("-")
    plan = plan_of(load_recipe(name))
    recipe, prior = plan.recipe, plan.recipe.prior
    found = (
        recipe.epochs,
        recipe.batch_size * plan.accumulation,
        recipe.optimizer.learning_rate,
        recipe.optimizer.final_factor,
        prior.spike_var,
        prior.slab_var,
        plan.schedule.begin_step,
        recipe.sparsity.interval,
        recipe.sparsity.initial,
    )
    assert found == pytest.approx(PUBLISHED[task], rel=1e-9)
    assert (recipe.task, recipe.model, recipe.method) == (task, MODELS[model], "mgpp")
    assert (recipe.sparsity.final, prior.initial_lam, prior.lam) == (0.9, 0.1, 1e-4)
    assert plan.schedule.end_step == plan.steps - 1  # the authors' script prunes to the last step
    assert recipe.trainer["max_grad_norm"] == 0


@pytest.mark.parametrize("task", ["mnli", "qqp", "qnli", "sst2"])
def test_sparse_transfer(task):
    recipe = load_recipe(f"transfer-{task}-bert")
    assert (recipe.method, recipe.task, recipe.epochs, recipe.batch_size) == ("transfer", f"glue-{task}", 8, 32)
    assert (recipe.optimizer.learning_rate, recipe.optimizer.final_factor) == (2e-5, 0)


@pytest.mark.parametrize("name", recipe_names())
def test_tasks_and_models_exist(name):
    recipe = load_recipe(name)
    assert recipe.task in TASKS
    assert recipe.model in {*KNOWN_MODELS, *MADE_MODELS, "minilm"}


def test_rivals_with_their_own_published_numbers():
    recipe = load_recipe("glue-qnli-bert")
    assert (recipe.platon.beta1, recipe.platon.beta2, recipe.platon.window) == (0.85, 0.9, 10)
    assert recipe.movement.learning_rate == recipe.soft_movement.learning_rate == 1e-2
    assert recipe.gmp_star.first_step == 0.7


# training examples of each; of the packaged tasks as their recipes' dry runs count them
EXAMPLES = {
    "glue-sst2-bert": 67_349,
    "glue-cola-bert": 8_551,
    "glue-mrpc-bert": 3_668,
    "glue-stsb-bert": 5_749,
    "glue-rte-bert": 2_490,
    "squad-bert": 88_524,
    "squad-v2-bert": 131_754,
    "reviews": 9_706,
    "film-qa": 1_817,
    "reviews-lm": 3_581,
}
DERIVED = {
    "glue-cola-bert": "glue-sst2-bert",
    "glue-mrpc-bert": "glue-sst2-bert",
    "glue-stsb-bert": "glue-sst2-bert",
    "glue-rte-bert": "glue-sst2-bert",
    "squad-v2-bert": "squad-bert",
    "film-qa": "reviews",
    "reviews-lm": "reviews",
}


@pytest.mark.parametrize("name", DERIVED)
def test_what_acts_is_the_same_on_fewer_examples(name):
    ours, theirs = (
        [EXAMPLES[each] * variance for variance in (recipe.prior.spike_var, recipe.prior.slab_var)]
        for each in (name, DERIVED[name])
        for recipe in [load_recipe(each)]
    )
    assert ours == pytest.approx(theirs, rel=0.02)


def rows():
    """The page's table of recipes: name -> whose setting."""
    return dict(re.findall(r"^\| `([\w-]+)` \| (published|ours) \|", PAGE, flags=re.MULTILINE))


def test_the_page_lists_every_recipe_and_says_whose_it_is():
    assert sorted(rows()) == recipe_names()
    for name, whose in rows().items():
        head = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").split("\ntask:")[0]
        assert ("the published setting" in head) == (whose == "published"), name


def test_the_page_lists_the_arguments_of_the_trainer():
    part = PAGE.partition("| | arguments |")[2].partition("\n## ")[0]
    assert set(TrainerSettings.__annotations__) <= set(re.findall(r"`(\w+)`", part))


def test_every_test_that_the_page_names_exists():
    named = re.findall(r"`(test_\w+)\.py::(test_\w+)`", PAGE)
    assert len(named) >= 8
    for module, test in named:
        assert f"def {test}(" in (TESTS / f"{module}.py").read_text(encoding="utf-8"), f"{module}::{test}"


def columns_on_the_page():
    """Task -> columns, as the table on local files has them."""
    _, _, part = PAGE.partition("## Your own data")
    rows = re.findall(r"^\| (`.*?) \| (`.*?) \|", part.partition("\n## ")[0], flags=re.M)
    quoted = re.compile(r"`([\w-]+)`")
    return {task: quoted.findall(columns) for tasks, columns in rows for task in quoted.findall(tasks)}


def test_the_page_names_every_task_that_reads_local_files():
    assert columns_on_the_page().keys() == {name for name, task in TASKS.items() if not task.embedded}


@pytest.mark.parametrize(("task", "columns"), columns_on_the_page().items())
def test_the_columns_on_the_page_are_those_that_the_task_asks_for(task, columns):
    assert set(columns) == {*TASKS[task].texts, *TASKS[task].columns}
