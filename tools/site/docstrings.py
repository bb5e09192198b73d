"""Let Sphinx read the toolkit's docstrings, which are plain text with Google's sections.

An indented block outside the sections is a formula or a table: it stays as it is typed. Elsewhere the signs |, * and _
mean themselves.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import groupby
from typing import Any

from tools.site.api import public_names

SECTION = re.compile(r"(Args|Attributes|Example|Examples|Raises|Returns|Warns|Yields|Note|Notes):$")
SPECIAL = re.compile(r"(`[^`]*`)|([|*\\])|(?<=\w)(_+)(?!\w)")


def plain(text: str) -> str:
    r"""Escape what reStructuredText would read as markup, except code between backticks.

    Example:
        >>> print(plain("the norm |w| of `a|b`, set by add_"))
        the norm \|w\| of `a|b`, set by add\_
    """
    return SPECIAL.sub(lambda found: found[1] or re.sub(r"(.)", r"\\\1", found[0]), text)


def to_rest(lines: list[str]) -> list[str]:
    """Return a docstring's lines in reStructuredText, its sections for napoleon."""
    start = next((i for i, line in enumerate(lines) if SECTION.match(line)), len(lines))
    return [*_prose(lines[:start]), *_sections(lines[start:])]


def _prose(lines: list[str]) -> Iterator[str]:
    for kind, block in groupby(lines, key=_kind(lines)):
        if kind == "literal":
            yield from ("", "::", "", *block, "")
        else:
            yield from (plain(line) for line in block)


def _kind(lines: Iterable[str]) -> Any:
    """Tell literal lines from text; blank lines belong to what is around them, a list's second lines to the list."""
    state = {"kind": "text", "in_item": False}

    def kind(line: str) -> str:
        if line.strip():
            indented = line.startswith("    ") if not state["in_item"] else False
            state["in_item"] = line.startswith("- ") or (state["in_item"] and line.startswith("  "))
            state["kind"] = "literal" if indented else "text"
        return str(state["kind"])

    return kind


def _sections(lines: list[str]) -> Iterator[str]:
    """Escape all but examples."""
    section = ""
    for line in lines:
        if found := SECTION.match(line):
            section = found[1]
        yield line if section in ("Example", "Examples") else plain(line)


@cache
def _public() -> dict[str, str]:
    return {name: f"{module}.{name}" for module, names in public_names().items() for name in names}


def with_links(line: str, names: Mapping[str, str]) -> str:
    """Link names between backticks to their full names.

    Example:
        >>> with_links("a `Pruner` and its `weights`", {"Pruner": "mgpp.pruning.pruner.Pruner"})
        'a :py:obj:`Pruner <mgpp.pruning.pruner.Pruner>` and its `weights`'
    """

    def link(found: re.Match[str]) -> str:
        name = found[1]
        return f":py:obj:`{name} <{names[name]}>`" if name in names else found[0]

    return re.sub(r"`(\w+)`", link, line)


def process(_app: Any, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Replace the lines in place, before napoleon reads them."""
    lines[:] = [with_links(line, _public()) for line in to_rest(lines)]
    if what in ("attribute", "property"):
        lines.insert(0, "")  # napoleon would take what stands before a colon in the first line for a type


def setup(app: Any) -> dict[str, bool]:
    """Come before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True}
