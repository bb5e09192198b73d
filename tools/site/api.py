"""Write a page for each module of the toolkit, and the page that lists them."""

import ast
from pathlib import Path
from typing import Any

import mgpp

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "toolkit" / "mgpp"
PAGES = ROOT / "docs" / "api"
GROUPS = {
    "prior": "Prior: the mathematics",
    "pruning": "Pruning: the method in a training loop",
    "runs": "Runs: the record",
    "plots": "Plots: the pictures",
    "methods": "Methods: MGPP and its rivals",
    "lab": "Lab: experiments",
    "workshop": "Workshop: the course",
    "": "Shared: names and colours",
}
NO_PAGE = ("mgpp", "mgpp.__main__")  # the list of public names, and the call of the command line
INDEX = """# API

`import mgpp` gives the public names; they load when they are first used. The other names of a module may change.
To read the library, begin with {py:mod}`mgpp.prior.mixture`, then {py:mod}`mgpp.pruning.pruner` and
{py:mod}`mgpp.pruning.callback`.
"""
MODULE = """# NAME

```{eval-rst}
.. automodule:: NAME
   :members:
   :ignore-module-all:
   :show-inheritance:
```
"""


def module_of(file: Path) -> str:
    """Return the dotted name of a module of the package."""
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def documented() -> dict[str, str]:
    """Return the modules that define something, each with the first sentence of its docstring."""
    trees = {module_of(file): ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.rglob("*.py"))}
    docstrings = {name: ast.get_docstring(tree) or "" for name, tree in trees.items() if len(tree.body) > 1}
    known = {name: text.partition("\n\n")[0].replace("\n", " ") for name, text in docstrings.items()}
    return {name: text for name, text in known.items() if name not in NO_PAGE}


def public_names() -> dict[str, list[str]]:
    """Return the full names behind `mgpp.NAME`, by module."""
    names: dict[str, list[str]] = {}
    for name in sorted(mgpp.__all__):
        value = getattr(mgpp, name)
        if hasattr(value, "__qualname__"):
            names.setdefault(value.__module__, []).append(value.__qualname__)
    return names


def write_pages(_: Any) -> None:
    """Write the pages that have changed, and remove those of modules that are gone."""
    modules = documented()
    pages = {PAGES / f"{name}.md": _module_page(name) for name in modules}
    pages[PAGES / "index.md"] = _index(modules)
    PAGES.mkdir(exist_ok=True)
    for file, text in pages.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
    for file in set(PAGES.glob("*.md")) - set(pages):
        file.unlink()


def _module_page(name: str) -> str:
    return MODULE.replace("NAME", name)


def _index(modules: dict[str, str]) -> str:
    parts, names = [INDEX], public_names()
    for group, title in GROUPS.items():
        chosen = [name for name in modules if _group(name) == group]
        parts.append(f"## {title}\n\n| module | content and public names |\n|---|---|")
        parts += [_row(name, names.get(name, []), modules[name]) for name in chosen]
        parts += ["", f"```{{toctree}}\n:hidden:\n:caption: {title.partition(':')[0]}", *chosen, "```", ""]
    return "\n".join(parts)


def _group(module: str) -> str:
    part = module.split(".")[1]
    return part if part in GROUPS else ""


def _row(module: str, names: list[str], content: str) -> str:
    links = ", ".join(f"{{py:obj}}`{name} <{module}.{name}>`" for name in names)
    return f"| [{module.removeprefix('mgpp.')}]({module}.md) | {content.replace('|', chr(92) + '|')} {links} |"


def setup(app: Any) -> dict[str, bool]:
    """Write the pages before Sphinx looks for its files."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
