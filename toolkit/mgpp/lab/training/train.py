"""Train by a recipe: from settings to a folder that holds the run."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, PrinterCallback, TrainingArguments, set_seed
from transformers.utils import logging as transformers_logging

from mgpp.lab.description import targets_of
from mgpp.lab.models.loading import loading
from mgpp.lab.models.made_models import MADE_MODELS, locate
from mgpp.lab.models.packages import MINILM
from mgpp.lab.own_code import own_files
from mgpp.lab.recipes.differences import differences
from mgpp.lab.recipes.recipe import Recipe, RecipeError, recipe_from
from mgpp.lab.tasks import Task, TaskSettings, find_task
from mgpp.lab.training import checkpoints
from mgpp.lab.training.arguments import training_arguments
from mgpp.lab.training.faults import explain_errors, handle_signals
from mgpp.lab.training.processes import NullWriter, barrier, init_distributed, is_main, main_first
from mgpp.lab.training.progress import ProgressBar, without_bars
from mgpp.lab.training.provenance import check_sources, native_bf16, provenance, weights_hash
from mgpp.lab.training.sharding import save_model
from mgpp.lab.training.states import CheckpointError, random_state_kept
from mgpp.lab.training.trainer import PruningTrainer
from mgpp.lab.waiting import waiting
from mgpp.prior.schedules import CubicSparsity
from mgpp.pruning.callback import PruningCallback
from mgpp.pruning.pruner import Pruner
from mgpp.pruning.targets import prunable_weights
from mgpp.pruning.trainer_arguments import uses_fsdp
from mgpp.runs import Run, RunError, RunWarning, RunWriter, check_folder, check_frames, load_run, refuse_if_written


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
        DivergedError: if a loss, a gradient or a weight is NaN or infinite.
        OutOfMemoryError: if memory runs out.
        SparsityError: if the final model is not exactly as sparse as promised.

    Example:
        >>> run = train(load_recipe("reviews-quick"), "my-run")  # doctest: +SKIP
    """
    return _train(recipe, Path(run_dir), progress, replace_run=replace_run)


def resume(run_dir: str | Path, *, progress: bool = True) -> Run:
    """Resume a run that was stopped from its last checkpoint that is not damaged, or from the start if it has none.

    Checkpoints are saved where the recipe says `save_every`. The run ends with the weights and the log of one that was
    never stopped, bit for bit on the same machine. What it had logged after the checkpoint stays.

    Raises:
        RunError: if the folder holds no run, or one that is finished or that another process is writing, or if model or
            data have changed since it began, see `mgpp.lab.training.provenance.check_sources`.
        CheckpointError: if the checkpoint is of other settings or of another number of processes.

    Example:
        >>> run = resume("my-run")  # doctest: +SKIP
    """
    if Path(run_dir).is_dir() and not Path(run_dir, "run.json").exists():
        raise RunError(f"{run_dir} holds no run to go on with; begin one there: mgpp train RECIPE --out {run_dir}")
    run = load_run(run_dir)
    if run.info["status"] == "finished":
        raise RunError(f"{run_dir} holds a run that is finished; there is nothing to resume")
    if run.info.get("recorded"):
        raise RunError(f"{run_dir} records a loop of your own; go on in it: mgpp.record(..., resume_at=STEP)")
    if not run.recipe:
        raise RunError(f"{run.folder / 'run.json'} holds no recipe; there is nothing to go on with")
    check_frames(run.folder)  # a damaged file would only be noticed at the end
    return _train(_recipe_of(run), run.folder, progress, stopped=run)


def _recipe_of(run: Run) -> Recipe:
    try:
        recipe = recipe_from(run.recipe)
        find_task(recipe.task)
    except RecipeError as error:
        files = run.info.get("imports")
        raise RecipeError(f"{error}; the run began with --import {', '.join(files)}" if files else str(error)) from None
    return recipe


