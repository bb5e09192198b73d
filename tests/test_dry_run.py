import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from no_network import no_network  # noqa: F401

from mgpp import RecipeError, load_recipe, load_run
from mgpp.lab import dry_run as module
from mgpp.lab.dry_run import dry_run
from mgpp.lab.plan import plan_of
from mgpp.lab.recipes.recipe import recipe_names
from mgpp.lab.training.train import train
from mgpp.methods import METHODS

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(autouse=True)
def _steady_rate(monkeypatch):
    """A machine that does two billion operations a second, and in training one."""
    monkeypatch.setattr(module, "matmul_rate", lambda *_: 2e9)


def line(text, start):
    """The line that begins so, without its indentation."""
    return next(each.strip() for each in said(text).splitlines() if each.strip().startswith(start))


def said(text):
    """What follows the recipe."""
    return text[text.index("\n\n") :]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_runs_dry_without_a_network(name):
    text = dry_run(load_recipe(name))
    heads = [each.split(":")[0] for each in text.splitlines() if each[:1].strip()]
    assert heads == ["recipe", "targets", "examples", "steps", "learning rate", "memory, estimated", "time, estimated"]


def test_the_network_would_have_been_noticed(no_network):  # noqa: F811
    from transformers import AutoConfig

    with pytest.raises(no_network):
        AutoConfig.from_pretrained("google-bert/bert-base-uncased")


def test_mnli_with_bert():
    text = dry_run(load_recipe("glue-mnli-bert"))
    assert line(text, "targets") == "targets: 84,934,656 of 109,484,547 parameters in 72 matrices"
    assert re.search(r"attention\.self\.query\.weight +query +12 matrices +7,077,888\n", text)
    assert line(text, "steps") == "steps: 98,176, 8 epochs, batches of 32"
    assert line(text, "warmup") == "warmup   steps 0 to 12,271 (12,272): nothing is pruned"
    assert "steps 12,272 to 98,174 (85,903): 860 prune events, sparsity from 0.3 to 0.9" in line(text, "pruning")
    assert "steps 98,175 to 98,175 (1): a last prune event, 76,441,190 zeros, then the mask is" in line(text, "frozen")
    assert line(text, "learning rate") == "learning rate: 5e-05 at step 0, falling linearly to 5e-06 at the end"
    assert "model: google-bert/bert-base-uncased" in text
    assert "upper bound" in text


def test_evaluations_are_counted_as_training_does_them():
    run = load_run(Path(__file__).parent.parent / "data/runs/reviews-mgpp-0.9-seed0")
    sizes, evaluations = run.info["examples"], int(run.metrics["eval_accuracy"].notna().sum())
    evaluated = evaluations * sizes["validation"] + sizes["validation"] + sizes["test"]
    text = dry_run(load_recipe("reviews")).replace("\n   ", "")
    assert f"forward passes for {evaluated:,} evaluated examples" in text


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_dry(method):
    text = dry_run(load_recipe("glue-rte-bert", method=method))
    assert f"method: {method}" in text
    floats = METHODS[method].floats_per_weight
    assert f"{floats} float32 a target" in text.replace("\n    ", " ")
    assert (" method " in line(text, "weights ")) == (floats > 0)


def test_what_methods_do_otherwise():
    assert "nothing is pruned" in dry_run(load_recipe("glue-rte-bert", method="dense"))
    assert "the zeros of the pruned model stay zero" in dry_run(load_recipe("transfer-mnli-bert"))
    assert "judged anew at every step" in dry_run(load_recipe("glue-rte-bert", method="platon"))
    star = dry_run(load_recipe("glue-rte-bert", method="gmp-star"))
    assert "sparsity from 0.7 to 0.9" in star
    assert "from the start, 2 times in all" in star


def test_transfer_says_that_it_needs_a_pruned_model(tmp_path):
    said = "give the folder of one that was: --set model=RUN/checkpoints/final"
    flat = " ".join(dry_run(load_recipe("transfer-mnli-bert")).split())
    assert said in flat
    assert said not in " ".join(dry_run(load_recipe("transfer-mnli-bert", **{"transfer.mask": str(tmp_path)})).split())


