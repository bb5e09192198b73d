from pathlib import Path

import pytest

from mgpp.lab.comparison.report import between_markers
from mgpp.lab.comparison.table import results_markdown
from mgpp.runs import Run
from tools.tables import TABLES, explorer_markdown, write_tables

ROOT = Path(__file__).parents[1]


def fake(method, seed, accuracy, sparsity=0.9):
    recipe = {"method": method, "seed": seed, "sparsity": {"final": sparsity}}
    info = {"status": "finished", "recipe": recipe, "final": {"accuracy": accuracy, "accuracy_se": 0.01}}
    return Run(Path(f"{method}-{seed}"), info)


def test_a_seed_is_not_counted_twice():
    with pytest.raises(ValueError, match="l2-0, l2-0"):
        results_markdown([fake("l2", 0, 0.8), fake("l2", 0, 0.7)])


def test_how_fast_the_explorer_answers_is_a_table():
    row = {"where": "JupyterLab", "moves": 102, "median_ms": 4.56, "p95_ms": 7.61, "p95_all_ms": 8, "max_ms": 9.5}
    result = {"provenance": {"device": {"name": "a processor"}}, "chromium": "150", "rows": [row]}
    assert explorer_markdown(result).splitlines()[-1] == "| JupyterLab | 102 | 4.6 | 7.6 | 8.0 | 9.5 |"


def test_missing_markers_are_an_error():
    with pytest.raises(ValueError, match="<!-- results -->"):
        between_markers("no markers", "results", "")


@pytest.mark.parametrize("name", TABLES)
def test_the_committed_tables_come_from_the_committed_runs(name):
    file, render = TABLES[name]
    assert render(ROOT) in (ROOT / file).read_text(encoding="utf-8")


def test_all_tables_are_written(tmp_path):
    for folder in ("runs", "tasks", "tuning", "adam/spike"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    for name, (file, _) in TABLES.items():
        with (tmp_path / file).open("a") as page:
            page.write(f"<!-- {name} -->\n<!-- /{name} -->\n")
    write_tables(tmp_path)
    assert "| sparsity | method |" in (tmp_path / "docs" / "results.md").read_text()
