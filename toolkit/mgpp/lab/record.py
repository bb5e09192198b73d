"""Log a training loop of one's own as `mgpp train` logs its own: one call, and every reader works with the run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate.utils import extract_model_from_parallel

from mgpp.lab.description import describe, steps_of
from mgpp.lab.training.processes import NullWriter, is_main
from mgpp.lab.training.sharding import save_model
from mgpp.pruning.observer import Observer, histogram_rows
from mgpp.pruning.pruner import Pruner
from mgpp.runs import METRICS_COLUMNS, Run, RunWriter

OF_THE_LOOP = {"epoch", "loss", "learning_rate"}  # columns of METRICS_COLUMNS that a loop knows and the Pruner does not


class Log:
    """What `record` yields: the log of one run. It is a writer too, for `PruningCallback` and `Observer`.

    Attributes:
        final: the last value of every metric of one's own, and of every evaluation.
        observing: options of the `Observer`, which a `PruningCallback` takes over.
    """

    def __init__(self, pruner: Pruner, writer: Any, total_steps: int | None, observing: Mapping[str, Any]):
        self.pruner, self.writer, self.total, self.observing = pruner, writer, total_steps, dict(observing)
        self.final: dict[str, float] = {}
        self._observer: Observer | None = None
        self._step, self._values = -1, dict[str, Any]()
        self._is_logged = True

    def step(self, step: int, **values: Any) -> None:
        """Measure and log a step if it is due; call it after `pruner.after_step(step)` in every step.

        Args:
            step: as the Pruner counts it.
            values: loss, learning_rate, epoch, and any number of your own; tensors are read on logged steps only.

        Example:
            >>> log.step(step, loss=loss, learning_rate=optimizer.param_groups[0]["lr"])  # doctest: +SKIP
        """
        _check_names(values)
        self._observer = self._observer or Observer(self.pruner, self, **self.observing)
        self._step, self._values, self._is_logged = step, values, False
        if self._observer.is_due(step, self.total or 0):
            self._measure()

    def _measure(self) -> None:
        assert self._observer is not None
        self._observer.measure(self._step)
        self._observer.write({name: _number(value) for name, value in self._values.items()})
        self._is_logged = True

    def write(self, **values: Any) -> None:
        """Log metrics of your own at the last step, as columns of `Run.metrics`; the last values are the final ones.

        A metric's standard error is `<metric>_se`.

        Example:
            >>> log.write(accuracy=0.83, accuracy_se=0.01)  # doctest: +SKIP
        """
        _check_names(values)
        numbers = {name: _number(value) for name, value in values.items()}
        self.writer.metrics({"step": max(self._step, 0), **numbers})
        self.final |= {name: value for name, value in numbers.items() if name not in OF_THE_LOOP}

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Append one row of metrics, as a `RunWriter` does."""
        self._step = max(self._step, row["step"])
        self.writer.metrics(row)
        self.final |= {name.removeprefix("eval_"): value for name, value in row.items() if name.startswith("eval_")}

    def part(self, frame: str, step: int, rows: Any) -> None:
        """Store the rows of one step of a frame, as a `RunWriter` does."""
        self.writer.part(frame, step, rows)

    def update(self, **info: Any) -> None:
        """Add to run.json, as a `RunWriter` does."""
        self.total = info.get("steps", {}).get("total", self.total)  # a Trainer knows
        self.writer.update(**info)

    def _log_last_step(self) -> None:
        """Log the row and the histogram of the last step, which is known as the last only now."""
        if self._observer is None:
            return
        self._observer.is_due(self._step, self._step + 1)
        if not self._is_logged:
            self._measure()
        self.writer.part("weights", self._step, histogram_rows(self.pruner.shards, self._step))

    def finish(self, metric: str | None, higher_is_better: bool | None) -> None:
        """Log the last step, audit the zeros, and write the final metrics."""
        self._log_last_step()
        if self.total is None:
            self.update(steps=steps_of(self.pruner, self._step + 1))
        own = [name for name in self.final if not name.endswith("_se") and name != "loss"]
        name = metric or next(iter(own or self.final), "")
        better = name != "loss" if higher_is_better is None else higher_is_better
        self.update(metric={"name": name, "higher_is_better": better}, final=self.final | _zeros(self.pruner))


