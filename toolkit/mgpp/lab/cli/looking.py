"""Commands that train nothing: methods, runs, figures, the explorer, and whether all is in place."""

import inspect
from fnmatch import fnmatchcase
from pathlib import Path

import click

from mgpp.lab.cli.folders import CONSISTENCY_FOLDER, FIGURES_FOLDER, NEW_RUNS_FOLDER, RUNS_FOLDER, SWEEP_FOLDER


@click.command()
@click.argument("name", required=False)
def methods(name: str | None) -> None:
    """The methods, or the card of the one that is called NAME."""
    from mgpp.methods.registry import METHODS

    if name is None:
        for key, method in METHODS.items():
            click.echo(f"{key:15}{(inspect.getdoc(method) or '').splitlines()[0]}")
    elif name in METHODS:
        click.echo(inspect.getdoc(METHODS[name]))
    else:
        raise click.BadParameter(f"{name!r} is none of {', '.join(METHODS)}", param_hint="NAME")


@click.command()
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


@click.command()
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
    from mgpp.lab.figures import render_all

    sweep = sweep_folder or (SWEEP_FOLDER if SWEEP_FOLDER.is_dir() else None)
    consistency = consistency_folder or (CONSISTENCY_FOLDER if CONSISTENCY_FOLDER.is_dir() else None)
    paths = render_all(runs_folder, out, sweep, consistency)
    if movies:
        from mgpp.plots.movies import render_movies

        paths += render_movies(runs_folder, out)
    for path in paths:
        click.echo(path)


@click.command()
@click.option("--runs", "runs_folder", type=click.Path(path_type=Path), default=RUNS_FOLDER, show_default=True)
@click.option("--only", default="*", metavar="PATTERN", help="Runs whose names match, such as '*-seed0' [all]")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the page, open nothing"
)
def explore(runs_folder: Path, only: str, html: Path | None) -> None:
    """Explore the prior on real weights, in the browser.

    The pretrained model and logged runs, as one page that needs no server and no internet.
    """
    from mgpp.lab.explorer.page import save_explorer
    from mgpp.lab.models.packages import pretrained_weights
    from mgpp.runs import load_runs

    named = [run for run in load_runs(runs_folder) if fnmatchcase(run.name, only)]
    if not named and only != "*":
        raise click.BadParameter(f"{only!r} matches no run in {runs_folder}; see: mgpp runs", param_hint="--only")
    runs = [run for run in named if not run.weights.empty]
    if not runs:
        click.echo(f"no run in {runs_folder} has histograms: the page shows the pretrained model alone", err=True)
    path = save_explorer(html or NEW_RUNS_FOLDER / "explorer.html", runs=runs, weights=pretrained_weights())
    click.echo(path)
    if html is None:
        click.launch(str(path))


@click.command()
def check() -> None:
    """Is everything in place, and if not, what to do?"""
    from mgpp.lab.environment import check_environment, summarize

    table = check_environment()
    click.echo(table[["what", "found", "ok"]].to_string(index=False))
    if not table["ok"].all():
        raise click.ClickException(summarize(table))
    click.echo(summarize(table))
