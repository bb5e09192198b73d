"""Show that a command is at work before its first step."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

TICK = 0.5  # seconds between two updates


@contextmanager
def waiting(text: str, *, visible: bool = True) -> Iterator[None]:
    """Show `text` and the elapsed time until the block ends; show nothing if standard error is no terminal.

    Example:
        >>> with waiting("loading torch", visible=False):
        ...     loaded = True
    """
    done = threading.Event()
    with tqdm(desc=text, bar_format="{desc} {elapsed}", leave=False, disable=None if visible else True) as bar:

        def _tick() -> None:
            while not done.wait(TICK):
                bar.refresh()

        ticker = threading.Thread(target=_tick, daemon=True)
        ticker.start()
        try:
            yield
        finally:
            done.set()
            ticker.join()
