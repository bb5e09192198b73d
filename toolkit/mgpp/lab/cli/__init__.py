"""Define the command line, `mgpp`. Heavy modules load only when a command needs them."""

import traceback
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from mgpp.lab.cli.export import export, unpack
from mgpp.lab.cli.look import check, explore, figures, methods, recipe, runs, watch
from mgpp.lab.cli.options import with_imports
from mgpp.lab.cli.sweep import compare, sweep
from mgpp.lab.cli.train import train


class _PlainErrors(click.Group):
    """Print errors that the toolkit raises as one line. All others are bugs and keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = partial(_show_warning, warnings.showwarning)
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            click.echo(str(stop) or "stopped", err=True)
            ctx.exit(130)  # as a shell reports it
        except SystemExit as stop:
            if str(stop) != str(stop.code):  # SIGTERM ended a training; the text says how to resume it
                click.echo(str(stop), err=True)
            raise
        except (ValueError, RuntimeError) as error:
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            if not frame.f_globals["__name__"].startswith("mgpp."):
                raise
            raise click.ClickException(str(error)) from None


def _show_warning(show: Callable[..., None], message: Warning, category: type[Warning], *where: Any) -> None:
    """Print warnings of the toolkit as one line, others as Python does."""
    if category.__module__.startswith("mgpp."):
        click.echo(f"warning: {message}", err=True)
    else:
        show(message, category, *where)


@click.group(cls=_PlainErrors, context_settings={"help_option_names": ["-h", "--help"]})
@with_imports
@click.version_option(package_name="mgpp-toolkit", prog_name="mgpp")
def main() -> None:
    """Prune transformers with a mixture Gaussian prior, log the training, draw the figures."""


for command in (train, recipe, sweep, compare, methods, runs, figures, explore, watch, export, unpack, check):
    main.add_command(with_imports(command))
