"""A comparison's files: the tidy frame, the table, the two figures, all from a folder of runs."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from matplotlib.figure import Figure

from mgpp.lab.comparison.figures import figure_comparison, figure_survivors
from mgpp.lab.comparison.frame import comparison_frame
from mgpp.lab.comparison.plots import NothingToDrawError
from mgpp.lab.comparison.table import results_markdown
from mgpp.plots.figures import save_figure
from mgpp.runs import Run, load_runs

FRAME, TABLE = "comparison.csv", "comparison.md"


def write_comparison(
    folder: str | Path,
    *,
    trials: str | Path | None = None,
    readme: str | Path | None = None,
    markers: str = "results",
    figures: str | Path | None = None,
) -> list[Path]:
    """Write what a folder of runs says about the methods; the same runs give the same bytes.

    The frame has every run, also of other recipes, and those that failed; the figures draw the recipe with most runs.
    A figure for which no run has finished is left out.

    Args:
        folder: of the runs; the frame is written there.
        trials: folder of the runs that chose the methods' settings, to be counted; none if it does not exist.
        readme: a file with the markers `<!-- results -->` and `<!-- /results -->`, between which the table goes; by
            default `comparison.md` beside the frame.
        markers: the markers' name, where a file holds several tables.
        figures: folder of the figures; `folder` by default.

    Returns:
        The files.

    Raises:
        ValueError: if the runs can't be compared, see `mgpp.lab.comparison.frame.scored`, if there are none, or as
            `page_with` does. Nothing is written then.

    Example:
        >>> write_comparison("data/local/comparison", trials="data/tuning")  # doctest: +SKIP
    """
    folder, runs = Path(folder), load_runs(folder)
    if not runs:
        raise ValueError(f"no runs in {folder}; mgpp compare trains them")
    tried = load_runs(trials) if trials is not None and Path(trials).is_dir() else []
    table, page = results_markdown(runs, tried), Path(readme) if readme else folder / TABLE
    text = page_with(table, page, markers) if readme else table + "\n"
    drawn = _drawn(runs, figure_comparison=figure_comparison, figure_survivors=figure_survivors)
    comparison_frame(runs, tried).to_csv(folder / FRAME, index=False, float_format="%.6g")
    page.write_text(text, encoding="utf-8")
    paths = [path for stem, figure in drawn.items() for path in save_figure(figure, stem, figures or folder)]
    return [folder / FRAME, page, *paths]


def page_with(table: str, page: Path, markers: str = "results") -> str:
    """A page with a table between its markers; with an empty one to see, before anything is trained, whether it can be.

    Raises:
        ValueError: if the page can't be read, or lacks the markers, such as `<!-- results -->` and `<!-- /results -->`.

    Example:
        >>> page_with("", Path("no-such-page.md"))
        Traceback (most recent call last):
        ...
        ValueError: no-such-page.md can't be read: No such file or directory
    """
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{page} can't be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return between_markers(text, markers, table)
    except ValueError as error:
        raise ValueError(f"{page}: {error}; put them where the table goes") from None


def between_markers(text: str, name: str, table: str) -> str:
    """`text` with what stands between the markers of `name` replaced by `table`.

    Raises:
        ValueError: if the markers are missing.

    Example:
        >>> print(between_markers("a <!-- x --> old <!-- /x --> b", "x", "new"))
        a <!-- x -->
        new
        <!-- /x --> b
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in text or end not in text:
        raise ValueError(f"the markers {begin} and {end} are missing")
    before, rest = text.split(begin, 1)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end, 1)[1]}"


def _drawn(runs: Iterable[Run], **draw: Callable[[Iterable[Run]], Figure]) -> dict[str, Figure]:
    figures = {}
    for stem, figure in draw.items():
        with suppress(NothingToDrawError):
            figures[stem] = figure(runs)
    return figures