def _train(
    recipe: Recipe, folder: Path, progress: bool, *, replace_run: bool = False, stopped: Run | None = None
) -> Run:
    """Train into `folder`: from the start, or from the last checkpoint of the run that stopped there."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with handle_signals(folder) as sigterm, explain_errors(folder, recipe):
        recipe = resolve(recipe)
        init_distributed(recipe.trainer)
        show = progress and is_main()
        with main_first(), waiting(f"{recipe.run_name}: preparing model and data", visible=show):
            if is_main():  # the question takes the folder's lock for a moment: two processes would refuse each other
                refuse_if_written(folder) if stopped else check_folder(folder, replace=replace_run)
            source, task, found = load_sources(recipe, show)
        hashes = check_sources(found, recipe.data, stopped)
        n_train = len(task.splits["train"])
        steps = count_steps(recipe, n_train)
        schedule = recipe.schedule(steps)  # refuses one that does not fit before the model is loaded
        if is_main() and (caution := recipe.method_settings().caution(n_train)):
            warnings.warn(caution, RunWarning, stacklevel=3)
        arguments = training_arguments(recipe, folder / "checkpoints", steps)
        checkpoint = find_checkpoint(recipe, arguments) if stopped else None
        begin = checkpoints.step_of(checkpoint) if checkpoint else 0
        model = load_model(recipe, task, source, arguments)
        pruner = make_pruner(recipe, model, schedule, n_train)
        info = describe(recipe, task, pruner, hashes)
        how: dict[str, Any] = {"resume_at": begin} if stopped else {"replace": replace_run}
        with (
            RunWriter(folder, info, **how) if is_main() else NullWriter() as writer,
            ProgressBar(steps, recipe.run_name, show, begin, task.metric) as bar,
            explain_errors(folder, recipe),  # here, too, so that run.json says the same
        ):
            if is_main():
                checkpoints.tidy(folder / "checkpoints", begin, arguments.save_total_limit)
            make_trainer(recipe, arguments, model, task, pruner, writer, bar).fit(checkpoint, sigterm)
            if recipe.save_model:
                save_model(model, task.tokenizer, folder / "checkpoints" / "final")
            pruner.audit()
            writer.update(final=final_metrics(model, task, pruner))
        barrier()  # until the main process has closed the run
    return load_run(folder)


def resolve(recipe: Recipe) -> Recipe:
    """Set the recipe's precision and threads to what this machine has.

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
    """Return where the model is loaded from, and the hash of its weights if they are local."""
    if name == "minilm":
        return str(MINILM.locate().parent), MINILM.sha256
    name = str(locate(name, progress=progress)) if name in MADE_MODELS else name
    return name, weights_hash(Path(name))


def load_sources(recipe: Recipe, progress: bool) -> tuple[str, Task, dict[str, str | None]]:
    """Return where the model is loaded from, the task with its data, and the hashes of both."""
    source, model_hash = locate_model(recipe.model, progress)
    with without_bars():
        task = load_task(recipe, source)
    return source, task, {"model": model_hash, "data": task.data_sha256}


def load_task(recipe: Recipe, source: str) -> Task:
    """Return the recipe's task, tokenized for the model in `source`."""
    task = find_task(recipe.task)
    with loading(recipe.model):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        if len(tokenizer) <= (special := len(tokenizer.all_special_ids)):  # made up where the folder has no files of it
            raise ValueError(f"its tokenizer knows its {special} special tokens only; add its files, as tokenizer.json")
    data = None if recipe.data is None else Path(recipe.data)
    return task(tokenizer, TaskSettings(recipe.max_length, data=data, **asdict(recipe.text)))


def count_steps(recipe: Recipe, n_train: int) -> int:
    """Return the optimizer updates of the whole training on `n_train` examples."""
    if recipe.max_steps is not None:
        return recipe.max_steps
    batches = math.ceil(n_train / recipe.batch_size)
    updates = math.ceil(batches / recipe.trainer.get("gradient_accumulation_steps", 1))
    return math.ceil(updates * recipe.epochs)


def _from_here(file: str) -> str:
    """Return a file's path as another machine can use it: from the working directory, if it is below it."""
    here = Path.cwd()
    return str(Path(file).relative_to(here)) if Path(file).is_relative_to(here) else file


