"""Train by a recipe: from settings to a folder that holds the run."""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from mgpp.lab.models.loading import loading
from mgpp.lab.models.made_models import MADE_MODELS, locate, place_of
from mgpp.lab.models.packages import MINILM
from mgpp.lab.recipes.differences import differences
from mgpp.lab.recipes.recipe import Recipe, RecipeError, did_you_mean, recipe_from
from mgpp.lab.tasks import TASKS
from mgpp.lab.tasks.base import Task, TaskSettings
from mgpp.lab.training.checkpoints import (
    CheckpointError,
    check_processes,
    latest,
    recipe_of,
    remove_leftovers,
    step_of,
)
from mgpp.lab.training.faults import ending_politely, in_words
from mgpp.lab.training.loop import fit, training_arguments
from mgpp.lab.training.processes import Silence, asks_for_shards, barrier, is_main, main_first, meet
from mgpp.lab.training.progress import ProgressBar, without_bars
from mgpp.lab.training.provenance import native_bf16, provenance, sources_of, weights_hash
from mgpp.lab.training.sharding import save_final
from mgpp.prior.schedules import CubicSparsity
from mgpp.pruning.pruner import Pruner
from mgpp.pruning.targets import prunable_weights, target_table
from mgpp.runs import Run, RunError, RunWriter, check_folder, check_frames, load_run, refuse_if_written


def train(recipe: Recipe, run_dir: str | Path, *, replace_run: bool = False, progress: bool = True) -> Run:
    """Fine-tune and prune a model, and log the run.

    The same recipe gives the same weights, bit for bit, on the same machine with the same number of threads.

    Args:
        recipe: from `load_recipe`.
        run_dir: the run's own folder; it must not exist yet or be empty.
        replace_run: delete a run that `run_dir` holds, instead of refusing.
        progress: show a bar with loss, sparsity and threshold.

    Raises:
        RecipeError: if the recipe's steps don't fit the data, or task or Trainer settings are unknown.
        PackagedFileError: if the packaged model or data are missing or damaged.
        RunError: if the folder holds another run, or can't be written, at the start or later.
        ValueError: if `compile_prior` is set and nothing compiles here.
        DivergedError: if a loss, a gradient or a weight is no finite number.
        OutOfMemoryError: if the memory does not suffice.
        SparsityError: if the final model is not exactly as sparse as promised.

    Example:
        >>> run = train(load_recipe("reviews-quick"), "my-run")  # doctest: +SKIP
    """
    return _train(recipe, Path(run_dir), progress, replace=replace_run)


def resume(run_dir: str | Path, *, progress: bool = True) -> Run:
    """Go on with a run that was stopped, from its last sound checkpoint, or from the start if it has none.

    Checkpoints are saved where the recipe says `save_every`. The run ends with the weights and the log of one that was
    never stopped, bit for bit on the same machine. What it had logged after the checkpoint stays.

    Raises:
        RunError: if the folder holds no run, or one that is finished or that another process is writing, or if model or
            data have changed since it began, see `mgpp.lab.training.provenance.sources_of`.

    Example:
        >>> run = resume("my-run")  # doctest: +SKIP
    """
    if Path(run_dir).is_dir() and not Path(run_dir, "run.json").exists():
        raise RunError(f"{run_dir} holds no run to go on with; begin one there: mgpp train RECIPE --out {run_dir}")
    run = load_run(run_dir)
    if run.info["status"] == "finished":
        raise RunError(f"{run_dir} holds a run that is finished; there is nothing to resume")
    check_frames(run.folder)  # what is damaged now would be noticed at the end only
    if not run.recipe:
        raise RunError(f"{run.folder / 'run.json'} holds no recipe; there is nothing to go on with")
    return _train(recipe_from(run.recipe), run.folder, progress, stopped=run)


