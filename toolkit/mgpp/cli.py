"""The command line, `mgpp`. Heavy modules load only when they are needed."""

import inspect
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from mgpp.runs import Run
    from mgpp.training.launchers import Launcher
    from mgpp.training.recipes import Recipe

RUNS_FOLDER, SWEEP_FOLDER, FIGURES_FOLDER = Path("data/runs"), Path("data/sensitivity"), Path("figures")
TRIALS_FOLDER, CONSISTENCY_FOLDER = Path("data/tuning"), Path("data/consistency")
NEW_RUNS_FOLDER = Path("data/local")  # ignored by git: what one tries does not mix with the committed runs


class _CleanErrors(click.Group):
    """Errors that the toolkit raises are for people: one line, no traceback. Others are bugs and keep theirs."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = partial(_show_warning, warnings.showwarning)
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            click.echo(str(stop) or "stopped", err=True)
            ctx.exit(130)  # as a shell reports it
        except SystemExit as stop:
            if str(stop) != str(stop.code):  # SIGTERM ended a training, whose words say how to go on
                click.echo(str(stop), err=True)
            raise
        except (ValueError, RuntimeError) as error:
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            if not frame.f_globals["__name__"].startswith("mgpp."):
                raise
            raise click.ClickException(str(error)) from None


def _show_warning(others: Callable[..., None], message: Warning, category: type[Warning], *where: Any) -> None:
    """Warnings of the toolkit in one line, too."""
    if category.__module__.startswith("mgpp."):
        click.echo(f"warning: {message}", err=True)
    else:
        others(message, category, *where)


_overrides = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting: prior.lam=1e-5"
)


@click.group(cls=_CleanErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mgpp-toolkit", prog_name="mgpp")
def main() -> None:
    """Prune transformers with a mixture Gaussian prior, log what happens, draw the figures."""


@main.command()
@click.argument("recipe", required=False)
@_overrides
@click.option("--data", type=click.Path(), metavar="DIR", help="Local files in the hub's format, instead of the hub")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run's folder [data/local/NAME]")
@click.option("--replace", is_flag=True, help="Delete the run that DIR holds, instead of refusing")
@click.option("--resume", "stopped", type=click.Path(path_type=Path), metavar="DIR", help="Go on with a stopped run")
@click.option("--dry-run", is_flag=True, help="Say what would be trained and what it would cost, and stop")
@click.option("--quiet", is_flag=True, help="No progress bar")
def train(
    recipe: str | None,
    overrides: tuple[str, ...],
    data: str | None,
    out: Path | None,
    replace: bool,
    stopped: Path | None,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Train by RECIPE and log the run.

    RECIPE is the name of one that comes with the toolkit, or a YAML file.
    """
    if (recipe is None) == (stopped is None):
        raise click.UsageError("give a RECIPE, or --resume DIR of a run that was stopped, which has its own; not both")
    if stopped is not None:
        if overrides or data or out or replace or dry_run:
            raise click.UsageError("--resume goes on with the run's own recipe and folder; give no other option")
        from mgpp.training.train import resume

        _report(resume(stopped, progress=not quiet))
        return
    settings = _settings(str(recipe), overrides, **({"data": data} if data else {}))
    if dry_run:
        from mgpp.training.dry_run import dry_run as describe

        click.echo(describe(settings))
        return
    from mgpp.training.train import train

    folder = out or NEW_RUNS_FOLDER / settings.run_name
    _report(train(settings, folder, replace_run=replace, progress=not quiet))


def _settings(recipe: str, overrides: tuple[str, ...], **more: str) -> "Recipe":
    from mgpp.training.recipes import load_recipe, parse_override

    return load_recipe(recipe, **dict(parse_override(text) for text in overrides), **more)


def _report(run: "Run") -> None:
    """Say how a run ended, once, however many processes trained."""
    from mgpp.training.processes import is_main, part

    if is_main():
        click.echo(_result(run))
    part()


def _result(run: "Run") -> str:
    """One line on a finished run: the metric that decides, and the sparsity."""
    from mgpp.runs import percent

    split = "test" if f"validation_{run.metric}" in run.final else "validation"
    error = run.final.get(f"{run.metric}_se")
    spread = "" if error is None else f" ± {percent(run.metric, error)}"
    score = f"{run.metric} {percent(run.metric, run.final[run.metric])}{spread}"
    return f"{run.folder}: {score} on the {split} set, sparsity {run.final['sparsity']:.4f}"


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
    from mgpp.training.launchers import make_launcher
    from mgpp.training.recipes import parse_override

    for name in ("resources", "slurm"):
        options[name] = dict(parse_override(text, f"--{name}") for text in options[name])
    return make_launcher(launcher, folder, jobs=jobs, retries=retries, **options)


