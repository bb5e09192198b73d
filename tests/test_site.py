"""The site: it is built without a warning, its links hold, and it loads nothing from the network."""

import os
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import browser as real
import pytest

from tools.site.check import problems_of
from tools.site.docstrings import to_rest

ROOT = Path(__file__).parents[1]
DOORS = ("explore", "course", "results", "how_to", "gotchas", "api/index", "reliability", "costs")
NEEDED = ("sphinx", "myst_nb", "pydata_sphinx_theme", "sphinx_design", "latex2mathml")


def write(folder, name="page.html", text=""):
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('<a href="other.html#here">', 0),
        ('<a href="https://doi.org/1">', 0),
        ('<img src="data:image/png;base64,AAAA">', 0),
        ('<a href="other.html#there">', 1),
        ('<a href="#nowhere">', 1),
        ('<img src="missing.png">', 1),
        ('<script src="https://example.org/a.js"></script>', 1),
        ('<script src="//example.org/a.js"></script>', 1),
        ('<link rel="stylesheet" href="https://example.org/a.css">', 1),
        ('<p style="background: url(https://example.org/a.png)">', 1),
    ],
)
def test_dead_links_and_loads_from_outside_are_found(tmp_path, text, number):
    write(tmp_path, text=text)
    write(tmp_path, "other.html", '<h1 id="here">')
    assert len(problems_of(tmp_path)) == number


def test_style_sheets_are_checked_too(tmp_path):
    write(tmp_path, "a.css", "@import 'https://example.org/b.css'; b { background: url('//example.org/c.png') }")
    assert len(problems_of(tmp_path)) == 2


def test_formulas_of_docstrings_stay_as_they_are_typed():
    lines = [
        "Sum |w| of add_.",
        "",
        "    y = |x|",
        "Then text.",
        "",
        "Args:",
        "    w: the |w|.",
        "",
        "Example:",
        "    >>> x_",
    ]
    rest = to_rest(lines, {})
    assert rest[:1] == [r"Sum \|w\| of add\_."]
    assert rest[rest.index("::") + 2] == "    y = |x|"
    assert [line for line in rest if "w:" in line] == [r"    w: the \|w\|."]
    assert rest[-1] == "    >>> x_"


@pytest.fixture(scope="module")
def site():
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed; `make docs` installs what the site needs")
    folder = ROOT / "docs" / "_build"
    built = subprocess.run([sys.executable, "-m", "tools.site", str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def address(site):
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=site))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_every_page_is_there(site):
    pages = [f"docs/{name}" for name in DOORS]
    notebooks = (ROOT / "notebooks").rglob("*.ipynb")
    pages += [str(file.relative_to(ROOT).with_suffix("")) for file in notebooks if "source" not in file.parts]
    assert [page for page in pages if not (site / f"{page}.html").is_file()] == []
    modules = [file for file in (ROOT / "toolkit" / "mgpp").rglob("*.py") if len(file.read_text().splitlines()) > 20]
    names = [".".join(file.relative_to(ROOT / "toolkit").with_suffix("").parts) for file in modules]
    public = [name for name in names if not name.endswith("__init__")]
    assert [name for name in public if not (site / "docs" / "api" / f"{name}.html").is_file()] == []


@pytest.mark.slow
@pytest.mark.skipif(
    real.find_chromium() is None and "CI" not in os.environ,
    reason="no Chromium here; on Debian: apt-get install chromium",
)
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_open_without_network_errors_or_sideways_scrolling(site, address, width):
    with real.chromium() as browser:
        page = browser.new_context(viewport={"width": width, "height": 844}).new_page()
        problems, far = [], []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("response", lambda answer: problems.append(answer.url) if answer.status >= 400 else None)
        page.on("request", lambda request: far.append(request.url) if outside(request.url, address) else None)
        page.goto(f"{address}/")
        page.wait_for_url("**/docs/index.html")
        for name in (*(f"docs/{door}" for door in DOORS), *notebooks_of(site)):
            page.goto(f"{address}/{name}.html", wait_until="load")
            widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert widths[0] <= widths[1], name
        assert (problems, far) == ([], [])
        page.goto(f"{address}/docs/explore.html")
        assert re.search(r"\d", page.frame_locator("iframe.explorer").locator("body").inner_text())


def outside(url, address):
    return not url.startswith((address, "data:", "blob:"))


def notebooks_of(site):
    return [str(file.relative_to(site).with_suffix("")) for file in sorted((site / "notebooks").rglob("*.html"))]


@pytest.mark.slow
def test_formulas_become_mathml_without_scripts(tmp_path):
    if not all(map(find_spec, NEEDED)):
        pytest.skip("`make docs` installs what the site needs")
    write(
        tmp_path,
        "conf.py",
        "extensions = ['myst_parser', 'tools.site.mathml']\nhtml_math_renderer = 'mathml'\n"
        "myst_enable_extensions = ['dollarmath']\n",
    )
    write(tmp_path, "index.md", "# Formulas\n\nInline $\\tau^2$.\n\n$$\\frac{1}{n\\sigma_1^2}$$\n")
    built = [sys.executable, "-m", "sphinx", "-W", "-q", str(tmp_path), str(tmp_path / "html")]
    subprocess.run(built, cwd=ROOT, check=True)
    page = (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
    assert (page.count("<math"), page.count("<mfrac>")) == (2, 1)
    assert problems_of(tmp_path / "html") == []
