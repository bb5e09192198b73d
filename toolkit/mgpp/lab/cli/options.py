"""Define types and options that several commands share."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

NEW_RUNS_FOLDER = Path("data/local")  # ignored by git, so that new runs do not mix with the committed ones

PATH = click.Path(path_type=Path)
FILE, FOLDER = (click.Path(exists=True, dir_okay=kind, file_okay=not kind, path_type=Path) for kind in (False, True))

Command = Callable[..., None]
Decorator = Callable[[Command], Command]


def key_values(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings of a repeated option KEY=VALUE; each value is read as YAML."""
    from mgpp.lab.recipes.recipe import parse_override

    return dict(parse_override(text, option.opts[0]) for text in texts)


def with_overrides(command: Command) -> Command:
    """Add the options --set, --data and --model; the command gets them as the dictionary `overrides`."""

    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", callback=key_values, help=_SET)
    @click.option("--data", type=click.Path(), metavar="PATH", help=_DATA)
    @click.option("--model", metavar="NAME", help="Start from this model: a folder, or a name on the hub")
    @functools.wraps(command)
    def _command_with_overrides(overrides: dict[str, Any], data: str | None, model: str | None, **options: Any) -> None:
        named = {"data": data, "model": model}
        command(overrides=overrides | {key: value for key, value in named.items() if value}, **options)

    return _command_with_overrides


_DATA = "Read local files: a folder in the hub's format; for text-classification also a CSV, JSONL or Parquet file"
_SET = "Change a setting of the recipe, such as prior.lam=1e-5"


def _import_files(context: click.Context, option: click.Parameter, files: tuple[Path, ...]) -> None:
    """Import files of one's own, which register tasks and methods."""
    if files:
        from mgpp.lab.own_code import import_file
    for file in files:
        import_file(file)


with_imports = click.option(
    "--import",
    "imports",
    type=FILE,
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=_import_files,
    metavar="FILE",
    help="First run this Python file of yours, which registers tasks or methods",
)


def several(*options: Decorator) -> Decorator:
    """Join decorators into one, so that commands can share a list of options."""

    def _decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return _decorate
