"""The progress bar of a training, and none of others."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import datasets
from tqdm.auto import tqdm
from transformers import TrainerCallback


class _Tick(TrainerCallback):
    """Moves a bar by one each optimizer update."""

    def __init__(self, bar: Any):
        self.bar = bar

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One step done."""
        self.bar.update()


class ProgressBar:
    """A bar over all steps that shows loss, sparsity, threshold and the task's metric as they are logged.

    Example:
        >>> with ProgressBar(10, "my run", visible=False) as bar:
        ...     bar.show({"loss": 0.7, "sparsity": 0.5, "pruning_threshold": None})
    """

    def __init__(self, steps: int, title: str, visible: bool, done: int = 0, metric: str = "accuracy"):
        look: dict[str, Any] = {"disable": not visible, "unit": "step", "dynamic_ncols": True}
        self.bar = tqdm(total=steps, initial=done, desc=title, **look)
        self.callback = _Tick(self.bar)
        self._names = {"loss": "loss", "sparsity": "sparsity", "pruning_threshold": "threshold"}
        self._names[f"eval_{metric}"] = metric
        self._shown: dict[str, str] = {}

    def show(self, row: Mapping[str, Any]) -> None:
        """Show the newest values of a logged row."""
        known = {label: row[key] for key, label in self._names.items() if row.get(key) is not None}
        self._shown |= {label: f"{value:.4g}" for label, value in known.items() if math.isfinite(value)}
        self.bar.set_postfix(self._shown)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.close()


@contextmanager
def without_bars() -> Iterator[None]:
    """Tokenizing shows no progress.

    Example:
        >>> with without_bars():
        ...     datasets.are_progress_bars_disabled()
        True
    """
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
