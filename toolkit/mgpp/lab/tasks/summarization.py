"""Summarization with an encoder and a decoder such as BART: XSum and CNN/DailyMail, judged by ROUGE.

A model is judged by what it writes: beam search over the whole split, which takes far longer than a loss. ROUGE-2
decides, which the transformers library's own script for fine-tuning BART chose checkpoints by; papers report ROUGE-1,
-2 and -L together.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq, PreTrainedModel

from mgpp.lab.models.loading import safely
from mgpp.lab.recipes.recipe import RecipeError
from mgpp.lab.tasks.base import TaskSettings, check_length, check_padding
from mgpp.lab.tasks.evaluation import evaluating, in_turns
from mgpp.lab.tasks.rouge import require_rouge, rouge
from mgpp.lab.tasks.sources import Splits, read_splits
from mgpp.lab.training.sharding import is_sharded
from mgpp.pruning.sharded.peers import Peers

EVALUATION_BATCH = 32
INPUTS = ("input_ids", "attention_mask", "labels")


@dataclass(frozen=True)
class Summarization:
    """Documents and summaries ready to train and evaluate on.

    Attributes:
        tokenizer: of the model.
        splits: "train", "validation" and, where there is one, "test", with columns input_ids, attention_mask, labels
            (the summary's tokens) and reference (the whole summary as text).
        data_sha256: hash of the data.
        target_length: longest summary to write, in tokens.
        beams: of the beam search.
    """

    metric: ClassVar[str] = "rouge2"
    higher_is_better: ClassVar[bool] = True

    tokenizer: Any
    splits: Mapping[str, Dataset] = field(repr=False)
    data_sha256: str
    target_length: int = 128
    beams: int = 4

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """Pads documents and summaries to the longest of the batch, labels with -100, which no loss counts.

        The model itself makes decoder_input_ids of the labels, shifted by one.
        """
        pad = DataCollatorForSeq2Seq(self.tokenizer)
        return lambda rows: pad([{name: row[name] for name in INPUTS} for row in rows])

    def load_model(self, source: str) -> PreTrainedModel:
        """The pretrained encoder and decoder with its language modelling head, in float32.

        Raises:
            RecipeError: if the model is one of the two alone.
        """
        if not AutoConfig.from_pretrained(source, trust_remote_code=False).is_encoder_decoder:
            raise RecipeError(
                f"model={source!r} can't summarize: the task needs an encoder and a decoder, such as BART"
            )
        return AutoModelForSeq2SeqLM.from_pretrained(source, dtype=torch.float32, **safely(source))

    def evaluate(self, model: PreTrainedModel, split: str, *, bf16: bool = False) -> dict[str, float]:
        """ROUGE of the summaries that the model writes, with standard errors, the mean token loss, and n.

        The loss is that of the reference's tokens, each predicted from the true ones before it. Deterministic: fixed
        batches in the order of lengths, beam search, no dropout, the model's mode restored.
        """
        data, loss, tokens = self.splits[split], 0.0, 0
        written: list[str] = [""] * len(data)

        def _summarize(_: Any, batch: Any) -> tuple[float, int, list[str]]:
            batch = batch.to(model.device)
            return float(model(**batch).loss), int((batch["labels"] != -100).sum()), self.write(model, batch)

        # how often a search asks for the model depends on the batch; of a sharded one, all have to ask alike
        peers = Peers() if is_sharded(model) else Peers.everyone()
        with evaluating(model, bf16=bf16):
            for rows, (mean, count, summaries) in in_turns(self._batches(data), _summarize, peers):
                loss, tokens = loss + mean * count, tokens + count
                for row, summary in zip(rows, summaries, strict=True):
                    written[row] = summary
        return rouge(written, data["reference"][:]) | {"loss": loss / tokens, "n": len(data)}

    def write(self, model: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> list[str]:
        """Summaries of a batch of documents, up to `target_length` tokens each.

        What beams and length leave open, such as a penalty of length, is as the model's own generation settings say.
        """
        writer: Any = model  # only models that write have `generate`
        tokens = writer.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            num_beams=self.beams,
            do_sample=False,
            min_length=0,
            max_new_tokens=self.target_length,
        )
        return self.tokenizer.batch_decode(tokens, skip_special_tokens=True)

    def _batches(self, data: Dataset) -> Iterator[tuple[list[int], Any]]:
        lengths = [len(tokens) for tokens in data["input_ids"][:]]
        order = sorted(range(len(data)), key=lengths.__getitem__)
        for start in range(0, len(order), EVALUATION_BATCH):
            rows = order[start : start + EVALUATION_BATCH]
            yield rows, self.collate([data[row] for row in rows])


def load_xsum(tokenizer: Any, settings: TaskSettings) -> Summarization:
    """The task `xsum`: a BBC article in one sentence (Narayan, Cohen & Lapata 2018), from `EdinburghNLP/xsum`.

    The papers' ROUGE-L is `rougeL`.

    Raises:
        DataError: if the data can't be read.
        RecipeError: if rouge-score is missing, a length exceeds what the model reads, or the tokenizer can't pad.
    """
    return _load("xsum", "EdinburghNLP/xsum", None, ("document", "summary"), tokenizer, settings)


def load_cnn_dailymail(tokenizer: Any, settings: TaskSettings) -> Summarization:
    """The task `cnn-dailymail`: an article in three or four highlights (See, Liu & Manning 2017), version 3.0.0.

    From `abisee/cnn_dailymail`. Each highlight stands on a line of its own, in training too; the papers' ROUGE-L is
    `rougeLsum`.

    Raises:
        DataError: if the data can't be read.
        RecipeError: if rouge-score is missing, a length exceeds what the model reads, or the tokenizer can't pad.
    """
    columns = ("article", "highlights")
    return _load("cnn-dailymail", "abisee/cnn_dailymail", "3.0.0", columns, tokenizer, settings)


def _load(
    task: str, hub: str, config: str | None, columns: tuple[str, str], tokenizer: Any, settings: TaskSettings
) -> Summarization:
    require_rouge(task)
    check_length("max_length", settings.max_length, tokenizer)
    check_length("text.target_length", settings.target_length, tokenizer)
    check_padding(tokenizer)
    found: Splits = read_splits(hub, config, columns=columns, texts=columns, data=settings.data)
    splits = {split: encode(tokenizer, table, columns, settings) for split, table in found.tables.items()}
    return Summarization(tokenizer, splits, found.sha256, settings.target_length, settings.beams)


def encode(tokenizer: Any, table: Dataset, columns: tuple[str, str], settings: TaskSettings) -> Dataset:
    """Documents cut to `max_length` tokens, summaries to `target_length`; `reference` keeps the whole summary.

    Args:
        tokenizer: of the model.
        table: rows of texts.
        columns: names of the document's and the summary's column.
        settings: the two lengths.
    """
    document, summary = columns

    def _tokens(rows: Mapping[str, list[str]]) -> dict[str, Any]:
        source = tokenizer(rows[document], truncation=True, max_length=settings.max_length)
        target = tokenizer(text_target=rows[summary], truncation=True, max_length=settings.target_length)
        inputs = {name: source[name] for name in ("input_ids", "attention_mask")}
        return inputs | {"labels": target["input_ids"], "reference": rows[summary]}

    return table.map(_tokens, batched=True, remove_columns=table.column_names)
