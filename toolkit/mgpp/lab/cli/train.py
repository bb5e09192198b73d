"""Define `mgpp train`: train one run, or resume it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgpp.lab.cli.options import NEW_RUNS_FOLDER, PATH, with_overrides
from mgpp.lab.waiting import waiting

if TYPE_CHECKING:
    from mgpp.runs import Run


@click.command()
@click.argument("recipe", required=False)
@with_overrides
@click.option("--out", type=PATH, metavar="DIR", help="Folder of the run [data/local/NAME]")
@click.option("--replace", is_flag=True, help="Delete the run that is in DIR")
@click.option("--resume", "stopped", type=PATH, metavar="DIR", help="Resume the stopped run in DIR")
@click.option("--dry-run", is_flag=True, help="Print what would be trained and pruned, and stop")
@click.option("--quiet", is_flag=True, help="Show no progress bar")
def train(
    recipe: str | None,
    overrides: dict[str, Any],
    out: Path | None,
    replace: bool,
    stopped: Path | None,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Train RECIPE and log the run.

    RECIPE is the name of a recipe of the toolkit, or a YAML file.
    """
    if (recipe is None) == (stopped is None):
        raise click.UsageError("give either a RECIPE or --resume DIR")
    if stopped is not None:
        if overrides or out or replace or dry_run:
            raise click.UsageError("--resume uses the recipe and the folder of the run; leave the other options out")
        from mgpp.lab.training.train import resume

        _report(resume(stopped, progress=not quiet))
        return
    from mgpp.lab.recipes.recipe import load_recipe

    settings = load_recipe(str(recipe), **overrides)
    if dry_run:
        from mgpp.lab.dry_run import dry_run as describe

        click.echo(describe(settings))
        return
    with waiting(f"{settings.run_name}: loading torch and transformers", visible=not quiet):
        from mgpp.lab.training.train import train

    folder = out or NEW_RUNS_FOLDER / settings.run_name
    _report(train(settings, folder, replace_run=replace, progress=not quiet))


def _report(run: "Run") -> None:
    """Print the result of a finished run, once, however many processes trained it."""
    from mgpp.lab.training.processes import is_main, shutdown_distributed
    from mgpp.runs import format_score

    if is_main():
        split = "test" if f"validation_{run.metric}" in run.final else "validation"
        score = format_score(run.metric, run.final[run.metric], run.final.get(f"{run.metric}_se"))
        click.echo(f"{run.folder}: {score} on the {split} set, sparsity {run.final['sparsity']:.4f}")
    shutdown_distributed()
