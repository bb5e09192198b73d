"""Launch trainings as tasks of Ray."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from mgpp.lab.sweeps.launchers.base import Job, LauncherError, Task, Work, optional
from mgpp.lab.sweeps.worker import Outcome, work

OBJECT_STORE = 100 * 2**20  # bytes; recipes and outcomes are small, everything else goes through files
STARTS = 3  # of a cluster on this machine: Ray waits 30 s for it, which may be too short on a busy machine


class RayCluster:
    """Each training as a task of Ray, in a worker of its own, on a cluster or on one that is started here.

    Args:
        address: of a running cluster, such as "auto" or "ray://head:10001"; by default that of RAY_ADDRESS, or else a
            cluster of this machine that ends with the sweep.
        resources: of each training: num_cpus, num_gpus, memory (bytes), accelerator_type. Without num_cpus it is the
            recipe's threads, or 1.
        jobs: trainings at a time on a cluster that is started here; by default as many as there are processors for.
        work: what a worker calls.

    Raises:
        LauncherError: if Ray is not installed or refuses the resources, or the cluster can't be reached or is too
            small.

    Example:
        >>> with RayCluster(address="auto", resources={"num_gpus": 1}) as launcher:  # doctest: +SKIP
        ...     [job] = launcher.begin([(recipe.as_dict(), folder)])
    """

    pause = 0.2

    def __init__(
        self,
        *,
        address: str | None = None,
        resources: Mapping[str, Any] | None = None,
        jobs: int | None = None,
        work: Work = work,
    ):
        self._ray, self._work, self._resources = optional("ray"), work, dict(resources or {})
        try:
            # a new process for each training (max_calls); the sweep itself tries again (max_retries)
            self._task = self._ray.remote(max_calls=1, max_retries=0, **self._resources)(_work_from)
        except (TypeError, ValueError) as error:
            raise LauncherError(f"--resources: {error}") from None
        self.threads: int | None = max(1, int(self._resources.get("num_cpus", 1)))
        self._address, self._cpus = address or os.environ.get("RAY_ADDRESS"), jobs and jobs * self.threads
        self._started, self._references = False, list[Any]()
        self._most_cpus: float = float("inf")  # that a task may ask for

    def begin(self, tasks: Sequence[Task]) -> Sequence[Job]:
        """Hand tasks to Ray, which begins them as it has room."""
        references = [self._begin(recipe, folder) for recipe, folder in tasks]
        self._references += references
        return [reference.future() for reference in references]

    def _begin(self, recipe: Mapping[str, Any], folder: Path) -> Any:
        cpus = self._resources.get("num_cpus", min(recipe["threads"] or 1, self._most_cpus))
        return self._task.options(num_cpus=cpus).remote(self._work, os.getcwd(), recipe, str(folder.resolve()))

    def __enter__(self) -> Self:
        if not self._ray.is_initialized():
            own = {"num_cpus": self._cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
            self._start(self._address or "local", {} if self._address else own)
            self._started = True
            if not self._address:
                self._check_room()
        return self

    def _start(self, address: str, options: dict[str, Any]) -> None:
        for attempt in range(1, STARTS + 1):
            try:
                self._ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **options)
                return
            except Exception as error:  # Ray raises a plain Exception where it waited too long
                if attempt == STARTS or "timed out during startup" not in str(error):
                    raise LauncherError(f"no Ray cluster at {address}: {error}") from error

    def _check_room(self) -> None:
        """Refuse what a cluster of this machine will never have room for; the tasks would wait for ever."""
        there = self._ray.cluster_resources()
        self._most_cpus = max(1, int(there.get("CPU", 1)))
        for asked, name in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
            if self._resources.get(asked, 0) > there.get(name, 0):
                self.__exit__()
                raise LauncherError(f"--resources {asked}={self._resources[asked]}: there are {there.get(name, 0):g}")

    def __exit__(self, *error: Any) -> None:
        for reference in self._references:
            self._ray.cancel(reference, force=True)  # which does nothing to those that have ended
        if self._started:
            self._ray.shutdown()


def _work_from(work: Work, place: str, recipe: Mapping[str, Any], folder: str) -> Outcome:
    """Work in the sweep's working folder, so that relative paths in a recipe mean the same on all workers."""
    if Path(place).is_dir():
        os.chdir(place)
    return work(recipe, folder)