def find_checkpoint(recipe: Recipe, arguments: TrainingArguments) -> Path | None:
    """Return the last checkpoint that is not damaged, if there is one.

    Raises:
        CheckpointError: if it was saved with other settings, or by another number of processes.
    """
    checkpoint = checkpoints.latest(Path(str(arguments.output_dir)))
    if checkpoint is None:
        return None
    saved_with = checkpoints.read_manifest(checkpoint).get("recipe")
    other = differences(recipe, saved_with) if saved_with else []  # old checkpoints have no recipe
    if other := [each for each in other if not each.startswith("trainer.save_total_limit")]:
        raise CheckpointError(
            f"{checkpoint} was saved with other settings than run.json has: {'; '.join(other[:3])}. Restore the first "
            "of each in run.json, or train anew"
        )
    checkpoints.check_processes(checkpoint, arguments.world_size, uses_fsdp(arguments))
    return checkpoint


def load_model(recipe: Recipe, task: Task, source: str, arguments: TrainingArguments) -> Any:
    """Load the task's model with the recipe's seed, onto the device of the training."""
    set_seed(recipe.seed)
    with loading(recipe.model):
        model: Any = task.load_model(source)
    # before the Pruner allocates memory beside the weights; a model that is to be sharded may not fit
    return model if uses_fsdp(arguments) else model.to(arguments.device)


def make_pruner(recipe: Recipe, model: PreTrainedModel, schedule: CubicSparsity, n_train: int) -> Pruner:
    """Return a Pruner of the model with the recipe's method: penalty, importance, schedule, mask rule."""
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


def make_trainer(
    recipe: Recipe,
    arguments: TrainingArguments,
    model: PreTrainedModel,
    task: Task,
    pruner: Pruner,
    writer: Any,
    bar: ProgressBar,
) -> PruningTrainer:
    """Return the Trainer with the pruner and its observer as callbacks."""

    def _evaluate() -> dict[str, float]:
        with random_state_kept():
            return task.evaluate(model, "validation", bf16=recipe.precision == "bf16")

    pruning = PruningCallback(
        pruner,
        writer,
        saves=False,  # the PruningTrainer does
        every=recipe.log.every,
        histograms_every=recipe.log.histograms_every,
        trajectories=recipe.log.trajectories,
        dynamics_every=recipe.log.dynamics_every,
        evaluate=_evaluate,
        evaluate_every=recipe.log.evaluate_every,
        show=bar.show,
    )
    trainer = PruningTrainer(
        pruner=pruner,
        recipe=recipe.as_dict(),
        rewinds=recipe.rewinds,
        model=model,
        args=arguments,
        train_dataset=task.splits["train"],
        data_collator=task.collate,
        callbacks=[pruning, bar],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def describe(recipe: Recipe, task: Task, pruner: Pruner, hashes: Mapping[str, str | None]) -> dict[str, Any]:
    """Return what run.json says from the start."""
    return {
        "recipe": recipe.as_dict(),
        "seed": recipe.seed,
        **provenance(),
        **({"imports": [_from_here(file) for file in files]} if (files := own_files(recipe)) else {}),
        "sha256": hashes,
        "metric": {"name": task.metric, "higher_is_better": task.higher_is_better},
        "examples": {split: len(data) for split, data in task.splits.items()},
        "targets": targets_of(pruner),
        "ranks_magnitudes": pruner.importance.by_magnitude,
    }


def final_metrics(model: PreTrainedModel, task: Task, pruner: Pruner) -> dict[str, float]:
    """Return the metrics on the test set in the model's own precision, the validation metric, and the sparsity.

    Without public labels of a test set, the metrics are those of the validation set.
    """
    validation = task.evaluate(model, "validation")
    metrics = dict(validation)
    if "test" in task.splits:
        kept = (task.metric, f"{task.metric}_se")
        metrics = task.evaluate(model, "test")
        metrics |= {f"validation_{key}": validation[key] for key in kept if key in validation}
    return metrics | {"zeros": pruner.zeros(), "sparsity": pruner.zeros() / pruner.total}
