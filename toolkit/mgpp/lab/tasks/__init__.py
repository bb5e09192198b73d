"""The tasks by name, one module each: how to load and tokenize the data, which head, which metric.

`TASKS[name](tokenizer, settings)` gives a `Task`; a task's module is imported when it is called.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgpp.lab.tasks.base import Task

GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")


def _call(place: str, *arguments: Any) -> "Task":
    """Import `module:function` of this package and call it."""
    module, _, function = place.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), function)(*arguments)


# name -> (tokenizer, TaskSettings) -> Task
TASKS: dict[str, Callable[..., "Task"]] = {
    **{f"glue-{name}": partial(_call, "glue:load", name) for name in GLUE},
    "squad": partial(_call, "squad:load"),
    "squad-v2": partial(_call, "squad:load_v2"),
    "film-qa": partial(_call, "film_qa:load"),
    "xsum": partial(_call, "summarization:load_xsum"),
    "cnn-dailymail": partial(_call, "summarization:load_cnn_dailymail"),
    "clm": partial(_call, "language_modeling:load_clm"),
    "mlm": partial(_call, "language_modeling:load_mlm"),
    "reviews": partial(_call, "reviews:load"),
    "reviews-lm": partial(_call, "reviews_lm:load"),
}
