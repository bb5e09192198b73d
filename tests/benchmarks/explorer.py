"""How fast the explorer answers: python tests/benchmarks/explorer.py, or make bench-explorer. Needs Chromium.

From the press of an arrow key on a slider to the changed pictures and sentence, laid out, in the page from disk and in
JupyterLab, on the pretrained model's weights.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import nbformat
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import browser

from mgpp import load_runs, pretrained_weights, save_explorer
from mgpp.lab.training.provenance import provenance
from tools.tables import explorer_markdown

RUNS = browser.ROOT / "data" / "runs"
PASSES = 5
WATCH = """() => {
    const host = document.querySelector(".mgpp-explorer");
    const waits = (window.waits = []);
    let pressed;
    host.addEventListener("keydown", () => (pressed = performance.now()), true);
    const picture = new MutationObserver(() => {
        host.getBoundingClientRect();  // have it laid out
        waits.push(performance.now() - pressed);
    });
    const all = {childList: true, subtree: true, attributes: true, characterData: true};
    for (const part of [".sentence", ".panels", ".training"]) picture.observe(host.querySelector(part), all);
}"""


def measure(page, moves: int) -> np.ndarray:
    """Milliseconds of each move of three sliders by arrow keys, up and down again: a row for each of five passes."""
    page.locator(".mgpp-explorer .sentence:not(:empty)").wait_for(timeout=browser.MINUTE)
    page.evaluate(WATCH)
    each = 2 * -(-moves // 6)  # moves of one slider
    for _ in range(PASSES):
        for name in ("spike_var", "lam", "slab_var"):
            page.locator(f".mgpp-explorer input[name={name}]").focus()
            for move in range(each):
                page.keyboard.press("ArrowRight" if move < each / 2 else "ArrowLeft")
    waits = page.evaluate("window.waits")
    assert len(waits) == PASSES * 3 * each, f"{moves} moves gave {len(waits)} changes"
    return np.reshape(waits, (PASSES, 3 * each))


def row_of(where: str, waits: np.ndarray) -> dict:
    """A row of the table: of each move the fastest pass counts, as other programs slow one down; then all passes."""
    fastest = waits.min(axis=0)
    own = {"median_ms": np.median(fastest), "p95_ms": np.percentile(fastest, 95)}
    return {"where": where, "moves": len(fastest), **own, "p95_all_ms": np.percentile(waits, 95), "max_ms": waits.max()}


def on_the_page(running, folder: Path, moves: int) -> np.ndarray:
    """The page from disk, with all committed runs on it."""
    page = running.new_page(viewport={"width": 1040, "height": 980})
    page.goto(save_explorer(folder / "page.html", runs=load_runs(RUNS), weights=pretrained_weights()).as_uri())
    return measure(page, moves)


def two_compared(running, folder: Path, moves: int) -> np.ndarray:
    """The same page with two runs drawn over each other."""
    page = running.new_page(viewport={"width": 1040, "height": 980})
    page.goto((folder / "page.html").as_uri())
    page.get_by_label("weights", exact=True).select_option("reviews-mgpp-0.95-seed0")
    page.get_by_role("button", name="compare").click()
    return measure(page, moves)


def take_picture(running, folder: Path, file: Path) -> None:
    """The page as it looks early in a run's pruning."""
    page = running.new_page(viewport={"width": 1040, "height": 900}, device_scale_factor=1.25)
    page.goto((folder / "page.html").as_uri())
    page.get_by_label("weights", exact=True).select_option("reviews-mgpp-0.95-seed0")
    page.get_by_role("slider", name="step", exact=True).fill("7")
    page.evaluate("document.activeElement.blur()")
    page.locator(".mgpp-explorer").screenshot(path=file)


def in_jupyterlab(running, folder: Path, moves: int) -> np.ndarray:
    """The widget in a notebook of two lines."""
    code = f"from mgpp import *\nexplore(weights=pretrained_weights(), runs=load_runs({str(RUNS)!r}))"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata=kernel)
    (folder / "lab").mkdir()
    nbformat.write(notebook, folder / "lab" / "explorer.ipynb")
    with browser.jupyter_lab(folder / "lab", folder / "home") as address:
        page = running.new_page(viewport={"width": 1300, "height": 1100})
        browser.run_all(page, address("explorer.ipynb"))
        return measure(page, moves)


@click.command()
@click.option("--moves", default=120, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The JSON file.")
@click.option("--picture", type=click.Path(path_type=Path), help="A screenshot of the page, as PNG.")
def main(moves: int, out: Path, picture: Path | None) -> None:
    """Measure the page and JupyterLab, print the table, write one JSON file."""
    with TemporaryDirectory() as folder, browser.chromium() as running:
        waits = {"page from disk": on_the_page(running, Path(folder), moves)}
        waits["page from disk, A and B"] = two_compared(running, Path(folder), moves)
        waits["JupyterLab"] = in_jupyterlab(running, Path(folder), moves)
        version = running.version
        if picture:
            take_picture(running, Path(folder), picture)
    rows = [row_of(*each) for each in waits.items()]
    result = {"provenance": provenance(), "chromium": version, "rows": rows}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    click.echo(explorer_markdown(result))


if __name__ == "__main__":
    main()
