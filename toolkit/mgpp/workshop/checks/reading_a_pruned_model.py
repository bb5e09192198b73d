"""Check session 3, reading a pruned model. The students' functions get small frames with traps."""

import numpy as np
import pandas as pd

from mgpp.workshop.checks.feedback import Answer, NotYet, call, expect, numbers, praise

EARLIER = "Work a small example out on paper, and compare hole by hole."
UNWEIGHTED = "An average over matrices: a small matrix counts as much as a large one. Weight by size."
NO_SHARE = "This is a number of zeros or weights, not a share."


def overall_sparsity(answer: Answer) -> None:
    """Check the sparsity of the targets, a function of a table with columns n, zeros, prunable."""
    table = pd.DataFrame({"n": [900, 100, 10, 400, 20, 30], "zeros": [7, 60, 1, 380, 0, 2]})
    table["prunable"] = [False, True, False, True, False, False]  # embeddings, query, bias, output, bias, classifier
    targets = table[table["prunable"]]
    every_zero, everything = table["zeros"].sum(), table["n"].sum()
    zeros, total = targets["zeros"].sum(), targets["n"].sum()
    mistakes = [
        (every_zero / everything, "The wrong total: embeddings, biases and heads are not targets and do not count."),
        (zeros / everything, "The zeros are the targets', but the total is everything."),
        (every_zero / total, "The total is the targets', but the zeros are everyone's."),
        ((targets["zeros"] / targets["n"]).mean(), UNWEIGHTED),
        ((table["zeros"] / table["n"]).mean(), f"{UNWEIGHTED} And not every row is a target."),
        (zeros, NO_SHARE),
    ]
    expect(answer, call(answer, table.copy()), zeros / total, mistakes, EARLIER)
    praise("Right. Whoever reports a sparsity must say: of what?")


def sparsity_by_layer(answer: Answer) -> None:
    """Check the sparsity of each layer, a function of a frame with columns layer, n, sparsity."""
    layers = pd.DataFrame({"layer": [0, 0, 0, 1, 1, 2], "n": [100, 100, 400, 100, 400, 400]})
    layers["sparsity"] = [0.5, 0.7, 0.9, 0.6, 0.8, 0.95]
    groups = layers.assign(zeros=layers["n"] * layers["sparsity"]).groupby("layer")
    zeros, total = groups["zeros"].sum(), groups["n"].sum()
    mistakes = [
        (groups["sparsity"].mean(), UNWEIGHTED),
        (zeros / total.sum(), "Each layer is divided by the size of the whole model. Divide by its own."),
        (zeros / zeros.sum(), "This is how all zeros are shared out among the layers, not how sparse each layer is."),
        (zeros, NO_SHARE),
        (groups["sparsity"].sum(), "Sparsities of single matrices do not add up. Numbers of zeros do."),
    ]
    expect(answer, call(answer, layers.copy()), zeros / total, mistakes, EARLIER)
    praise("Right. Now you can see what one global threshold did to each layer.")


def _bins() -> pd.DataFrame:
    """Return a histogram with a bin of 300 exact zeros in its middle."""
    edges = [-1.0, -0.4, -0.1, -0.02, 0.0, 0.0, 0.02, 0.1, 0.4]
    return pd.DataFrame({"left": edges[:-1], "right": edges[1:], "count": [5, 40, 90, 21, 300, 24, 110, 50]})


def spike_share(answer: Answer) -> None:
    """Check the share of the weights within ±tau, a function of bins (left, right, count) and tau."""
    bins, tau = _bins(), 0.1
    left, right, counts, total = bins["left"], bins["right"], bins["count"], bins["count"].sum()
    edges, is_zero = bins[["left", "right"]].abs(), left == right
    near, far = edges.min(axis=1), edges.max(axis=1)
    inside = far <= tau
    one_side = "weight counts as small here: compare magnitudes, at both edges."
    compared = "You compare with zero. The spike reaches up to the threshold, on both sides."
    bins_counted = "You count bins. Count the weights in them."
    wrong_bins = [
        (right <= tau, f"Every negative {one_side}"),
        (left >= -tau, f"Every positive {one_side}"),
        (left <= tau, f"Every negative {one_side}"),
        (right <= 0, compared),
        (left <= 0, compared),
        ((left >= 0) & inside, "Only one side of the spike is counted."),
        (~inside, "This is the share of the slab, outside of the threshold."),
        (inside & ~is_zero, "The exact zeros are missing: they lie in the spike as well."),
        (is_zero, "Only the exact zeros are counted. The spike is wider than that."),
        (near <= tau, "A bin counts that only begins inside: its far edge must lie inside, too."),
        (far < tau, "A bin that ends exactly at the threshold lies inside."),
    ]
    mistakes = [(counts[wrong].sum() / total, hint) for wrong, hint in wrong_bins]
    mistakes += [
        (inside.mean(), bins_counted),
        (inside.sum() / total, bins_counted),
        (counts[inside & ~is_zero].sum() / counts[~is_zero].sum(), "The exact zeros are missing from both numbers."),
        (counts[inside].sum(), NO_SHARE),
    ]
    expect(answer, call(answer, bins.copy(), tau), counts[inside].sum() / total, mistakes, EARLIER)
    praise("Right. This number says how much of a model the spike has got hold of.")


