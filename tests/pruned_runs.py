"""Finished runs without a training: a model whose smallest weights are 0, in the folder that a training would leave."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from mgpp.lab.recipes.recipe import load_recipe
from mgpp.lab.training.provenance import provenance
from mgpp.pruning.targets import prunable_weights, target_table
from mgpp.runs import RunWriter


@torch.no_grad()
def prune_(weights, sparsity: float) -> int:
    """Set the smallest magnitudes of all weights together to 0; how many that are."""
    flat = torch.cat([weight.detach().flatten() for weight in weights.values()])
    count = round(sparsity * len(flat))
    flat[flat.abs().argsort(stable=True)[:count]] = 0.0
    start = 0
    for weight in weights.values():
        weight.copy_(flat[start : start + weight.numel()].view(weight.shape))
        start += weight.numel()
    return count


def pruned_run(folder: Path, model: PreTrainedModel, *, sparsity: float = 0.9, tokenizer=None, recipe=None, **info):
    """Write a finished run of a model that is pruned in place; its folder."""
    weights = prunable_weights(model)
    zeros, total = prune_(weights, sparsity), sum(weight.numel() for weight in weights.values())
    table = target_table(weights)
    table["shape"] = table["shape"].map(list)
    facts = {
        "recipe": (recipe or load_recipe("reviews", **{"sparsity.final": sparsity})).as_dict(),
        "seed": 0,
        **provenance(),
        "sha256": {"model": None, "data": "0" * 64},
        "metric": {"name": "accuracy", "higher_is_better": True},
        "examples": {"train": 90, "test": 10},
        "targets": {"count": total, "table": table.drop(columns="share").to_dict("records")},
        **info,
    }
    final = {"accuracy": 0.75, "accuracy_se": 0.01, "loss": 0.5, "n": 10, "zeros": zeros, "sparsity": zeros / total}
    with RunWriter(folder, facts) as writer:
        model.save_pretrained(Path(folder) / "checkpoints" / "final")
        if tokenizer is not None:
            tokenizer.save_pretrained(Path(folder) / "checkpoints" / "final")
        writer.update(final=final)
    return Path(folder)
