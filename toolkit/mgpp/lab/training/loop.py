"""The training loop: a recipe in the words of transformers' Trainer, with the Pruner as its callback."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PrinterCallback, TrainerState, TrainingArguments

from mgpp.lab.recipes.recipe import Recipe, RecipeError
from mgpp.lab.tasks.base import Task
from mgpp.lab.training.checkpoints import TRAINER_FILE, load_weights, reading, step_of
from mgpp.lab.training.faults import Ending, check_weights
from mgpp.lab.training.processes import asks_for_shards, check_launch
from mgpp.lab.training.progress import ProgressBar
from mgpp.lab.training.randomness import undisturbed
from mgpp.lab.training.trainer import LastCheckpoint, PruningTrainer
from mgpp.pruning.callback import PruningCallback, restore
from mgpp.pruning.pruner import Pruner
from mgpp.runs import RunWriter


def training_arguments(recipe: Recipe, folder: Path, steps: int) -> TrainingArguments:
    """The recipe in the Trainer's words; `recipe.trainer` goes through as it is."""
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": recipe.batch_size,
        "learning_rate": recipe.optimizer.learning_rate,
        "weight_decay": 0.0,
        **_learning_rate_schedule(recipe),
        "bf16": recipe.precision == "bf16",
        "fp16": recipe.precision == "fp16",
        "use_cpu": not (torch.cuda.is_available() or torch.backends.mps.is_available()),
        "seed": recipe.seed,
        "train_sampling_strategy": "group_by_length",
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,  # a loss that is no number ends the training instead
        "save_strategy": "no" if recipe.save_every is None else "steps",
        "save_steps": recipe.save_every or 500,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
    }
    settings.update(recipe.trainer)
    with refusals(recipe, ValueError, TypeError, ImportError):
        arguments = TrainingArguments(**settings)
    check_launch(arguments, recipe)
    return arguments


@contextmanager
def refusals(recipe: Recipe, *kinds: type[Exception]) -> Iterator[None]:
    """Say of errors of these kinds in a block that the Trainer refuses the recipe's section.

    Raises:
        RecipeError: in their place.

    Example:
        >>> from mgpp import load_recipe
        >>> with refusals(load_recipe("reviews", **{"trainer.optim": "galore_adamw"}), ImportError):
        ...     raise ImportError("galore_torch is not installed")
        Traceback (most recent call last):
        ...
        mgpp.lab.recipes.recipe.RecipeError: the Trainer refuses trainer={'optim': 'galore_adamw'}: galore_torch is not
        installed
    """
    try:
        yield
    except kinds as error:
        raise RecipeError(f"the Trainer refuses trainer={recipe.trainer!r:.500}: {error}") from None


def _learning_rate_schedule(recipe: Recipe) -> dict[str, Any]:
    """Linear to the final factor; the Trainer's polynomial schedule refuses a line that does not fall."""
    rate, factor = recipe.optimizer.learning_rate, recipe.optimizer.final_factor
    if factor == 1:
        return {"lr_scheduler_type": "constant"}
    return {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": 1.0, "lr_end": rate * factor}}


def fit(
    recipe: Recipe,
    arguments: TrainingArguments,
    model: PreTrainedModel,
    task: Task,
    pruner: Pruner,
    writer: RunWriter,
    bar: ProgressBar,
    ending: Ending,
    checkpoint: Path | None = None,
) -> None:
    """Run the Trainer with the pruner and its observer as callbacks, from a checkpoint if there is one.

    Where the recipe saves checkpoints, SIGTERM saves one more.
    """
    bf16 = recipe.precision == "bf16"

    def _evaluate() -> dict[str, float]:
        with undisturbed():
            return task.evaluate(model, "validation", bf16=bf16)

    pruning = PruningCallback(
        pruner,
        writer,
        saves=False,  # the PruningTrainer does
        every=recipe.log.every,
        histograms_every=recipe.log.histograms_every,
        trajectories=recipe.log.trajectories,
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
        callbacks=[pruning, bar.callback],
    )
    # The Trainer takes any model whose forward has **kwargs for one that averages over accumulated batches by itself,
    # and most don't: their gradients would grow with the accumulation. This makes the Trainer average.
    trainer.model_accepts_loss_kwargs = False
    trainer.remove_callback(PrinterCallback)
    if checkpoint is not None:
        with reading(checkpoint):  # the Trainer reads it, too, but has no words for what is wrong with it
            TrainerState.load_from_json(str(checkpoint / TRAINER_FILE))
    if checkpoint is not None and not asks_for_shards(arguments):  # a sharded model's masks come with its weights
        restore(pruner, checkpoint)
    if checkpoint is not None and step_of(checkpoint) >= arguments.max_steps:
        load_weights(model, checkpoint)  # the Trainer would make one step more
    else:
        if recipe.save_every is not None:
            trainer.add_callback(LastCheckpoint(ending))
        with (
            nullcontext() if recipe.save_every is None else ending.deferred(),
            refusals(recipe, ImportError),  # optimizers and kernels of packages that are not here
        ):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    check_weights(trainer)
