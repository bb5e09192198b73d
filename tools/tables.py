"""Result tables in Markdown, written by command so that no number in the documentation is typed by hand.

python -m tools.tables        rewrites the tables of README.md, data/README.md and docs/reliability.md between
                                      their markers
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mgpp.lab.comparison.report import between_markers
from mgpp.lab.comparison.table import results_markdown
from mgpp.lab.comparison.tuning import tuning_markdown
from mgpp.runs import load_runs
from tools.evidence import evidence_markdown


def benchmark_markdown(result: Mapping[str, Any]) -> str:
    """What the prior and the pruning cost beside the textbook and the memory's speed, from the benchmark's JSON."""
    device, versions = result["provenance"]["device"], result["provenance"]["versions"]
    lines = [
        f"{device['name']}, {device['threads']} threads, torch {versions['torch']}; medians of rounds in which all take"
        " turns. Extra memory: at the peak, beyond weights and gradients.",
        "",
        "| targets | what | ms | GB/s | × faster than the textbook | × the memory's own time | extra MB (textbook's) |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_kernel_row(row) for row in result["kernels"]]
    if "training" in result:
        lines += ["", *training_lines(result["training"])]
    return "\n".join(lines)


def _kernel_row(row: Mapping[str, Any]) -> str:
    ours, memory = row["seconds"]["ours"], row["extra_mb"]
    ratios = [f"{row['seconds']['textbook'] / ours:.1f}" if "textbook" in row["seconds"] else "–"]
    ratios.append(f"{ours / row['seconds']['limit']:.1f}" if "limit" in row["seconds"] else "")
    extra = [f"{memory[name]:,.0f}" if memory.get(name) is not None else "–" for name in ("ours", "textbook")]
    cells = [row["size"], row["what"], f"{1e3 * ours:,.1f}", f"{row['gb_per_second']:.1f}", *ratios]
    return f"| {' | '.join(cells)} | {extra[0]} ({extra[1]}) |"


def training_lines(training: Mapping[str, Any]) -> list[str]:
    """Lines of the tables on a training: the share of each part, and the milliseconds of a step."""
    lines = ["| share of a `reviews` training | prior | pruning | logging | together |", "|---|---|---|---|---|"]
    for name, spent in training["shares"].items():
        parts = [spent[part] / spent["training"] for part in ("prior", "pruning", "logging")]
        cells = [f"{share:.1%}" for share in [*parts, sum(parts)]]
        lines.append(f"| {name}, {training['steps']} steps of {1e3 * spent['training']:.0f} ms | {' | '.join(cells)} |")
    lines += ["", "| a training step | ms |", "|---|---|"]
    return lines + [f"| {name} | {1e3 * seconds:.0f} |" for name, seconds in training["careless"].items()]


def explorer_markdown(result: Mapping[str, Any]) -> str:
    """How fast the explorer answers to a slider, from the benchmark's JSON."""
    device = result["provenance"]["device"]["name"]
    lines = [
        f"| {device}, Chromium {result['chromium']} | moves | median, ms | 95%, ms | longest, ms |",
        "|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        numbers = [f"{row[key]:.1f}" for key in ("median_ms", "p95_ms", "max_ms")]
        lines.append(f"| {row['where']} | {row['moves']} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def _each(folder: Path, markdown: Callable[[Mapping[str, Any]], str], pattern: str = "*.json") -> str:
    files = sorted(folder.glob(pattern))
    return "\n\n".join(markdown(json.loads(file.read_text(encoding="utf-8"))) for file in files)


def _evidence(part: str) -> Callable[[Path], str]:
    return lambda root: _each(root / "data/reliability", evidence_markdown, f"{part}.json")


# what `make reliability` looks into, a script of tests/reliability and a table each
EVIDENCE = ("kills", "faults", "distributed", "sweep", "trust", "export")

# name of the markers: the file that holds them, and what renders the table, given the repository's root
TABLES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "results": (
        "README.md",
        lambda root: results_markdown(load_runs(root / "data/runs"), load_runs(root / "data/tuning")),
    ),
    "tasks": ("README.md", lambda root: results_markdown(load_runs(root / "data/tasks"))),
    "benchmarks": ("README.md", lambda root: _each(root / "data/benchmarks", benchmark_markdown)),
    "explorer": ("README.md", lambda root: _each(root / "data/benchmarks/explorer", explorer_markdown)),
    "tuning": ("data/README.md", lambda root: tuning_markdown(load_runs(root / "data/tuning"))),
    **{part: ("docs/reliability.md", _evidence(part)) for part in EVIDENCE},
}


def write_tables(root: Path) -> None:
    """Rewrite all tables below the repository's root."""
    for name, (file, render) in TABLES.items():
        path = root / file
        text = path.read_text(encoding="utf-8")
        path.write_text(between_markers(text, name, render(root)), encoding="utf-8")


if __name__ == "__main__":
    write_tables(Path.cwd())
