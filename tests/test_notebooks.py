"""Every notebook runs from top to bottom, and looks like one that teaches. The workshop's have tests of their own."""

import copy
import re
import statistics
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from outputs import differing, house
from prose import sentences, unanswered, words

from mgpp import MixtureGaussianPrior

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STUB = re.compile(r"^def .*?^    raise NotImplementedError", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
SECTION = re.compile(r"^## .*\((\d+) min(, may wait)?\)$", re.MULTILINE)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def cells(notebook, kind):
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def prose(notebook):
    return "\n\n".join(cell.source for cell in cells(notebook, "markdown"))


def is_drawing(cell):
    return cell.source.startswith(("figure_", "plot_"))


def has_png(cell):
    return any("image/png" in output.get("data", {}) for output in cell.outputs)


def draws_if_it_says_so(cell):
    """A cell that begins with figure_ or plot_ shows a PNG, and no other does; explore() may bring one or not."""
    return is_drawing(cell) == has_png(cell) or cell.source.startswith("explore(")


def test_the_notebooks_are_these():
    assert [path.stem[0] for path in NOTEBOOKS] == ["0", "1", "2", "3", "4", "5", "6"]


@pytest.fixture
def scratch(tmp_path):
    """Where notebooks read what the repository has, and what they write stays."""
    (house(tmp_path) / "notebooks").mkdir()
    return tmp_path / "notebooks"


def execute(notebook, folder, monkeypatch):
    """Execute a copy, whose pictures are drawn where its text says so, and which warns of nothing."""
    monkeypatch.delenv("MPLBACKEND")  # the kernel chooses its own
    fresh = copy.deepcopy(notebook)
    NotebookClient(fresh, timeout=900, coalesce_streams=True, resources={"metadata": {"path": folder}}).execute()
    for cell in cells(fresh, "code"):
        assert draws_if_it_says_so(cell), cell.source
        assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source
    return fresh


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")
def test_its_outputs_are_those_of_an_execution_whatever_runs_are_added(notebook, scratch, monkeypatch):
    assert not differing(notebook, execute(notebook, scratch, monkeypatch))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if "TRAIN" in path.read_text()], ids=lambda path: path.stem
)
def test_it_trains_fast_and_silently(path, scratch, monkeypatch):
    monkeypatch.setenv("MGPP_FAST", "1")
    execute(nbformat.read(path, as_version=4), scratch, monkeypatch)


def test_the_one_that_trains_writes_only_to_local_data():
    trains = [path.stem for path in NOTEBOOKS if "train(" in path.read_text(encoding="utf-8")]
    assert trains == ["4_train_and_log"]
    (source,) = re.findall(r"[^.\w]train\(recipe, [^,]*", NOTEBOOKS[4].read_text(encoding="utf-8"))
    assert "../data/local/" in source


def test_the_fast_switch_is_read_once_and_in_the_setup_cell(notebook):
    setup, *rest = cells(notebook, "code")
    assert not [cell.source for cell in rest if "os.environ" in cell.source]
    assert "MGPP_FAST" not in setup.source or 'FAST = "MGPP_FAST" in os.environ' in setup.source


def test_its_cells_are_short(notebook):
    lengths = [len(cell.source.splitlines()) for cell in cells(notebook, "code")]
    assert 1 <= statistics.median(lengths) <= 6
    assert max(lengths) <= 15


def test_it_calls_the_library_and_defines_nothing(notebook):
    for cell in cells(notebook, "code"):
        source = STUB.sub("", cell.source)  # the holes of exercises may stay
        assert not re.search(r"^\s*(def|class|async def) ", source, re.MULTILINE), cell.source
        assert not re.search(r"^[!%]", source, re.MULTILINE), cell.source
        assert not re.search(r"matplotlib|\bplt\b|seaborn", source), cell.source


def test_its_outputs_are_kept_and_small(path, notebook):
    assert path.stat().st_size < 1_000_000
    for number, cell in enumerate(cells(notebook, "code"), start=1):  # run once, from top to bottom
        cleared = "interactive" in cell.metadata.get("tags", [])
        assert cell.execution_count == (None if cleared else number)
    for cell in cells(notebook, "code"):
        assert draws_if_it_says_so(cell), cell.source
        assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source


def test_its_outputs_are_impersonal(notebook):
    absolute = re.compile(r"(?:^|[\s\"'(=])(?:/[a-z][\w.-]*/|[A-Z]:\\|~/)", re.MULTILINE)
    for cell in cells(notebook, "code"):
        for output in cell.outputs:
            data = output.get("data", {})
            texts = [output.get("text", ""), *(str(data[kind]) for kind in data if kind != "image/png")]
            for text in texts:
                assert not absolute.search(text), text
                assert str(Path.home()) + "/" not in text
                assert str(ROOT) not in text