@contextmanager
def record(
    pruner: Pruner,
    folder: str | Path,
    *,
    total_steps: int | None = None,
    model: Any = None,
    tokenizer: Any = None,
    method: str | None = None,
    experiment: str = "own",
    task: str | None = None,
    seed: int | None = None,
    metric: str | None = None,
    higher_is_better: bool | None = None,
    settings: Mapping[str, Any] | None = None,
    replace: bool = False,
    resume_at: int | None = None,
    **observing: Any,
) -> Iterator[Log]:
    """Record a training loop of your own in a folder that figures, tables, the explorer and `mgpp export` read.

    The run is finished if the block ends and `pruner.audit()` finds the promised zeros; otherwise it failed, with the
    error, or was stopped by Ctrl-C. With several processes, call it in all of them; the first writes.

    Args:
        pruner: of the training.
        folder: the run's own folder; it must not exist yet or be empty.
        total_steps: optimizer updates of the whole training, if they are known.
        model: saved as `checkpoints/final` at the end, if it is a model of transformers; `mgpp export` needs it.
        tokenizer: saved beside the model.
        method: the name in tables and legends; by default that of the registered method with this penalty and
            importance.
        experiment: runs of one experiment are compared with each other.
        task: what the training is about, for the model card.
        seed: of the training; runs of one seed are paired.
        metric: the metric that decides; by default the first that is logged by `log.write` or an evaluation.
        higher_is_better: of that metric; by default of all but the loss.
        settings: more to keep with the run, such as the batch size.
        replace: delete a run that the folder holds.
        resume_at: the step at which the run in the folder goes on.
        observing: options of `Observer`: every, histograms_every, trajectories, evaluate, evaluate_every.

    Yields:
        A `Log`: `log.step` in your loop, or `PruningCallback(pruner, log)` in a Trainer; `log.write` for metrics.

    Raises:
        RunError: if the folder holds another run, or can't be written.
        ValueError: if the training ends before pruning does, or the model can't be saved.
        SparsityError: at the end, if the zeros are not those that were promised.

    Example:
        >>> from mgpp import L2, CubicSparsity, load_run
        >>> import tempfile, torch
        >>> w = torch.nn.Parameter(torch.randn(10))
        >>> pruner = Pruner({"w": w}, penalty=L2(0.1), sparsity=CubicSparsity(0.0, 0.5, 0, 2), n_train=8)
        >>> optimizer, folder = torch.optim.SGD([w], lr=0.1), tempfile.mkdtemp()
        >>> with record(pruner, folder, total_steps=4) as log:
        ...     for step in range(4):
        ...         loss = (w**2).sum()
        ...         loss.backward()
        ...         pruner.before_step(step)
        ...         optimizer.step()
        ...         pruner.after_step(step)
        ...         log.step(step, loss=loss)
        ...     log.write(accuracy=0.9)
        >>> run = load_run(folder)
        >>> run.status, run.method, run.sparsity, run.final["zeros"], run.final["accuracy"]
        ('finished', 'l2', 0.5, 5, 0.9)
    """
    saved = None if model is None else extract_model_from_parallel(model)
    if saved is not None and not hasattr(saved, "save_pretrained"):
        raise ValueError(f"record: model={type(saved).__name__} has no save_pretrained; leave it out")
    about = {"name": experiment, "task": task, "model": _name_of(saved), "seed": seed, **(settings or {})}
    info = describe(pruner, total_steps, method, about)
    writing: Any = RunWriter(folder, info, replace=replace, resume_at=resume_at) if is_main() else NullWriter()
    with writing as writer:
        log = Log(pruner, writer, total_steps, observing)
        yield log
        log.finish(metric, higher_is_better)
        if saved is not None:
            save_model(saved, tokenizer, Run(Path(folder), {}).checkpoint)


def _zeros(pruner: Pruner) -> dict[str, float]:
    zeros = pruner.audit()
    return {"zeros": zeros, "sparsity": zeros / pruner.total}


def _name_of(model: Any) -> str | None:
    return None if model is None else getattr(model.config, "name_or_path", "") or type(model).__name__


def _check_names(values: Mapping[str, Any]) -> None:
    """Raise ValueError for the name of a column that the Pruner's own measurements fill."""
    for name in values:
        if name in METRICS_COLUMNS and name not in OF_THE_LOOP:
            raise ValueError(f"log: {name} is measured by the toolkit; give your metric another name")


def _number(value: Any) -> Any:
    """Return a tensor's or an array's only value as Python's number."""
    return value.item() if hasattr(value, "item") else value


def snapshot(model: Any, pruner: Pruner, folder: Path, tokenizer: Any = None) -> Run:
    """Save a model and what its Pruner knows as a finished run in `folder`, without a log; return the run.

    Raises:
        SparsityError: if the zeros are not those that were promised.
    """
    model = extract_model_from_parallel(model)
    info = describe(pruner, about={"model": _name_of(model)}) | {"status": "finished", "final": _zeros(pruner)}
    run = Run(folder, info)
    save_model(model, tokenizer, run.checkpoint)
    return run
