"""`mgpp recipe`: show recipes and their JSON schema."""

import json
from typing import Any

import click

from mgpp.lab.cli.options import with_overrides


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
