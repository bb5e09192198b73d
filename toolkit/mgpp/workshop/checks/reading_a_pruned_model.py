"""Checkers of session 3, reading a pruned model. They hand small frames with traps to the students' functions."""

import numpy as np
import pandas as pd

from mgpp.workshop.checks.feedback import Answer, NotYet, call, expect, numbers, praise

EARLIER = "Work a small example out on paper, and compare hole by hole."
KEPT = "This is the share that is kept."
UNWEIGHTED = "An average over matrices: a small matrix counts as much as a large one. Weight by size."


def overall_sparsity(answer: Answer) -> None:
    """Check the sparsity of the targets, a function of a table with columns n, zeros, prunable."""
    columns = ["name", "n", "zeros", "prunable"]
    rows = [
        ("embeddings", 900, 7, False),
        ("query", 100, 60, True),
        ("query bias", 10, 1, False),
        ("output", 400, 380, True),
        ("output bias", 20, 0, False),
        ("classifier", 30, 2, False),
    ]
    table = pd.DataFrame(rows, columns=columns)
    targets = table[table["prunable"]]
    zeros, total = targets["zeros"].sum(), targets["n"].sum()
    right = zeros / total
    mistakes = [
        (
            table["zeros"].sum() / table["n"].sum(),
            "The wrong total: embeddings, biases and heads are no targets, and do not count.",
        ),
        (zeros / table["n"].sum(), "The zeros are the targets', but the total is everything."),
        (table["zeros"].sum() / total, "The total is the targets', but the zeros are everyone's."),
        ((targets["zeros"] / targets["n"]).mean(), UNWEIGHTED),
        ((table["zeros"] / table["n"]).mean(), f"{UNWEIGHTED} And not every row is a target."),
        (1 - right, KEPT),
        (zeros, "This is a number of zeros, not a share."),
        (100 * right, "This is percent; a sparsity is a share."),
    ]
    expect(answer, call(answer, table.copy()), right, mistakes, EARLIER)
    praise("Right. Whoever reports a sparsity must say: of what?")


def sparsity_by_layer(answer: Answer) -> None:
    """Check the sparsity of each layer, a function of a frame with columns layer, kind, n, sparsity."""
    layers = pd.DataFrame(
        {
            "layer": [0, 0, 0, 1, 1, 2],
            "kind": ["query", "key", "output", "query", "output", "output"],
            "n": [100, 100, 400, 100, 400, 400],
            "sparsity": [0.5, 0.7, 0.9, 0.6, 0.8, 0.95],
        }
    )
    groups = layers.assign(zeros=layers["n"] * layers["sparsity"]).groupby("layer")
    zeros, total = groups["zeros"].sum(), groups["n"].sum()
    mistakes = [
        (groups["sparsity"].mean(), UNWEIGHTED),
        (1 - zeros / total, KEPT),
        (zeros / total.sum(), "Each layer is divided by the size of the whole model; its own size is asked for."),
        (zeros / zeros.sum(), "This is how all zeros are shared out among the layers, not how sparse each layer is."),
        (zeros, "These are numbers of zeros, not shares."),
        (groups["sparsity"].sum(), "Sparsities of single matrices do not add up; numbers of zeros do."),
    ]
    expect(answer, call(answer, layers.copy()), zeros / total, mistakes, EARLIER)
    praise("Right. Now you can see what one global threshold did to each layer.")


def _bins() -> pd.DataFrame:
    rows = [
        (-1.0, -0.4, 5),
        (-0.4, -0.1, 40),
        (-0.1, -0.02, 90),
        (-0.02, 0.0, 21),
        (0.0, 0.0, 300),  # the exact zeros
        (0.0, 0.02, 24),
        (0.02, 0.1, 110),
        (0.1, 0.4, 50),
    ]
    return pd.DataFrame(rows, columns=["left", "right", "count"])


def spike_share(answer: Answer) -> None:
    """Check the share of the weights within ±tau, a function of bins (left, right, count) and tau."""
    bins, tau = _bins(), 0.1
    edges, is_zero = bins[["left", "right"]].abs(), bins["left"] == bins["right"]
    near, far = edges.min(axis=1), edges.max(axis=1)
    counts, total = bins["count"], bins["count"].sum()
    right = counts[far <= tau].sum() / total
    shares = [
        (bins["right"] <= tau, "Every negative weight counts as small here: compare magnitudes, at both edges."),
        (bins["left"] >= -tau, "Every positive weight counts as small here: compare magnitudes, at both edges."),
        (bins["left"] <= tau, "Every negative weight counts as small here: compare magnitudes, at both edges."),
        (bins["right"] <= 0, "You compare with zero: the spike reaches up to the threshold, on both sides."),
        (bins["left"] <= 0, "You compare with zero: the spike reaches up to the threshold, on both sides."),
        ((bins["left"] >= 0) & (far <= tau), "Only one side of the spike is counted."),
        (far > tau, "This is the share of the slab, outside of the threshold."),
        ((far <= tau) & ~is_zero, "The exact zeros are missing: they lie in the spike as well."),
        (is_zero, "Only the exact zeros are counted; the spike is wider than that."),
        (near <= tau, "A bin counts that only begins inside: its far edge must lie inside, too."),
        (far < tau, "A bin that ends exactly at the threshold lies inside."),
    ]
    mistakes = [(counts[inside].sum() / total, message) for inside, message in shares] + [
        ((far <= tau).mean(), "You count bins; it is the weights in them that count."),
        ((far <= tau).sum() / total, "You count bins; it is the weights in them that count."),
        (
            counts[(far <= tau) & ~is_zero].sum() / counts[~is_zero].sum(),
            "The exact zeros are missing from both numbers: they are weights as well.",
        ),
        (counts[far <= tau].sum(), "This is a number of weights, not a share."),
    ]
    expect(answer, call(answer, bins.copy(), tau), right, mistakes, EARLIER)
    praise("Right. This number says how much of a model the spike has got hold of.")


