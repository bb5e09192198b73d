"""Define language modelling: running text in blocks of one length, causal or masked, judged by perplexity.

Texts are tokenized, laid end to end and cut into blocks of `max_length` tokens, so that no token is padding. A thousand
texts are joined at a time, and the last short block of each thousand is dropped. A local file holds a column `text`.
"""

import math
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mgpp.lab.recipes.recipe import RecipeError
from mgpp.lab.tasks.base import Task, register

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel

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
        """Return a batch with some tokens masked, and labels there."""
        from transformers import DataCollatorForLanguageModeling

        tokens = array("q", [token for row in rows for token in row["input_ids"]]).tobytes()
        seed = (self.seed + zlib.crc32(tokens)) % (1 << 63)
        return DataCollatorForLanguageModeling(self.tokenizer, mlm_probability=MASKED_SHARE, seed=seed)(rows)


class LanguageModeling(Task):
    """What is the next token of a running text? Rows of `splits` are blocks of equal length as `input_ids`.

    Attributes:
        masked: predict masked tokens from both sides; otherwise each token from those before it.
        tokens: of the training texts, where the user's own are not at hand: published words times a guess of ours of
            the tokens a word.
    """

    metrics = ("perplexity", "loss")
    higher_is_better = False
    head = "AutoModelForCausalLM"
    pads = False
    masked: ClassVar[bool] = False
    tokens: ClassVar[int | None] = None

    @classmethod
    def expected_examples(cls, max_length: int) -> int | None:
        """Return the number of blocks that the assumed number of tokens gives."""
        return None if cls.tokens is None else cls.tokens // max_length

    @property
    def end(self) -> str:
        """What follows each text that does not end with it."""
        return "\n"

    def encode(self, tables: Mapping[str, "Dataset"]) -> dict[str, "Dataset"]:
        """Cut the texts into blocks.

        Raises:
            RecipeError: if a split gives no whole block.
        """
        length = self.settings.max_length
        splits = {
            split: blocks(table, self.tokenizer, length, end=self.end, wrap=self.masked)
            for split, table in tables.items()
        }
        for split, data in splits.items():
            if not len(data):
                raise RecipeError(f"max_length={length}: the split {split} gives no whole block; lower it, or add text")
        return splits

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """Stacks blocks; if masked, picks 15% of the tokens as labels, by torch's seed and the batch."""
        import torch

        return MaskTokens(self.tokenizer, torch.initial_seed()) if self.masked else stack

    def load_model(self, source: str) -> "PreTrainedModel":
        """Load the pretrained model with its language modelling head, in float32.

        Raises:
            RecipeError: if a token is to be predicted by a model that has seen it, or the model is encoder and decoder.
        """
        from transformers import AutoConfig

        if AutoConfig.from_pretrained(source, trust_remote_code=False).is_encoder_decoder:
            raise RecipeError(
                f"model={source!r} is an encoder and a decoder, and language modelling here needs one alone: BERT for "
                "task='mlm', GPT-2 for task='clm'; task='xsum' and task='cnn-dailymail' are for both"
            )
        model = super().load_model(source)
        if not self.masked and looks_ahead(model):
            raise RecipeError(
                f"model={source!r} reads the tokens that a causal task has it predict, as BERT does; take task='mlm' "
                "for it, or a model that reads from left to right, such as GPT-2"
            )
        return model

    def evaluate(self, model: "PreTrainedModel", split: str, *, bf16: bool = False) -> dict[str, float]:
        """Return perplexity and mean token loss of a split with standard errors (see `perplexity`), and n, the blocks.

        Blocks come in their order, masks from a seed of their own.
        """
        from mgpp.lab.tasks.evaluation import evaluating, in_turns

        batches = enumerate(self._batches(self.splits[split]))
        with evaluating(model, bf16=bf16):
            results = list(in_turns(batches, lambda _, batch: self._block_losses(model, batch)))
        sums, counts = zip(*(block for _, found in results for block in found), strict=True)
        return perplexity(sums, counts)

    def _block_losses(self, model: "PreTrainedModel", batch: Mapping[str, Any]) -> list[tuple[float, int]]:
        """Return the sum of losses and the number of predicted tokens of each block."""
        from torch.nn.functional import cross_entropy

        inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
        labels = inputs.pop("labels")
        logits = model(**inputs).logits
        if not self.masked:
            logits, labels = logits[:, :-1], labels[:, 1:]
        flat = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")  # ignores -100
        sums, counts = flat.double().view(labels.shape).sum(1), (labels != -100).sum(1)
        return list(zip(sums.tolist(), counts.tolist(), strict=True))

    def _batches(self, data: "Dataset") -> Iterator[Any]:
        collate = MaskTokens(self.tokenizer, EVALUATION_SEED) if self.masked else self.collate
        size = max(1, EVALUATION_TOKENS // len(data[0]["input_ids"]))
        for start in range(0, len(data), size):
            yield collate([data[i] for i in range(start, min(start + size, len(data)))])


@register("clm")
class Clm(LanguageModeling):
    """Causal language modelling on WikiText-103 (Merity et al. 2017), raw, or on texts of one's own.

    A row is a line of an article and stays one: articles are not separated otherwise. Perplexity counts the model's own
    tokens, published ones for WikiText-103 often words.
    """

    hub_name, hub_config = "Salesforce/wikitext", "wikitext-103-raw-v1"
    tokens = 118_000_000  # 103 million words (Merity et al. 2017, table 1) at 1.15


@register("mlm")
class Mlm(LanguageModeling):
    """Masked language modelling on English Wikipedia of November 2023, or on texts of one's own.

    The paper prunes BERT upstream on BookCorpus and an older Wikipedia (Zhang, Sun & Liang 2024). BookCorpus is missing
    here: the hub has it as a loading script, which the datasets library no longer runs. For both, give a folder of
    local files. Wikipedia comes without splits: of its articles, in their order, the last 0.5% are for testing and the
    0.5% before them for validation.
    """

    hub_name, hub_config = "wikimedia/wikipedia", "20231101.en"
    head = "AutoModelForMaskedLM"
    masked = True
    tokens = 4_290_000_000  # 3,300 million words of both (Devlin et al. 2019, section 3.1) at 1.3

    def check_settings(self) -> None:
        """Raise RecipeError unless the tokenizer has a mask token."""
        super().check_settings()
        if self.tokenizer.mask_token is None:
            raise RecipeError("task='mlm' needs a model with a mask token, such as BERT; use task='clm' for this one")

    def read(self) -> tuple[dict[str, Any], str]:
        """Read local files, or Wikipedia, cut into splits."""
        if self.settings.data is not None:
            return super().read()
        from mgpp.lab.tasks.sources import read_splits

        tables, sha256 = read_splits(self.hub_name, self.hub_config, texts=self.texts, required=["train"], optional=[])
        return hold_out(tables["train"]), sha256


def looks_ahead(model: "PreTrainedModel") -> bool:
    """Return whether what a model says at a token changes with the tokens after it.

    transformers loads BERT as a causal model, too, and leaves it reading from both sides unless its configuration says
    otherwise; its perplexity would mean nothing.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> looks_ahead(GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=4, n_layer=1, n_head=1)))
        False
    """
    import torch

    training = model.training
    model.eval()
    with torch.no_grad():
        one, other = (model(input_ids=torch.tensor([[1, 2, 1, last]])).logits[:, :-1] for last in (1, 2))
    model.train(training)
    return not torch.allclose(one, other, atol=1e-4)


def hold_out(texts: "Dataset") -> dict[str, "Dataset"]:
    """Cut the end of a corpus off for validation and testing, half a percent each, at least one text.

    Example:
        >>> from datasets import Dataset
        >>> parts = hold_out(Dataset.from_dict({"text": [str(i) for i in range(1000)]}))
        >>> {split: (len(part), part["text"][0]) for split, part in parts.items()}
        {'train': (990, '0'), 'validation': (5, '990'), 'test': (5, '995')}
    """
    size, n = max(1, round(HELD_OUT * len(texts))), len(texts)
    cuts = {"train": (0, n - 2 * size), "validation": (n - 2 * size, n - size), "test": (n - size, n)}
    return {split: texts.select(range(*cut)) for split, cut in cuts.items()}


def stack(blocks: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, "torch.Tensor"]:
    """Stack blocks of equal length to a batch of input_ids and labels, which the model shifts by itself.

    Example:
        >>> stack([{"input_ids": [5, 6]}, {"input_ids": [7, 8]}])["labels"].tolist()
        [[5, 6], [7, 8]]
    """
    import torch

    tokens = torch.tensor([block["input_ids"] for block in blocks])
    return {"input_ids": tokens, "labels": tokens.clone()}


def perplexity(sums: Sequence[float], counts: Sequence[int]) -> dict[str, float]:
    """Return mean loss and perplexity of all tokens from the sum of losses and the count of tokens of each block.

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


def blocks(texts: "Dataset", tokenizer: Any, length: int, *, end: str = "\n", wrap: bool = False) -> "Dataset":
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
