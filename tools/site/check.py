"""Check a built site: every link inside leads somewhere, and no page loads anything from the network."""

import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from os.path import normpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {("img", "src"), ("script", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"), ("embed", "src")}
STYLE = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")


class _Page(HTMLParser):
    """What a page points to and what can be pointed at in it."""

    def __init__(self, text: str):
        super().__init__()
        self.names, self.links, self.loads = {"", "top"}, list[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note names, links and what is loaded."""
        values = {name: value or "" for name, value in attrs}
        self.names |= {values[name] for name in ("id", "name") if name in values}
        if "href" in values:
            loads = tag == "link" and not re.search(
                r"\b(next|prev|search|index|canonical|help)\b", values.get("rel", "")
            )
            (self.loads if loads else self.links).append(values["href"])
        self.loads += [value for name, value in values.items() if (tag, name) in LOADS]
        self.loads += [first or second for first, second in STYLE.findall(values.get("style", ""))]


@cache
def _read(file: Path) -> _Page:
    return _Page(file.read_text(encoding="utf-8"))


@cache
def _is_file(path: Path) -> bool:
    return path.is_file()


def problems_of(site: Path) -> list[str]:
    """Return a sentence for each dead link and for each address outside the site that a page loads."""
    _read.cache_clear()
    _is_file.cache_clear()
    found = [problem for page in _pages(site) for problem in _problems_of_page(page)]
    for sheet in sorted(site.rglob("*.css")):
        loads = [first or second for first, second in STYLE.findall(sheet.read_text(encoding="utf-8"))]
        found += _outside(sheet, loads)
    return [problem.replace(f"{site}/", "") for problem in found]


def _pages(site: Path) -> list[Path]:
    return [page for page in sorted(site.rglob("*.html")) if "_static" not in page.parts]  # a theme's templates


def _problems_of_page(page: Path) -> Iterator[str]:
    read = _read(page)
    yield from _outside(page, read.loads)
    for link in {*read.links, *read.loads}:
        if not _is_outside(link) and not _exists(page, link):
            yield f"{page}: {link} leads nowhere"


def _outside(page: Path, loads: list[str]) -> list[str]:
    return [f"{page}: {link} is loaded from the network" for link in loads if _is_outside(link) and link[:5] != "data:"]


def _is_outside(link: str) -> bool:
    parts = urlsplit(link)
    return bool(parts.scheme or parts.netloc)


def _exists(page: Path, link: str) -> bool:
    parts = urlsplit(link)
    target = Path(normpath(page.parent / unquote(parts.path))) if parts.path else page
    if not _is_file(target):
        return False
    return target.suffix != ".html" or unquote(parts.fragment) in _read(target).names
