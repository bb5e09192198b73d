"""Compute the memory and the traffic of a training on many GPUs from the models' shapes; nothing here is measured.

python -m tools.scale docs/clusters.md     writes the tables between their markers
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
)

from mgpp.lab.dry_run import FLOAT, state_bytes
from mgpp.pruning.targets import prunable_weights
from mgpp.pruning.threshold import LARGEST_SAMPLE, MOST_CANDIDATES, SMALLEST_SAMPLE

HALF = 2  # bytes of a number in bfloat16
GPUS = (1, 4, 8, 16)
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
    """The numbers of a model that memory and traffic depend on.

    Attributes:
        parameters: all of them.
        inner: parameters outside embeddings and language modelling head.
        layers: number of blocks.
        targets: prunable weights.
    """

    parameters: int
    inner: int
    layers: int
    targets: int

    @classmethod
    def of(cls, name: str) -> "Size":
        """Return the size of one of `MODELS`, which is built without weights.

        Example:
            >>> Size.of("BERT-base").targets
            84934656
        """
        config, head = MODELS[name]
        with torch.device("meta"):
            model = head.from_config(config())
        tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
        tables += [model.get_output_embeddings()] if model.get_output_embeddings() else []
        skipped = {id(weight) for table in tables for weight in table.parameters()}
        return cls(
            parameters=model.num_parameters(),
            inner=sum(weight.numel() for weight in model.parameters() if id(weight) not in skipped),
            layers=model.config.num_hidden_layers,
            targets=sum(weight.numel() for weight in prunable_weights(model).values()),
        )


def memory(size: Size, gpus: int, *, sharded: bool) -> dict[str, float]:
    """Return the bytes on each GPU by what they are for.

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
    state = {what: count / shares for what, count in state_bytes(size.parameters, size.targets, 0).items() if count}
    state["threshold"] = FLOAT * (sample_of(size) + MOST_CANDIDATES)
    half = HALF * size.inner
    if sharded and gpus > 1:
        return state | {"gathered": 2 * half / size.layers}
    buckets = {"buckets": FLOAT * size.parameters} if gpus > 1 else {}
    return state | {"bfloat16 copies": half} | buckets


def sample_of(size: Size) -> int:
    """Return how many magnitudes are looked at before the pass over all weights: one in 256, within bounds.

    Example:
        >>> sample_of(Size.of("BERT-base"))
        331776
    """
    return min(max(size.targets >> 8, SMALLEST_SAMPLE), LARGEST_SAMPLE)


def traffic(size: Size, gpus: int, *, sharded: bool) -> dict[str, float]:
    """Return the bytes that each GPU sends, for the gradients of a step and for the threshold of a prune event.

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
        return {"step": 2 * FLOAT * size.parameters * others, "event": 0.0}
    return {
        "step": 3 * HALF * size.parameters * others,
        "event": FLOAT * (sample_of(size) + MOST_CANDIDATES) * others,
    }


def markdown() -> str:
    """Return the tables of docs/clusters.md."""
    sizes = {name: Size.of(name) for name in MODELS}
    parts = [_states(sizes), _memory(sizes), _traffic(sizes)]
    return "\n\n".join(f"**{title}**\n\n{_table(rows)}" for title, rows in parts)


def _states(sizes: Mapping[str, Size]) -> tuple[str, list[dict[str, str]]]:
    rows = []
    for name, size in sizes.items():
        counts = {"parameters": _count(size.parameters), "prunable": _count(size.targets)}
        bytes_ = {what: _bytes(count) for what, count in memory(size, 1, sharded=False).items()}
        rows.append({"model": name, **counts, **bytes_})
    return "One GPU, by what it is for (without activations; computed)", rows


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


def _table(rows: Iterable[Mapping[str, str]]) -> str:
    rows = list(rows)
    lines = [f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row.values())} |" for row in rows)])


def _count(number: int) -> str:
    return f"{number / 1e6:,.0f} million"


def _bytes(count: float) -> str:
    """Format bytes with a unit of a thousand.

    Example:
        >>> _bytes(0), _bytes(16_780_000), _bytes(3.2e9)
        ('0', '16.8 MB', '3.2 GB')
    """
    if count < 1:
        return "0"
    unit = min(int(math.log10(count)) // 3, 3)
    return f"{count / 1000**unit:.3g} {('B', 'kB', 'MB', 'GB')[unit]}"


def write(page: Path) -> None:
    """Put the tables between the markers of a page."""
    begin, end = f"<!-- {MARKER} -->", f"<!-- /{MARKER} -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{markdown()}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
