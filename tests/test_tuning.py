from pathlib import Path

import pytest

from mgpp import load_recipe, load_run, load_runs
from mgpp.lab.comparison.frame import comparison_frame
from mgpp.lab.comparison.table import results_markdown
from mgpp.lab.comparison.tuning import (
    NO_SETTINGS,
    SECTIONS,
    TUNED_AS,
    chosen_trial,
    tried_settings,
    tuned_as,
    tuning_markdown,
)
from mgpp.lab.recipes.differences import differences
from mgpp.lab.recipes.recipe import parse_override
from mgpp.lab.sweeps.record import dotted
from mgpp.methods.registry import METHODS
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
    for method, other in TUNED_AS.items():
        assert METHODS[method].section == METHODS[other].section
    shared = [name for name, method in METHODS.items() if method.section and tuned_as(name) == name]
    assert len({METHODS[name].section for name in shared}) == len(shared)
    frame = comparison_frame([trial("r", "platon-frozen", 0.9)], [trial("t", "platon", 0.9)] * 3)
    assert frame["trials"].tolist() == [3]


def test_methods_without_settings_are_known():
    assert {name for name, method in METHODS.items() if method.section is None} <= NO_SETTINGS
    assert {METHODS[name].section for name in NO_SETTINGS} <= {None, "transfer"}
    for name, method in METHODS.items():
        assert method.section in (None, SECTIONS.get(name, tuned_as(name).replace("-", "_")))
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


@pytest.mark.parametrize("listed", ["tuning", "sensitivity"])
def test_the_lists_make_the_committed_runs(listed):
    lines = (ROOT / "data" / f"{listed}.txt").read_text().splitlines()
    commands = [line.split() for line in lines if not line.startswith("#")]
    assert len(commands) == len(load_runs(ROOT / "data" / listed))
    for recipe, *words in commands:
        settings = dict(parse_override(word) for word in words if "=" in word)
        run = load_run(ROOT / words[words.index("--out") + 1])
        assert differences(load_recipe(recipe, **settings), run.recipe) == []


def test_every_tuned_method_had_as_many_trials():
    counts = {method: sum(run.method == method for run in COMMITTED) for method in TUNED}
    assert set(counts.values()) == {4}
    assert set(counts) == set(METHODS) - NO_SETTINGS - set(TUNED_AS)