def _train(recipe: Recipe, folder: Path, progress: bool, *, replace: bool = False, stopped: Run | None = None) -> Run:
    """Train into `folder`: from the start, or go on with the run that stopped there, from its last checkpoint."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with ending_politely(folder) as ending, in_words(folder, recipe.batch_size, recipe.max_length):
        recipe = resolve(recipe)
        meet(recipe.trainer)
        with main_first():
            if is_main():  # who asks holds the folder's lock for a moment, so that two would refuse each other
                ask_for(folder, replace=replace, resumes=stopped is not None)
            if stopped:
                check_made_model(recipe.model, folder)
            source, model_hash = locate_model(recipe.model, progress and is_main())
            with nullcontext() if progress else without_bars():
                task = load_task(recipe, source)
        hashes = sources_of(task.data_sha256, model_hash, recipe.data, stopped)
        steps = count_steps(recipe, len(task.splits["train"]))
        schedule = recipe.schedule(steps)  # refuses a schedule that does not fit before the model is loaded
        saved = folder / "checkpoints"
        arguments = training_arguments(recipe, saved, steps)
        set_seed(recipe.seed)
        with loading(recipe.model):
            model: Any = task.load_model(source)
        if not asks_for_shards(arguments):  # a whole model may not fit where its shards go
            model.to(arguments.device)  # before the Pruner makes room beside the weights
        pruner = make_pruner(recipe, model, schedule, len(task.splits["train"]))
        info = describe(recipe, task, pruner, hashes)
        checkpoint = latest(saved) if stopped else None
        if checkpoint is not None:
            check_recipe(checkpoint, recipe)
            check_processes(checkpoint, arguments.world_size, asks_for_shards(arguments))
        begin = step_of(checkpoint) if checkpoint else 0
        with (
            writer_for(folder, info, replace=replace, resume_at=begin if stopped else None) as writer,
            ProgressBar(steps, recipe.run_name, progress and is_main(), begin, task.metric) as bar,
            in_words(folder, recipe.batch_size, recipe.max_length),  # so that the writer hears of it in words
        ):
            if is_main():
                remove_leftovers(saved, begin, arguments.save_total_limit)
            fit(recipe, arguments, model, task, pruner, writer, bar, ending, checkpoint)
            if recipe.save_model:
                save_final(model, task.tokenizer, saved / "final")
            pruner.audit()
            writer.update(final=final_metrics(model, task, pruner))
        barrier()  # until the main process has closed the run
    return load_run(folder)


def ask_for(folder: Path, *, replace: bool, resumes: bool) -> None:
    """Nothing, if a training may write its folder."""
    if resumes:
        refuse_if_written(folder)
    else:
        check_folder(folder, replace=replace)


def check_made_model(name: str, folder: Path) -> None:
    """Nothing, if a run that goes on finds the model that was made for it.

    Raises:
        RunError: if it is not here; made anew on another machine it would differ in its last bits.
    """
    if name in MADE_MODELS and not (place := place_of(name)).is_dir():
        raise RunError(
            f"{folder} began from {place.absolute()}, which is not here; copy that folder from where the run began, or "
            f"start anew: mgpp train RECIPE --out {folder} --replace"
        )


def check_recipe(checkpoint: Path, recipe: Recipe) -> None:
    """Nothing, if a checkpoint was saved by the training that the recipe describes.

    Raises:
        CheckpointError: with the settings that differ.
    """
    found = recipe_of(checkpoint)
    told = [words for words in differences(recipe, found) if not words.startswith("trainer.save_total_limit")]
    if found and told:
        raise CheckpointError(
            f"{checkpoint} was saved by a training with other settings than run.json has: {'; '.join(told[:3])}; put "
            "the recipe in run.json back to the first of each, or train anew"
        )


def writer_for(folder: Path, info: Mapping[str, Any], **how: Any) -> Any:
    """The run's writer, in the main process; in others one that writes nothing."""
    return RunWriter(folder, info, **how) if is_main() else Silence()


