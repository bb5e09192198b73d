"""Lead the repository's links to what the site shows: pages, modules, files. Other folders are only named."""

import os
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes

from tools.site.api import PACKAGE, module_of

WEB = ("figures/*.html", "figures/*.png", "figures/*.gif")  # served under the same path as in the repository
START = '<!doctype html><title>MGPP toolkit</title><meta http-equiv="refresh" content="0; url=docs/index.html">\n'


def follow(app: Any, document: nodes.document) -> None:
    """Replace links to files and folders that are no pages."""
    for link in list(document.findall(addnodes.download_reference)):
        _follow_file(app, link)
    for link in list(document.findall(addnodes.pending_xref)):
        if link.get("reftype") == "myst" and link.get("refdomain") is None:
            _follow_folder(app, link)


def _path(app: Any, target: str) -> Path:
    return Path(app.env.relfn2path(target.partition("#")[0], app.env.docname)[1])


def _follow_file(app: Any, link: nodes.Element) -> None:
    path = _path(app, link["reftarget"])
    if path.suffix == ".html":
        link.replace_self(nodes.reference("", "", *link.children, refuri=link["reftarget"]))
    elif path.suffix == ".py" and path.is_relative_to(PACKAGE):
        link.replace_self(_to_page(app, f"docs/api/{module_of(path)}", link))


def _follow_folder(app: Any, link: nodes.Element) -> None:
    path = _path(app, link["reftarget"])
    page = f"{os.path.relpath(path, app.srcdir)}/README"
    if page in app.env.found_docs:
        link.replace_self(_to_page(app, page, link))
    elif path.is_dir():
        link.replace_self(nodes.inline("", "", *link.children))


def _to_page(app: Any, page: str, link: nodes.Element) -> addnodes.pending_xref:
    names = {"refdomain": "std", "reftype": "doc", "refexplicit": True, "refdoc": app.env.docname}
    return addnodes.pending_xref("", *link.children, reftarget=f"/{page}", **names)


def copy_web_pages(app: Any, error: Exception | None) -> None:
    """Put the pages that are ready, such as the explorer, beside those that Sphinx has made."""
    if error or app.builder.format != "html":
        return
    (Path(app.outdir) / "index.html").write_text(START, encoding="utf-8")
    for file in (file for pattern in WEB for file in Path(app.srcdir).glob(pattern)):
        target = Path(app.outdir) / file.relative_to(app.srcdir)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def setup(app: Any) -> dict[str, bool]:
    """Come before Sphinx collects the files to download."""
    app.connect("doctree-read", follow, priority=100)
    app.connect("build-finished", copy_web_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
