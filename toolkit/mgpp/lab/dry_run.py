"""What a training would do and cost, without training: recipe, targets, steps, memory, time. No hub is asked."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml

from mgpp.lab.cost import activation_bytes, matmul_rate, search_flops, state_bytes, training_flops
from mgpp.lab.examples import Examples
from mgpp.lab.plan import Plan, plan_of
from mgpp.lab.recipes.recipe import Recipe
from mgpp.methods import METHODS
from mgpp.methods.transfer import Transfer

MEASURED_ROWS = 2048  # more tokens at once are no faster
SHARE = 0.5  # of the rate of bare matrix products that training reaches: what trainings of `reviews` did
GPU_RATE, GPU_STEP = 5e13, 0.05  # operations a second and seconds a step of a data centre's GPU: a guess, not measured
FEW_EVENTS = 5  # the cubic schedule is no curve with fewer
WIDTH = 110


def dry_run(recipe: Recipe) -> str:
    r"""Say what `train(recipe, ...)` would do and what it would cost here.

    Sizes of data sets that are not on this machine are the published ones, models are built without weights, and
    nothing is fetched. Memory and time are estimates; the text states their rules.

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
    threads = torch.get_num_threads()
    try:
        plan = plan_of(recipe)
        parts = (_recipe, _targets, _steps, _learning_rate, _memory, _time)
        return "\n\n".join("\n".join(part(plan)) for part in parts)
    finally:
        torch.set_num_threads(threads)


def _recipe(plan: Plan) -> Iterator[str]:
    yield f"recipe: {plan.recipe.run_name}"
    others = {method.section for method in METHODS.values()} - {plan.method.section}
    settings = {key: value for key, value in plan.recipe.as_dict().items() if key not in others}
    text = yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=WIDTH - 2)
    yield textwrap.indent(text.rstrip(), "  ")


def _targets(plan: Plan) -> Iterator[str]:
    yield f"targets: {plan.total:,} of {plan.shape.parameters:,} parameters in {len(plan.targets)} matrices"
    table = plan.targets.assign(pattern=plan.targets["name"].str.replace(r"\.\d+\.", ".*.", regex=True))
    groups = table.groupby("pattern", sort=False).agg(
        kind=("kind", "first"), n=("name", "size"), count=("count", "sum")
    )
    width = max(map(len, groups.index))
    for row in groups.itertuples():
        yield f"  {row.Index:<{width}}  {row.kind:<16}  {row.n:>3} matrices  {row.count:>13,}"


def _steps(plan: Plan) -> Iterator[str]:
    recipe, examples = plan.recipe, plan.examples
    yield from _wrapped(
        f"examples: {examples.train:,} to train on, {examples.validation:,} to validate on ({examples.origin})"
    )
    length = f"{recipe.epochs:g} epochs" if recipe.max_steps is None else "as max_steps says"
    accumulated = f" times {plan.accumulation} accumulated" if plan.accumulation > 1 else ""
    yield f"steps: {plan.steps:,}, {length}, batches of {recipe.batch_size}{accumulated}"
    yield from _phases(plan)


def _phases(plan: Plan) -> Iterator[str]:
    if plan.keeps_mask or not plan.method.prunes:
        yield from _without_events(plan)
        return
    schedule, interval = plan.schedule, plan.recipe.sparsity.interval
    begin, end = schedule.begin_step, schedule.end_step
    events = sum(schedule.prunes_at(step, interval) for step in range(begin, end))
    sparsities = f"{schedule.initial_sparsity:g} to {schedule.final_sparsity:g}"
    zeros = f"{round(schedule.final_sparsity * plan.total):,} zeros"
    rule = "then the mask is frozen" if plan.recipe.freezes else "then the mask is judged anew at every step"
    if events < FEW_EVENTS:
        yield from _wrapped(
            f"few prune events: {events} before the last one, so the sparsity jumps; a smaller sparsity.interval than "
            f"{interval} or a longer training prunes gradually",
            "  ",
        )
    rows = {
        "warmup": (0, begin, "nothing is pruned"),
        "pruning": (begin, end, f"{events:,} prune events, sparsity from {sparsities}"),
        "frozen" if plan.recipe.freezes else "final": (end, plan.steps, f"a last prune event, {zeros}, {rule}"),
    }
    for phase, (first, stop, what) in rows.items():
        if stop > first:
            yield f"  {phase:<8} steps {first:,} to {stop - 1:,} ({stop - first:,}): {what}"


