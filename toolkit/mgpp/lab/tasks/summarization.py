"""Define summarization with an encoder and a decoder such as BART: XSum and CNN/DailyMail, judged by ROUGE.

A model is judged by what it writes: beam search over the whole split, which takes far longer than a loss. ROUGE-2
decides, which the transformers library's own script for fine-tuning BART chose checkpoints by; papers report ROUGE-1,
-2 and -L together.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from mgpp.lab.recipes.recipe import RecipeError
from mgpp.lab.tasks.base import Task, check_length, register

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel

EVALUATION_BATCH = 32
INPUTS = ("input_ids", "attention_mask", "labels")


class Summarization(Task):
    """Write a summary of a document.

    Rows of `splits` have input_ids, attention_mask, labels (the summary's tokens) and reference (the whole summary).

    Attributes:
        texts: the columns of the document and of its summary.
    """

    metrics = ("rouge2", "rouge1", "rougeL", "rougeLsum")
    head = "AutoModelForSeq2SeqLM"

    def check_settings(self) -> None:
        """Raise RecipeError if the lengths don't fit the model, or the package that scores is missing."""
        super().check_settings()
        check_length("text.target_length", self.settings.target_length, self.tokenizer)
        if find_spec("rouge_score") is None:
            raise RecipeError("the package that scores summaries is missing; run: python -m pip install rouge-score")

    def encode(self, tables: Mapping[str, "Dataset"]) -> dict[str, "Dataset"]:
        """Cut documents to `max_length` tokens, summaries to `target_length`; `reference` keeps the whole summary."""
        document, summary = self.texts

        def _tokens(rows: Mapping[str, list[str]]) -> dict[str, Any]:
            source = self.tokenizer(rows[document], truncation=True, max_length=self.settings.max_length)
            target = self.tokenizer(text_target=rows[summary], truncation=True, max_length=self.settings.target_length)
            inputs = {name: source[name] for name in ("input_ids", "attention_mask")}
            return inputs | {"labels": target["input_ids"], "reference": rows[summary]}

        return {
            split: table.map(_tokens, batched=True, remove_columns=table.column_names)
            for split, table in tables.items()
        }

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """Pads documents and summaries to the longest of the batch, labels with -100, which no loss counts.

        The model itself makes decoder_input_ids of the labels, shifted by one.
        """
        from transformers import DataCollatorForSeq2Seq

        pad = DataCollatorForSeq2Seq(self.tokenizer)
        return lambda rows: pad([{name: row[name] for name in INPUTS} for row in rows])

    def evaluate(self, model: "PreTrainedModel", split: str, *, bf16: bool = False) -> dict[str, float]:
        """Return ROUGE of the summaries that the model writes, with standard errors, the mean token loss, and n.

        The loss is that of the reference's tokens, each predicted from the true ones before it.
        """
        from mgpp.lab.tasks.evaluation import batches_by_length, evaluating, in_turns
        from mgpp.lab.tasks.rouge import rouge
        from mgpp.lab.training.sharding import is_sharded
        from mgpp.pruning.sharded.peers import Peers

        written, references, loss, tokens = [], [], 0.0, 0
        batches = batches_by_length(self.splits[split], self.collate, EVALUATION_BATCH)

        def _summarize(_: Any, batch: Any) -> tuple[float, int, list[str]]:
            batch = batch.to(model.device)
            return float(model(**batch).loss), int((batch["labels"] != -100).sum()), self.write(model, batch)

        # how often a search calls the model depends on the batch; of a sharded one, all processes must call it alike
        peers = Peers() if is_sharded(model) else Peers.everyone()
        with evaluating(model, bf16=bf16):
            for rows, (mean, count, summaries) in in_turns(batches, _summarize, peers):
                loss, tokens = loss + mean * count, tokens + count
                written += summaries
                references += [row["reference"] for row in rows]
        return rouge(written, references) | {"loss": loss / tokens, "n": len(written)}

    def write(self, model: "PreTrainedModel", batch: Mapping[str, "torch.Tensor"]) -> list[str]:
        """Write summaries of a batch of documents, up to `target_length` tokens each.

        All else, such as a penalty of length, is as the model's own generation settings say.
        """
        writer: Any = model  # only models that write have `generate`
        tokens = writer.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            num_beams=self.settings.beams,
            do_sample=False,
            min_length=0,
            max_new_tokens=self.settings.target_length,
        )
        return self.tokenizer.batch_decode(tokens, skip_special_tokens=True)


@register("xsum")
class Xsum(Summarization):
    """Sum up a BBC article in one sentence (Narayan, Cohen & Lapata 2018). The papers' ROUGE-L is `rougeL`."""

    hub_name, texts = "EdinburghNLP/xsum", ("document", "summary")
    sizes: ClassVar = {"train": 204_045, "validation": 11_332, "test": 11_334}


@register("cnn-dailymail")
class CnnDailymail(Summarization):
    """Sum up an article in three or four highlights (See, Liu & Manning 2017), version 3.0.0.

    Each highlight stands on a line of its own, in training too; the papers' ROUGE-L is `rougeLsum`.
    """

    hub_name, hub_config, texts = "abisee/cnn_dailymail", "3.0.0", ("article", "highlights")
    sizes: ClassVar = {"train": 287_113, "validation": 13_368, "test": 11_490}
