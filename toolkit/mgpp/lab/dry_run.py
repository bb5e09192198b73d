"""Plan a training without running it: recipe, targets, steps, phases, memory. Nothing is fetched from a hub."""

import math
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import transformers
import yaml

from mgpp.lab.models.known_models import empty_model, local_folder
from mgpp.lab.models.made_models import MADE_MODELS, train_tokenizer
from mgpp.lab.recipes.recipe import Recipe, RecipeError
from mgpp.lab.tasks import Task, TaskSettings, find_task, reviews_lm
from mgpp.lab.training.progress import without_bars
from mgpp.lab.training.train import count_steps, resolve
from mgpp.methods import METHODS, Method
from mgpp.methods.transfer import Transfer
from mgpp.prior.schedules import CubicSparsity
from mgpp.pruning.targets import prunable_weights, target_table

FLOAT = 4  # bytes
FEW_EVENTS = 5  # the cubic schedule is no curve with fewer
WIDTH = 110


@dataclass(frozen=True)
class Plan:
    """A training that is not run.

    Attributes:
        recipe: with precision and threads as this machine has them.
        parameters: of the model.
        targets: one row a target, see `target_table`.
        examples: to train on; of question answering the windows, of running text the blocks.
        origin: where that number comes from.
        steps: optimizer updates.
        schedule: of the sparsity.
    """

    recipe: Recipe
    parameters: int
    targets: pd.DataFrame
    examples: int
    origin: str
    steps: int
    schedule: CubicSparsity

    @property
    def total(self) -> int:
        """Prunable weights."""
        return int(self.targets["count"].sum())

    @property
    def method(self) -> Method:
        """With its hyperparameters."""
        return self.recipe.method_settings()

    @property
    def accumulation(self) -> int:
        """Batches to an optimizer update."""
        return int(self.recipe.trainer.get("gradient_accumulation_steps", 1))


def plan_of(recipe: Recipe) -> Plan:
    """Return everything that can be known of a training before it starts.

    Raises:
        RecipeError: if the recipe's steps don't fit the data, or model, task or Trainer settings are unknown.
        ValueError: if the targets match nothing.

    Example:
        >>> from mgpp import load_recipe
        >>> plan_of(load_recipe("glue-rte-bert")).total
        84934656
    """
    threads = torch.get_num_threads()
    try:
        recipe = resolve(recipe)
    finally:
        torch.set_num_threads(threads)
    task, read = find_task(recipe.task), read_task(recipe)
    model = empty_model(recipe.model, getattr(transformers, task.head), **(read or task).head_settings())
    examples, origin = count_examples(recipe, read)
    steps = count_steps(recipe, examples)
    table = target_table(prunable_weights(model, **asdict(recipe.targets)))
    return Plan(recipe, model.num_parameters(), table, examples, origin, steps, recipe.schedule(steps))


def read_task(recipe: Recipe) -> Task | None:
    """Return the recipe's task with its texts, tokenized as training does; None if they are not on this machine.

    Texts are here if they come in a package or stand where the recipe's `data` says, and the model's tokenizer is here.

    Raises:
        RecipeError: if there is no such task.
        DataError: if the `data` are not what the task needs.
    """
    task, data = find_task(recipe.task), None if recipe.data is None else Path(recipe.data)
    task.check_data(data)
    tokenizer = local_tokenizer(recipe.model) if task.embedded or data is not None else None
    if tokenizer is None:
        return None
    with without_bars():
        return task(tokenizer, TaskSettings(recipe.max_length, data=data, **asdict(recipe.text)))


def count_examples(recipe: Recipe, read: Task | None = None) -> tuple[int, str]:
    """Return the number of training examples and where it comes from: counted in the texts, or as published.

    Args:
        recipe: from `load_recipe`.
        read: its task, if it was read already, see `read_task`.

    Raises:
        RecipeError: if there is no such task, or no number is known.

    Example:
        >>> from mgpp import load_recipe
        >>> count_examples(load_recipe("glue-rte-bert"))
        (2490, 'as published')
    """
    read = read or read_task(recipe)
    if read is not None:
        return len(read.splits["train"]), "counted"
    task = find_task(recipe.task)
    expected = task.expected_examples(recipe.max_length)
    missing = f"the tokenizer of model={recipe.model!r} is not on this machine"
    if expected is None:
        raise RecipeError(f"task={recipe.task!r}: the examples can't be counted, because {missing}; use model=minilm")
    instead = "" if recipe.data is None else f"; data={recipe.data!r} were not counted, because {missing}"
    return expected, ("as published" if task.sizes else "assumed; count your own texts with data=FOLDER") + instead


def local_tokenizer(model: str) -> Any | None:
    """Return the model's tokenizer, None if it is not on this machine; that of a model yet to be made is trained."""
    folder = local_folder(model)
    if folder is None and model in MADE_MODELS:
        made, table = MADE_MODELS[model], reviews_lm.read()
        return train_tokenizer(table["text"][table["split"] == "train"], made.vocabulary, made.length)
    if folder is None:
        return None
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError):  # a folder without its tokenizer
        return None


def state_bytes(parameters: int, targets: int, floats_per_weight: int) -> dict[str, int]:
    """Return the memory that lasts through the training, in bytes, by what it is for.

    Weights, gradients and Adam's two moments are float32; the mask takes a bit a target.

    Args:
        parameters: of the model.
        targets: prunable weights.
        floats_per_weight: what the method keeps in float32 for each of them, such as a score.

    Example:
        >>> state_bytes(100, targets=64, floats_per_weight=1)
        {'weights': 400, 'gradients': 400, 'Adam': 800, 'mask': 8, 'method': 256}
    """
    return {
        "weights": FLOAT * parameters,
        "gradients": FLOAT * parameters,
        "Adam": 2 * FLOAT * parameters,
        "mask": math.ceil(targets / 8),
        "method": FLOAT * floats_per_weight * targets,
    }


