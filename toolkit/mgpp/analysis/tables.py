"""Result tables in Markdown, written by command so that no number in the documentation is typed by hand.

python -m mgpp.analysis.tables        rewrites the tables of README.md and data/README.md between their markers
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mgpp.analysis.plots import METHOD_NAMES
from mgpp.runs import Run, load_runs, summary


def finished(runs: Iterable[Run]) -> pd.DataFrame:
    """The summary of the finished runs.

    Raises:
        ValueError: if two share method, sparsity and seed, since averaging them would count a seed twice.
    """
    table = summary([run for run in runs if run.status == "finished"])
    twice = table[table.duplicated(["method", "sparsity", "seed"], keep=False)]
    if len(twice):
        raise ValueError(f"runs {', '.join(twice['name'])} share method, sparsity and seed; move all but one away")
    return table


def results(runs: Iterable[Run]) -> pd.DataFrame:
    """Accuracy on the test set by method and sparsity: mean and its standard error over seeds.

    The standard error is sd/√seeds with one seed's missing; `binomial_se` is that of a single run on the test set.
    """
    table = finished(runs)
    groups = table.groupby(["sparsity", "method"], as_index=False)
    rows = groups.agg(
        mean=("accuracy", "mean"),
        se=("accuracy", lambda values: values.std(ddof=1) / np.sqrt(len(values))),
        binomial_se=("accuracy_se", "mean"),
        seeds=("seed", "count"),
    )
    order = rows["method"].map(list(METHOD_NAMES).index)
    return rows.assign(order=order).sort_values(["sparsity", "order"], ignore_index=True).drop(columns="order")


def results_markdown(runs: Iterable[Run]) -> str:
    """The table of `results`, in percent."""
    lines = ["| sparsity | method | accuracy, % | seeds | standard error of one run |", "|---|---|---|---|---|"]
    for row in results(runs).itertuples():
        spread = "" if row.seeds == 1 else f" ± {row.se:.1%}".rstrip("%")
        mean, binomial = f"{row.mean:.1%}".rstrip("%"), f"{row.binomial_se:.1%}".rstrip("%")
        name = METHOD_NAMES[str(row.method)]
        lines.append(f"| {row.sparsity:g} | {name} | {mean}{spread} | {row.seeds} | {binomial} |")
    return "\n".join(lines)


def paired_differences(runs: Iterable[Run], method: str = "mgpp") -> pd.DataFrame:
    """How far `method` lies above each rival, paired by seed: mean and standard error where there are several seeds.

    Returns:
        Columns sparsity, rival, mean, se (both as shares, not percent), seeds.
    """
    table = finished(runs)
    wide = table.pivot_table(index=["sparsity", "seed"], columns="method", values="accuracy")
    if method not in wide:
        return pd.DataFrame(columns=["sparsity", "rival", "mean", "se", "seeds"])
    above = -wide.drop(columns=method).sub(wide[method], axis=0)
    long = above.melt(ignore_index=False, var_name="rival", value_name="above").dropna().reset_index()
    groups = long.groupby(["sparsity", "rival"], as_index=False)["above"]
    found = groups.agg(mean="mean", se=lambda values: values.std(ddof=1) / np.sqrt(len(values)), seeds="count")
    return found[found["seeds"] > 1].reset_index(drop=True)


def paired_markdown(runs: Iterable[Run]) -> str:
    """The sentences of `paired_differences`, in points."""
    lines = [
        f"- {METHOD_NAMES['mgpp']} minus {METHOD_NAMES[row['rival']]} at sparsity {row['sparsity']:g}, paired by seed: "
        f"{100 * row['mean']:+.1f} ± {100 * row['se']:.1f} points over {row['seeds']} seeds"
        for row in paired_differences(runs).to_dict("records")
    ]
    return "\n".join(lines)


def tuning_markdown(runs: Iterable[Run]) -> str:
    """The trials that chose the settings: what was tried, and the accuracy on the validation set that decided."""
    lines = ["| method | settings | 1/(nσ1²) or strength | validation accuracy, % | seconds |", "|---|---|---|---|---|"]
    for run in sorted(runs, key=lambda run: (run.method, run.name)):
        settings = run.recipe["prior"] if run.method == "mgpp" else run.recipe[run.method]
        n = run.info["examples"]["train"]
        strength = 1 / (n * settings["slab_var"]) if run.method == "mgpp" else settings["strength"]
        words = ", ".join(f"{key} {value:g}" for key, value in settings.items() if value is not None)
        found = f"{run.final['validation_accuracy']:.1%}".rstrip("%") if run.final else run.status
        seconds = f"{run.info.get('wall_seconds', float('nan')):.0f}"
        lines.append(f"| {METHOD_NAMES[run.method]} | {words} | {strength:.2g} | {found} | {seconds} |")
    return "\n".join(lines)


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


def _each(folder: Path, markdown: Callable[[Mapping[str, Any]], str]) -> str:
    files = sorted(folder.glob("*.json"))
    return "\n\n".join(markdown(json.loads(file.read_text(encoding="utf-8"))) for file in files)


# name of the markers: the file that holds them, and what renders the table, given the repository's root
TABLES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "results": ("README.md", lambda root: results_markdown(load_runs(root / "data/runs"))),
    "paired": ("README.md", lambda root: paired_markdown(load_runs(root / "data/runs"))),
    "benchmarks": ("README.md", lambda root: _each(root / "data/benchmarks", benchmark_markdown)),
    "explorer": ("README.md", lambda root: _each(root / "data/benchmarks/explorer", explorer_markdown)),
    "tuning": ("data/README.md", lambda root: tuning_markdown(load_runs(root / "data/tuning"))),
}


def between_markers(text: str, name: str, table: str) -> str:
    """`text` with what stands between the markers of `name` replaced by `table`.

    Raises:
        ValueError: if the markers are missing.

    Example:
        >>> print(between_markers("a <!-- x --> old <!-- /x --> b", "x", "new"))
        a <!-- x -->
        new
        <!-- /x --> b
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in text or end not in text:
        raise ValueError(f"the markers {begin} and {end} are missing")
    before, rest = text.split(begin, 1)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end, 1)[1]}"


def write_tables(root: Path) -> None:
    """Rewrite all tables below the repository's root."""
    for name, (file, render) in TABLES.items():
        path = root / file
        text = path.read_text(encoding="utf-8")
        path.write_text(between_markers(text, name, render(root)), encoding="utf-8")


if __name__ == "__main__":
    write_tables(Path.cwd())
