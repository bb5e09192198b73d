"""Follow runs in a notebook: a thread reads the folder, so the picture moves while a cell trains."""

import threading
import time
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from mgpp.lab.explorer.content import stylesheet
from mgpp.lab.watch.content import script
from mgpp.lab.watch.state import NEWEST, state_of


class Watch(anywidget.AnyWidget):
    """Curves and histograms of runs that train; see `watch`."""

    _esm = script()
    _css = stylesheet()

    state = traitlets.Dict().tag(sync=True)
    chosen = traitlets.List([NEWEST, NEWEST]).tag(sync=True)


def watch(folder: str | Path, *, a: str = NEWEST, b: str = NEWEST, every: float = 2.0) -> Watch:
    """Return a widget that follows the runs in a folder while they train, two of them side by side.

    Args:
        folder: of runs, or of one run; it need not exist yet.
        a: name of the run on the left; by default the newest, and first those that train.
        b: name of the run on the right; by default the next, "-" for none.
        every: seconds between two looks at the folder. They end when the widget is closed.

    Example:
        >>> widget = watch("a-folder-that-does-not-exist")
        >>> widget.state["exists"]
        False
        >>> widget.close()
    """
    widget = Watch(chosen=[a, b], state=state_of(folder, [a, b]))

    def _look(_: Any = None) -> None:
        widget.state = state_of(folder, widget.chosen)

    def _follow() -> None:
        while widget.comm is not None:
            time.sleep(every)
            _look()

    widget.observe(_look, "chosen")
    threading.Thread(target=_follow, daemon=True).start()
    return widget
