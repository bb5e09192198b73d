"""What a training will need on many GPUs, computed on paper from shapes alone; nothing here is measured.

python -m tools.scale docs/clusters.md     writes the tables between their markers
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
)

from mgpp.lab.cost import FLOAT, Shape, activation_bytes, shape_of, state_bytes, training_flops
from mgpp.pruning.targets import prunable_weights
from mgpp.pruning.threshold import LARGEST_SAMPLE, MOST_CANDIDATES, SMALLEST_SAMPLE

HALF = 2  # bytes of a number in bfloat16
GPUS = (1, 4, 8, 16)
BATCH, LENGTH = 8, 512  # sequences on each GPU at once, and tokens of each
PEAK, UTILISATION = 312e12, 0.4  # operations a second of an A100 in bfloat16 on paper, and the share that is assumed
MARKER = "scale"

# a name for people: the configuration's class with its published sizes, and the head
MODELS: dict[str, tuple[Callable[[], PretrainedConfig], Any]] = {
    "BERT-base": (BertConfig, AutoModelForSequenceClassification),
    "GPT-2 medium": (lambda: GPT2Config(n_layer=24, n_embd=1024, n_head=16), AutoModelForCausalLM),
    "GPT-2 XL": (lambda: GPT2Config(n_layer=48, n_embd=1600, n_head=25), AutoModelForCausalLM),
    "Llama 7B": (LlamaConfig, AutoModelForCausalLM),
}


@dataclass(frozen=True)
class Size:
    """A model as far as memory and time depend on it: its shape, and how many of its weights are prunable."""

    shape: Shape
    targets: int

    @classmethod
    def of(cls, name: str) -> "Size":
        """The size of one of `MODELS`, without its weights.

        Example:
            >>> Size.of("BERT-base").targets
            84934656
        """
        config, head = MODELS[name]
        with torch.device("meta"):
            model = head.from_config(config())
        return cls(shape_of(model), sum(weight.numel() for weight in prunable_weights(model).values()))


def memory(size: Size, gpus: int, *, sharded: bool) -> dict[str, float]:
    """Bytes on each GPU by what they are for.

        weights 4P/S, gradients 4P/S, Adam 8P/S, mask T/8S, threshold 4 (sample + candidates);
        one GPU, and DDP: bfloat16 copies 2P;   DDP: buckets 4P;   FSDP2: gathered 2·2P/layers

    P are all parameters (of the layers only, for copies and what is gathered), T the prunable ones; S is `gpus` if the
    model is sharded (FSDP2), and 1 if each GPU has all of it (DDP). Weights, gradients and Adam are float32, the model
    computes in bfloat16, of which autocast keeps copies till the backward pass. DDP adds up gradients in buckets beside
    them; FSDP2 gathers a layer in bfloat16, and the next one while it computes. A threshold needs a sample of one in
    256 of the weights, at most a million, and room for four million candidates, whatever the model's size.

    Example:
        >>> one, eight = (memory(Size.of("BERT-base"), gpus, sharded=True) for gpus in (1, 8))
        >>> one["Adam"] / eight["Adam"], eight["threshold"] == one["threshold"]
        (8.0, True)
    """
    shares = gpus if sharded else 1
    state = {what: count / shares for what, count in state_bytes(size.shape, size.targets, 0).items() if count}
    state["threshold"] = FLOAT * (sample_of(size) + MOST_CANDIDATES)
    half = HALF * size.shape.encoder
    if sharded and gpus > 1:
        return state | {"gathered": 2 * half / size.shape.layers}
    buckets = {"buckets": FLOAT * size.shape.parameters} if gpus > 1 else {}
    return state | {"bfloat16 copies": half} | buckets


def sample_of(size: Size) -> int:
    """Magnitudes that are looked at before the pass over all weights: one in 256, within bounds.

    Example:
        >>> sample_of(Size.of("BERT-base"))
        331776
    """
    return min(max(size.targets >> 8, SMALLEST_SAMPLE), LARGEST_SAMPLE)


def traffic(size: Size, gpus: int, *, sharded: bool) -> dict[str, float]:
    """Bytes that each GPU sends, for the gradients of a step and for the threshold of a prune event.

        DDP:    8P (N-1)/N a step, a ring that adds and then hands out float32;    nothing an event
        FSDP2:  6P (N-1)/N a step, in bfloat16 the weights twice and the gradients once;
                4 (sample + candidates) (N-1)/N a pass of an event, at most

    N are the GPUs. Under DDP every process has all weights and finds the same threshold by itself.

    Example:
        >>> bert = Size.of("BERT-base")
        >>> traffic(bert, 1, sharded=False), traffic(bert, 4, sharded=False)["event"]
        ({'step': 0.0, 'event': 0.0}, 0.0)
    """
    others = (gpus - 1) / gpus
    if not sharded:
        return {"step": 2 * FLOAT * size.shape.parameters * others, "event": 0.0}
    return {
        "step": 3 * HALF * size.shape.parameters * others,
        "event": FLOAT * (sample_of(size) + MOST_CANDIDATES) * others,
    }


def hours(size: Size, tokens: float, gpus: int) -> float:
    """Time to train on so many tokens, from operations: see `mgpp.lab.cost.training_flops`; no waiting counted.

        operations / (gpus · PEAK · UTILISATION)

    Example:
        >>> bert = Size.of("BERT-base")
        >>> hours(bert, 1e9, 1) / hours(bert, 1e9, 8)
        8.0
    """
    return training_flops(size.shape, LENGTH) * tokens / LENGTH / (gpus * PEAK * UTILISATION) / 3600


def markdown() -> str:
    """The tables of docs/clusters.md."""
    sizes = {name: Size.of(name) for name in MODELS}
    parts = [_states(sizes), _memory(sizes), _traffic(sizes), _hours(sizes)]
    return "\n\n".join(f"**{title}**\n\n{_table(rows)}" for title, rows in parts)


def _states(sizes: Mapping[str, Size]) -> tuple[str, list[dict[str, str]]]:
    rows = []
    for name, size in sizes.items():
        parts = memory(size, 1, sharded=False)
        activations = activation_bytes(size.shape, BATCH, LENGTH, half=True)
        counts = {"parameters": _count(size.shape.parameters), "prunable": _count(size.targets)}
        bytes_ = {what: _bytes(count) for what, count in (parts | {"activations": activations}).items()}
        rows.append({"model": name, **counts, **bytes_})
    return f"One GPU, by what it is for (activations: {BATCH} sequences of {LENGTH} tokens; computed)", rows


def _memory(sizes: Mapping[str, Size]) -> tuple[str, list[dict[str, str]]]:
    rows = []
    for name, size in sizes.items():
        for sharded in (False, True):
            row = {"model": name, "": "FSDP2" if sharded else "DDP"}
            for gpus in GPUS:
                row[f"{gpus} GPU{'s' if gpus > 1 else ''}"] = _bytes(sum(memory(size, gpus, sharded=sharded).values()))
            rows.append(row)
    return "Memory of each GPU without activations (computed)", rows


def _traffic(sizes: Mapping[str, Size]) -> tuple[str, list[dict[str, str]]]:
    rows = []
    for name, size in sizes.items():
        row = {"model": name}
        for gpus in GPUS[1:]:
            ddp, fsdp = (traffic(size, gpus, sharded=sharded) for sharded in (False, True))
            row[f"a step, DDP, {gpus} GPUs"] = _bytes(ddp["step"])
            row[f"FSDP2, {gpus}"] = _bytes(fsdp["step"])
        row[f"a threshold, FSDP2, {GPUS[-1]}, at most a pass"] = _bytes(fsdp["event"])
        rows.append(row)
    return "What each GPU sends (computed)", rows


def _hours(sizes: Mapping[str, Size]) -> tuple[str, list[dict[str, str]]]:
    rows = [
        {"model": name} | {f"{gpus} GPU{'s' if gpus > 1 else ''}": f"{hours(size, 1e9, gpus):.3g}" for gpus in GPUS}
        for name, size in sizes.items()
    ]
    rate = f"{PEAK / 1e12:g} trillion operations a second, of which {UTILISATION:.0%} are assumed to be used"
    return f"Hours for a billion tokens ({rate}; waiting for the network not counted; computed)", rows


def _table(rows: Iterable[Mapping[str, str]]) -> str:
    rows = list(rows)
    lines = [f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row.values())} |" for row in rows)])


def _count(number: int) -> str:
    return f"{number / 1e6:,.0f} million"


def _bytes(count: float) -> str:
    """Bytes with a unit of a thousand.

    Example:
        >>> _bytes(0), _bytes(16_780_000), _bytes(3.2e9)
        ('0', '16.8 MB', '3.2 GB')
    """
    if count < 1:
        return "0"
    unit = min(int(math.log10(count)) // 3, 3)
    return f"{count / 1000**unit:.3g} {('B', 'kB', 'MB', 'GB')[unit]}"


def write(page: Path) -> None:
    """Put the tables between the markers of a page.

    Raises:
        ValueError: if the page lacks the markers.
    """
    begin, end = f"<!-- {MARKER} -->", f"<!-- /{MARKER} -->"
    text = page.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise ValueError(f"{page} lacks the markers {begin} and {end}")
    before, after = text.split(begin)[0], text.split(end)[1]
    page.write_text(f"{before}{begin}\n{markdown()}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
