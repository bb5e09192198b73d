"""List the tasks by name: `TASKS[name](tokenizer, settings)` reads and tokenizes the data of a task.

A task of your own is a subclass under `@register("my-task")`, in any file that is imported before training.
"""

from mgpp.lab.tasks import film_qa, glue, language_modeling, own_texts, reviews, reviews_lm, squad, summarization  # noqa: F401
from mgpp.lab.tasks.base import TASKS, DataError, Task, TaskSettings, find_task, register

__all__ = ["TASKS", "DataError", "Task", "TaskSettings", "find_task", "register"]
