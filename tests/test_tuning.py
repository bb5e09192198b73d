from pathlib import Path

import pytest

from mgpp import load_recipe, load_run, load_runs
from mgpp.lab.comparison.frame import comparison_frame
from mgpp.lab.comparison.table import results_markdown
from mgpp.lab.comparison.tuning import (
    chosen_trial,
    has_settings,
    tried_settings,
    tuned_as,
    tuning_markdown,
)
from mgpp.lab.recipes.differences import differences, settings_that_act
from mgpp.lab.recipes.recipe import parse_override
from mgpp.lab.sweeps.record import dotted
from mgpp.methods import METHODS
from mgpp.runs import Run

ROOT = Path(__file__).parents[1]
COMMITTED = load_runs(ROOT / "data" / "tuning")
TUNED = sorted({run.method for run in COMMITTED})


def trial(name, method, score, final="accuracy", status="finished", **recipe):
    info = {"recipe": {"method": method, "seed": 100, **recipe}, "examples": {"train": 100}, "wall_seconds": 7.4}
    return Run(Path(name), info | {"status": status, "final": {f"validation_{final}": score}})


def test_settings_are_the_methods_own_and_what_else_varies():
    trials = [
        trial("a", "movement", 0.5, movement={"learning_rate": 0.01}, sparsity={"warmup": 0.1, "final": 0.9}),
        trial("b", "movement", 0.6, movement={"learning_rate": 0.01}, sparsity={"warmup": 0.3, "final": 0.9}),
    ]
    assert tried_settings(trials)[1] == {"movement.learning_rate": 0.01, "sparsity.warmup": 0.3}
    assert tried_settings([]) == []


def test_what_does_not_change_a_run_is_no_setting():
    trials = [trial("a", "gmp", 0.5, threads=1, precision="bf16"), trial("b", "gmp", 0.6, threads=2, precision="fp32")]
    assert tried_settings(trials) == [{}, {}]


def test_the_best_validation_score_is_chosen_and_the_first_of_equals():
    trials = [trial("a", "l2", 0.7), trial("b", "l2", 0.9), trial("c", "l2", 0.9)]
    trials.append(trial("d", "l2", 1.0, status="failed"))
    assert chosen_trial(trials).name == "b"
    assert chosen_trial([]) is None


def test_a_trial_without_a_number_is_not_chosen():
    assert chosen_trial([trial("a", "l2", float("nan")), trial("b", "l2", 0.5)]).name == "b"


def test_the_lowest_perplexity_is_chosen():
    trials = [trial("a", "l2", 30.0, final="perplexity"), trial("b", "l2", 20.0, final="perplexity")]
    for run in trials:
        run.info["metric"] = {"name": "perplexity", "higher_is_better": False}
    assert chosen_trial(trials).name == "b"


def test_trials_of_any_method_are_listed():
    prior = {"slab_var": 0.1, "lam": 0.5, "initial_lam": None}
    trials = [
        trial("a", "mgpp", 0.5, prior=prior),
        trial("b", "soft-movement", 0.5, soft_movement={"strength": 2.0, "rule": "x"}),
        trial("c", "soft-movement", 0.6, soft_movement={"strength": 3.0, "rule": "x"}),
        trial("d", "gmp", 0.5),
        trial("e", "l2", 0.5, l2={"strength": 0.25}),
    ]
    assert tuning_markdown(trials).splitlines()[2:] == [
        "| GMP (no penalty) |  |  | 50.0 | 7 |",
        "| L2 | strength 0.25 | 0.25 | 50.0 | 7 |",
        "| MGPP | slab_var 0.1, lam 0.5 | 0.1 | 50.0 | 7 |",
        "| soft movement | strength 2, rule x |  | 50.0 | 7 |",
        "| soft movement | strength 3, rule x |  | **60.0** | 7 |",
    ]


def test_methods_that_share_a_section_share_their_trials():
    owners = {}
    for name, method in METHODS.items():
        owners.setdefault(method.section or name, set()).add(tuned_as(name))
    assert all(len(names) == 1 for names in owners.values())
    frame = comparison_frame([trial("r", "platon-frozen", 0.9)], [trial("t", "platon", 0.9)] * 3)
    assert frame["trials"].tolist() == [3]


def test_methods_without_settings_have_nothing_to_tune():
    assert {name for name in METHODS if not has_settings(name)} == {"dense", "gmp", "transfer"}
    run = trial("r", "gmp", 0.9)
    run.info["final"] |= {"accuracy": 0.9, "accuracy_se": 0.01}
    assert "| none to tune |" in results_markdown([run])


@pytest.mark.parametrize("method", TUNED)
def test_the_recipe_has_the_settings_that_the_committed_trials_chose(method):
    trials = [run for run in COMMITTED if run.method == method]
    tried = tried_settings(trials)[trials.index(chosen_trial(trials))]
    asked = load_recipe("reviews", method=method)
    recipe = dotted(asked.as_dict()) | {"sparsity.scope": asked.scope}
    assert {key: recipe[key] for key in tried} == tried


def listed_trials(name):
    """Recipe, settings and folder of each line of data/NAME.txt."""
    for line in (ROOT / "data" / f"{name}.txt").read_text().splitlines():
        if not line.startswith("#"):
            recipe, *words = line.split()
            yield recipe, dict(parse_override(word) for word in words if "=" in word), words[words.index("--out") + 1]


@pytest.mark.parametrize("name", ["tuning", "sensitivity"])
def test_the_lists_make_the_committed_runs(name):
    trials = list(listed_trials(name))
    assert len(trials) == len(load_runs(ROOT / "data" / name))
    for recipe, settings, folder in trials:
        assert differences(load_recipe(recipe, **settings), load_run(ROOT / folder).recipe) == []


def test_the_methods_grids_are_the_listed_trials():
    listed = {}
    for recipe, settings, _ in listed_trials("tuning"):
        listed.setdefault(settings["method"], []).append(settings_that_act(load_recipe(recipe, **settings)))
    same = {"seed": 100, "threads": 1, "save_model": False}
    for name, method in METHODS.items():
        grid = [settings_that_act(load_recipe("reviews", method=name, **same, **settings)) for settings in method.grid]
        trials = [] if method.tuned_as else listed.get(name, [])
        assert all(any(alike(trial, tried) for tried in grid) for trial in trials), name
        assert len(grid) == len(listed.get(tuned_as(name), []))
        assert has_settings(name) or not grid


def alike(one, other):
    """Whether two recipes are the same training, logging apart."""
    keys = one.keys() | other.keys()
    return all(one.get(key) == other.get(key) for key in keys if not key.startswith("log."))
