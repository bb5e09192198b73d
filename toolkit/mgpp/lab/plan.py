"""A training that is not run: all that follows from a recipe, a model's shape and the number of examples."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from mgpp.lab.cost import Shape, shape_of
from mgpp.lab.examples import Examples, count_examples
from mgpp.lab.models.known_models import empty_model
from mgpp.lab.recipes.recipe import Recipe
from mgpp.lab.training.train import count_steps, resolve
from mgpp.methods import Method
from mgpp.prior.schedules import CubicSparsity
from mgpp.pruning.targets import prunable_weights, target_table

HEADS: dict[str, Any] = {
    "squad": AutoModelForQuestionAnswering,
    "squad-v2": AutoModelForQuestionAnswering,
    "film-qa": AutoModelForQuestionAnswering,
    "xsum": AutoModelForSeq2SeqLM,
    "cnn-dailymail": AutoModelForSeq2SeqLM,
    "clm": AutoModelForCausalLM,
    "reviews-lm": AutoModelForCausalLM,
    "mlm": AutoModelForMaskedLM,
}
LABELS = {"glue-mnli": 3, "glue-stsb": 1}


@dataclass(frozen=True)
class Plan:
    """A training that is not run.

    Attributes:
        recipe: with precision and threads as this machine has them.
        shape: of the model.
        targets: one row a target, see `target_table`.
        examples: how many, and how long.
        steps: optimizer updates.
        schedule: of the sparsity.
    """

    recipe: Recipe
    shape: Shape
    targets: pd.DataFrame
    examples: Examples
    steps: int
    schedule: CubicSparsity

    @property
    def total(self) -> int:
        """Prunable weights."""
        return int(self.targets["count"].sum())

    @property
    def keeps_mask(self) -> bool:
        """Whether the mask is that of a pruned model, so that the schedule has no say."""
        return self.recipe.method == "transfer"

    @property
    def method(self) -> Method:
        """With its hyperparameters."""
        return self.recipe.method_settings()

    @property
    def accumulation(self) -> int:
        """Batches to an optimizer update."""
        return int(self.recipe.trainer.get("gradient_accumulation_steps", 1))

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.recipe.precision, torch.float32)

    @property
    def half(self) -> bool:
        """Whether the model computes in 16 bits."""
        return self.dtype != torch.float32


def plan_of(recipe: Recipe) -> Plan:
    """Everything that can be known of a training before it starts.

    Raises:
        RecipeError: if the recipe's steps don't fit the data, or model, task or Trainer settings are unknown.
        ValueError: if the targets match nothing.

    Example:
        >>> from mgpp import load_recipe
        >>> plan_of(load_recipe("glue-rte-bert")).total
        84934656
    """
    recipe = resolve(recipe)
    head = HEADS.get(recipe.task, AutoModelForSequenceClassification)
    model = empty_model(recipe.model, head, num_labels=LABELS.get(recipe.task, 2))
    examples = count_examples(recipe)
    steps = count_steps(recipe, examples.train)
    table = target_table(prunable_weights(model, **asdict(recipe.targets)))
    return Plan(recipe, shape_of(model), table, examples, steps, recipe.schedule(steps))
