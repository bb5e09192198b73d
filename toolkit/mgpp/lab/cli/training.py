"""`mgpp train`: one training."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mgpp.lab.cli.folders import NEW_RUNS_FOLDER

if TYPE_CHECKING:
    from mgpp.lab.recipes.recipe import Recipe
    from mgpp.runs import Run

overrides_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting: prior.lam=1e-5"
)


@click.command()
@click.argument("recipe", required=False)
@overrides_option
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
        from mgpp.lab.training.train import resume

        _report(resume(stopped, progress=not quiet))
        return
    settings = _settings(str(recipe), overrides, **({"data": data} if data else {}))
    if dry_run:
        from mgpp.lab.dry_run import dry_run as describe

        click.echo(describe(settings))
        return
    from mgpp.lab.training.train import train

    folder = out or NEW_RUNS_FOLDER / settings.run_name
    _report(train(settings, folder, replace_run=replace, progress=not quiet))


def _settings(recipe: str, overrides: tuple[str, ...], **more: str) -> "Recipe":
    from mgpp.lab.recipes.recipe import load_recipe, parse_override

    return load_recipe(recipe, **dict(parse_override(text) for text in overrides), **more)


def _report(run: "Run") -> None:
    """Say how a run ended, once, however many processes trained."""
    from mgpp.lab.training.processes import is_main, part

    if is_main():
        click.echo(_result(run))
    part()


def _result(run: "Run") -> str:
    """One line on a finished run: the metric that decides, and the sparsity."""
    from mgpp.runs import format_score

    split = "test" if f"validation_{run.metric}" in run.final else "validation"
    score = format_score(run.metric, run.final[run.metric], run.final.get(f"{run.metric}_se"))
    return f"{run.folder}: {score} on the {split} set, sparsity {run.final['sparsity']:.4f}"