def dry_run(recipe: Recipe) -> str:
    r"""Describe what `train(recipe, ...)` would do here.

    Sizes of data sets that are not on this machine are the published ones, and models are built without weights.

    Args:
        recipe: from `load_recipe`.

    Raises:
        RecipeError: if the recipe's steps don't fit the data, or model, task or Trainer settings are unknown.
        ValueError: if the targets match nothing.

    Example:
        >>> from mgpp import load_recipe
        >>> text = dry_run(load_recipe("glue-mnli-bert"))
        >>> print(text.split("\n\n")[1].splitlines()[0])
        targets: 84,934,656 of 109,484,547 parameters in 72 matrices
    """
    plan = plan_of(recipe)
    parts = (_recipe, _targets, _steps, _learning_rate, _memory)
    return "\n\n".join("\n".join(part(plan)) for part in parts)


def _recipe(plan: Plan) -> Iterator[str]:
    yield f"recipe: {plan.recipe.run_name}"
    others = {method.section for method in METHODS.values()} - {plan.method.section}
    settings = {key: value for key, value in plan.recipe.as_dict().items() if key not in others}
    text = yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=WIDTH - 2)
    yield textwrap.indent(text.rstrip(), "  ")


def _targets(plan: Plan) -> Iterator[str]:
    yield f"targets: {plan.total:,} of {plan.parameters:,} parameters in {len(plan.targets)} matrices"
    if (share := plan.targets["share_of_blocks"].sum()) < 1 - 1e-9:
        yield f"  {share:.1%} of the linear maps inside the model's blocks"
    table = plan.targets.assign(pattern=plan.targets["name"].str.replace(r"\.\d+\.", ".*.", regex=True))
    groups = table.groupby("pattern", sort=False).agg(
        kind=("kind", "first"), n=("name", "size"), count=("count", "sum")
    )
    width = max(map(len, groups.index))
    for row in groups.itertuples():
        yield f"  {row.Index:<{width}}  {row.kind:<16}  {row.n:>3} matrices  {row.count:>13,}"


def _steps(plan: Plan) -> Iterator[str]:
    recipe = plan.recipe
    yield f"examples: {plan.examples:,} to train on ({plan.origin})"
    length = f"{recipe.epochs:g} epochs" if recipe.max_steps is None else "as max_steps says"
    accumulated = f" times {plan.accumulation} accumulated" if plan.accumulation > 1 else ""
    yield f"steps: {plan.steps:,}, {length}, batches of {recipe.batch_size}{accumulated}"
    if recipe.method == "transfer":
        yield from _kept_mask(plan)
    elif plan.method.prunes:
        yield from _phases(plan)
    else:
        yield "  nothing is pruned"
    if caution := plan.method.caution(plan.examples):
        yield f"warning: {caution}"


def _kept_mask(plan: Plan) -> Iterator[str]:
    yield "  the zeros of the pruned model stay zero at every step"
    if isinstance(plan.method, Transfer) and plan.method.mask is None and not Path(plan.recipe.model).is_dir():
        yield "  the model must have been pruned: --set model=RUN/checkpoints/final or --set transfer.mask=(the same)"


def _phases(plan: Plan) -> Iterator[str]:
    schedule, interval, freezes = plan.schedule, plan.recipe.sparsity.interval, plan.recipe.freezes
    begin, end = schedule.begin_step, schedule.end_step
    events = sum(schedule.prunes_at(step, interval) for step in range(begin, end))
    sparsities = f"{schedule.initial_sparsity:g} to {schedule.final_sparsity:g}"
    zeros = f"{round(schedule.final_sparsity * plan.total):,} zeros"
    rule = "then the mask is frozen" if freezes else "then the mask is judged anew at every step"
    if events < FEW_EVENTS:
        yield f"  few prune events: {events} before the last one; sparsity.interval={interval} is too long"
    rows = {
        "warmup": (0, begin, "nothing is pruned"),
        "pruning": (begin, end, f"{events:,} prune events, sparsity from {sparsities}"),
        "frozen" if freezes else "final": (end, plan.steps, f"a last prune event, {zeros}, {rule}"),
    }
    for phase, (first, stop, what) in rows.items():
        if stop > first:
            yield f"  {phase:<8} steps {first:,} to {stop - 1:,} ({stop - first:,}): {what}"


def _learning_rate(plan: Plan) -> Iterator[str]:
    optimizer, cycles = plan.recipe.optimizer, plan.recipe.rewinds + 1
    last = optimizer.learning_rate * optimizer.final_factor
    again = f", and again from the start, {cycles} times in all" if cycles > 1 else ""
    yield f"learning rate: {optimizer.learning_rate:g} at step 0, falling linearly to {last:g} at the end{again}"


def _memory(plan: Plan) -> Iterator[str]:
    parts = state_bytes(plan.parameters, plan.total, plan.method.floats_per_weight)
    yield f"memory: {sum(parts.values()) / 1e9:.2f} GB, and the activations of a batch, which are not counted"
    yield "  " + ", ".join(f"{what} {size / 1e9:.2f} GB" for what, size in parts.items() if size)
