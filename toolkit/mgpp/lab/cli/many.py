"""`mgpp sweep` and `mgpp compare`: many trainings."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgpp.lab.cli.folders import NEW_RUNS_FOLDER, TRIALS_FOLDER
from mgpp.lab.cli.training import overrides_option

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from mgpp.lab.sweeps.launchers import Launcher


def _launch_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that train many runs: where, how many at a time, and how often again."""
    launchers = click.Choice(["local", "ray", "slurm"])
    for option in (
        click.option("--slurm", "slurm", multiple=True, metavar="KEY=VALUE", help="Of Slurm's jobs: partition=gpu"),
        click.option("--address", metavar="ADDRESS", help="Of a Ray cluster [RAY_ADDRESS, or one of this machine]"),
        click.option("--resources", multiple=True, metavar="KEY=VALUE", help="Of a task of Ray: num_gpus=1"),
        click.option("--retries", type=click.IntRange(0), default=2, show_default=True, help="If a worker dies"),
        click.option("--launcher", default="local", show_default=True, type=launchers, help="Where to train"),
        click.option("--jobs", type=int, metavar="N", help="Trainings at a time [local: 1; else the cluster decides]"),
    ):
        command = option(command)
    return command


def _launcher(folder: Path, launcher: str, jobs: int | None, retries: int, **options: Any) -> "Launcher":
    from mgpp.lab.recipes.recipe import parse_override
    from mgpp.lab.sweeps.launchers import make_launcher

    for name in ("resources", "slurm"):
        options[name] = dict(parse_override(text, f"--{name}") for text in options[name])
    return make_launcher(launcher, folder, jobs=jobs, retries=retries, **options)


@click.command()
@click.argument("recipe")
@click.option("--grid", multiple=True, metavar="KEY=VALUE,VALUE", help="Vary a setting: prior.lam=1e-6,1e-5")
@click.option("--seeds", default="0", show_default=True, help="Seeds, such as 0,1,2 or 0-2")
@overrides_option
@click.option("--data", type=click.Path(), metavar="DIR", help="Local files in the hub's format, instead of the hub")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Of the runs [data/local/NAME-sweep]")
@_launch_options
@click.option("--dry-run", is_flag=True, help="Say which runs there are and what is done of them, and stop")
def sweep(
    recipe: str,
    grid: tuple[str, ...],
    seeds: str,
    overrides: tuple[str, ...],
    data: str | None,
    out: Path | None,
    dry_run: bool,
    retries: int,
    **launch: Any,
) -> None:
    """Train RECIPE at all combinations of the GRID's values, from all SEEDS.

    What is finished is passed over, what stopped is resumed, so that the same command goes on where it was stopped.
    """
    from mgpp.lab.recipes.recipe import parse_override
    from mgpp.lab.sweeps.grid import cells_of, parse_grid
    from mgpp.lab.sweeps.record import SWEEP_FILE, over_seeds, sweep_frame
    from mgpp.lab.sweeps.sweep import not_finished, sweep, unfinished

    folder = out or NEW_RUNS_FOLDER / f"{Path(recipe).stem}-sweep"
    common = dict(parse_override(text) for text in overrides) | ({"data": data} if data else {})
    asked: dict[str, Any] = {"grid": parse_grid(grid), "seeds": _numbers(seeds), "overrides": common}
    if dry_run:
        cells = cells_of(recipe, **asked)
        todo = unfinished(cells, folder)
        frame = sweep_frame(folder, {cell.name: cell.varied for cell in cells})
        click.echo(frame[["name", "status", "attempts"]].to_string(index=False))
        click.echo(f"{len(cells)} runs in {folder}: {len(cells) - len(todo)} are there, {len(todo)} to train")
        return
    launcher = _launcher(folder, retries=retries, **launch)
    frame = sweep(recipe, **asked, out=folder, launcher=launcher, retries=retries)
    _show_means(over_seeds(frame))
    click.echo(folder / SWEEP_FILE)
    _complain(not_finished(frame["name"], folder))


