"""Turn a recipe into transformers' `TrainingArguments`, and refuse launches that would train differently."""

from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from mgpp.lab.recipes.recipe import Recipe, RecipeError
from mgpp.pruning.trainer_arguments import check_arguments, uses_fsdp


def training_arguments(recipe: Recipe, folder: Path, steps: int) -> TrainingArguments:
    """Translate a recipe for the Trainer; the section `trainer` is passed on as it is.

    Args:
        recipe: with a resolved precision.
        folder: of the checkpoints.
        steps: optimizer updates of the training.

    Raises:
        RecipeError: if the Trainer or `check_launch` refuses the settings.
    """
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
        "logging_nan_inf_filter": False,  # a NaN loss ends the training instead
        "save_strategy": "no" if recipe.save_every is None else "steps",
        "save_steps": recipe.save_every or 500,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
    }
    settings.update(recipe.trainer)
    try:
        arguments = TrainingArguments(**settings)
    except (ValueError, TypeError, ImportError) as error:
        raise RecipeError(f"transformers.TrainingArguments refuses trainer={recipe.trainer}: {error}") from None
    check_launch(arguments, recipe)
    return arguments


def _learning_rate_schedule(recipe: Recipe) -> dict[str, Any]:
    """Linear to the final factor; the Trainer's polynomial schedule refuses a line that does not fall."""
    rate, factor = recipe.optimizer.learning_rate, recipe.optimizer.final_factor
    if factor == 1:
        return {"lr_scheduler_type": "constant"}
    return {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": 1.0, "lr_end": rate * factor}}


def check_launch(arguments: TrainingArguments, recipe: Recipe) -> None:
    """Raise RecipeError if processes, GPUs and batch don't train what one process would."""
    count = arguments.world_size
    try:
        check_arguments(arguments)
    except ValueError as error:
        raise RecipeError(f"trainer.{error}") from None
    if recipe.batch_size % count:
        raise RecipeError(
            f"batch_size={recipe.batch_size} is the batch of all {count} processes together and must be a multiple of "
            f"{count}"
        )
    if count > 1 and arguments.train_sampling_strategy == "batch_rebalance":
        raise RecipeError("trainer.train_sampling_strategy='batch_rebalance' works with one process only; leave it out")
    if uses_fsdp(arguments) and count == 1:
        raise RecipeError("trainer.fsdp shards a model over several processes; start them: torchrun --nproc-per-node 2")
