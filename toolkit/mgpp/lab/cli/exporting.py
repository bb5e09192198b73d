"""`mgpp export` and `mgpp unpack`: pruned models for others."""

from pathlib import Path
from typing import Any

import click


@click.command()
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
    from mgpp.lab.export.export import export

    options: Any = {"format": format, "dtype": dtype, "push_to_hub": push_to_hub, "replace": replace}
    click.echo(_exported(export(run, to, **options)))
    if push_to_hub is not None:
        click.echo(f"uploaded to {push_to_hub}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The new folder")
@click.option("--replace", is_flag=True, help="Delete the export that DIR holds, instead of refusing")
def unpack(folder: Path, to: Path, replace: bool) -> None:
    """Write the plain model that the packed export in FOLDER stands for."""
    from mgpp.lab.export.unpacking import unpack

    click.echo(_exported(unpack(folder, to, replace=replace)))


def _exported(folder: Path) -> str:
    """One line on an export: its zeros, and what its files of weights take."""
    from mgpp.lab.export.folder import read_record

    record = read_record(folder)
    size = sum(file["bytes"] for file in record["files"].values())
    return f"{folder}: {record['layout']}, {record['zeros']:,} zeros, {size:,} bytes of weights"
