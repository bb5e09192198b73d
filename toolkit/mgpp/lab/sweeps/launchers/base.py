"""Define what a launcher does: it begins trainings, and each of its jobs tells when it is done."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from mgpp.lab.sweeps.worker import Outcome

Task = tuple[Mapping[str, Any], Path]  # a recipe as plain data, and the folder of its run
Work = Callable[[Mapping[str, Any], str], Outcome]


class LauncherError(RuntimeError):
    """A launcher can't be used: its package is missing, an option is wrong, or its cluster can't be reached."""


class Job(Protocol):
    """A training that was begun."""

    def done(self) -> bool:
        """Return whether it is over, in whatever way."""

    def result(self) -> Outcome:
        """Return how it went, or raise any exception if its worker was lost."""


class Launcher(Protocol):
    """Begins trainings. It is a context manager; leaving it stops what still trains.

    Attributes:
        threads: of a training whose recipe does not say; None leaves it to the worker.
        pause: seconds between two looks at the jobs.
    """

    threads: int | None
    pause: float

    def begin(self, tasks: Sequence[Task]) -> Sequence[Job]:
        """Begin trainings, or queue them."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...


def optional(package: str) -> Any:
    """Import a package that comes with the extra `cluster`.

    Raises:
        LauncherError: if it is not installed.

    Example:
        >>> optional("json").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise LauncherError(f'{package} is not installed: pip install "mgpp-toolkit[cluster]"') from None
