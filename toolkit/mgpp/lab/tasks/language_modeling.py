"""Language modelling: running text in blocks of one length, causal or masked, judged by perplexity.

Texts are tokenized, laid end to end and cut into blocks of `max_length` tokens, so that no token is padding. A thousand
texts are joined at a time, and the last short block of each thousand is dropped. A local file holds a column `text`.
"""

import math
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedModel,
)

from mgpp.lab.models.loading import safely
from mgpp.lab.recipes.recipe import RecipeError
from mgpp.lab.tasks.base import TaskSettings, check_length
from mgpp.lab.tasks.evaluation import evaluating, in_turns
from mgpp.lab.tasks.sources import read_splits

EVALUATION_TOKENS = 4096  # a batch's logits are this many times the vocabulary
TEXTS_JOINED = 1000
MASKED_SHARE = 0.15  # Devlin et al. (2019), section 3.1
EVALUATION_SEED = 0
HELD_OUT = 0.005  # of a corpus that comes without splits, once for validation and once for testing


@dataclass(frozen=True)
class MaskTokens:
    """A collator that masks tokens for BERT: the choice depends on the seed and the batch's tokens alone.

    So a training that is stopped goes on with the masks it would have had, though batches are made ahead of their use;
    and since every epoch composes its batches anew, it masks anew.
    """

    tokenizer: Any
    seed: int

    def __call__(self, rows: list[Any]) -> Any:
        """A batch with some tokens masked, and labels there."""
        tokens = array("q", [token for row in rows for token in row["input_ids"]]).tobytes()
        seed = (self.seed + zlib.crc32(tokens)) % (1 << 63)
        return DataCollatorForLanguageModeling(self.tokenizer, mlm_probability=MASKED_SHARE, seed=seed)(rows)