def make_pruner(recipe: Recipe, model: PreTrainedModel, schedule: CubicSparsity, n_train: int) -> Pruner:
    """The recipe's method on a model: penalty, importance, schedule, mask rule."""
    method, rule = recipe.method_settings(), recipe.sparsity
    return Pruner(
        prunable_weights(model, **asdict(recipe.targets)),
        sparsity=schedule,
        penalty=method.penalty(schedule),
        importance=method.importance(),
        n_train=n_train,
        interval=rule.interval,
        allow_regrowth=rule.allow_regrowth,
        scope=recipe.scope,
        freeze=recipe.freezes,
        compiled=recipe.compile_prior,
    )


def resolve(recipe: Recipe) -> Recipe:
    """Replace what depends on the machine by what it is here: precision and threads.

    Raises:
        RecipeError: if the precision needs another device.
    """
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    precision = recipe.precision
    if precision == "auto":
        precision = "bf16" if native_bf16() else "fp32"
    if precision == "fp16" and not torch.cuda.is_available():
        raise RecipeError("precision='fp16' needs a GPU; use auto, bf16 or fp32")
    return replace(recipe, precision=precision, threads=torch.get_num_threads())


def locate_model(name: str, progress: bool = True) -> tuple[str, str | None]:
    """Where the model is loaded from, and the hash of its weights where they are local."""
    if name == "minilm":
        return str(MINILM.locate().parent), MINILM.sha256
    name = str(locate(name, progress=progress)) if name in MADE_MODELS else name
    return name, weights_hash(Path(name))


def load_task(recipe: Recipe, source: str) -> Task:
    """The recipe's task, tokenized for its model."""
    if recipe.task not in TASKS:
        raise RecipeError(f"task={recipe.task!r} is unknown{did_you_mean(recipe.task, TASKS)}")
    with loading(recipe.model):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        if len(tokenizer) <= (special := len(tokenizer.all_special_ids)):  # made up where the folder has no files of it
            raise ValueError(f"its tokenizer knows its {special} special tokens only; add its files, as tokenizer.json")
    data = None if recipe.data is None else Path(recipe.data)
    return TASKS[recipe.task](tokenizer, TaskSettings(recipe.max_length, data=data, **asdict(recipe.text)))


def count_steps(recipe: Recipe, n_train: int) -> int:
    """Optimizer updates of the whole training on one process."""
    if recipe.max_steps is not None:
        return recipe.max_steps
    batches = math.ceil(n_train / recipe.batch_size)
    updates = math.ceil(batches / recipe.trainer.get("gradient_accumulation_steps", 1))
    return math.ceil(updates * recipe.epochs)


def describe(recipe: Recipe, task: Task, pruner: Pruner, hashes: Mapping[str, str | None]) -> dict[str, Any]:
    """What run.json says from the start."""
    table = target_table(pruner.weights)
    table["shape"] = table["shape"].map(list)
    return {
        "recipe": recipe.as_dict(),
        "seed": recipe.seed,
        **provenance(),
        "sha256": hashes,
        "metric": {"name": task.metric, "higher_is_better": task.higher_is_better},
        "examples": {split: len(data) for split, data in task.splits.items()},
        "targets": {"count": pruner.total, "table": table.drop(columns="share").to_dict("records")},
    }


def final_metrics(model: PreTrainedModel, task: Task, pruner: Pruner) -> dict[str, float]:
    """Metrics on the test set in the model's own precision, the deciding one on the validation set, and the sparsity.

    Where the test set's labels are not public there is no such set, and the metrics are those of the validation set.
    """
    validation = task.evaluate(model, "validation")
    metrics = dict(validation)
    if "test" in task.splits:
        kept = (task.metric, f"{task.metric}_se")
        metrics = task.evaluate(model, "test")
        metrics |= {f"validation_{key}": validation[key] for key in kept if key in validation}
    return metrics | {"zeros": pruner.zeros(), "sparsity": pruner.zeros() / pruner.total}
