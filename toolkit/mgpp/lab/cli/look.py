"""Define the commands that train nothing: recipe, methods, runs, figures, explore, watch, check."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from mgpp.lab.cli.options import FOLDER, NEW_RUNS_FOLDER, PATH, with_overrides

RUNS_FOLDER, SENSITIVITY_FOLDER, CONSISTENCY_FOLDER, TRIALS_FOLDER = (
    Path("data", name) for name in ("runs", "sensitivity", "consistency", "tuning")
)

_runs_option = click.option(
    "--runs", "runs_folder", type=PATH, help=f"Folder of runs [{RUNS_FOLDER}, or {NEW_RUNS_FOLDER}]"
)


def _where_runs_are(asked: Path | None) -> Path | None:
    """Return the folder of runs that was asked for, or the first usual one that exists; None if none does."""
    found = asked or next((folder for folder in (RUNS_FOLDER, NEW_RUNS_FOLDER) if folder.is_dir()), None)
    if found is None:
        click.echo(f"no logged runs in {RUNS_FOLDER} or {NEW_RUNS_FOLDER}; name their folder: --runs DIR", err=True)
    return found


@click.command()
@click.argument("name", required=False)
@with_overrides
@click.option("--schema", is_flag=True, help="Print the JSON schema of recipes, for editors")
def recipe(name: str | None, overrides: dict[str, Any], schema: bool) -> None:
    """List the recipes, or print all settings of NAME as YAML.

    NAME is a recipe that comes with the toolkit, or a YAML file.
    """
    import yaml

    from mgpp.lab.recipes.recipe import load_recipe, recipe_names, recipe_schema

    if schema:
        click.echo(json.dumps(recipe_schema(), indent=1, ensure_ascii=False))
    elif name is None:
        click.echo("\n".join(recipe_names()))
    else:
        settings = load_recipe(name, **overrides).as_dict()
        click.echo(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), nl=False)


@click.command()
@click.argument("name", required=False)
def methods(name: str | None) -> None:
    """List the methods, or print the card of the method NAME."""
    from mgpp.methods import METHODS

    if name is None:
        for key, method in METHODS.items():
            click.echo(f"{key:15}{(inspect.getdoc(method) or '').splitlines()[0]}")
    elif name in METHODS:
        method = METHODS[name]
        click.echo(inspect.getdoc(method))
        if method.section:
            defaults = ", ".join(f"{each.name} {each.default}" for each in fields(method))
            click.echo(f"\nRecipe section {method.section}: {defaults}")
        if method.grid:
            click.echo("Tried on reviews: " + "; ".join(_settings(trial) for trial in method.grid))
    else:
        raise click.BadParameter(f"{name!r} is not one of {', '.join(METHODS)}", param_hint="NAME")


def _settings(trial: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in trial.items())


@click.command()
@click.argument("folder", type=PATH, default=RUNS_FOLDER)
def runs(folder: Path) -> None:
    """Print a table of the runs in FOLDER [data/runs]."""
    from mgpp.runs import load_runs, summary

    table = summary(load_runs(folder))
    if table.empty:
        click.echo(f"no runs in {folder}; make one with: mgpp train reviews-quick")
        return
    digits = {"sparsity": "{:g}", "score": "{:.4g}", "score_se": "{:.2g}", "seconds": "{:.0f}"}
    formatters = {name: text.format for name, text in digits.items()}
    click.echo(table.to_string(index=False, formatters=formatters, na_rep="-"))


@click.command()
@_runs_option
@click.option("--sweep", type=FOLDER, help=f"Runs of a sweep of the prior [without --runs {SENSITIVITY_FOLDER}]")
@click.option("--consistency", type=FOLDER, help=f"Runs of the simulation [without --runs {CONSISTENCY_FOLDER}]")
@click.option("--out", type=PATH, default=Path("figures"), show_default=True)
@click.option("--movies", is_flag=True, help="Show the weights through training too, as a GIF and as a page")
def figures(runs_folder: Path | None, sweep: Path | None, consistency: Path | None, out: Path, movies: bool) -> None:
    """Draw the paper's figures as PDF and PNG from logged runs.

    With --runs, only what these runs give is drawn.
    """
    from mgpp.lab.render import render_all

    trials = None
    if runs_folder is None:  # the committed ones, and what lies beside them
        runs_folder, trials = _where_runs_are(None), TRIALS_FOLDER
        sweep, consistency = sweep or SENSITIVITY_FOLDER, consistency or CONSISTENCY_FOLDER
    paths = render_all(runs_folder, out, sweep, consistency, trials)
    if movies and runs_folder is not None:
        from mgpp.plots.movies import render_movies

        paths += render_movies(runs_folder, out)
    for path in paths:
        click.echo(path)


@click.command()
@_runs_option
@click.option("--only", default="*", metavar="PATTERN", help="Runs whose names match, such as '*-seed0' [all]")
@click.option("--html", type=PATH, metavar="FILE", help="Write the page to FILE, and do not open it")
def explore(runs_folder: Path | None, only: str, html: Path | None) -> None:
    """Explore the prior on real weights, in the browser.

    The page shows the pretrained model and logged runs. It needs no server and no internet.
    """
    from mgpp.lab.explorer.page import save_explorer
    from mgpp.lab.models.packages import PackagedFileError, pretrained_weights
    from mgpp.runs import load_runs

    runs_folder = _where_runs_are(runs_folder)
    matching = [run for run in (load_runs(runs_folder) if runs_folder else []) if fnmatchcase(run.name, only)]
    if not matching and only != "*":
        raise click.BadParameter(f"{only!r} matches no run in {runs_folder}; see: mgpp runs", param_hint="--only")
    runs = [run for run in matching if not run.weights.empty]
    if not runs:
        click.echo("no run has histograms: the page shows the pretrained model alone", err=True)
    try:
        weights = pretrained_weights()
    except PackagedFileError as missing:
        if not runs:
            raise
        click.echo(f"the page shows the runs alone: {missing}", err=True)
        weights = {}
    path = save_explorer(html or NEW_RUNS_FOLDER / "explorer.html", runs=runs, weights=weights)
    click.echo(path)
    if html is None:
        click.launch(str(path))


@click.command()
@click.argument("folder", type=PATH, default=NEW_RUNS_FOLDER)
@click.option("--port", default=0, show_default="any that is free", help="Where the page is, as for ssh -L")
@click.option(
    "--open/--no-open", "opened", default=True, help="Open the page in the browser, or only print its address"
)
def watch(folder: Path, port: int, opened: bool) -> None:
    """Follow the runs in FOLDER while they train, in the browser [data/local].

    FOLDER holds runs, or is one, and need not exist yet. The page is for this machine alone. Ctrl-C ends it.
    """
    from mgpp.lab.watch.server import WatchServer

    try:
        server = WatchServer(folder, port)
    except (OSError, OverflowError) as error:
        raise click.BadParameter(f"{port} can't be used: {error}", param_hint="--port") from None
    with server:
        click.echo(server.address)
        if opened:
            click.launch(server.address)
        server.serve_forever()


@click.command()
def check() -> None:
    """Check that everything is in place, and say what to do if not."""
    from mgpp.lab.environment import check_environment, summarize

    table = check_environment()
    click.echo(table[["what", "found", "ok"]].to_string(index=False))
    if not table["ok"].all():
        raise click.ClickException(summarize(table))
    click.echo(summarize(table))