def remaining_density(answer: Answer) -> None:
    """Check the density of the nonzero weights, a value a bin, a function of bins (left, right, count)."""
    bins = _bins()
    rest = bins[bins["left"] != bins["right"]]
    width, count, share = rest["right"] - rest["left"], rest["count"], rest["count"] / rest["count"].sum()
    result = numbers(answer, call(answer, bins.copy()))
    if result.shape == (len(bins),):
        raise NotYet("The bin of the exact zeros is still there. It has no width, so no density. Leave it out first.")
    if result.ndim == 1 and len(result) < len(rest):
        raise NotYet("Too many bins are gone: those that only touch zero hold weights that remain.")
    mistakes = [
        (count / bins["count"].sum() / width, "The pruned zeros are in the total: the area is less than one."),
        (share, "These are shares. Wide bins catch more weights: a density is per unit of θ."),
        (count / width, "These are counts per unit of θ. The area under a density is one."),
        (count, "These are counts, neither shares nor densities."),
        (share * width, "The wider a bin, the thinner its share is spread: multiply or divide?"),
    ]
    expect(answer, result, share / width, mistakes, EARLIER)
    praise("Right: an area of one, without the zeros. This is panel (a) of the paper's second figure.")


def mask_churn(answer: Answer) -> None:
    """Check the share of all weights whose fate differs, a function of two masks, before, after."""
    before = np.array([True, True, True, False, False, True, True, False, True, True, True])
    after = np.array([True, False, True, True, False, False, True, False, True, False, True])
    changed = before != after
    mistakes = [
        ((before & ~after).mean(), "Only newly removed weights are counted. Those that came back changed, too."),
        ((~before & after).mean(), "Only weights that came back are counted. Those newly removed changed, too."),
        (abs(before.mean() - after.mean()), "Comings and goings cancel out: compare weight by weight, then average."),
        (changed.sum() / before.sum(), "A share of the weights kept before. Churn is a share of all weights."),
        (changed.sum() / (~before).sum(), "A share of the weights removed before. Churn is a share of all weights."),
        (changed.sum(), NO_SHARE),
    ]
    expect(answer, call(answer, before.copy(), after.copy()), changed.mean(), mistakes, EARLIER)
    praise("Right. When it falls to zero, the structure has settled.")


def paired_difference(answer: Answer) -> None:
    """Check mean and standard error of differences paired by seed, a function of two series, ours, theirs."""
    ours = pd.Series({0: 0.71, 1: 0.78, 2: 0.66, 3: 0.80})
    theirs = pd.Series({3: 0.77, 0: 0.70, 2: 0.66, 1: 0.76})
    difference, by_row = ours - theirs, pd.Series(ours.to_numpy() - theirs.to_numpy())
    n, mean, error = len(ours), difference.mean(), difference.sem()
    result = numbers(answer, call(answer, ours.copy(), theirs.copy()))
    if result.shape != (2,):
        raise NotYet("Two numbers are asked for: the mean difference and its standard error.")
    unpaired = (ours.var() / n + theirs.var() / n) ** 0.5
    mistakes = [
        ((-mean, error), "The difference has the wrong sign: ours minus theirs."),
        ((mean, unpaired), "This is the error of unpaired runs. Seeds vary together: subtract seed by seed first."),
        ((by_row.mean(), by_row.sem()), "The pairs are matched by row, not by seed. Let pandas align them."),
        ((mean, difference.std()), "This is the spread of single differences. Their mean is known better than that."),
        ((mean, difference.std() / n), "Too small an error: it shrinks more slowly than the number of seeds grows."),
        ((mean, difference.sem(ddof=0)), "Mind the degrees of freedom: the mean was taken from the same few numbers."),
        ((mean, difference.var() / n**0.5), "A variance where a standard deviation belongs."),
    ]
    expect(answer, result, (mean, error), mistakes, EARLIER)
    praise("Right. A difference without its error is an anecdote.")


CHECKS = [overall_sparsity, sparsity_by_layer, spike_share, remaining_density, mask_churn, paired_difference]