def _show_means(table: "DataFrame") -> None:
    """Means over seeds as people read them; the columns metric, mean and se become one."""
    from mgpp.runs import format_score

    def _score(row: "Series") -> str:
        return "-" if row["mean"] != row["mean"] else format_score(row["metric"], row["mean"], row["se"])

    shown = table.assign(score=[_score(row) for _, row in table.iterrows()])
    counts = [name for name in ("seeds", "failed", "unfinished") if name in table]
    shown = shown[[*table.columns[: list(table.columns).index("metric")], "score", *counts]]
    click.echo(shown.to_string(index=False, na_rep="-", float_format="{:g}".format))


def _complain(missing: list[str]) -> None:
    if missing:
        advice = "the same command tries again"
        raise click.ClickException("\n".join([f"{len(missing)} runs are not finished; {advice}:", *missing]))


@click.command()
@click.argument("recipe")
@overrides_option
@click.option("--data", type=click.Path(), metavar="DIR", help="Local files in the hub's format, instead of the hub")
@click.option("--methods", default="mgpp,l2,gmp", show_default=True, help="Names; see mgpp methods")
@click.option("--sparsities", default="0.9", show_default=True, help="Final sparsities")
@click.option("--seeds", default="0", show_default=True, help="Seeds, such as 0,1,2 or 0-2")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Of the runs [data/local/NAME-comparison]")
@_launch_options
@click.option("--readme", type=click.Path(path_type=Path), metavar="FILE", help="Write the table between its markers")
@click.option("--markers", default="results", show_default=True, metavar="NAME", help="Name of the markers")
@click.option("--figures", type=click.Path(path_type=Path), metavar="DIR", help="Of the figures [DIR of the runs]")
@click.option("--trials", type=click.Path(path_type=Path), default=TRIALS_FOLDER, show_default=True, metavar="DIR")
def compare(
    recipe: str,
    overrides: tuple[str, ...],
    data: str | None,
    methods: str,
    sparsities: str,
    seeds: str,
    out: Path | None,
    retries: int,
    readme: Path | None,
    markers: str,
    figures: Path | None,
    trials: Path,
    **launch: Any,
) -> None:
    """Train METHODS x SPARSITIES x SEEDS of RECIPE, and write frame, table and figures.

    What is finished is passed over, so that the same command goes on where it was stopped.
    """
    from mgpp.lab.comparison.frame import comparison_frame, comparison_summary, judged_by
    from mgpp.lab.comparison.report import page_with, write_comparison
    from mgpp.lab.recipes.recipe import parse_override
    from mgpp.lab.sweeps.compare import compare, grid
    from mgpp.lab.sweeps.sweep import not_finished
    from mgpp.runs import load_runs

    asked: dict[str, Any] = {"methods": _words(methods), "sparsities": _shares(sparsities), "seeds": _numbers(seeds)}
    asked["overrides"] = dict(parse_override(text) for text in overrides) | ({"data": data} if data else {})
    folder = out or NEW_RUNS_FOLDER / f"{Path(recipe).stem}-comparison"
    if trials != TRIALS_FOLDER and not trials.is_dir():
        raise click.ClickException(f"--trials {trials} is no folder; leave it out if there were none")
    if readme:
        page_with("", readme, markers)  # refuses a page that can't hold the table before anything is trained
    compare(recipe, **asked, out=folder, launcher=_launcher(folder, retries=retries, **launch), retries=retries)
    frame = comparison_frame(load_runs(folder))
    table = comparison_summary(frame)
    metrics = {name: judged_by(rows)[0] for name, rows in frame.groupby("recipe")}
    table.insert(3, "metric", table["recipe"].map(metrics))
    _show_means(table)
    for path in write_comparison(folder, trials=trials, readme=readme, markers=markers, figures=figures):
        click.echo(path)
    _complain(not_finished([cell.run_name for cell in grid(recipe, **asked)], folder))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _shares(text: str) -> list[float]:
    try:
        return [float(word) for word in _words(text)]
    except ValueError:
        raise click.BadParameter(f"{text!r} must be numbers such as 0.9,0.95", param_hint="--sparsities") from None


def _numbers(text: str) -> list[int]:
    """Whole numbers and ranges of them, such as 0,2-4."""
    numbers: list[int] = []
    for word in _words(text):
        first, _, last = word.partition("-")
        if not first.isdigit() or not (last or first).isdigit() or int(last or first) < int(first):
            raise click.BadParameter(f"{word!r} must be a whole number or a range such as 0-2", param_hint="--seeds")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
