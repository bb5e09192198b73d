"""The command line, `mgpp`. Heavy modules load only when they are needed."""

import traceback
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from mgpp.lab.cli.exporting import export, unpack
from mgpp.lab.cli.looking import check, explore, figures, methods, runs
from mgpp.lab.cli.many import compare, sweep
from mgpp.lab.cli.training import train


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


@click.group(cls=_CleanErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mgpp-toolkit", prog_name="mgpp")
def main() -> None:
    """Prune transformers with a mixture Gaussian prior, log what happens, draw the figures."""


for command in (train, sweep, compare, methods, runs, figures, explore, export, unpack, check):
    main.add_command(command)
