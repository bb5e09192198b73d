"""The command line: `mgpp train | runs | figures | explore | check`. Heavy modules load only when they are needed."""

import traceback
from pathlib import Path

import click

RUNS_FOLDER, SWEEP_FOLDER, FIGURES_FOLDER = Path("data/runs"), Path("data/sensitivity"), Path("figures")
NEW_RUNS_FOLDER = Path("data/local")  # ignored by git: what one tries does not mix with the committed runs


class _CleanErrors(click.Group):
    """Errors that the toolkit raises are for people: one line, no traceback. Others are bugs and keep theirs."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (ValueError, RuntimeError) as error:
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            if not frame.f_globals["__name__"].startswith("mgpp."):
                raise
            raise click.ClickException(str(error)) from None


@click.group(cls=_CleanErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mgpp-toolkit", prog_name="mgpp")
def main() -> None:
    """Prune transformers with a mixture Gaussian prior, log what happens, draw the figures."""


@main.command()
@click.argument("recipe")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting: prior.lam=1e-5")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run's folder [data/local/NAME]")
@click.option("--replace", is_flag=True, help="Delete the run that DIR holds, instead of refusing")
@click.option("--quiet", is_flag=True, help="No progress bar")
def train(recipe: str, overrides: tuple[str, ...], out: Path | None, replace: bool, quiet: bool) -> None:
    """Train by RECIPE and log the run.

    RECIPE is the name of one that comes with the toolkit, or a YAML file.
    """
    from mgpp.training.recipes import load_recipe, parse_override

    settings = load_recipe(recipe, **dict(parse_override(text) for text in overrides))
    folder = out or NEW_RUNS_FOLDER / settings.run_name
    from mgpp.training.train import train

    run = train(settings, folder, replace_run=replace, progress=not quiet)
    accuracy, error = run.final["accuracy"], run.final["accuracy_se"]
    click.echo(f"{folder}: accuracy {accuracy:.1%} ± {error:.1%} on the test set, sparsity {run.final['sparsity']:.4f}")


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
        "accuracy": "{:.1%}".format,
        "accuracy_se": "{:.1%}".format,
        "seconds": "{:.0f}".format,
    }
    click.echo(table.to_string(index=False, formatters=formats, na_rep="-"))


@main.command()
@click.option("--runs", "runs_folder", type=click.Path(path_type=Path), default=RUNS_FOLDER, show_default=True)
@click.option(
    "--sweep", "sweep_folder", type=click.Path(path_type=Path), help=f"Runs of a sweep [{SWEEP_FOLDER}, if there]"
)
@click.option("--out", type=click.Path(path_type=Path), default=FIGURES_FOLDER, show_default=True)
@click.option("--movies", is_flag=True, help="The weights through training, too, as a GIF and as a page with a slider")
def figures(runs_folder: Path, sweep_folder: Path | None, out: Path, movies: bool) -> None:
    """Draw the paper's figures as PDF and PNG from logged runs."""
    from mgpp.analysis.figures import render_all

    sweep = sweep_folder or (SWEEP_FOLDER if SWEEP_FOLDER.is_dir() else None)
    paths = render_all(runs_folder, out, sweep)
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
def check() -> None:
    """Is everything in place, and if not, what to do?"""
    from mgpp.environment import check_environment, summarize

    table = check_environment()
    click.echo(table[["what", "found", "ok"]].to_string(index=False))
    if not table["ok"].all():
        raise click.ClickException(summarize(table))
    click.echo(summarize(table))
