"""Result tables in Markdown, written by command so that no number in the documentation is typed by hand.

python -m tools.tables        rewrites the tables of README.md, docs/ and data/README.md between
                                      their markers
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mgpp.lab.comparison.frame import comparison_frame, comparison_summary, paired_to
from mgpp.lab.comparison.report import between_markers
from mgpp.lab.comparison.table import results_markdown
from mgpp.lab.comparison.tuning import tuning_markdown
from mgpp.methods import METHODS
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.runs import Run, load_runs
from studies.adam.experiments import SPIKE
from studies.adam.plots import falls, variant
from studies.adam.toy import Adam, sizes_before_events
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
    where = f"{result['provenance']['device']['name']}, Chromium {result['chromium']}"
    columns = (where, "moves", "median, ms", "95%, ms", "95% of all passes, ms", "longest, ms")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in result["rows"]:
        numbers = [f"{row[key]:.1f}" for key in ("median_ms", "p95_ms", "p95_all_ms", "max_ms")]
        lines.append(f"| {row['where']} | {row['moves']} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def summary_markdown(runs: Iterable[Run]) -> str:
    """Return the table of README.md: six methods at one sparsity, each against MGPP."""
    frame = comparison_frame(runs)
    chosen = frame[(frame["sparsity"] == SUMMARY_SPARSITY) | (frame["method"] == "dense")]
    means = {row["method"]: row for row in comparison_summary(chosen).to_dict("records")}
    ahead = {row["rival"]: _ahead(row) for row in paired_to(chosen).to_dict("records")}
    lines = ["| method | accuracy, % | seeds | MGPP minus this, points (95% interval) |", "|---|---|---|---|"]
    for method in SUMMARY_METHODS:
        if row := means.get(method):
            score = f"{100 * row['mean']:.1f} ± {100 * row['se']:.1f}"
            lines.append(f"| {METHODS[method].label} | {score} | {row['seeds']} | {ahead.get(method, '')} |")
    return "\n".join(
        [*lines, "", "± is the standard error over seeds; the interval is Student's, over pairs of one seed."]
    )


def spike_markdown() -> str:
    """Return the table of docs/prior_and_data.md: how far pruned weights get before the next event, in steps of lr."""
    lines = ["| prior | τ | β2 | 1st event | 2nd | 10th |", "|---|---|---|---|---|---|"]
    for spike_var in (None, 1e-10, 1e-9, 1e-8, 1e-7):
        prior = None if spike_var is None else MixtureGaussianPrior(0.1, spike_var, 0.05)
        name = "none" if prior is None else f"σ0² = {spike_var:.0e}".replace("e-0", "e-")
        for adam in (Adam(), Adam(beta2=0.98, epsilon=1e-6)):
            sizes = sizes_before_events(prior, adam, n=10_000, events=10)["rms"] / adam.learning_rate
            width = "" if prior is None else f"{prior.threshold / adam.learning_rate:.1f}"
            cells = [name, width, f"{adam.beta2:g}", *(f"{sizes[event]:.2g}" for event in (0, 1, 9))]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", "λ = 0.1, σ1² = 0.05; ε is 1e-8 with β2 = 0.999, and 1e-6 with 0.98 as in the authors' code."]
    )


def fall_markdown(runs: Iterable[Run]) -> str:
    """Return the table of docs/prior_and_data.md: how far the accuracy falls while pruning, by what was changed."""
    finished = [run for run in runs if run.status == "finished"]
    fall = falls(finished).groupby("variant", sort=False)[["mean", "lowest"]].agg({"mean": "mean", "lowest": "max"})
    lines = ["| run | seeds | fall, mean | fall, lowest | test accuracy, % |", "|---|---|---|---|---|"]
    for name in (name for name in SPIKE if name in fall.index):
        tests = [100 * run.final["accuracy"] for run in finished if variant(run) == name]
        numbers = [*(100 * fall.loc[name]), sum(tests) / len(tests)]
        lines.append(f"| `{name}` | {len(tests)} | {' | '.join(f'{number:.1f}' for number in numbers)} |")
    explained = "Points of validation accuracy (256 texts, ± 3) below that at the first prune event, while pruning."
    return "\n".join([*lines, "", explained])


def _ahead(pair: Mapping[Any, Any]) -> str:
    mean, low, high = (f"{100 * pair[key]:+.1f}" for key in ("mean", "t_low", "t_high"))
    return f"{mean} ({low} to {high})"


def _each(folder: Path, markdown: Callable[[Mapping[str, Any]], str], pattern: str = "*.json") -> str:
    files = sorted(folder.glob(pattern))
    return "\n\n".join(markdown(json.loads(file.read_text(encoding="utf-8"))) for file in files)


def _evidence(part: str) -> Callable[[Path], str]:
    return lambda root: _each(root / "data/reliability", evidence_markdown, f"{part}.json")


SUMMARY_METHODS, SUMMARY_SPARSITY = ("dense", "mgpp", "l2", "gmp", "soft-movement", "platon"), 0.9

# what `make reliability` looks into, a script of tests/reliability and a table each
EVIDENCE = ("kills", "faults", "distributed", "sweep", "trust", "export")

# name of the markers: the file that holds them, and what renders the table, given the repository's root
TABLES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "summary": ("README.md", lambda root: summary_markdown(load_runs(root / "data/runs"))),
    "results": (
        "docs/results.md",
        lambda root: results_markdown(load_runs(root / "data/runs"), load_runs(root / "data/tuning")),
    ),
    "tasks": ("docs/results.md", lambda root: results_markdown(load_runs(root / "data/tasks"))),
    "spike": ("docs/prior_and_data.md", lambda _: spike_markdown()),
    "fall": ("docs/prior_and_data.md", lambda root: fall_markdown(load_runs(root / "data/adam/spike"))),
    "benchmarks": ("docs/costs.md", lambda root: _each(root / "data/benchmarks", benchmark_markdown)),
    "explorer": ("docs/costs.md", lambda root: _each(root / "data/benchmarks/explorer", explorer_markdown)),
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
