"""The tasks by name, one module each: how to load and tokenize the data, which head, which metric."""

from collections.abc import Callable

from mgpp.training.tasks import reviews
from mgpp.training.tasks.text_classification import TextClassification

# name -> (tokenizer, max_length) -> task
TASKS: dict[str, Callable[..., TextClassification]] = {"reviews": reviews.load}