@dataclass(frozen=True)
class LanguageModeling:
    """Blocks of text ready to train and evaluate on.

    Attributes:
        tokenizer: of the model.
        splits: "train", "validation" and, where there is one, "test", with blocks of equal length as `input_ids`.
        data_sha256: hash of the data.
        masked: predict masked tokens from both sides; otherwise each token from those before it.
    """

    metric: ClassVar[str] = "perplexity"
    higher_is_better: ClassVar[bool] = False

    tokenizer: Any
    splits: Mapping[str, Dataset] = field(repr=False)
    data_sha256: str
    masked: bool = False

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """Stacks blocks; if masked, picks 15% of the tokens as labels, by torch's seed and the batch."""
        return MaskTokens(self.tokenizer, torch.initial_seed()) if self.masked else stack

    def load_model(self, source: str) -> PreTrainedModel:
        """The pretrained model with its language modelling head, in float32.

        Raises:
            RecipeError: if a token is to be predicted by a model that has seen it, or the model is encoder and decoder.
        """
        if AutoConfig.from_pretrained(source, trust_remote_code=False).is_encoder_decoder:
            raise RecipeError(
                f"model={source!r} is an encoder and a decoder, and language modelling here needs one alone: BERT for "
                "task='mlm', GPT-2 for task='clm'; task='xsum' and task='cnn-dailymail' are for both"
            )
        kind = AutoModelForMaskedLM if self.masked else AutoModelForCausalLM
        model = kind.from_pretrained(source, dtype=torch.float32, **safely(source))
        if not self.masked and looks_ahead(model):
            raise RecipeError(
                f"model={source!r} reads the tokens that a causal task has it predict, as BERT does; take task='mlm' "
                "for it, or a model that reads from left to right, such as GPT-2"
            )
        return model

    def evaluate(self, model: PreTrainedModel, split: str, *, bf16: bool = False) -> dict[str, float]:
        """Perplexity and mean token loss on a split, their standard errors (see `perplexity`), and n, the blocks.

        Deterministic: blocks in their order, no dropout, masks from a seed of their own, the model's mode restored.
        """
        sums: list[float] = []
        counts: list[int] = []

        def _sums(_: Any, batch: Any) -> tuple[list[float], list[int]]:
            losses, predicted = self._token_losses(model, batch)
            return losses.sum(1).tolist(), predicted.sum(1).tolist()

        with evaluating(model, bf16=bf16):
            for _, (loss, count) in in_turns(enumerate(self._batches(self.splits[split])), _sums):
                sums += loss
                counts += count
        return perplexity(sums, counts)

    def predicts(self, split: str) -> bool:
        """Whether there is any token to be predicted when a split is evaluated."""
        return any(bool((batch["labels"] != -100).any()) for batch in self._batches(self.splits[split]))

    def _token_losses(self, model: PreTrainedModel, batch: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of every token, 0 where none is predicted, and where one is: both (blocks, tokens)."""
        inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
        labels = inputs.pop("labels")
        logits = model(**inputs).logits
        if not self.masked:
            logits, labels = logits[:, :-1], labels[:, 1:]
        flat = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")  # ignores -100
        return flat.double().view(labels.shape), labels != -100

    def _batches(self, data: Dataset) -> Iterator[Any]:
        collate = MaskTokens(self.tokenizer, EVALUATION_SEED) if self.masked else self.collate
        size = max(1, EVALUATION_TOKENS // len(data[0]["input_ids"]))
        for start in range(0, len(data), size):
            yield collate([data[i] for i in range(start, min(start + size, len(data)))])


@torch.no_grad()
def looks_ahead(model: PreTrainedModel) -> bool:
    """Whether what a model says at a token changes with the tokens after it.

    transformers loads BERT as a causal model, too, and leaves it reading from both sides unless its configuration says
    otherwise; its perplexity would mean nothing.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> looks_ahead(GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=4, n_layer=1, n_head=1)))
        False
    """
    training = model.training
    model.eval()
    one, other = (model(input_ids=torch.tensor([[1, 2, 1, last]])).logits[:, :-1] for last in (1, 2))
    model.train(training)
    return not torch.allclose(one, other, atol=1e-4)


def load_clm(tokenizer: Any, settings: TaskSettings) -> LanguageModeling:
    """The task `clm`, causal language modelling: WikiText-103 (Merity et al. 2017), raw, from `Salesforce/wikitext`.

    A row is a line of an article and stays one: articles are not separated otherwise. Perplexity counts the model's own
    tokens, published ones for WikiText-103 often words.

    Raises:
        DataError: if the data can't be read.
        RecipeError: see `build`.
    """
    found = read_splits(
        "Salesforce/wikitext", "wikitext-103-raw-v1", columns=["text"], texts=["text"], data=settings.data
    )
    return build(found.tables, tokenizer, settings.max_length, found.sha256)


def load_mlm(tokenizer: Any, settings: TaskSettings) -> LanguageModeling:
    """The task `mlm`, masked language modelling: English Wikipedia of November 2023, from `wikimedia/wikipedia`.

    The paper prunes BERT upstream on BookCorpus and an older Wikipedia (Zhang, Sun & Liang 2024). BookCorpus is missing
    here: the hub has it as a loading script, which the datasets library no longer runs. For both, give a folder of
    local files. Wikipedia comes without splits: of its articles, in their order, the last 0.5% are for testing and the
    0.5% before them for validation.

    Raises:
        DataError: if the data can't be read.
        RecipeError: see `build`.
    """
    if settings.data is not None:
        found = read_splits("local texts", columns=["text"], texts=["text"], data=settings.data)
        return build(found.tables, tokenizer, settings.max_length, found.sha256, masked=True)
    found = read_splits(
        "wikimedia/wikipedia", "20231101.en", columns=["text"], texts=["text"], required=["train"], optional=[]
    )
    return build(hold_out(found.tables["train"]), tokenizer, settings.max_length, found.sha256, masked=True)


def hold_out(texts: Dataset) -> dict[str, Dataset]:
    """Cut the end of a corpus off for validation and testing, half a percent each, at least one text.

    Example:
        >>> parts = hold_out(Dataset.from_dict({"text": [str(i) for i in range(1000)]}))
        >>> {split: (len(part), part["text"][0]) for split, part in parts.items()}
        {'train': (990, '0'), 'validation': (5, '990'), 'test': (5, '995')}
    """
    size, n = max(1, round(HELD_OUT * len(texts))), len(texts)
    cuts = {"train": (0, n - 2 * size), "validation": (n - 2 * size, n - size), "test": (n - size, n)}
    return {split: texts.select(range(*cut)) for split, cut in cuts.items()}


def stack(blocks: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
    """Blocks of equal length as a batch of input_ids and labels, which the model shifts by itself.

    Example:
        >>> stack([{"input_ids": [5, 6]}, {"input_ids": [7, 8]}])["labels"].tolist()
        [[5, 6], [7, 8]]
    """
    tokens = torch.tensor([block["input_ids"] for block in blocks])
    return {"input_ids": tokens, "labels": tokens.clone()}


def perplexity(sums: Sequence[float], counts: Sequence[int]) -> dict[str, float]:
    """Mean loss and perplexity of all tokens from the sum of losses and the count of tokens of each block.

    loss = Σ sums / Σ counts and perplexity = exp(loss), both natural. With n blocks as a sample and the residuals
    r = sums - loss · counts, the standard errors are loss_se = sqrt(n Σr² / (n - 1)) / Σ counts, which is the standard
    deviation of the blocks' mean losses over sqrt(n) where all counts are equal, and, to first order in loss_se (the
    delta method), perplexity_se = perplexity · loss_se. Blocks of one text are alike, so both are somewhat too small.
    One block alone has no standard error.

    Example:
        >>> found = perplexity([0.0, math.log(4)], [1, 1])
        >>> round(found["perplexity"], 6), round(found["loss_se"], 6) == round(math.log(4) / 2, 6)
        (2.0, True)
    """
    n, tokens = len(sums), sum(counts)
    loss = math.fsum(sums) / tokens
    value = math.exp(loss) if loss < 700 else math.inf  # beyond, exp overflows
    found = {"perplexity": value, "loss": loss, "n": n}
    if n > 1:
        squares = math.fsum((total - loss * count) ** 2 for total, count in zip(sums, counts, strict=True))
        loss_se = math.sqrt(n * squares / (n - 1)) / tokens
        found |= {"perplexity_se": value * loss_se, "loss_se": loss_se}
    return found


def blocks(texts: Dataset, tokenizer: Any, length: int, *, end: str = "\n", wrap: bool = False) -> Dataset:
    """Cut the column `text` into blocks of `length` tokens: rows with `input_ids`.

    Args:
        texts: rows with a text each; missing ones count as empty.
        tokenizer: of the model.
        length: tokens in a block.
        end: what follows each text that does not end with it: a line break, or the tokenizer's end-of-text token.
        wrap: spend two of a block's tokens on [CLS] before and [SEP] after, as BERT reads text.
    """
    before, after = ([tokenizer.cls_token_id], [tokenizer.sep_token_id]) if wrap else ([], [])

    def _cut(batch: Mapping[str, list[str | None]]) -> dict[str, list[list[int]]]:
        ended = [text if (text or "").endswith(end) else f"{text or ''}{end}" for text in batch["text"]]
        encoded = tokenizer(ended, add_special_tokens=False, return_attention_mask=False, verbose=False)
        tokens = [token for text in encoded["input_ids"] for token in text]
        size = length - len(before) - len(after)
        starts = range(0, len(tokens) - size + 1, size)
        return {"input_ids": [before + tokens[start : start + size] + after for start in starts]}

    return texts.map(_cut, batched=True, batch_size=TEXTS_JOINED, remove_columns=texts.column_names)


def build(
    texts: Mapping[str, Dataset],
    tokenizer: Any,
    length: int,
    data_sha256: str,
    *,
    masked: bool = False,
    end: str = "\n",
) -> LanguageModeling:
    """The task on splits with a column `text`.

    Raises:
        RecipeError: if the blocks are longer than what the model reads, the tokenizer has no mask token though the
            task is masked, or a split gives no whole block or nothing to predict.
    """
    check_length("max_length", length, tokenizer)
    if masked and tokenizer.mask_token is None:
        raise RecipeError("task='mlm' needs a model with a mask token, such as BERT; use task='clm' for this one")
    splits = {split: blocks(data, tokenizer, length, end=end, wrap=masked) for split, data in texts.items()}
    for split, data in splits.items():
        if not len(data):
            raise RecipeError(f"max_length={length}: the split {split} gives no whole block; lower it, or add text")
    task = LanguageModeling(tokenizer, splits, data_sha256, masked)
    for split in splits if masked else ():
        if not task.predicts(split):
            raise RecipeError(f"no token of the split {split} is masked, of which 15% are by chance; give it more text")
    return task
