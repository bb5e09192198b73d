"""Define `mgpp sweep` and `mgpp compare`: train many runs."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgpp.lab.cli.options import FILE, FOLDER, NEW_RUNS_FOLDER, PATH, key_values, several, with_overrides

if TYPE_CHECKING:
    from pandas import DataFrame

    from mgpp.lab.sweeps.grid import Cell

TRIALS_FOLDER = Path("data/tuning")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[float]:
    return [float(word) for word in _words(text)]


def _integers(text: str) -> list[int]:
    """Read whole numbers and ranges of them, such as 0,2-4; click reports a ValueError with the option's name."""
    numbers: list[int] = []
    for word in _words(text):
        first, _, last = word.partition("-")
        if int(last or first) < int(first):
            raise ValueError(f"{word!r} is no range")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


_launch_options = several(
    click.option("--launcher", default="local", show_default=True, type=click.Choice(["local", "ray", "slurm"])),
    click.option("--jobs", type=click.IntRange(1), metavar="N", help="Trainings at a time [1, or the cluster decides]"),
    click.option("--retries", type=click.IntRange(0), default=2, show_default=True, help="If a worker dies"),
    click.option("--address", metavar="ADDRESS", help="Ray: the cluster [RAY_ADDRESS, or one on this machine]"),
    click.option("--resources", multiple=True, metavar="KEY=VALUE", callback=key_values, help="Ray: num_gpus=1"),
    click.option("--slurm", multiple=True, metavar="KEY=VALUE", callback=key_values, help="Slurm: partition=gpu"),
)
_seeds_option = click.option(
    "--seeds", default="0", show_default=True, type=_integers, metavar="SEEDS", help="Such as 0,1,2 or 0-2"
)
_dry_run_option = click.option("--dry-run", is_flag=True, help="List the runs and their status, and stop")


@click.command()
@click.argument("recipe")
@click.option("--grid", multiple=True, metavar="KEY=VALUE,VALUE", help="Vary a setting: prior.lam=1e-6,1e-5")
@_seeds_option
@with_overrides
@click.option("--out", type=PATH, metavar="DIR", help="Folder of the runs [data/local/NAME-sweep]")
@_launch_options
@_dry_run_option
def sweep(recipe: str, grid: tuple[str, ...], out: Path | None, retries: int, dry_run: bool, **options: Any) -> None:
    """Train RECIPE at all combinations of the GRID's values, with all SEEDS.

    Finished runs are passed over and stopped ones are resumed, so the same command continues a sweep that was stopped.
    """
    from mgpp.lab.sweeps.grid import cells_of, parse_grid
    from mgpp.lab.sweeps.launchers import make_launcher
    from mgpp.lab.sweeps.record import SWEEP_FILE, over_seeds
    from mgpp.lab.sweeps.sweep import sweep

    folder = out or NEW_RUNS_FOLDER / f"{Path(recipe).stem}-sweep"
    asked = {"grid": parse_grid(grid), "seeds": options.pop("seeds"), "overrides": options.pop("overrides")}
    if dry_run:
        _list_runs(cells_of(recipe, **asked), folder)
        return
    launcher = make_launcher(folder=folder, **options)
    frame = sweep(recipe, **asked, out=folder, launcher=launcher, retries=retries)
    _show_means(over_seeds(frame))
    click.echo(folder / SWEEP_FILE)
    _fail_unless_finished(frame["name"], folder)


@click.command()
@click.argument("recipe")
@with_overrides
@click.option(
    "--methods", default="mgpp,l2,gmp", show_default=True, type=_words, metavar="NAMES", help="See mgpp methods"
)
@click.option(
    "--sparsities", default="0.9", show_default=True, type=_numbers, metavar="SHARES", help="Such as 0.9,0.95"
)
@_seeds_option
@click.option("--out", type=PATH, metavar="DIR", help="Folder of the runs [data/local/NAME-comparison]")
@_launch_options
@click.option("--readme", type=FILE, metavar="FILE", help="Write the table into FILE, between its markers")
@click.option("--markers", default="results", show_default=True, metavar="NAME", help="Name of the markers")
@click.option("--figures", type=PATH, metavar="DIR", help="Folder of the figures [that of the runs]")
@click.option("--trials", type=FOLDER, help=f"Runs that chose the settings [{TRIALS_FOLDER}, if it exists]")
@_dry_run_option
def compare(
    recipe: str, out: Path | None, retries: int, readme: Path | None, trials: Path | None, dry_run: bool, **options: Any
) -> None:
    """Train METHODS x SPARSITIES x SEEDS of RECIPE, and write a frame, a table and figures.

    Finished runs are passed over, so the same command continues a comparison that was stopped.
    """
    from mgpp.lab.comparison.frame import comparison_frame, comparison_summary
    from mgpp.lab.comparison.report import between_markers, write_comparison
    from mgpp.lab.sweeps.compare import compare, grid
    from mgpp.lab.sweeps.launchers import make_launcher
    from mgpp.runs import load_runs

    folder = out or NEW_RUNS_FOLDER / f"{Path(recipe).stem}-comparison"
    asked = {key: options.pop(key) for key in ("methods", "sparsities", "seeds", "overrides")}
    page = {"readme": readme, "markers": options.pop("markers"), "figures": options.pop("figures")}
    if readme:
        between_markers(readme.read_text(encoding="utf-8"), page["markers"], "")  # raises now, not after the training
    if dry_run:
        _list_runs(list(grid(recipe, **asked)), folder)
        return
    launcher = make_launcher(folder=folder, **options)
    compare(recipe, **asked, out=folder, launcher=launcher, retries=retries)
    _show_means(comparison_summary(comparison_frame(load_runs(folder))))
    for path in write_comparison(folder, trials=trials or TRIALS_FOLDER, **page):
        click.echo(path)
    _fail_unless_finished([cell.name for cell in grid(recipe, **asked)], folder)


def _list_runs(cells: "Sequence[Cell]", folder: Path) -> None:
    """Print the runs with their status, and raise if a run in the folder has other settings."""
    from mgpp.lab.sweeps.record import sweep_frame
    from mgpp.lab.sweeps.sweep import unfinished

    unfinished(cells, folder, click.echo)
    frame = sweep_frame(folder, {cell.name: cell.varied for cell in cells})
    click.echo(frame[["name", "status", "attempts"]].to_string(index=False))


def _show_means(table: "DataFrame") -> None:
    """Print means over seeds; the columns metric, mean and se become one."""
    from mgpp.runs import format_score

    columns = zip(table["metric"], table["mean"], table["se"], strict=True)
    scores = ["-" if mean != mean else format_score(metric, mean, se) for metric, mean, se in columns]
    hidden = ["metric", "mean", "se", "score_se", "steps", "trials"]
    shown = table.drop(columns=hidden, errors="ignore").assign(score=scores)
    click.echo(shown.to_string(index=False, na_rep="-", float_format="{:g}".format))


def _fail_unless_finished(names: Iterable[str], folder: Path) -> None:
    from mgpp.lab.sweeps.sweep import not_finished

    if lines := not_finished(names, folder):
        raise click.ClickException("\n".join([f"{len(lines)} runs are not finished; repeat the command:", *lines]))
