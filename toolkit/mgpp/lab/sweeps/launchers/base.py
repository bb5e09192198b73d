"""What every launcher is: it begins trainings, and says when each is over."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from mgpp.lab.recipes.recipe import Recipe
from mgpp.lab.sweeps.worker import Outcome

Task = tuple[Recipe, Path]
Work = Callable[[Mapping[str, Any], str], Outcome]


class LauncherError(RuntimeError):
    """A launcher can't be used as it was asked for; the message says what it lacks."""


class WorkerLostError(RuntimeError):
    """A worker ended without saying how its training went: killed, out of memory, or its machine is gone."""


class Job(Protocol):
    """A training that was begun."""

    def done(self) -> bool:
        """Whether it is over, one way or another."""

    def result(self) -> Outcome:
        """How it went.

        Raises:
            WorkerLostError: if the worker did not live to say so.
        """


class Launcher(Protocol):
    """Begins trainings. It is a context manager, and stops what still trains where that is left early.

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
    """An engine's package, which comes with an extra of the toolkit.

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
