import json
import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from fake_training import short_training
from safetensors.torch import load_file
from small_models import small_gpt2
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer

from mgpp import Pruner, PruningCallback, RecipeError, RunError, load_recipe, load_run, prunable_weights, train
from mgpp.lab.models.packages import MINILM, PackagedFile, PackagedFileError
from mgpp.lab.recipes.recipe import recipe_from
from mgpp.lab.tasks import reviews
from mgpp.lab.tasks.base import TaskSettings
from mgpp.lab.training.arguments import training_arguments
from mgpp.lab.training.train import count_steps, load_task
from mgpp.lab.training.trainer import PruningTrainer

pytestmark = pytest.mark.usefixtures("few_reviews")


def weights_of(run):
    return load_file(run.checkpoint / "model.safetensors")


def test_the_log_tells_the_run(tiny_run, tiny_recipe):
    info = tiny_run.info
    assert tiny_run.status == "finished"
    assert info["seed"] == 0
    assert info["versions"]["torch"] == torch.__version__
    assert set(info["git"] or {"commit", "changed"}) == {"commit", "changed"}
    assert all(info["sha256"].values())
    assert info["steps"] == {"total": 30, "begin": 3, "end": 21}
    assert info["targets"]["count"] == 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert info["device"]["threads"] == 1
    metrics = tiny_run.metrics
    assert metrics["step"].tolist() == [3, 8, 13, 18, 21, 23, 28, 29]
    assert metrics["loss"].notna().all()
    assert metrics["phase"].tolist() == ["pruning"] * 4 + ["frozen"] * 4
    after_events = metrics[metrics["step"].isin([3, 13]) | (metrics["phase"] == "frozen")]
    assert (after_events["sparsity"] - after_events["sparsity_target"]).abs().max() < 1e-4
    assert (metrics.set_index("step")["sparsity"][[8, 18]] < 0.01).all()  # between events, weights regrow
    assert metrics.set_index("step")["eval_accuracy"].notna()[[3, 13, 23, 29]].all()
    assert metrics["learning_rate"].iloc[-1] == pytest.approx(1e-5, rel=0.5)
    assert len(tiny_run.layers) == 8 * 12
    assert (tiny_run.weights.groupby("step")["count"].sum() == info["targets"]["count"]).all()
    assert (tiny_run.trajectories.groupby("step").size() == 20).all()


def test_the_checkpoint_is_as_sparse_and_as_accurate_as_logged(tiny_run, tiny_recipe):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_run.checkpoint)
    zeros = sum(int((weight == 0).sum()) for weight in prunable_weights(model).values())
    assert zeros == tiny_run.final["zeros"] == round(0.9 * tiny_run.info["targets"]["count"])
    settings = TaskSettings(tiny_recipe.max_length)
    task = reviews.Reviews(AutoTokenizer.from_pretrained(tiny_run.checkpoint), settings)
    assert task.evaluate(model, "test")["accuracy"] == tiny_run.final["accuracy"]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tiny_run, tiny_recipe, tiny_runs_folder, tmp_path):
    again = train(tiny_recipe, tmp_path / "again", progress=False)
    first, second = weights_of(tiny_run), weights_of(again)
    assert all(torch.equal(first[name], second[name]) for name in first)
    timeless = ["step", "loss", "pruning_threshold", "eval_accuracy", "regrown", "mask_churn"]
    assert again.metrics[timeless].equals(tiny_run.metrics[timeless])
    other = weights_of(load_run(tiny_runs_folder / "reviews-quick-mgpp-0.9-seed1"))
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_observing_changes_no_bit_of_the_training(tiny_run, tiny_recipe, tmp_path):
    """The same training by hand, without observer, evaluation, progress bar and log."""
    task = load_task(tiny_recipe, tiny_recipe.model)
    arguments = training_arguments(tiny_recipe, tmp_path, 30)
    torch.manual_seed(123)
    from transformers import set_seed

    set_seed(tiny_recipe.seed)
    model = task.load_model(tiny_recipe.model)
    schedule = tiny_recipe.schedule(30)
    penalty = tiny_recipe.method_settings().penalty(schedule)
    n = len(task.splits["train"])
    pruner = Pruner(prunable_weights(model), sparsity=schedule, penalty=penalty, n_train=n, interval=10)
    Trainer(
        model=model,
        args=arguments,
        train_dataset=task.splits["train"],
        data_collator=task.collate,
        callbacks=[PruningCallback(pruner)],
    ).train()
    logged, plain = weights_of(tiny_run), model.state_dict()
    assert all(torch.equal(logged[name], plain[name]) for name in logged)


def test_a_dense_run_has_no_zeros(tiny_runs_folder):
    run = load_run(tiny_runs_folder / "reviews-quick-dense-seed0")
    assert (run.final["zeros"], run.sparsity) == (0, 0.0)


def test_a_method_without_prior_logs_no_prior(tiny_runs_folder):
    metrics = load_run(tiny_runs_folder / "reviews-quick-l2-0.9-seed0").metrics
    assert metrics[["lam", "spike_var", "slab_var", "prior_threshold", "spike_fraction"]].isna().all().all()