def remaining_density(answer: Answer) -> None:
    """Check the density of the nonzero weights, a value a bin, a function of bins (left, right, count)."""
    bins = _bins()
    rest = bins[bins["left"] != bins["right"]]
    width, count = rest["right"] - rest["left"], rest["count"]
    result = numbers(answer, call(answer, bins.copy()))
    if result.shape == (len(bins),):
        raise NotYet("The bin of the exact zeros is still there: it has no width, so no density. Leave it out first.")
    if result.ndim == 1 and len(result) < len(rest):
        raise NotYet("Too many bins are gone: those that only touch zero hold weights that remain.")
    mistakes = [
        (
            count / bins["count"].sum() / width,
            "The pruned zeros are in the total: the area under your density is less than one.",
        ),
        (count / count.sum(), "These are shares. Wide bins catch more weights: a density is per unit of θ."),
        (count / width, "These are counts per unit of θ; the area under a density is one."),
        (count, "These are counts, neither shares nor densities."),
        (count / count.sum() * width, "The wider a bin, the thinner its share is spread: multiply or divide?"),
    ]
    expect(answer, result, count / count.sum() / width, mistakes, EARLIER)
    praise("Right: an area of one, without the zeros. This is panel (a) of the paper's second figure.")


def mask_churn(answer: Answer) -> None:
    """Check the share of all weights whose fate differs, a function of two masks, before, after."""
    before = np.array([True, True, True, False, False, True, True, False, True, True, True])
    after = np.array([True, False, True, True, False, False, True, False, True, False, True])
    changed = before != after
    share = changed.mean()
    mistakes = [
        (1 - share, "This is the share that stayed the same."),
        ((before & ~after).mean(), "Only newly removed weights are counted; those that came back changed, too."),
        ((~before & after).mean(), "Only weights that came back are counted; those newly removed changed, too."),
        (
            abs(before.mean() - after.mean()),
            "Comings and goings cancel out here: compare weight by weight before you average.",
        ),
        (changed.sum() / before.sum(), "A share of the weights kept before; churn is a share of all weights."),
        (changed.sum() / (~before).sum(), "A share of the weights removed before; churn is a share of all weights."),
        (changed.sum(), "This is a number of weights, not a share."),
    ]
    expect(answer, call(answer, before.copy(), after.copy()), share, mistakes, EARLIER)
    praise("Right. When it falls to zero, the structure has settled.")


def paired_difference(answer: Answer) -> None:
    """Check mean and standard error of differences paired by seed, a function of two series, ours, theirs."""
    ours = pd.Series({0: 0.71, 1: 0.78, 2: 0.66, 3: 0.80})
    theirs = pd.Series({3: 0.77, 0: 0.70, 2: 0.66, 1: 0.76})
    n, difference = len(ours), ours - theirs
    mean, spread = difference.mean(), difference.std()
    by_row = pd.Series(ours.to_numpy() - theirs.to_numpy())
    unpaired = (ours.var() / n + theirs.var() / n) ** 0.5
    result = numbers(answer, call(answer, ours.copy(), theirs.copy()))
    if result.shape != (2,):
        raise NotYet("Two numbers are asked for: the mean difference and its standard error.")
    mistakes = [
        ((-mean, spread / n**0.5), "The difference has the wrong sign: ours minus theirs."),
        ((mean, unpaired), "This is the error of unpaired runs: seeds vary together, so subtract seed by seed first."),
        ((by_row.mean(), by_row.std() / n**0.5), "The pairs are matched by row, not by seed: let pandas align them."),
        ((mean, spread), "This is the spread of single differences; their mean is known better than that."),
        ((mean, spread / n), "Too small an error: it shrinks more slowly than the number of seeds grows."),
        (
            (mean, difference.std(ddof=0) / n**0.5),
            "This spread forgets that the mean was taken from the same few numbers: mind the degrees of freedom.",
        ),
        ((mean, difference.var() / n**0.5), "A variance where a standard deviation belongs."),
    ]
    expect(answer, result, (mean, spread / n**0.5), mistakes, EARLIER)
    praise("Right. A difference without its error is an anecdote.")