@main.command()
@click.argument("recipe")
@click.option("--grid", multiple=True, metavar="KEY=VALUE,VALUE", help="Vary a setting: prior.lam=1e-6,1e-5")
@click.option("--seeds", default="0", show_default=True, help="Seeds, such as 0,1,2 or 0-2")
@_overrides
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
    from mgpp.runs.sweeps import SWEEP_FILE, over_seeds, sweep_frame
    from mgpp.training.grid import cells_of, parse_grid
    from mgpp.training.recipes import parse_override
    from mgpp.training.sweep import not_finished, sweep, unfinished

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
    from mgpp.runs import percent

    def _score(row: "Series") -> str:
        if row["mean"] != row["mean"]:
            return "-"
        spread = f" ± {percent(row['metric'], row['se'])}" if row["se"] == row["se"] else ""
        return f"{row['metric']} {percent(row['metric'], row['mean'])}{spread}"

    shown = table.assign(score=[_score(row) for _, row in table.iterrows()])
    shown = shown[[*table.columns[: list(table.columns).index("metric")], "score", "seeds", "failed"]]
    click.echo(shown.to_string(index=False, na_rep="-", float_format="{:g}".format))


def _complain(missing: list[str]) -> None:
    if missing:
        advice = "the same command tries again"
        raise click.ClickException("\n".join([f"{len(missing)} runs are not finished; {advice}:", *missing]))


@main.command()
@click.argument("recipe")
@_overrides
@click.option("--methods", default="mgpp,l2,gmp", show_default=True, help="Names; see mgpp methods")
@click.option("--sparsities", default="0.9", show_default=True, help="Final sparsities")
@click.option("--seeds", default="0", show_default=True, help="Seeds, such as 0,1,2 or 0-2")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Of the runs [data/local/NAME-comparison]")
@_launch_options
@click.option("--readme", type=click.Path(path_type=Path), metavar="FILE", help="Write the table between its markers")
@click.option("--figures", type=click.Path(path_type=Path), metavar="DIR", help="Of the figures [DIR of the runs]")
@click.option("--trials", type=click.Path(path_type=Path), default=TRIALS_FOLDER, show_default=True, metavar="DIR")
def compare(
    recipe: str,
    overrides: tuple[str, ...],
    methods: str,
    sparsities: str,
    seeds: str,
    out: Path | None,
    retries: int,
    readme: Path | None,
    figures: Path | None,
    trials: Path,
    **launch: Any,
) -> None:
    """Train METHODS x SPARSITIES x SEEDS of RECIPE, and write frame, table and figures.

    What is finished is passed over, so that the same command goes on where it was stopped.
    """
    from mgpp.analysis.comparison import comparison_frame, comparison_summary, judged_by
    from mgpp.analysis.report import write_comparison
    from mgpp.runs import load_runs
    from mgpp.training.compare import compare, grid
    from mgpp.training.recipes import parse_override
    from mgpp.training.sweep import not_finished

    asked: dict[str, Any] = {"methods": _words(methods), "sparsities": _shares(sparsities), "seeds": _numbers(seeds)}
    asked["overrides"] = dict(parse_override(text) for text in overrides)
    folder = out or NEW_RUNS_FOLDER / f"{Path(recipe).stem}-comparison"
    compare(recipe, **asked, out=folder, launcher=_launcher(folder, retries=retries, **launch), retries=retries)
    runs = load_runs(folder)
    if any(run.status == "finished" for run in runs):
        frame = comparison_frame(runs)
        table = comparison_summary(frame)
        table.insert(3, "metric", judged_by(frame)[0])
        _show_means(table)
        for path in write_comparison(folder, trials=trials, readme=readme, figures=figures):
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


@main.command()
@click.argument("name", required=False)
def methods(name: str | None) -> None:
    """The methods, or the card of the one that is called NAME."""
    from mgpp.pruning.methods import METHODS

    if name is None:
        for key, method in METHODS.items():
            click.echo(f"{key:15}{(inspect.getdoc(method) or '').splitlines()[0]}")
    elif name in METHODS:
        click.echo(inspect.getdoc(METHODS[name]))
    else:
        raise click.BadParameter(f"{name!r} is none of {', '.join(METHODS)}", param_hint="NAME")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), default=RUNS_FOLDER)
