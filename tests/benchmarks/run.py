"""Run the benchmarks: python tests/benchmarks/run.py, or make bench. Prints the tables and writes one JSON file."""

import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import click
import kernels
import torch
import training

from mgpp.lab.training.provenance import provenance
from tools.tables import benchmark_markdown


@click.command()
@click.option("--sizes", default="MiniLM,BERT-base,a billion", show_default=True, help="Which sizes, with commas.")
@click.option("--rounds", default=7, show_default=True, help="Times that every kernel takes its turn.")
@click.option("--steps", default=200, show_default=True, help="Training steps; 0 leaves the training out.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The JSON file.")
def main(sizes: str, rounds: int, steps: int, out: Path) -> None:
    """Measure the prior, the threshold, the prune event and the log beside the textbook and the memory's speed."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result = {"provenance": provenance(), "rounds": rounds, "kernels": []}
    for size in sizes.split(","):
        click.echo(f"{size} on {result['provenance']['device']['name']}", err=True)
        result["kernels"] += kernels.measure(size, device, rounds if size != "a billion" else min(rounds, 3))
    if steps:
        click.echo(f"{steps} steps of reviews, twice, then half as many in other ways", err=True)
        result["training"] = {"steps": steps, "shares": training.shares(steps)}
        result["training"]["careless"] = training.steps_with_less_care(max(12, steps // 2))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    click.echo(benchmark_markdown(result))


if __name__ == "__main__":
    main()
