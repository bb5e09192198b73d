"""What the prior and the pruning cost beside the textbook's way and beside the memory's speed."""

import sys
from typing import Any

import textbook
import torch
from harness import free_gb, peak_extra_mb, race

from mgpp import MixtureGaussianPrior, magnitude_threshold, prunable_weights
from mgpp.lab.models.packages import MINILM
from mgpp.pruning.masks import apply_, prune_
from mgpp.pruning.observer import signed_counts
from mgpp.pruning.threshold import find_cut

N_TRAIN, SHARE = 10_000, 0.9
PRIOR = MixtureGaussianPrior(lam=1e-4, spike_var=1e-10, slab_var=0.05)


def bert_layers(layers: int, hidden: int) -> list[tuple[int, int]]:
    """Query, key, value and output of the attention, and the two matrices of the feed-forward part."""
    return [(hidden, hidden)] * 4 * layers + [(4 * hidden, hidden), (hidden, 4 * hidden)] * layers


SHAPES = {"tiny": bert_layers(1, 64), "BERT-base": bert_layers(12, 768), "a billion": bert_layers(20, 2048)}


def minilm() -> list[torch.Tensor]:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(MINILM.locate().parent)
    return [weight.detach() for weight in prunable_weights(model).values()]


def make_weights(size: str, device: str) -> list[torch.Tensor]:
    """MiniLM's own weights; Gaussian ones in the shapes of the others, whose checkpoints are not at hand."""
    if size == "MiniLM":
        return [weight.to(device) for weight in minilm()]
    generator = torch.Generator(device).manual_seed(0)
    return [torch.empty(shape, device=device).normal_(std=0.04, generator=generator) for shape in SHAPES[size]]


def row(size: str, what: str, times: dict[str, float], memory: dict[str, float | None], traffic: int) -> dict[str, Any]:
    """One line of the table; `traffic` is the number of bytes that must be moved at least."""
    return {
        "size": size,
        "what": what,
        "seconds": times,
        "extra_mb": memory,
        "gb_per_second": traffic / times["ours"] / 1e9,
    }


def measure(size: str, device: str, rounds: int) -> list[dict[str, Any]]:
    """All rows of one size."""
    weights = make_weights(size, device)
    grads = [torch.zeros_like(w) for w in weights]
    named = {str(i): w for i, w in enumerate(weights)}
    total = sum(w.numel() for w in weights)
    fits = 20 * total / 1e9 < free_gb()  # what the textbook's threshold takes: magnitudes twice, and int64 positions
    k = round(SHARE * total)
    rows = prior_rows(size, "prior's gradient, before pruning", weights, grads, rounds)
    del grads[:]

    cut = find_cut(named, k)
    near = 1.002 * cut.threshold  # as far off as a straight line through the last two thresholds usually is
    memory_limit = {"limit": lambda: sum(w.abs().sum() for w in weights)}
    slow = {"textbook": lambda: textbook.threshold(weights, k)} if fits else {}
    ours = {"ours": lambda: magnitude_threshold(named, k), "warm": lambda: magnitude_threshold(named, k, expected=near)}
    times = race({**ours, **memory_limit, **slow}, rounds)
    extra = {name: peak_extra_mb(function) for name, function in {**ours, **slow}.items()}
    for name, label in (("ours", "threshold"), ("warm", "threshold, expected within 0.2%")):
        chosen = {**times, "ours": times[name]}
        rows.append(row(size, label, chosen, {**extra, "ours": extra[name]}, 4 * total))
    rows += event_rows(size, weights, named, cut, k, slow, rounds)
    grads = [torch.zeros_like(w) for w in weights]
    return rows + prior_rows(size, "prior's gradient, between prune events", weights, grads, rounds)


def prior_rows(size, what, weights, grads, rounds):
    variants = {
        "ours": lambda: PRIOR.add_grads_(grads, weights, n=N_TRAIN),
        "compiled": lambda: PRIOR.add_grads_(grads, weights, n=N_TRAIN, compiled=True),
        "textbook": lambda: textbook.add_grads_(PRIOR, grads, weights, n=N_TRAIN),
        "limit": lambda: [grad.copy_(w) for grad, w in zip(grads, weights, strict=True)],
    }
    if not compiles(weights[0].device):
        del variants["compiled"]
    times = race(variants, rounds)
    memory = {name: peak_extra_mb(variants[name]) for name in variants if name != "limit"}
    traffic = 12 * sum(w.numel() for w in weights)
    return [
        row(size, what + label, {**times, "ours": times[name]}, {**memory, "ours": memory[name]}, traffic)
        for name, label in (("ours", ""), ("compiled", ", compiled"))
        if name in times
    ]


def compiles(device: torch.device) -> bool:
    """Whether torch.compile finds what it needs; without a C++ compiler the table goes without those rows."""
    few = torch.zeros(8, device=device)
    try:
        PRIOR.add_grads_([few.clone()], [few], n=1, compiled=True)
    except Exception as error:
        print("not compiled:", str(error).splitlines()[0], file=sys.stderr)
        return False
    return True


def event_rows(size, weights, named, cut, k, slow, rounds):
    """A whole prune event, the frozen mask, a histogram; the weights stay pruned, and slightly regrown, afterwards."""
    total = sum(w.numel() for w in weights)
    first = prune_(named, cut, k - cut.below, {}).masks
    bools = [w != 0 for w in weights] if slow else []
    more = k + total // 100  # the schedule goes on

    generator = torch.Generator(weights[0].device).manual_seed(1)
    for w in weights:  # training goes on between two events: 3e-5 to either side
        w += torch.empty_like(w).normal_(std=3e-5, generator=generator)
    start = [w.clone() for w in weights]
    near = 1.002 * magnitude_threshold(named, more)

    def reset():
        for w, before in zip(weights, start, strict=True):
            w.copy_(before)

    def event():
        found = find_cut(named, more, expected=near)
        prune_(named, found, more - found.below, first)

    def histogram(counts):
        return lambda: [counts(w) for w in weights]

    races = [
        ("prune event", event, lambda: textbook.prune(weights, more, bools), 12 * total),
        ("frozen mask", lambda: apply_(named, first), lambda: textbook.apply_(weights, bools), 8 * total),
        ("histogram", histogram(signed_counts), histogram(textbook.signed_counts), 4 * total),
    ]
    rows = []
    for what, ours, theirs, traffic in races:
        variants = {"ours": ours} | ({"textbook": theirs} if slow else {})
        reset()
        memory = {name: peak_extra_mb(function) for name, function in variants.items()}
        rows.append(row(size, what, race(variants, rounds, reset), memory, traffic))
    reset()
    return rows