def runs(folder: Path) -> None:
    """A table of the runs in FOLDER [data/runs]."""
    from mgpp.runs import load_runs, summary

    table = summary(load_runs(folder))
    if table.empty:
        click.echo(f"no runs in {folder}; make one with: mgpp train reviews-quick")
        return
    formats = {
        "sparsity": "{:g}".format,
        "score": "{:.4g}".format,
        "score_se": "{:.2g}".format,
        "seconds": "{:.0f}".format,
    }
    click.echo(table.to_string(index=False, formatters=formats, na_rep="-"))


@main.command()
@click.option("--runs", "runs_folder", type=click.Path(path_type=Path), default=RUNS_FOLDER, show_default=True)
@click.option(
    "--sweep", "sweep_folder", type=click.Path(path_type=Path), help=f"Runs of a sweep [{SWEEP_FOLDER}, if there]"
)
@click.option(
    "--consistency",
    "consistency_folder",
    type=click.Path(path_type=Path),
    help=f"Of the simulation [{CONSISTENCY_FOLDER}, if there]",
)
@click.option("--out", type=click.Path(path_type=Path), default=FIGURES_FOLDER, show_default=True)
@click.option("--movies", is_flag=True, help="The weights through training, too, as a GIF and as a page with a slider")
def figures(
    runs_folder: Path, sweep_folder: Path | None, consistency_folder: Path | None, out: Path, movies: bool
) -> None:
    """Draw the paper's figures as PDF and PNG from logged runs."""
    from mgpp.analysis.figures import render_all

    sweep = sweep_folder or (SWEEP_FOLDER if SWEEP_FOLDER.is_dir() else None)
    consistency = consistency_folder or (CONSISTENCY_FOLDER if CONSISTENCY_FOLDER.is_dir() else None)
    paths = render_all(runs_folder, out, sweep, consistency)
    if movies:
        from mgpp.analysis.movies import render_movies

        paths += render_movies(runs_folder, out)
    for path in paths:
        click.echo(path)


@main.command()
@click.option("--runs", "runs_folder", type=click.Path(path_type=Path), default=RUNS_FOLDER, show_default=True)
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the page, open nothing"
)
def explore(runs_folder: Path, html: Path | None) -> None:
    """Explore the prior on real weights, in the browser.

    The pretrained model and logged runs, as one page that needs no server and no internet.
    """
    from mgpp.analysis.explorer.page import save_explorer
    from mgpp.runs import load_runs
    from mgpp.training.packages import pretrained_weights

    runs = [run for run in load_runs(runs_folder) if not run.weights.empty]
    if not runs:
        click.echo(f"no run in {runs_folder} has histograms: the page shows the pretrained model alone", err=True)
    path = save_explorer(html or NEW_RUNS_FOLDER / "explorer.html", runs=runs, weights=pretrained_weights())
    click.echo(path)
    if html is None:
        click.launch(str(path))


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The new folder")
@click.option("--format", type=click.Choice(["plain", "packed"]), default="plain", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="Of the weights [as they were saved]")
@click.option("--push-to-hub", metavar="NAME", help="Upload the folder to this repository, such as me/my-model")
@click.option("--replace", is_flag=True, help="Delete the export that DIR holds, instead of refusing")
def export(run: Path, to: Path, format: str, dtype: str | None, push_to_hub: str | None, replace: bool) -> None:
    """Write the pruned model of RUN into a folder, with tokenizer and model card.

    A plain folder loads with transformers alone; a packed one takes less room, and mgpp unpack makes it plain.
    """
    from mgpp.exporting.export import export

    options: Any = {"format": format, "dtype": dtype, "push_to_hub": push_to_hub, "replace": replace}
    click.echo(_exported(export(run, to, **options)))
    if push_to_hub is not None:
        click.echo(f"uploaded to {push_to_hub}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The new folder")
@click.option("--replace", is_flag=True, help="Delete the export that DIR holds, instead of refusing")
def unpack(folder: Path, to: Path, replace: bool) -> None:
    """Write the plain model that the packed export in FOLDER stands for."""
    from mgpp.exporting.unpacking import unpack

    click.echo(_exported(unpack(folder, to, replace=replace)))


def _exported(folder: Path) -> str:
    """One line on an export: its zeros, and what its files of weights take."""
    from mgpp.exporting.folder import read_record

    record = read_record(folder)
    size = sum(file["bytes"] for file in record["files"].values())
    return f"{folder}: {record['layout']}, {record['zeros']:,} zeros, {size:,} bytes of weights"


@main.command()
def check() -> None:
    """Is everything in place, and if not, what to do?"""
    from mgpp.environment import check_environment, summarize

    table = check_environment()
    click.echo(table[["what", "found", "ok"]].to_string(index=False))
    if not table["ok"].all():
        raise click.ClickException(summarize(table))
    click.echo(summarize(table))
