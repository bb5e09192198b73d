"""Train small models for tasks that no packaged model fits, once, and keep them.

`reviews-gpt2` is a GPT-2 (Radford et al. 2019) in small, trained from random weights on the film texts of the task
`reviews-lm`, for pruning to begin with. Its tokenizer and its weights have seen the training films only.
"""

import hashlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from mgpp.lab.models.packages import REVIEWS
from mgpp.lab.tasks import Task, TaskSettings, reviews_lm
from mgpp.lab.training.progress import ProgressBar
from mgpp.lab.training.provenance import provenance

FOLDER = Path("data/local/models")  # ignored by git
END = "<|endoftext|>"
COST = "about ten minutes of one core"


@dataclass(frozen=True)
class MadeGpt2:
    """Shape and training of a small GPT-2 for film texts.

    The defaults give 2,590,848 weights, of which the 1,769,472 of attention and feed-forward are prunable. Adam without
    weight decay; the learning rate rises over `warmup` steps and falls linearly to `final_factor` of its height. They
    were chosen to be quick (nine minutes of one core of an AMD EPYC): at their end the model is still learning, with a
    perplexity of 183 on the validation films and 180 on the test films.

    Attributes:
        vocabulary: tokens of the byte-level BPE tokenizer.
        length: longest text, in tokens.
        width: of the hidden states.
        layers: number of blocks.
        heads: attention heads a block.
        dropout: of hidden states and embeddings.
        epochs: over the training films' texts.
        batch_size: blocks of `length` tokens a step.
        learning_rate: at its height.
        final_factor: the last learning rate over the highest.
        warmup: steps in which the learning rate rises.
        beta2: Adam's memory of squared gradients, shorter than usual for a short training.
        seed: of weights, order and dropout.
    """

    vocabulary: int = 4096
    length: int = 128
    width: int = 192
    layers: int = 4
    heads: int = 6
    dropout: float = 0.1
    epochs: int = 3
    batch_size: int = 8
    learning_rate: float = 3e-3
    final_factor: float = 0.1
    warmup: int = 100
    beta2: float = 0.95
    seed: int = 0

    def config(self, vocabulary: int | None = None) -> GPT2Config:
        """Return the model's configuration, with a trained tokenizer's vocabulary if that is smaller.

        Example:
            >>> MadeGpt2().config().n_layer
            4
        """
        return GPT2Config(
            vocab_size=vocabulary or self.vocabulary,
            n_positions=self.length,
            n_embd=self.width,
            n_layer=self.layers,
            n_head=self.heads,
            resid_pdrop=self.dropout,
            embd_pdrop=self.dropout,
            attn_pdrop=0.0,  # the fast kernels of a CPU have no dropout inside attention
            activation_function="gelu_pytorch_tanh",  # GPT-2's own function in one kernel
            bos_token_id=0,
            eos_token_id=0,
        )

    @property
    def fingerprint(self) -> str:
        """Hash of the settings and the data, twelve digits."""
        text = json.dumps(asdict(self) | {"data": REVIEWS.sha256}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


MADE_MODELS: dict[str, MadeGpt2] = {"reviews-gpt2": MadeGpt2()}


def place_of(name: str, folder: str | Path = FOLDER) -> Path:
    """Return the folder where a made model is kept, whether it is there yet or not.

    Example:
        >>> place_of("reviews-gpt2").parent.as_posix()
        'data/local/models'
    """
    return Path(folder) / f"{name}-{MADE_MODELS[name].fingerprint}"


def locate(name: str, folder: str | Path = FOLDER, *, progress: bool = True) -> Path:
    """Return the folder of a made model, for `from_pretrained`; train it first if it is not there yet.

    The same settings give the same weights, bit for bit, on the same machine with the same number of threads. The
    folder appears whole or not at all. `made.json` in it says how it was made and how good it is.

    Args:
        name: a key of `MADE_MODELS`.
        folder: where made models are kept.
        progress: say what is done, with a bar.

    Raises:
        PackagedFileError: if the film texts are missing or damaged.

    Example:
        >>> locate("reviews-gpt2")  # doctest: +SKIP
    """
    place = place_of(name, folder)
    if not place.is_dir():
        if progress:
            print(f"{name} is trained on the film texts first, once, {COST}, and kept in {place}", file=sys.stderr)
        _make_whole(MADE_MODELS[name], place, progress)
    return place


def _make_whole(settings: MadeGpt2, place: Path, progress: bool) -> None:
    """Make the model beside its place and rename it, so that an interruption leaves no half of it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=place.parent) as parent:
        made = Path(parent) / place.name
        make(settings, made, progress=progress)
        if not place.is_dir():  # another process may have been faster
            made.rename(place)


def make(settings: MadeGpt2, folder: Path, *, progress: bool = True) -> None:
    """Train tokenizer and model on the film texts and write both, with made.json, into a folder."""
    begin = time.perf_counter()
    table = reviews_lm.read()
    tokenizer = train_tokenizer(table["text"][table["split"] == "train"], settings.vocabulary, settings.length)
    task = reviews_lm.ReviewsLm(tokenizer, TaskSettings(max_length=settings.length))
    set_seed(settings.seed)
    model = GPT2LMHeadModel(settings.config(len(tokenizer)))
    _fit(settings, model, task, progress)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    seconds = round(time.perf_counter() - begin)
    found = {split: task.evaluate(model, split) for split in ("validation", "test")}
    facts = {"settings": asdict(settings), "data": REVIEWS.sha256, **found, "seconds": seconds, **provenance()}
    (folder / "made.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def train_tokenizer(texts: Iterable[str], vocabulary: int, length: int) -> GPT2Tokenizer:
    """Train a byte-level BPE tokenizer in GPT-2's form, whose only special token ends a text.

    The same texts always give the same tokenizer.

    Args:
        texts: to learn pairs from.
        vocabulary: number of tokens; fewer where the texts are short.
        length: longest text of the model, in tokens.

    Example:
        >>> tokenizer = train_tokenizer(["what a film, what a film"], 300, 128)
        >>> tokenizer.decode(tokenizer("what a film")["input_ids"]), tokenizer.eos_token_id
        ('what a film', 0)
    """
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_first = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=bytes_first, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    learned = json.loads(learner.to_str())["model"]
    merges: Any = [tuple(pair) for pair in learned["merges"]]
    return GPT2Tokenizer(vocab=learned["vocab"], merges=merges, model_max_length=length)


def _fit(settings: MadeGpt2, model: GPT2LMHeadModel, task: Task, progress: bool) -> None:
    steps = settings.epochs * math.ceil(len(task.splits["train"]) / settings.batch_size)
    quiet: dict[str, Any] = {"logging_strategy": "no", "save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    with ProgressBar(steps, "making", progress) as bar, tempfile.TemporaryDirectory() as unused:
        arguments = TrainingArguments(
            unused,
            max_steps=steps,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="polynomial",
            lr_scheduler_kwargs={"power": 1.0, "lr_end": settings.learning_rate * settings.final_factor},
            warmup_steps=settings.warmup,
            weight_decay=0.0,
            adam_beta2=settings.beta2,
            seed=settings.seed,
            use_cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()),
            **quiet,
        )
        data: dict[str, Any] = {"train_dataset": task.splits["train"], "data_collator": task.collate}
        trainer = Trainer(model, arguments, **data, callbacks=[bar])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
