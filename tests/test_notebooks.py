"""Every notebook runs from top to bottom, and looks like one that teaches."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert [path.stem[0] for path in NOTEBOOKS] == ["1", "2", "3"]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")
def test_it_runs(path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND")  # the kernel chooses its own
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": path.parent}}).execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    for cell in code_cells(notebook):
        draws = cell.source.startswith(("figure_", "plot_"))
        assert draws == any("image/png" in output.get("data", {}) for output in cell.outputs), cell.source
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_it_calls_the_library_and_defines_nothing(path):
    for cell in code_cells(nbformat.read(path, as_version=4)):
        lines = cell.source.splitlines()
        assert len(lines) <= 15
        assert not [line for line in lines if line.startswith(("def ", "class ", "!", "%pip"))]
        assert "matplotlib" not in cell.source


def test_its_outputs_are_kept_small_and_impersonal(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert str(Path.home()) not in text
    assert str(ROOT) not in text
    assert all(cell.execution_count for cell in code_cells(nbformat.reads(text, as_version=4)))


def test_it_ends_with_questions_and_its_source(path):
    last = nbformat.read(path, as_version=4).cells[-1].source
    assert "## Questions" in last
    assert "**Reference:**" in last
