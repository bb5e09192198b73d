"""Prune and train in several processes, and compare with one: masks, losses, what is sent, what is allocated.

    python tests/reliability/distributed.py [--out data/reliability/distributed.json]

A prune event of 10 million weights in DTensor shards (FSDP2) or copies (DDP), and a short training of a small BERT
without dropout, by 1, 2 and 4 processes on one machine, with gloo.
"""

import json
import sys
import tempfile
import tracemalloc
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1]))

import test_distributed as trainings
from findings import parser_of, write
from test_shards import Largest, plain, share_out, whole
from together import together
from torch.distributed.device_mesh import init_device_mesh

from mgpp import CubicSparsity, Pruner
from mgpp.lab.training.train import train
from mgpp.pruning.sharded.peers import Peers
from mgpp.runs import load_run

WORLDS, ROWS, COLUMNS = (1, 2, 4), 2_503, 1_000


def prune(weights, copies=None):
    """Two prune events of a Pruner on these weights."""
    pruner = Pruner(weights, sparsity=CubicSparsity(0.5, 0.9, 0, 1), n_train=1)
    if copies is not None:
        pruner.bind(weights, copies=copies)
    pruner.after_step(0)
    return pruner


def draw():
    """10 million weights in four matrices whose rows no number of processes divides."""
    generator = torch.Generator().manual_seed(0)
    return {f"w{i}": torch.randn(ROWS, COLUMNS, generator=generator).round(decimals=3) for i in range(4)}


class Sent:
    """Counts the bytes that a process hands to collectives."""

    def __enter__(self):
        self.bytes, self.real = 0, {name: getattr(dist, name) for name in ("all_gather", "all_reduce")}

        def counted(name):
            def call(first, *rest, **more):
                tensor = rest[0] if name == "all_gather" else first
                self.bytes += tensor.nbytes
                return self.real[name](first, *rest, **more)

            return call

        for name in self.real:
            setattr(dist, name, counted(name))
        return self

    def __exit__(self, *error):
        for name, function in self.real.items():
            setattr(dist, name, function)


def _measure(index, kind, path):
    weights = draw()
    if kind == "fsdp":
        shared, copies = share_out(weights, init_device_mesh("cpu", (dist.get_world_size(),))), None
    else:
        shared, copies = plain(weights), Peers.everyone()
    pruner = prune(shared, copies)
    tracemalloc.start()
    with Sent() as sent, Largest() as largest:
        pruner.after_step(1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pruned = whole(pruner)
    if index == 0:
        alone = prune(plain(weights))
        alone.after_step(1)
        same = all(torch.equal(pruned[name], weight) for name, weight in whole(alone).items())
        row = {
            "weights pruned": sum(weight.numel() for weight in weights.values()),
            "weights held by a process": sum(part.numel() for part in pruner.shards.values()),
            "same weights as one process, bit for bit": same,
            "bytes sent by a process in an event": sent.bytes,
            "most elements in a new tensor": largest.elements,
            "most bytes in numpy": peak,
        }
        Path(path).write_text(json.dumps(row), encoding="utf-8")


def _train(index, folder, target, kind):
    recipe = trainings.recipe_of(folder)
    train(recipe if kind == "ddp" else trainings.sharded(recipe), target, progress=False)


def prepare(folder):
    """Data, a small model, and the training of one process."""
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    trainings.small_bert(folder / "bert", **quiet)
    trainings.make_data(folder)
    return train(trainings.recipe_of(folder), folder / "one", progress=False)


def row_of(kind, world, folder, one):
    """One number of processes and one way to share out the weights."""
    note, target = folder / "row.json", folder / f"{kind}-{world}"
    together(world, _measure, kind, str(note))
    row = {"processes": world, "weights": {"ddp": "copies (DDP)", "fsdp": "shards (FSDP2)"}[kind]}
    row |= json.loads(note.read_text(encoding="utf-8"))
    if world > 1:
        together(world, _train, folder, target, kind)
        run = load_run(target)
        ours, theirs = trainings.weights_of(run.folder), trainings.weights_of(one.folder)
        row["same zeros after a training"] = all(torch.equal(ours[n] == 0, theirs[n] == 0) for n in theirs)
        row["largest difference of losses"] = float((run.metrics["loss"] - one.metrics["loss"]).abs().max())
    return row


def main():
    """Measure, and write the table."""
    options = parser_of(__file__, __doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = prepare(folder)
        rows = [row_of(kind, world, folder, one) for kind in ("ddp", "fsdp") for world in WORLDS]
    text = "Several processes prune and train like one, over copies (DDP) and shards (FSDP2) of the weights."
    write(options.out, text, rows)


if __name__ == "__main__":
    main()
