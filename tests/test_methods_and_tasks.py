"""Every method and every task, on the real architectures in small: train, save, resume to the same bits, audit.

Each task is tried with one method and each method with one task; `make reliability` tries all pairs.
"""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file
from shipped import SHIPPED_TASKS
from small_models import small_bart, small_bert, small_deberta, small_gpt2
from transformers import AutoConfig

from mgpp import prunable_weights
from mgpp.lab.recipes.recipe import recipe_from
from mgpp.lab.tasks import TASKS, film_qa, reviews, reviews_lm
from mgpp.lab.training import train as train_module
from mgpp.lab.training.train import resume, train
from mgpp.methods import METHODS
from mgpp.runs import load_run, mark_failed

DEBERTA = {"glue-mnli", "glue-qqp", "glue-qnli", "glue-sst2", "glue-stsb", "squad-v2"}
ARCHITECTURES = {"xsum": "bart", "cnn-dailymail": "bart", "clm": "gpt2", "reviews-lm": "gpt2"}
MAKE = {"bert": small_bert, "deberta": small_deberta, "bart": small_bart, "gpt2": small_gpt2}
TEXT = "The quick fox likes Paris, and a man plays. She said that it was good"
ALL_PAIRS = [(task, method) for task in sorted(SHIPPED_TASKS) for method in METHODS]
ONE_EACH = {(task, list(METHODS)[i % len(METHODS)]) for i, task in enumerate(sorted(SHIPPED_TASKS))}
PAIRS = [pair for pair in ALL_PAIRS if pair in ONE_EACH or "MGPP_ALL_PAIRS" in os.environ]
PACKAGED = {"reviews": reviews, "film-qa": film_qa, "reviews-lm": reviews_lm}


def row(task, i):
    """A row of a task's data as the hub has it."""
    text = f"{TEXT} {i} times over."
    match task.partition("-"):
        case "glue", _, _:
            kind = TASKS[task]
            label = i % len(kind.labels) if kind.labels else float(i % 6)
            return {column: f"{text} {column}" for column in kind.texts} | {"label": label}
        case "squad", _, version:
            no_answer = {"text": [], "answer_start": []}
            answer = {"text": ["Paris"], "answer_start": [text.index("Paris")]}
            answers = no_answer if version and i % 3 == 0 else answer
            return {"id": str(i), "question": "What does it like?", "context": text, "answers": answers}
        case "text", _, _:
            return {"text": text, "label": ["no", "yes", "maybe"][i % 3]}
        case "xsum", _, _:
            return {"document": text, "summary": TEXT, "id": str(i)}
        case "cnn", _, _:
            return {"article": text, "highlights": TEXT, "id": str(i)}
    return {"text": text}


@pytest.fixture(scope="module")
def small_recipe(request, tmp_path_factory):
    """A recipe of three steps on a small model and a dozen rows, and the folder of the model with some zeros."""
    task, folder = request.param, tmp_path_factory.mktemp(request.param)
    kind = ARCHITECTURES.get(task, "deberta" if task in DEBERTA else "bert")
    model = MAKE[kind](folder / "model")
    patch = pytest.MonkeyPatch()
    data = None
    if task in PACKAGED:
        module = PACKAGED[task]
        table = module.read().groupby("split").head(12)
        patch.setattr(module, "read", lambda: table)
    else:
        data = folder / "data"
        data.mkdir()
        splits = ["train", "validation", "test"]
        splits += ["validation_matched", "validation_mismatched"] if task == "glue-mnli" else []
        for split in splits:
            rows = [row(task, i) for i in range(12)]
            (data / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    settings = {
        "task": task,
        "name": task,
        "model": str(model),
        "data": data and str(data),
        "max_length": 40,
        "batch_size": 4,
        "max_steps": 4,
        "save_every": 2,
        "threads": 1,
        "precision": "fp32",
        "text": {"stride": 4, "target_length": 8, "beams": 2},
        "sparsity": {"warmup": 1, "frozen": 1, "interval": 1, "final": 0.9},
        "log": {"every": 2, "histograms_every": 2, "evaluate_every": 100, "trajectories": 5},
    }
    recipe = recipe_from(settings)
    loaded, machine = train_module.load_task(recipe, recipe.model), train_module.provenance()
    patch.setattr(train_module, "load_task", lambda recipe, source: loaded)
    patch.setattr(train_module, "provenance", lambda: machine)
    patch.setattr("accelerate.utils.memory.gc.collect", lambda: 0)  # takes longer than the training
    yield recipe
    patch.undo()


def pruned(folder, target):
    """The model of a folder with every third weight of its matrices set to zero."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder)
    with torch.no_grad():
        for weight in prunable_weights(model).values():
            weight.view(-1)[::3] = 0
    shutil.copytree(folder, target)
    model.save_pretrained(target)
    return target


def test_every_method_and_every_task_is_tried():
    tasks, methods = zip(*PAIRS, strict=True)
    assert (set(tasks), set(methods)) == (set(SHIPPED_TASKS), set(METHODS))


@pytest.mark.parametrize(("small_recipe", "method"), PAIRS, indirect=["small_recipe"])
def test_trains_saves_resumes_and_keeps_its_promise(method, small_recipe, tmp_path):
    changes = {"method": method}
    if method == "transfer":
        changes |= {"transfer.mask": str(pruned(small_recipe.model, tmp_path / "pruned"))}
    recipe = recipe_from(small_recipe.as_dict(), **changes)
    assert AutoConfig.from_pretrained(recipe.model).model_type in {"bert", "deberta-v2", "bart", "gpt2"}
    run = train(recipe, tmp_path / "run", progress=False)
    total = run.info["targets"]["count"]
    share = {"dense": 0.0, "transfer": 1 / 3}.get(method, 0.9)
    assert run.final["zeros"] == pytest.approx(share * total, abs=20 if method == "transfer" else 0.5)
    assert run.metric in run.final
    whole = load_file(run.checkpoint / "model.safetensors")

    shutil.rmtree(run.checkpoint)
    shutil.rmtree(run.folder / "checkpoints" / "checkpoint-4")  # of the end, from which nothing is trained again
    mark_failed(run.folder, "stopped")
    again = resume(run.folder, progress=False)
    assert again.info["resumed_at"] == [2]
    resumed = load_file(again.checkpoint / "model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert again.final == run.final
    logged = load_run(tmp_path / "run").metrics.drop(columns="epoch")
    assert logged.equals(run.metrics.drop(columns="epoch"))