def test_the_published_threshold_is_smaller_by_the_factors_told():
    text = " ".join(prose(nbformat.read(NOTEBOOKS[1], 4)).split())
    told = re.search(r"factor of (\d+) when training starts .*? of (\d+) at the end", text)
    here = MixtureGaussianPrior(lam=1e-6, spike_var=1e-7, slab_var=0.1).threshold
    published = [MixtureGaussianPrior(lam, spike_var=1e-10, slab_var=0.05).threshold for lam in (0.1, 1e-4)]
    assert [int(factor) for factor in told.groups()] == [round(here / threshold) for threshold in published]


def promise_of(notebook):
    """The cell that says what the reader will be able to do, and how long it takes."""
    (cell,) = [cell for cell in notebook.cells if "**You will be able to**" in cell.source]
    return cell.source


def test_its_first_screen_holds_its_picture(notebook):
    title, *first = notebook.cells[:3]
    assert re.match(r"# \d\. ", title.source)
    assert len(PICTURE.sub("", title.source).split()) < 120
    assert PICTURE.search(title.source) or any(map(is_drawing, first))


def test_no_sentence_is_long(notebook):
    assert not [sentence for sentence in sentences(prose(notebook)) if words(sentence) > 25]


def test_every_question_has_its_answer_folded_away(notebook):
    assert not unanswered(notebook.cells[-1].source.partition("## Questions")[2])


def test_it_begins_with_a_promise_and_its_times(notebook):
    _, _, goals = promise_of(notebook).partition("**You will be able to**")
    assert 3 <= len(re.findall(r"^- ", goals, re.MULTILINE)) <= 4
    assert re.search(r"^About \d+ minutes: ", goals, re.MULTILINE)
    assert len(SECTION.findall(prose(notebook))) >= 3


def minutes_of(notebook):
    """Minutes of all its sections, and of those that a first reading takes."""
    sections = [(int(minutes), bool(waits)) for minutes, waits in SECTION.findall(prose(notebook))]
    return sum(minutes for minutes, _ in sections), sum(minutes for minutes, waits in sections if not waits)


def test_the_times_of_its_sections_add_up(notebook):
    total, first = minutes_of(notebook)
    promise = promise_of(notebook)
    assert int(re.search(r"About (\d+) minutes", promise)[1]) == total
    said = re.search(r"\*may wait\*: (\d+) minutes", promise)
    assert (int(said[1]) if said else total) == first


def test_the_map_says_the_same_times_and_a_first_reading_of_the_first_four_takes_an_hour():
    times = {path.stem[0]: minutes_of(nbformat.read(path, as_version=4)) for path in NOTEBOOKS}
    row = re.compile(r"^\| \[?(\d)\. .*\| (\d+) min \| (\d+) min \|", re.MULTILINE)
    rows = row.findall(prose(nbformat.read(NOTEBOOKS[0], 4)))
    assert {number: (int(total), int(first)) for number, total, first in rows} == times
    assert sum(times[number][1] for number in "0123") <= 60


def test_it_lets_the_reader_predict(notebook):
    assert len(re.findall(r"\*(?:Predict|Before you run)", prose(notebook))) >= (
        1 if "0. " in notebook.cells[0].source else 3
    )


def test_it_ends_with_what_was_learned_questions_and_its_source(notebook):
    last = notebook.cells[-1].source
    for heading in ("## What we learned", "## What to keep in mind", "## Questions"):
        assert heading in last
    assert "**Reference:**" in last
    questions = last.partition("## Questions")[2]
    assert 8 <= len(re.findall(r"^\d+\. ", questions, re.MULTILINE)) <= 15


def test_every_figure_is_put_into_words(notebook):
    """Beside each picture, before or after it, stands a cell of text."""
    for before, cell, after in zip(notebook.cells, notebook.cells[1:], notebook.cells[2:], strict=False):
        if is_drawing(cell):
            assert "markdown" in (before.cell_type, after.cell_type), cell.source


def test_its_pictures_and_links_exist_and_pictures_are_described(path, notebook):
    text = prose(notebook)
    assert text.count("![") == len(PICTURE.findall(text))
    for alternative, _ in PICTURE.findall(text):
        assert len(alternative.split()) >= 5
    for target in LINK.findall(text):
        if not target.startswith("https://"):
            assert (path.parent / target).exists(), target


def test_the_notebooks_draw_the_committed_figures_by_the_same_functions():
    drawn = {
        cell.source.partition("(")[0] for path in NOTEBOOKS for cell in nbformat.read(path, 4).cells if is_drawing(cell)
    }
    committed = {path.stem for path in (ROOT / "figures").glob("figure_*.png") if not path.stem.endswith("_column")}
    assert committed <= drawn
