"""A comparison's files: the tidy frame, the table, the two figures, all from a folder of runs."""

from pathlib import Path

from mgpp.analysis.comparison import comparison_frame
from mgpp.analysis.comparison_table import results_markdown
from mgpp.analysis.figures import figure_comparison, figure_survivors, save_figure
from mgpp.analysis.tables import between_markers
from mgpp.runs import load_runs

FRAME, TABLE = "comparison.csv", "comparison.md"


def write_comparison(
    folder: str | Path,
    *,
    trials: str | Path | None = None,
    readme: str | Path | None = None,
    figures: str | Path | None = None,
) -> list[Path]:
    """Write what a folder of runs says about the methods; the same runs give the same bytes.

    The frame has every run, also of other recipes, and those that failed; the figures draw the recipe with most runs.

    Args:
        folder: of the runs; the frame is written there.
        trials: folder of the runs that chose the methods' settings, to be counted; none if it does not exist.
        readme: a file with the markers `<!-- results -->` and `<!-- /results -->`, between which the table goes; by
            default `comparison.md` beside the frame.
        figures: folder of the figures; `folder` by default.

    Returns:
        The files.

    Raises:
        ValueError: if the runs can't be compared, see `mgpp.analysis.comparison.scored`, if no method that prunes has
            finished, or if `readme` lacks the markers. Nothing is written then.

    Example:
        >>> write_comparison("data/local/comparison", trials="data/tuning")  # doctest: +SKIP
    """
    folder, runs = Path(folder), load_runs(folder)
    tried = load_runs(trials) if trials is not None and Path(trials).is_dir() else []
    table, page = results_markdown(runs, tried), Path(readme) if readme else folder / TABLE
    text = table + "\n"
    if readme:
        text = between_markers(page.read_text(encoding="utf-8"), "results", table)
    drawn = {"figure_comparison": figure_comparison(runs), "figure_survivors": figure_survivors(runs)}
    comparison_frame(runs, tried).to_csv(folder / FRAME, index=False, float_format="%.6g")
    page.write_text(text, encoding="utf-8")
    paths = [path for stem, figure in drawn.items() for path in save_figure(figure, stem, figures or folder)]
    return [folder / FRAME, page, *paths]
