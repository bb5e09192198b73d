"""The workshop: source, student's copies and solutions belong together, run, and look like ones that teach."""

import ast
import importlib.util
import re
from itertools import pairwise
from pathlib import Path
from statistics import median

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from outputs import differing, house

from mgpp.workshop import checks

ROOT = Path(__file__).parents[1]
WORKSHOP = ROOT / "notebooks" / "workshop"
SOURCES = sorted((WORKSHOP / "source").glob("*.ipynb"))
spec = importlib.util.spec_from_file_location("workshop_build", WORKSHOP / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)

HAND_WRITTEN = '''
def density(w, var):
    """A bell."""
    height = 1 / var  # hole: its height
    scaled = w * height
    return scaled + 1  # hole: a sum
'''.strip()
HAND_WRITTEN_STUB = '''
def density(w, var):
    """A bell."""
    raise NotImplementedError("Fill the holes, then delete this line.")
    height = ...  # hole: its height
    scaled = w * height
    return ...  # hole: a sum
'''.strip()


def read(folder, name):
    return nbformat.read(WORKSHOP / folder / name, as_version=4)


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in build.tags(cell)]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def small_notebook():
    cells = [
        nbformat.v4.new_markdown_cell("Text", id="text"),
        nbformat.v4.new_code_cell(HAND_WRITTEN, id="exercise", metadata={"tags": ["exercise"]}),
        nbformat.v4.new_markdown_cell("The secret.", id="secret", metadata={"tags": ["solution"]}),
        nbformat.v4.new_code_cell("print(density(2, 4))", id="run", execution_count=7),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem)
def source(request):
    return request.param


def test_a_stub_has_holes_with_hints_and_stops_first():
    assert build.stub(HAND_WRITTEN) == HAND_WRITTEN_STUB


@pytest.mark.parametrize("line", ["x += a * b", "y = f(x == 1)", "first, second = pair", "return a"])
def test_holes_may_be_in_any_assignment_or_return(line):
    (hole,) = build.holes(f"    {line}  # hole: hint")
    assert f"{hole['left'].strip()} {hole['right']}" == line
    assert hole["hint"] == "hint"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("def f():\n    g()  # hole: call", "is no hole"),
        ("def f():\n    x = 1\n    return x", "without a hole"),
        ("x = 1  # hole: one", "ends with its function"),
    ],
)
def test_a_wrongly_marked_exercise_is_refused(text, part):
    with pytest.raises(ValueError, match=part):
        build.stub(text)


def test_a_students_copy_has_no_solution_and_leaves_the_source_alone():
    notebook = small_notebook()
    copy = build.student_copy(notebook)
    assert [cell.id for cell in copy.cells] == ["text", "exercise", "run"]
    assert copy.cells[1].source == HAND_WRITTEN_STUB
    assert copy.cells[2].execution_count is None
    assert notebook == small_notebook()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_building_twice_gives_the_same_bytes(tmp_path, monkeypatch, capsys):
    (tmp_path / "source").mkdir()
    nbformat.write(small_notebook(), tmp_path / "source" / "small.ipynb")
    texts = []
    for _ in range(2):
        build.build(tmp_path / "source", tmp_path)
        texts.append([(tmp_path / folder / "small.ipynb").read_bytes() for folder in ("student", "solutions")])
    assert texts[0] == texts[1]
    solved = nbformat.read(tmp_path / "solutions" / "small.ipynb", as_version=4)
    assert solved.cells[3].outputs[0].text == "1.5\n"
    assert "small: " in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_warning_stops_the_build(tmp_path):
    notebook = small_notebook()
    notebook.cells[3].source = "import warnings; warnings.warn('look')"
    with pytest.raises(ValueError, match="run warns"):
        build.solved_copy(notebook, tmp_path)


def test_the_three_sets_hold_the_same_sessions():
    for folder in ("source", "student", "solutions"):
        assert [path.stem for path in sorted((WORKSHOP / folder).glob("*.ipynb"))] == list(checks.SESSIONS)


def test_the_students_copy_is_what_the_source_gives(source):
    made = build.text_of(build.student_copy(nbformat.read(source, as_version=4)))
    assert made == (WORKSHOP / "student" / source.name).read_text(encoding="utf-8"), "run `make workshop`"


def test_the_solution_is_the_executed_source(source):
    solution = read("solutions", source.name)
    for cell in code_cells(solution):
        assert cell.execution_count
        assert not [
            output for output in cell.outputs if output.output_type == "error" or output.get("name") == "stderr"
        ]
        cell.update(outputs=[], execution_count=None)
    assert build.text_of(solution) == source.read_text(encoding="utf-8"), "run `make workshop`"


