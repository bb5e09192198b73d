"""The failure gallery runs, teaches in its order, and shows what it says."""

import re
import statistics
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
PATH = ROOT / "notebooks" / "workshop" / "failure_gallery.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(PATH, as_version=4)


def cells(notebook, kind):
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def prose(notebook):
    return "\n".join(cell.source for cell in cells(notebook, "markdown"))


def text_of(notebook, cell_id):
    """The plain text that a cell left behind."""
    (cell,) = [cell for cell in notebook.cells if cell.id == cell_id]
    return "\n".join(out.get("text", "") + out.get("data", {}).get("text/plain", "") for out in cell.outputs)


def draws(cell):
    return any("image/png" in output.get("data", {}) for output in cell.outputs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")
def test_it_runs_fast_and_silently(notebook, monkeypatch):
    monkeypatch.setenv("MGPP_FAST", "1")
    monkeypatch.delenv("MPLBACKEND")  # the kernel chooses its own
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": PATH.parent}}).execute()
    for cell in cells(notebook, "code"):
        assert draws(cell) == cell.source.startswith("plot_"), cell.source
        assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source


def test_its_cells_are_short_and_define_nothing(notebook):
    sources = [cell.source for cell in cells(notebook, "code")]
    lengths = [len(source.splitlines()) for source in sources]
    assert statistics.median(lengths) <= 6
    assert max(lengths) <= 15
    for source in sources:
        assert not re.search(r"^\s*(def|class) |^[!%]|matplotlib|seaborn", source, re.MULTILINE), source


def test_its_outputs_are_kept_small_and_impersonal(notebook):
    text = PATH.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text
    counts = [cell.execution_count for cell in cells(notebook, "code")]
    assert counts == list(range(1, len(counts) + 1))


def test_every_failure_is_predicted_read_and_prevented(notebook):
    sections = re.split(r"^## ", prose(notebook), flags=re.MULTILINE)
    failures = [section for section in sections if re.match(r"\([a-e]\) ", section)]
    assert [section[1] for section in failures] == list("abcde")
    for section in failures:
        assert "*Predict: " in section
        assert "**In your own log:**" in section
        assert "**The toolkit:**" in section


def test_every_figure_is_put_into_words(notebook):
    kinds = [(cell.cell_type, cell.source) for cell in notebook.cells]
    for (before, _), (_, source), (after, _) in zip(kinds, kinds[1:], kinds[2:], strict=False):
        if source.startswith("plot_"):
            assert "markdown" in (before, after), source


def test_its_times_add_up(notebook):
    total = int(re.search(r"\*\*(\d+) minutes:\*\*", notebook.cells[0].source)[1])
    assert total == sum(int(minutes) for minutes in re.findall(r"^## .*\((\d+) minutes\)$", prose(notebook), re.M))


def test_its_table_has_as_many_columns_everywhere_and_its_end_is_complete(notebook):
    last = notebook.cells[-1].source
    rows = [line for line in last.splitlines() if line.startswith("|")]
    assert len(rows) == 9
    assert {row.count("|") for row in rows} == {5}
    assert 8 <= len(re.findall(r"^\d+\. ", last, re.MULTILINE)) <= 15
    assert "**Reference:**" in last


def test_its_kept_outputs_show_what_it_says(notebook):
    assert "no longer finite" in text_of(notebook, "half-run")
    assert text_of(notebook, "half-table").count("NaN") == 7
    assert "sparsity 0.000, asked for 0.985" in text_of(notebook, "stopped")
    assert "train to the end" in text_of(notebook, "stopped")
    assert re.search(r"with the prior +1\.0+ +1\.0+ +1\.0+ ", text_of(notebook, "right-run"))
    assert re.search(r"one per layer 0 +6 +6 +6 +4", text_of(notebook, "layer-run"))
