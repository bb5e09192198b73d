"""Write a comparison's files from a folder of runs: the tidy frame, the table, the two figures."""

from contextlib import suppress
from pathlib import Path

from matplotlib.figure import Figure

from mgpp.lab.comparison.figures import figure_comparison, figure_survivors
from mgpp.lab.comparison.frame import comparison_frame
from mgpp.lab.comparison.plots import NothingToDrawError
from mgpp.lab.comparison.table import results_markdown
from mgpp.plots.figures import save_figure
from mgpp.runs import load_runs

FRAME, TABLE = "comparison.csv", "comparison.md"


def write_comparison(
    folder: str | Path,
    *,
    trials: str | Path | None = None,
    readme: str | Path | None = None,
    markers: str = "results",
    figures: str | Path | None = None,
) -> list[Path]:
    """Write the frame, table and figures of a folder of runs; the same runs give the same bytes.

    The frame has every run, also those of other recipes and those that failed. The figures draw the recipe with most
    runs. A figure for which no run has finished is left out.

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
        ValueError: if there are no runs, or they can't be compared, see `mgpp.lab.comparison.frame.scored`, or the page
            lacks the markers. Nothing is written then.

    Example:
        >>> write_comparison("data/local/comparison", trials="data/tuning")  # doctest: +SKIP
    """
    folder, runs = Path(folder), load_runs(folder)
    if not runs:
        raise ValueError(f"no runs in {folder}; mgpp compare trains them")
    tried = load_runs(trials) if trials is not None and Path(trials).is_dir() else []
    table, page = results_markdown(runs, tried), Path(readme or folder / TABLE)
    text = between_markers(page.read_text(encoding="utf-8"), markers, table) if readme else table + "\n"
    drawn: dict[str, Figure] = {}
    for figure in (figure_comparison, figure_survivors):
        with suppress(NothingToDrawError):
            drawn[figure.__name__] = figure(runs)
    comparison_frame(runs, tried).to_csv(folder / FRAME, index=False, float_format="%.6g")
    page.write_text(text, encoding="utf-8")
    paths = [path for stem, figure in drawn.items() for path in save_figure(figure, stem, figures or folder)]
    return [folder / FRAME, page, *paths]


def between_markers(text: str, name: str, table: str) -> str:
    """Return `text` with what is between the markers of `name` replaced by `table`.

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
        raise ValueError(f"the page needs the markers {begin} and {end} around the place of the table")
    before, rest = text.split(begin, 1)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end, 1)[1]}"
