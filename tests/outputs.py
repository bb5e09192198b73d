"""Compare the committed outputs of a notebook with those of a new execution, and build where it takes place."""

import re
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path

from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
STRANGERS = {  # runs that may come to the folders of runs one day, as links to other runs
    "runs": {
        "reviews-mgpp-0.97-seed0": "runs/reviews-platon-0.9-seed1",
        "reviews-new-0.95-seed0": "runs/reviews-l1-0.95-seed0",
    },
    "tuning": {"trial-00": "runs/reviews-l2-0.9-seed1", "trial-99": "runs/reviews-mgpp-0.9-seed1"},
    "sensitivity": {"lam-1e-12": "sensitivity/lam-0.1"},
    "consistency": {"teacher-mgpp-n00200": "consistency/teacher-mgpp-n00100"},
    "consistency/tuning": {"teacher-mgpp-trial9": "consistency/tuning/teacher-mgpp-trial0"},
}


def house(folder: Path) -> Path:
    """Fill a folder with links to all that notebooks read, and with runs that none of them knows."""
    for name in ("figures", "studies"):
        (folder / name).symlink_to(ROOT / name)
    for part, strangers in STRANGERS.items():
        (folder / "data" / part).mkdir(parents=True, exist_ok=True)
        for source in (ROOT / "data" / part).iterdir():
            if source.is_file() or (source / "run.json").is_file():
                (folder / "data" / part / source.name).symlink_to(source)
        for name, source in strangers.items():
            (folder / "data" / part / name).symlink_to(ROOT / "data" / source)
    return folder


def texts(notebook: NotebookNode) -> dict[str, str]:
    """The text that each cell of code shows."""
    shown = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    return {
        name: " ".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)
        for name, outputs in shown.items()
    }


def alike(kept: str, fresh: str) -> bool:
    """Whether two texts have the same words, and numbers that differ by one in the last digit at most.

    Example:
        >>> alike("step 10:  0.25", "step 10: 0.26"), alike("0.25 points", "0.27 points"), alike("13 runs", "64 runs")
        (True, False, False)
    """
    if NUMBER.sub("#", kept).split() != NUMBER.sub("#", fresh).split():
        return False
    pairs = zip(*(map(Decimal, NUMBER.findall(text)) for text in (kept, fresh)), strict=True)
    return all(
        abs(a - b) <= (Decimal((0, (1,), a.as_tuple().exponent)) if a != a.to_integral() else 0) for a, b in pairs
    )


def differing(kept: NotebookNode, fresh: NotebookNode) -> dict[str, tuple[str, str]]:
    """The cells whose texts are not alike, with both texts. Cells without committed outputs are left out."""
    both = zip_longest(texts(kept).items(), texts(fresh).items(), fillvalue=("", ""))
    return {name: (old, new) for (name, old), (_, new) in both if old and not alike(old, new)}
