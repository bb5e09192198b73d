"""Every notebook as `make lab` serves it, in a real browser: no request fails and every link leads somewhere."""

import os
import shutil
from pathlib import Path

import browser as real
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = [path for path in sorted((ROOT / "notebooks").rglob("*.ipynb")) if not path.parent.name.startswith(".")]
TEXT = ".jp-RenderedHTMLCommon:visible"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        real.find_chromium() is None and "CI" not in os.environ,
        reason="no Chromium here; on Debian: apt-get install chromium",
    ),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """`make lab` on a copy of the notebooks, which JupyterLab may save, beside all that they read."""
    root = tmp_path_factory.mktemp("repository")
    for name in ("notebooks", "figures", "tools", "docs"):
        # copies, as JupyterLab shows nothing that lies outside, behind a link
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("_build"))
    for name in ("data", "README.md", "environment.yml"):
        (root / name).symlink_to(ROOT / name)
    with real.jupyter_lab(root, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    with real.chromium() as running:
        yield running


@pytest.fixture
def context(chromium):
    """A browser in which every failed request, error of a script or message on the console fails the test."""
    opened, problems = chromium.new_context(viewport={"width": 1300, "height": 1100}), []
    opened.on("response", lambda answer: answer.status >= 400 and problems.append(f"{answer.status} {answer.url}"))
    opened.on("weberror", lambda error: problems.append(str(error.error)))
    opened.on("console", lambda message: message.type == "error" and problems.append(message.text))
    yield opened
    opened.close()
    assert not problems


@pytest.fixture
def page(context, lab, name):
    """JupyterLab with one notebook, its outputs as they were committed."""
    opened = context.new_page()
    opened.set_default_timeout(real.MINUTE)
    opened.goto(lab(name))
    opened.locator(TEXT).first.wait_for(timeout=2 * real.MINUTE)
    opened.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=2 * real.MINUTE)
    yield opened
    real.stop_kernels(opened)


def local_links(page):
    """Each goal in the repository that the shown text links to, with the place of such a link among all links."""
    addresses = page.locator(f"{TEXT} a[href]").evaluate_all("found => found.map(link => link.href)")
    goals = [address.partition("?")[0].partition("/files/")[2] for address in addresses]
    return {goal: place for place, goal in enumerate(goals) if goal}


def follow(page, link, goal):
    """Click on a link: a web page opens in a new tab of the browser, any other file in JupyterLab."""
    if goal.endswith(".html"):
        with page.expect_popup() as new:
            link.click()
        new.value.locator("svg, canvas, img").first.wait_for()
        new.value.close()
    else:
        link.click()
        page.wait_for_url(f"**/tree/{goal}*")


@pytest.mark.parametrize("name", [str(path.relative_to(ROOT)) for path in NOTEBOOKS])
def test_nothing_complains_and_every_link_leads_somewhere(page, name):
    images = page.locator(f"{TEXT} img").evaluate_all("found => found.filter(image => !image.naturalWidth)")
    assert not images
    home, tab = page.url, page.get_by_role("tab", name=Path(name).name)
    for goal, place in local_links(page).items():
        follow(page, page.locator(f"{TEXT} a[href]").nth(place), goal)
        if page.url != home:
            tab.first.click()
            page.wait_for_url(home)
