"""Say below interactive cells that they need a running notebook, and show the explorer's page where they show it."""

import json
from typing import Any

NOTE = """:::{note}
This cell makes a control that needs a running notebook, so this page can't show it: say `make lab`.
:::
"""
EXPLORER = """:::{note}
In a running notebook (`make lab`) this cell shows the explorer with the weights of the cell. A page has no kernel:
below is the [explorer's own page](FIGURES/explorer.html), live, with the runs that it was made of.
:::

<iframe class="explorer" src="FIGURES/explorer.html" title="The explorer" loading="lazy"></iframe>
"""


def explain(_: Any, docname: str, source: list[str]) -> None:
    """Put a text below each cell that is tagged interactive."""
    if not docname.startswith("notebooks/") or not source[0].lstrip().startswith("{"):
        return
    notebook = json.loads(source[0])
    cells = [part for cell in notebook["cells"] for part in (cell, *_below(cell, docname))]
    source[0] = json.dumps(notebook | {"cells": cells})


def _below(cell: dict[str, Any], docname: str) -> list[dict[str, Any]]:
    if "interactive" not in cell["metadata"].get("tags", []):
        return []
    text = EXPLORER if "explore(" in "".join(cell["source"]) else NOTE
    text = text.replace("FIGURES", "../" * docname.count("/") + "figures")
    return [{"cell_type": "markdown", "id": f"{cell['id']}-note", "metadata": {}, "source": text}]


def setup(app: Any) -> dict[str, bool]:
    """Change notebooks after they are read and before they are parsed."""
    app.connect("source-read", explain)
    return {"parallel_read_safe": True}