def _without_events(plan: Plan) -> Iterator[str]:
    if not plan.keeps_mask:
        yield "  nothing is pruned"
        return
    yield "  the zeros of the pruned model stay zero at every step"
    if isinstance(plan.method, Transfer) and plan.method.mask is None and not Path(plan.recipe.model).is_dir():
        yield from _wrapped(
            f"as it stands, the training will refuse model={plan.recipe.model!r} unless it was pruned; give the folder "
            "of one that was: --set model=RUN/checkpoints/final, or --set transfer.mask=RUN/checkpoints/final",
            "  ",
        )


def _learning_rate(plan: Plan) -> Iterator[str]:
    optimizer, cycles = plan.recipe.optimizer, plan.recipe.rewinds + 1
    last = optimizer.learning_rate * optimizer.final_factor
    again = f", and again from the start, {cycles} times in all" if cycles > 1 else ""
    yield f"learning rate: {optimizer.learning_rate:g} at step 0, falling linearly to {last:g} at the end{again}"


def _memory(plan: Plan) -> Iterator[str]:
    recipe = plan.recipe
    parts = state_bytes(plan.shape, plan.total, plan.method.floats_per_weight)
    parts["activations"] = activation_bytes(
        plan.shape, recipe.batch_size, recipe.max_length, plan.examples.target, half=plan.half
    )
    yield f"memory, estimated: {_gigabytes(sum(parts.values()))}, beside Python and torch themselves"
    yield "  " + ", ".join(f"{what} {_gigabytes(size)}" for what, size in parts.items() if size)
    yield from _wrapped(
        "rule: weights, gradients and two states of Adam in float32; a bit a target for the mask; "
        f"{plan.method.floats_per_weight} float32 a target for the method; activations of {recipe.batch_size} texts of "
        f"{recipe.max_length} tokens at {34 if plan.half else 68} bytes for each token, layer and unit of width, plus "
        "attention weights and logits",
        "  ",
    )


def _time(plan: Plan) -> Iterator[str]:
    recipe, examples = plan.recipe, plan.examples
    evaluated = _evaluations(plan) * examples.validation + examples.final
    trained = plan.steps * recipe.batch_size * plan.accumulation
    flops = training_flops(plan.shape, examples.source, examples.target) * (trained + evaluated / 3)
    if examples.target:
        flops += evaluated * search_flops(plan.shape, examples.source, recipe.text.target_length, recipe.text.beams)
    rows = min(MEASURED_ROWS, round(recipe.batch_size * examples.source))
    rate = SHARE * matmul_rate(rows, plan.shape.hidden, plan.dtype)
    gpu = max(flops / GPU_RATE, plan.steps * GPU_STEP)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{recipe.threads} threads of this processor"
    yield f"time, estimated: {_duration(flops / rate)} here; {_duration(gpu)} on a GPU"
    yield from _wrapped(
        f"rule: {flops:.2g} operations, which are 6 a token and parameter without embeddings, attention, and forward "
        f"passes for {evaluated:,} evaluated examples{_searched(plan)}; at {rate / 1e9:,.0f} billion a second, half "
        f"the rate of matrix products in {recipe.precision} measured just now on {where}; the GPU is assumed to "
        f"do {GPU_RATE / 1e12:g} trillion a second, and {1 / GPU_STEP:g} steps a second at most",
        "  ",
    )
    yield from _wrapped(
        f"assumed: {examples.source:,.4g} tokens an example{_written(examples)}, {examples.assumption}", "  "
    )


def _evaluations(plan: Plan) -> int:
    """How often training evaluates on its way: as the Observer does, also when the mask is frozen and at the end."""
    schedule, every = plan.schedule, plan.recipe.log.evaluate_every
    return len({*range(schedule.begin_step % every, plan.steps, every), schedule.end_step, plan.steps - 1})


def _searched(plan: Plan) -> str:
    text = plan.recipe.text
    if not plan.examples.target:
        return ""
    return f", whose summaries {text.beams} beams write, {text.target_length} tokens each"


def _written(examples: Examples) -> str:
    return f" and {examples.target:,.4g} of its summary" if examples.target else ""


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"


def _duration(seconds: float) -> str:
    """Seconds as people say them.

    Example:
        >>> _duration(5400), _duration(200_000)
        ('1.5 hours', '2.3 days')
    """
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"