def test_few_prune_events_are_pointed_out():
    shorter = {"max_steps": 50, "sparsity.warmup": 0.1, "sparsity.frozen": 0.1, "sparsity.interval": 100}
    assert "few prune events: 1 before the last one" in dry_run(load_recipe("glue-rte-bert", **shorter))
    assert "few prune events" not in dry_run(load_recipe("glue-rte-bert", **shorter | {"sparsity.interval": 5}))


def test_a_beam_search_costs_what_its_beams_write():
    def operations(**text):
        short = {"max_steps": 50, "sparsity.warmup": 0.1, "sparsity.frozen": 0.1}
        said = dry_run(load_recipe("xsum-bart", **short, **{f"text.{key}": value for key, value in text.items()}))
        return float(re.search(r"rule: ([\d.e+]+) operations", said)[1]), said

    few, said = operations(beams=2)
    many, _ = operations(beams=20)
    assert many > few
    assert "whose summaries 2 beams write" in " ".join(said.split())
    assert "beams write" not in " ".join(dry_run(load_recipe("glue-rte-bert")).split())


@pytest.mark.usefixtures("few_reviews")
def test_the_plan_is_what_training_does(tiny_recipe, tmp_path):
    recipe = replace(tiny_recipe, max_steps=10, save_model=False)
    plan, run = plan_of(recipe), train(recipe, tmp_path / "run", progress=False)
    assert plan.total == run.info["targets"]["count"]
    assert (plan.steps, plan.schedule.begin_step, plan.schedule.end_step) == tuple(run.info["steps"].values())
    assert plan.examples.train == run.info["examples"]["train"]
    events = run.metrics[run.metrics["phase"] == "pruning"]
    assert events["step"].min() >= plan.schedule.begin_step


def test_memory_and_time_add_up():
    text = dry_run(load_recipe("glue-rte-bert"))
    total = float(re.search(r"memory, estimated: ([\d.]+) GB", text)[1])
    parts = [float(size) for size in re.findall(r"([\d.]+) GB", line(text, "weights "))]
    assert total == pytest.approx(sum(parts), abs=0.03)
    operations = float(re.search(r"rule: ([\d.e+]+) operations", text)[1])
    days = float(re.search(r"time, estimated: ([\d.]+) days here", text)[1])
    assert days * 86_400 * 1e9 == pytest.approx(operations, rel=0.05)


def test_accumulated_batches_are_part_of_a_step():
    once, twice = (
        plan_of(load_recipe("glue-rte-bert", **{"trainer.gradient_accumulation_steps": times})) for times in (1, 2)
    )
    assert twice.steps == once.steps / 2
    assert "batches of 64 times 4 accumulated" in dry_run(load_recipe("mlm-bert"))


def test_max_steps_has_the_last_word():
    assert "steps: 50, as max_steps says" in dry_run(
        load_recipe("glue-rte-bert", max_steps=50, **{"sparsity.warmup": 0.1, "sparsity.frozen": 0.1})
    )


def test_the_number_of_threads_is_left_as_it_was():
    before = torch.get_num_threads()
    dry_run(load_recipe("glue-rte-bert", threads=before + 1))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"model": "some/model"}, "model='some/model' is no known model"),
        ({"task": "glue-rtee"}, "task='glue-rtee' is unknown"),
        ({"sparsity.warmup": 10_000}, "leave no step of 3120 to prune in"),
        ({"trainer.max_grad_nrm": 1.0}, "trainer.max_grad_nrm is no argument"),
        ({"targets.include": "nothing-like-it"}, "matches no parameter"),
        ({"model": "openai-community/gpt2", "task": "squad-v2", "targets.preset": "bertt"}, "no preset for 'bertt'"),
    ],
)
def test_what_training_would_refuse_is_refused(overrides, words):
    with pytest.raises((RecipeError, ValueError), match=words):
        dry_run(load_recipe("glue-rte-bert", **overrides))


def test_durations_are_said_as_people_do():
    assert [module._duration(seconds) for seconds in (20, 600, 9_000, 300_000)] == [
        "20 seconds",
        "10.0 minutes",
        "2.5 hours",
        "3.5 days",
    ]
