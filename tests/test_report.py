import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgpp import RunWriter, load_runs
from mgpp.lab.comparison.frame import comparison_frame
from mgpp.lab.comparison.report import write_comparison
from mgpp.lab.comparison.table import results_markdown
from mgpp.runs import mark_failed


def add_run(folder, method, seed, score, steps=10, sparsity=0.9):
    recipe = {"name": "exam", "method": method, "seed": seed, "sparsity": {"final": sparsity}}
    name = f"exam-{method}-{sparsity}-seed{seed}"
    with RunWriter(folder / name, {"recipe": recipe, "steps": {"total": steps}}) as writer:
        layers = {"step": 9, "layer": [0, 0], "kind": ["query", "key"], "name": ["q", "k"], "n": 100}
        writer.part("layers", 9, pd.DataFrame(layers | {"sparsity": [0.8, 1.0]}))
        writer.update(final={"accuracy": score, "accuracy_se": 0.01})


@pytest.fixture
def folder(tmp_path):
    for seed in (0, 1):
        add_run(tmp_path / "runs", "mgpp", seed, 0.8)
        add_run(tmp_path / "runs", "l2", seed, 0.7 + 0.01 * seed)
    failed = {"name": "exam", "method": "mine", "seed": 0, "sparsity": {"final": 0.9}}
    with pytest.raises(MemoryError), RunWriter(tmp_path / "runs" / "exam-mine", {"recipe": failed}):
        raise MemoryError("too large")
    add_run(tmp_path / "trials", "l2", 100, 0.6)
    return tmp_path / "runs"


def test_frame_table_and_figures_lie_beside_the_runs(folder, tmp_path):
    paths = write_comparison(folder, trials=tmp_path / "trials")
    names = ["comparison.csv", "comparison.md"]
    names += [f"figure_{what}.{kind}" for what in ("comparison", "survivors") for kind in ("pdf", "png")]
    assert [path.relative_to(folder).as_posix() for path in paths] == names
    runs, trials = load_runs(folder), load_runs(tmp_path / "trials")
    frame = pd.read_csv(folder / "comparison.csv", keep_default_na=False, na_values={"score": "", "steps": ""})
    assert len(frame) == 5
    assert frame.loc[frame["status"] == "failed", "error"].tolist() == ["MemoryError: too large"]
    expected = comparison_frame(runs, trials)
    assert frame["score"].round(6).equals(expected["score"].round(6))
    assert frame["trials"].tolist() == expected["trials"].tolist() == [1, 1, 0, 0, 0]
    assert (folder / "comparison.md").read_text() == results_markdown(runs, trials) + "\n"


@pytest.mark.parametrize("folder", ["runs", "tasks"])
def test_the_committed_frame_comes_from_the_committed_runs(folder):
    data = Path(__file__).parents[1] / "data"
    frame = comparison_frame(load_runs(data / folder), load_runs(data / "tuning"))
    committed = pd.read_csv(data / folder / "comparison.csv", keep_default_na=False)
    assert committed["name"].tolist() == frame["name"].tolist()
    assert committed["trials"].tolist() == frame["trials"].tolist()
    np.testing.assert_allclose(pd.to_numeric(committed["score"]), frame["score"], rtol=1e-5)


def test_the_same_runs_give_the_same_bytes(folder):
    hashes = [[hashlib.sha256(path.read_bytes()).digest() for path in write_comparison(folder)] for _ in range(2)]
    assert hashes[0] == hashes[1]


def test_the_table_goes_between_the_markers_of_a_page(folder, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(
        "# A\n<!-- results -->\nold\n<!-- /results -->\nprose\n<!-- other -->\nkept\n<!-- /other -->\nend\n"
    )
    elsewhere = {"figures": tmp_path / "figures", "trials": tmp_path / "nowhere"}
    paths = write_comparison(folder, readme=page, **elsewhere)
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("# A\n<!-- results -->\n| sparsity | method |")
    assert "+9.5 ± 0.5" in text  # MGPP minus L2, paired by seed
    assert text.endswith("<!-- /results -->\nprose\n<!-- other -->\nkept\n<!-- /other -->\nend\n")
    assert page in paths
    assert not (folder / "comparison.md").exists()
    assert (tmp_path / "figures" / "figure_comparison.png").exists()
    write_comparison(folder, readme=page, markers="other", **elsewhere)
    assert page.read_text().count("+9.5 ± 0.5") == 2
    assert "kept" not in page.read_text()


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_frame_and_table_are_written_though_there_is_nothing_to_draw(status, tmp_path):
    add_run(tmp_path, "dense", 0, 0.8)
    if status == "failed":
        mark_failed(tmp_path / "exam-dense-0.9-seed0", "no memory")
    assert [path.name for path in write_comparison(tmp_path)] == ["comparison.csv", "comparison.md"]
    row = "| 0 | dense | 80.0 | 1 |" if status == "finished" else "| 0 | dense | – | 0 (1 failed) |"
    assert row in (tmp_path / "comparison.md").read_text()


def test_nothing_is_written_where_the_budget_differed(folder):
    add_run(folder, "l1", 0, 0.5, steps=11)
    with pytest.raises(ValueError, match="steps"):
        write_comparison(folder)
    assert all(path.is_dir() for path in folder.iterdir())


def test_nothing_is_written_where_the_page_has_no_markers_or_nothing_finished(folder, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="<!-- results -->"):
        write_comparison(folder, readme=page)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no runs in .*empty"):
        write_comparison(tmp_path / "empty")
    assert all(path.is_dir() for path in folder.iterdir())
    assert not list((tmp_path / "empty").iterdir())
