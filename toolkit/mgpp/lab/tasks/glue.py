"""Define the nine tasks of GLUE (Wang et al. 2019), with the columns and labels of `nyu-mll/glue` on the hub.

The metric that decides is the one that Devlin et al. (2019, table 1) report; GLUE's second metrics are measured too.
The hub hides the labels of the test sets (-1), but for MRPC's: then there is no test split, and results are of the
validation set. Sizes are the hub's own counts of the splits that have labels.
"""

from typing import TYPE_CHECKING, Any, ClassVar

from mgpp.lab.tasks.base import register
from mgpp.lab.tasks.text_classification import TextClassification

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MISMATCHED = "_mismatched"
HIDDEN = {-1, "-1", "-1.0"}  # in place of a label, as a number or as the text of a csv file


class Glue(TextClassification):
    """A task of GLUE."""

    hub_name = "nyu-mll/glue"

    def read(self) -> tuple[dict[str, Any], str]:
        """Read the splits, without test splits whose labels are hidden."""
        tables, sha256 = super().read()
        hidden = [split for split in tables if split.startswith("test") and not set(tables[split]["label"]) - HIDDEN]
        return {split: table for split, table in tables.items() if split not in hidden}, sha256


@register("glue-cola")
class Cola(Glue):
    """Is a sentence acceptable English?"""

    hub_config, texts, labels = "cola", ("sentence",), ("unacceptable", "acceptable")
    metrics = ("matthews", "accuracy")
    sizes: ClassVar = {"train": 8_551, "validation": 1_043}


@register("glue-sst2")
class Sst2(Glue):
    """Is a phrase of a film review positive?"""

    hub_config, texts, labels = "sst2", ("sentence",), ("negative", "positive")
    sizes: ClassVar = {"train": 67_349, "validation": 872}


@register("glue-mrpc")
class Mrpc(Glue):
    """Do two sentences of the news mean the same?"""

    hub_config, texts, labels = "mrpc", ("sentence1", "sentence2"), ("not_equivalent", "equivalent")
    metrics = ("f1", "accuracy")
    sizes: ClassVar = {"train": 3_668, "validation": 408, "test": 1_725}


@register("glue-stsb")
class Stsb(Glue):
    """How similar are two sentences, from 0 to 5? A regression."""

    hub_config, texts = "stsb", ("sentence1", "sentence2")
    metrics = ("spearman", "pearson")
    sizes: ClassVar = {"train": 5_749, "validation": 1_500}

    @classmethod
    def label_number(cls, value: Any) -> float | None:
        """Return a score from 0 to 5; None for other values."""
        score = super().label_number(value)
        return score if score is not None and 0 <= score <= 5 else None


@register("glue-qqp")
class Qqp(Glue):
    """Do two questions ask the same?"""

    hub_config, texts, labels = "qqp", ("question1", "question2"), ("not_duplicate", "duplicate")
    metrics = ("f1", "accuracy")
    sizes: ClassVar = {"train": 363_846, "validation": 40_430}


@register("glue-mnli")
class Mnli(Glue):
    """Does a premise entail a hypothesis, contradict it, or neither?

    The split "validation" is the hub's validation_matched; "validation_mismatched" is evaluated along with it, as
    `accuracy_mismatched` and so on.
    """

    hub_config, texts, labels = "mnli", ("premise", "hypothesis"), ("entailment", "neutral", "contradiction")
    required = ("train", "validation_matched", "validation_mismatched")
    optional = ("test_matched", "test_mismatched")
    sizes: ClassVar = {"train": 392_702, "validation": 9_815, "validation_mismatched": 9_832}

    def read(self) -> tuple[dict[str, Any], str]:
        """Read the splits, and drop `_matched` from their names."""
        tables, sha256 = super().read()
        return {split.removesuffix("_matched"): table for split, table in tables.items()}, sha256

    def evaluate(self, model: "PreTrainedModel", split: str, *, bf16: bool = False) -> dict[str, float]:
        """Return the metrics of the matched split, and of the mismatched one with the suffix `_mismatched`."""
        found = super().evaluate(model, split, bf16=bf16)
        if split + MISMATCHED in self.splits:
            for name, value in super().evaluate(model, split + MISMATCHED, bf16=bf16).items():
                metric = name.removesuffix("_se")
                found[f"{metric}{MISMATCHED}{name[len(metric) :]}"] = value
        return found


@register("glue-qnli")
class Qnli(Glue):
    """Does a sentence hold the answer to a question?"""

    hub_config, texts, labels = "qnli", ("question", "sentence"), ("entailment", "not_entailment")
    sizes: ClassVar = {"train": 104_743, "validation": 5_463}


@register("glue-rte")
class Rte(Glue):
    """Does one sentence entail another?"""

    hub_config, texts, labels = "rte", ("sentence1", "sentence2"), ("entailment", "not_entailment")
    sizes: ClassVar = {"train": 2_490, "validation": 277}


@register("glue-wnli")
class Wnli(Glue):
    """Does a sentence with a pronoun entail the one with the noun in its place?"""

    hub_config, texts, labels = "wnli", ("sentence1", "sentence2"), ("not_entailment", "entailment")
    sizes: ClassVar = {"train": 635, "validation": 71}
