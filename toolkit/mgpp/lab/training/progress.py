"""Show the progress of a training, and hide that of other libraries."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import datasets
from tqdm.auto import tqdm
from transformers import TrainerCallback


class ProgressBar(TrainerCallback):
    """A bar over all steps with the newest loss, sparsity, threshold and task metric. Give it to the Trainer, too.

    Args:
        steps: optimizer updates of the training.
        title: shown before the bar.
        visible: whether anything is shown.
        done: steps made before.
        metric: of the task.

    Example:
        >>> with ProgressBar(10, "my run", visible=False) as bar:
        ...     bar.show({"loss": 0.7, "sparsity": 0.5, "pruning_threshold": None})
    """

    def __init__(self, steps: int, title: str, visible: bool, done: int = 0, metric: str = "accuracy"):
        look: dict[str, Any] = {"disable": not visible, "unit": "step", "dynamic_ncols": True}
        self.bar = tqdm(total=steps, initial=done, desc=title, **look)
        self._labels = {"loss": "loss", "sparsity": "sparsity", "pruning_threshold": "threshold"}
        self._labels[f"eval_{metric}"] = metric
        self._shown: dict[str, str] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar by one step."""
        self.bar.update()

    def show(self, row: Mapping[str, Any]) -> None:
        """Show the values of a logged row."""
        known = {label: row[key] for key, label in self._labels.items() if row.get(key) is not None}
        self._shown |= {label: f"{value:.4g}" for label, value in known.items() if math.isfinite(value)}
        self.bar.set_postfix(self._shown)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.close()


@contextmanager
def without_bars() -> Iterator[None]:
    """Hide the progress bars of `datasets` in a block.

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