def test_the_packaged_model_trains(tmp_path):
    """Three steps of the real MiniLM: 10,616,832 targets."""
    recipe = load_recipe(
        "reviews", max_steps=3, batch_size=2, max_length=12, precision="fp32", **{"log.evaluate_every": 10_000}
    )
    recipe = replace(recipe, save_model=False)
    run = train(recipe, tmp_path / "run", progress=False)
    assert run.info["targets"]["count"] == 10_616_832
    assert run.final["zeros"] == round(0.95 * 10_616_832)
    assert not run.checkpoint.exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"task": "review"}, "task='review'.*'reviews'"),
        ({"sparsity.warmup": 25}, "30"),
        ({"model": "minilmm"}, "model='minilmm'"),
        ({"precision": "fp16"}, "precision='fp16'"),
        ({"targets.include": ["nonsense"]}, "include='nonsense'"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_folder_is_made(tiny_recipe, tmp_path, overrides, words):
    recipe = recipe_from(tiny_recipe.as_dict(), **overrides)
    with pytest.raises((RecipeError, ValueError), match=words):
        train(recipe, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "damage",
    ["no tokenizer", "a tokenizer that is cut off", "code of its own", "weights that are cut off", "a pickle"],
)
def test_a_model_that_does_not_load_is_named(damage, tiny_recipe, tmp_path, tiny_model_folder):
    model = shutil.copytree(tiny_model_folder, tmp_path / "model")
    weights, config = model / "model.safetensors", model / "config.json"
    if damage == "no tokenizer":
        for file in (model / "tokenizer.json", model / "tokenizer_config.json", model / "vocab.txt"):
            file.unlink(missing_ok=True)
    elif damage == "a tokenizer that is cut off":
        (model / "tokenizer.json").write_text('{"version": ')
    elif damage == "code of its own":
        settings = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C"}}
        config.write_text(json.dumps(json.loads(config.read_text()) | settings))
        (model / "evil.py").write_text("raise SystemExit")
    elif damage == "weights that are cut off":
        weights.write_bytes(weights.read_bytes()[:5000])
    else:
        weights.rename(model / "pytorch_model.bin")
    with pytest.raises(RecipeError, match="model='.*model'"):
        train(replace(tiny_recipe, model=str(model)), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_another_run_is_refused_before_training(tiny_recipe, tiny_run):
    with pytest.raises(RunError, match=str(tiny_run.folder)):
        train(tiny_recipe, tiny_run.folder, progress=False)
    assert load_run(tiny_run.folder).status == "finished"


def test_a_corrupted_data_package_is_refused(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(reviews, "REVIEWS", PackagedFile(MINILM.package, MINILM.path, "0" * 64))
    with pytest.raises(PackagedFileError, match="pip install"):
        train(tiny_recipe, tmp_path / "run", progress=False)


def test_accumulated_batches_are_averaged(tiny_recipe, tmp_path):
    """The loss of 4 x 8 examples has the size of that of 1 x 32."""
    losses = []
    for batch, accumulation in ((32, 1), (8, 4)):
        trainer = {"gradient_accumulation_steps": accumulation, "max_grad_norm": 1e9}
        recipe = replace(tiny_recipe, batch_size=batch, max_steps=4, save_model=False, trainer=trainer)
        run = train(recipe, tmp_path / str(accumulation), progress=False)
        losses.append(run.metrics[["loss", "grad_norm"]].iloc[0])
    assert losses[1]["loss"] == pytest.approx(losses[0]["loss"], rel=0.2)  # not four times as large
    assert losses[1]["grad_norm"] == pytest.approx(losses[0]["grad_norm"], rel=0.7)


def test_a_constant_learning_rate_is_the_factor_one(tiny_recipe, tmp_path):
    constant = replace(tiny_recipe, optimizer=replace(tiny_recipe.optimizer, final_factor=1.0))
    assert training_arguments(constant, tmp_path, 30).lr_scheduler_type == "constant"


def test_without_progress_nothing_is_shown(tmp_path, capsys):
    recipe = recipe_from({}, **short_training(tmp_path, max_steps=10, save_every=None))
    capsys.readouterr()  # the model that was made
    train(recipe, tmp_path / "run", progress=False)
    assert "%" not in capsys.readouterr().err


def test_a_task_that_pads_needs_a_token_for_it(tiny_recipe, tmp_path):
    model = str(small_gpt2(tmp_path / "gpt2"))  # has none, as the published model
    with pytest.raises(RecipeError, match="pad_token"):
        train(replace(tiny_recipe, model=model), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_steps_are_counted_as_the_trainer_counts_them(tiny_recipe):
    recipe = replace(tiny_recipe, max_steps=None, epochs=2.0, batch_size=32)
    assert count_steps(recipe, 100) == 8
    assert count_steps(replace(recipe, trainer={"gradient_accumulation_steps": 3}), 100) == 4


@pytest.mark.parametrize(("steps", "rewinds"), [(10, 3), (9, 2), (100, 0), (101, 1)])
def test_the_learning_rate_falls_as_often_as_there_are_cycles(tiny_recipe, tmp_path, steps, rewinds):
    recipe = replace(tiny_recipe, optimizer=replace(tiny_recipe.optimizer, rewinds=rewinds))
    model, arguments = torch.nn.Linear(1, 1), training_arguments(recipe, tmp_path, steps)
    trainer = PruningTrainer(pruner=None, recipe={}, rewinds=recipe.rewinds, model=model, args=arguments)
    trainer.create_optimizer()
    schedule = trainer.create_scheduler(steps)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        trainer.optimizer.step()
        schedule.step()
    rises = sum(after > before for before, after in pairwise(rates))
    assert (rises, rates[0]) == (rewinds, 1e-4)
    assert rates[-1] == pytest.approx(1e-4 * (1 - 0.9 * (1 - (rewinds + 1) / steps)))  # one step before the end
    assert min(rates) >= 1e-5
