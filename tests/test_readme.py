"""The code, commands and links of README, CONTRIBUTING and docs work."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from shipped import SHIPPED_TASKS

from mgpp import plot_metric, train
from mgpp.lab.comparison.table import results_markdown
from mgpp.lab.recipes.recipe import recipe_from
from mgpp.lab.training.train import resume
from mgpp.methods import METHODS
from mgpp.runs import load_runs, mark_failed

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", README, flags=re.S)
FOLDERS = ("data", "figures", "notebooks/workshop", ".binder")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS += [ROOT / folder / "README.md" for folder in FOLDERS]


def test_the_loop_of_the_readme_prints_what_it_says(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(CODE[0], {})
    assert capsys.readouterr().out.strip() == CODE[0].rstrip().rpartition("  # ")[2]


@pytest.mark.filterwarnings("default")
def test_the_loops_of_ones_own_are_logged_compared_drawn_and_exported(tiny_model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my-folder").symlink_to(tiny_model_folder)
    words = {"refund": "money back", "bug": "it crashed", "praise": "love it", "question": "how to"}
    lines = [f"{words[kind]} {number},{kind}" for number in range(40) for kind in words]
    Path("my.csv").write_text("\n".join(["text,label", *lines]))
    page = (ROOT / "docs" / "own_loop.md").read_text(encoding="utf-8")
    setup, *loops, afterwards = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    names = {}
    for code in (setup, *loops, afterwards):
        exec(code, names)
    assert all(len(loop.splitlines()) <= 20 for loop in loops)
    runs = {run.name: run for run in load_runs("runs")}
    assert {name: (run.status, run.method) for name, run in runs.items()} == {
        name: ("finished", name) for name in ("mgpp", "l2", "gmp")
    }
    assert all(run.final["zeros"] == round(0.9 * run.info["targets"]["count"]) for run in runs.values())
    assert all(0 <= run.final["accuracy"] <= 1 for run in runs.values())
    assert Path("pictures/figure_2.png").exists()
    assert Path("pruned/README.md").exists()
    assert Path("pruned-gmp/config.json").exists()


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 200


def test_every_method_and_task_is_named():
    named = set(re.findall(r"`([a-z0-9-]+)`", README))
    assert set(METHODS) <= named
    assert {task for task in SHIPPED_TASKS if not task.startswith("glue-")} <= named


@pytest.mark.usefixtures("few_reviews")
def test_a_method_is_added_as_contributing_says(tiny_recipe, tmp_path):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = re.search(r"<!-- method -->\n```python\n(.*?)```", text, flags=re.S).group(1)
    assert len(code.splitlines()) < 60
    try:
        exec(code, {"__name__": "mine"})
        recipe = recipe_from(tiny_recipe.as_dict(), method="taylor", **{"taylor.decay": 0.5, "save_every": 20})
        run = train(recipe, tmp_path / "run", progress=False)
        assert run.final["zeros"] == round(0.9 * run.info["targets"]["count"])
        line = plot_metric([run], "loss").get_lines()[0]
        assert (line.get_label(), line.get_color()) == ("Taylor", METHODS["taylor"].color)
        assert "| Taylor |" in results_markdown([run])
        whole = load_file(run.checkpoint / "model.safetensors")
        mark_failed(run.folder, "stopped")
        again = load_file(resume(run.folder, progress=False).checkpoint / "model.safetensors")
        assert all(torch.equal(whole[name], again[name]) for name in whole)
    finally:
        del METHODS["taylor"]


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text()
    for document in DOCUMENTS:
        for target in re.findall(r"(?:`|^)make ([a-z-]+)\b", document.read_text(encoding="utf-8"), flags=re.M):
            assert re.search(rf"^{target}:", makefile, flags=re.M), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    for link in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (document.parent / link).exists(), link


def test_every_figure_is_described():
    captions = (ROOT / "figures" / "README.md").read_text(encoding="utf-8")
    pictures = list((ROOT / "figures").glob("*.png"))
    assert pictures
    assert [picture.name for picture in pictures if picture.name not in captions] == []


def test_the_hashes_of_the_data_are_the_ones_checked():
    from mgpp.lab.models.packages import MINILM, REVIEWS

    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert MINILM.sha256 in text
    assert REVIEWS.sha256 in text
