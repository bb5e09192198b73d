"""Define `mgpp export` and `mgpp unpack`: write pruned models for use with transformers alone."""

from pathlib import Path
from typing import Any

import click

from mgpp.lab.cli.options import PATH, several

_target = several(
    click.option("--to", type=PATH, required=True, metavar="DIR", help="The new folder"),
    click.option("--replace", is_flag=True, help="Delete the export that is in DIR"),
)


@click.command()
@click.argument("run", type=PATH)
@_target
@click.option("--format", type=click.Choice(["plain", "packed"]), default="plain", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="Type of the weights [as they were saved]")
@click.option("--push-to-hub", metavar="NAME", help="Upload the folder to this repository, such as me/my-model")
def export(run: Path, to: Path, push_to_hub: str | None, **options: Any) -> None:
    """Write the pruned model of RUN into a folder, with its tokenizer and a model card.

    transformers loads a plain folder. A packed one takes less room; mgpp unpack makes it plain again.
    """
    from mgpp.lab.export.export import export

    _report(export(run, to, push_to_hub=push_to_hub, **options))
    if push_to_hub is not None:
        click.echo(f"uploaded to {push_to_hub}")


@click.command()
@click.argument("folder", type=PATH)
@_target
def unpack(folder: Path, to: Path, replace: bool) -> None:
    """Write the packed export in FOLDER as a plain model."""
    from mgpp.lab.export.folder import unpack

    _report(unpack(folder, to, replace=replace))


def _report(folder: Path) -> None:
    """Print the zeros of an export and the size of its weights."""
    from mgpp.lab.export.folder import read_record

    record = read_record(folder)
    size = sum(file["bytes"] for file in record["files"].values())
    click.echo(f"{folder}: {record['layout']}, {record['zeros']:,} zeros, {size:,} bytes of weights")
