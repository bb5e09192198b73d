"""Let Sphinx read the toolkit's docstrings, which are plain text with Google's sections.

An indented block outside the sections is a formula or a table: it stays as it is typed. Elsewhere the signs |, * and _
mean themselves, and a public name between backticks is a link.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby
from typing import Any, cast

from tools.site.api import public_names

SECTION = re.compile(r"(Args|Attributes|Example|Examples|Raises|Returns|Warns|Yields|Note|Notes):$")
SPECIAL = re.compile(r"`(?P<code>[^`]*)`|[|*\\]|(?<=\w)_+(?!\w)")


def plain(text: str, names: Mapping[str, str]) -> str:
    r"""Escape what reStructuredText would read as markup, except code between backticks.

    Args:
        text: a line.
        names: full names of what is linked.

    Example:
        >>> print(plain("the norm |w| of `a|b`, set by add_", {}))
        the norm \|w\| of `a|b`, set by add\_
        >>> print(plain("a `Pruner`", {"Pruner": "mgpp.pruning.pruner.Pruner"}))
        a :py:obj:`Pruner <mgpp.pruning.pruner.Pruner>`
    """

    def replace(found: re.Match[str]) -> str:
        if found["code"] in names:
            return f":py:obj:`{found['code']} <{names[found['code']]}>`"
        return found[0] if found["code"] is not None else re.sub(r"(.)", r"\\\1", found[0])

    return SPECIAL.sub(replace, text)


def to_rest(lines: list[str], names: Mapping[str, str]) -> list[str]:
    """Return a docstring's lines in reStructuredText, its sections still in Google's form."""
    start = next((i for i, line in enumerate(lines) if SECTION.match(line)), len(lines))
    return [*_prose(lines[:start], names), *_sections(lines[start:], names)]


def _prose(lines: list[str], names: Mapping[str, str]) -> Iterator[str]:
    for is_literal, block in groupby(_marked(lines), key=lambda pair: pair[0]):
        text = [line for _, line in block]
        yield from ("", "::", "", *text, "") if is_literal else (plain(line, names) for line in text)


def _marked(lines: list[str]) -> Iterator[tuple[bool, str]]:
    """Tell indented blocks, but for the second lines of a list; a blank line belongs to what is above it."""
    is_literal = in_list = False
    for line in lines:
        if line.strip():
            is_literal = line.startswith("    ") and not in_list
            in_list = line.startswith("- ") or (in_list and line.startswith("  "))
        yield is_literal, line


def _sections(lines: list[str], names: Mapping[str, str]) -> Iterator[str]:
    """Escape all but examples."""
    section = ""
    for line in lines:
        if found := SECTION.match(line):
            section = found[1]
        yield line if section.startswith("Example") else plain(line, names)


@cache
def _public() -> dict[str, str]:
    return {name: f"{module}.{name}" for module, names in public_names().items() for name in names}


def process(_app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Replace the lines in place."""
    from sphinx.ext.napoleon import Config, GoogleDocstring

    # of a property napoleon would take for a type what stands before a colon in the first line
    kind: Any = "method" if what in ("attribute", "property") else what
    rest, config = to_rest(lines, _public()), cast(Any, Config(napoleon_use_ivar=True))  # napoleon takes its own
    lines[:] = GoogleDocstring(rest, config, None, kind, name, value, options).lines()


def setup(app: Any) -> dict[str, bool]:
    """Rewrite every docstring that autodoc reads."""
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
