"""The textbook formulations: each formula written down as it stands, operation by operation over whole tensors."""

import math

import numpy as np
import pandas as pd
import torch

from mgpp import MixtureGaussianPrior
from mgpp.architectures import kind_of, layer_of
from mgpp.pruning.events import PruneEvent
from mgpp.runs.histograms import BIN_EDGES, signed_bins


def add_grads_(prior: MixtureGaussianPrior, grads, weights, *, n):
    """∂/∂θ of -log π(θ)/n, as the docstring of the prior has it."""
    lam, spike_var, slab_var = prior.lam, prior.spike_var, prior.slab_var
    odds = math.log((1 - lam) / lam) + 0.5 * math.log(slab_var / spike_var)
    with torch.no_grad():
        for grad, w in zip(grads, weights, strict=True):
            p0 = torch.sigmoid(odds - 0.5 * w**2 * (1 / spike_var - 1 / slab_var))
            grad += w * (p0 / spike_var + (1 - p0) / slab_var) / n


def threshold(weights, k) -> float:
    """The k-th smallest of all magnitudes, gathered."""
    return torch.cat([w.detach().abs().flatten() for w in weights]).kthvalue(k).values.item()


def prune(weights, k, old):
    """Masks of bools, exactly k False, with what the log needs; ties broken in the order of the weights."""
    cut = threshold(weights, k)
    masks = [w.detach().abs() > cut for w in weights]
    missing = sum(int(mask.sum()) for mask in masks) - (sum(w.numel() for w in weights) - k)
    for w, mask in zip(weights, masks, strict=True):
        if missing < 0:  # more ties than may go: the last of them stay
            ties = ((w.detach().abs() == cut) & ~mask).flatten().nonzero().flatten()[missing:]
            mask.view(-1)[ties] = True
            missing += len(ties)
    regrown = sum(int((w.detach()[~mask] != 0).sum()) for w, mask in zip(weights, old, strict=False))
    changed = sum(int((mask != before).sum()) for mask, before in zip(masks, old, strict=False))
    apply_(weights, masks)
    return cut, masks, regrown, changed


@torch.no_grad()
def apply_(weights, masks):
    for w, mask in zip(weights, masks, strict=False):
        w.masked_fill_(~mask, 0.0)


def before_step(pruner, step):
    """In the place of `Pruner.before_step`."""
    if step <= pruner.sparsity.end_step:
        weights = list(pruner.weights.values())
        add_grads_(pruner.penalty.at(step), [w.grad for w in weights], weights, n=pruner.n_train)


def after_step(pruner, step):
    """In the place of `Pruner.after_step`."""
    weights, is_event = list(pruner.weights.values()), pruner.sparsity.prunes_at(step, pruner.interval)
    old = getattr(pruner, "bool_masks", [])
    if pruner.phase(step) == "frozen" and not is_event:
        apply_(weights, old)
    k = pruner.target_count(step)
    if is_event and k:
        cut, pruner.bool_masks, regrown, changed = prune(weights, k, old)
        removed = sum(int((~mask).sum()) for mask in old)
        pruner.events.last = PruneEvent(step, cut, regrown / removed if removed else 0.0, changed / pruner.total)


@torch.no_grad()
def layer_rows(weights, step, penalty):
    """The layers' frame, a statistic at a time."""
    return pd.DataFrame([layer_row(name, weight, step, penalty) for name, weight in weights.items()])


def layer_row(name, weight, step, penalty):
    """One row of the layers' frame, a statistic at a time."""
    size = weight.detach().abs()
    return {
        "step": step,
        "layer": layer_of(name),
        "kind": kind_of(name),
        "name": name,
        "n": size.numel(),
        "sparsity": float((size == 0).float().mean()),
        "abs_mean": float(size.mean()),
        "abs_std": float(size.std(correction=0)),
        "spike_fraction": float((size < penalty.threshold).float().mean()) if penalty.has_threshold else math.nan,
    }


def signed_counts(weight) -> np.ndarray:
    """The histogram of one weight: a search for every value among the edges."""
    values, bins = weight.detach().flatten(), len(signed_bins()[0])
    size = torch.bucketize(values.abs(), torch.tensor(BIN_EDGES, dtype=torch.float32, device=values.device), right=True)
    index = torch.where(values == 0, 0, torch.where(values < 0, -1, 1) * (size + 1)) + bins // 2
    return torch.bincount(index, minlength=bins).cpu().numpy()