def test_the_source_holds_no_outputs(source):
    assert not [cell for cell in code_cells(nbformat.read(source, as_version=4)) if cell.outputs]


def test_the_students_copy_holds_no_solution(source):
    text, notebook = "\n".join(cell.source for cell in read("student", source.name).cells), read("source", source.name)
    for cell in tagged(notebook, "exercise"):
        for hole in build.holes(cell.source):
            assert hole["hint"] in text
            assert f"{hole['left'].strip()} {hole['right']}" not in text
    assert tagged(notebook, "solution")
    for cell in tagged(notebook, "solution"):
        assert cell.source not in text
    assert not tagged(read("student", source.name), "solution")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")
def test_the_solution_is_what_the_source_gives_here_whatever_runs_are_added(source, tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND")  # the kernel chooses its own
    folder = house(tmp_path) / "notebooks" / "workshop" / "source"
    folder.mkdir(parents=True)
    fresh = build.solved_copy(nbformat.read(source, as_version=4), folder)
    assert not differing(read("solutions", source.name), fresh)
    praises = [cell.outputs[0].text for cell in code_cells(fresh) if cell.source.startswith("checks.")]
    assert all(text.startswith("✓ ") for text in praises)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_students_copy_stops_kindly_at_the_first_checker(source):
    notebook = read("student", source.name)
    folder = {"metadata": {"path": str(WORKSHOP / "student")}}
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, timeout=300, resources=folder, config=build.QUIET).execute()
    (error,) = [output for cell in code_cells(notebook) for output in cell.outputs if output.output_type == "error"]
    assert error.traceback == [f"✗ Not yet: {error.evalue}"]
    assert "still a stub" in error.evalue


def test_every_exercise_is_small_and_has_its_checker(source):
    cells = read("source", source.name).cells
    names = []
    for cell, after in pairwise(cells):
        if "exercise" in build.tags(cell):
            function = ast.parse(cell.source).body[-1]
            assert 3 <= len(cell.source.splitlines()) <= 8
            assert ast.get_docstring(function)
            assert after.source == f"checks.{function.name}({function.name})"
            names.append(function.name)
    assert 4 <= len(names) <= 6
    assert names == [check.__name__ for check in checks.SESSIONS[source.stem]]


def test_it_calls_the_library_and_defines_only_exercises(source):
    cells = code_cells(read("source", source.name))
    for cell in cells:
        lines = cell.source.splitlines()
        assert len(lines) <= 15
        assert "exercise" in build.tags(cell) or not [line for line in lines if line.startswith(("def ", "class "))]
        assert not [line for line in lines if line.startswith(("!", "%"))]
        assert "matplotlib" not in cell.source
    assert median(len(cell.source.splitlines()) for cell in cells) <= 6


def test_its_parts_take_as_long_as_promised(source):
    text = "\n".join(cell.source for cell in read("source", source.name).cells if cell.cell_type == "markdown")
    promised = int(re.search(r"\*\*(\d+) minutes:\*\*", text)[1])
    headings = [int(minutes) for minutes in re.findall(r"^## .+ \((\d+) minutes\)$", text, re.MULTILINE)]
    listed = re.search(r"minutes:\*\*(.+?)\. All cells", text, re.DOTALL)[1]
    assert [int(minutes) for minutes in re.findall(r"\((\d+)\)", listed)] == headings
    assert sum(headings) == promised
    assert 60 <= promised <= 90


def test_it_has_predictions_and_ends_with_questions_and_its_source(source):
    text = "\n".join(cell.source for cell in read("source", source.name).cells if cell.cell_type == "markdown")
    assert text.count("*Predict") >= 5
    assert (
        text.index("**You will be able to**") < text.index("## What we learned") < text.index("## What to keep in mind")
    )
    questions = text.split("## Questions")[1].split("**Answers.**")[0]
    assert len(re.findall(r"^\d+\. ", questions, re.MULTILINE)) >= 8
    last = read("student", source.name).cells[-1].source
    assert "**Next:**" in last
    assert "**Reference:**" in last


def test_the_committed_notebooks_are_small_and_impersonal(source):
    for folder in ("source", "student", "solutions"):
        text = (WORKSHOP / folder / source.name).read_text(encoding="utf-8")
        assert len(text) < 1_000_000
        assert str(Path.home()) not in text
        assert str(ROOT) not in text
