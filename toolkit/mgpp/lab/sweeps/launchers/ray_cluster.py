"""Trainings as tasks of Ray."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from mgpp.lab.recipes.recipe import Recipe, did_you_mean
from mgpp.lab.sweeps.launchers.base import Job, LauncherError, Task, Work, WorkerLostError, optional
from mgpp.lab.sweeps.worker import Outcome, work

RAY_RESOURCES = ("num_cpus", "num_gpus", "memory", "accelerator_type")
OBJECT_STORE = 100 * 2**20  # bytes: recipes and outcomes are small, everything else goes through files
STARTS = 3  # of a cluster of one's own, if it is slow


class RayCluster:
    """Each training as a task of Ray, in a worker of its own, on a cluster or on one that is started here.

    Ray itself begins a task anew whose worker died, up to `retries` times.

    Args:
        address: of a running cluster, such as "auto" or "ray://head:10001"; by default what RAY_ADDRESS says, and
            without that a cluster of this machine alone that ends with the sweep.
        resources: of each training: num_cpus, num_gpus, memory (bytes), accelerator_type. Without num_cpus it is the
            recipe's threads, or 1.
        jobs: trainings at a time on a cluster that is started here; by default as many as there are processors for.
        retries: how often a task whose worker died is begun anew.
        work: what a worker calls.

    Raises:
        LauncherError: if Ray is not installed, a resource is unknown, or the cluster can't be reached or is too small.

    Example:
        >>> with RayCluster(address="auto", resources={"num_gpus": 1}) as launcher:  # doctest: +SKIP
        ...     [job] = launcher.begin([(recipe, folder)])
    """

    pause = 0.2

    def __init__(
        self,
        *,
        address: str | None = None,
        resources: Mapping[str, Any] | None = None,
        jobs: int | None = None,
        retries: int = 2,
        work: Work = work,
    ):
        self._resources = dict(resources or {})
        for key in self._resources:
            if key not in RAY_RESOURCES:
                raise LauncherError(f"--resources {key} is unknown{did_you_mean(key, RAY_RESOURCES)}")
        _check_amounts(self._resources)
        cpus = max(1, int(self._resources.get("num_cpus", 1)))
        self.threads: int | None = cpus
        self._address, self._retries, self._work = address, retries, work
        self._cpus = None if jobs is None else jobs * cpus
        self._jobs: list[_RayJob] = []
        self._ray, self._ours = optional("ray"), False
        self._room: float = float("inf")  # processors that a task may ask for

    def begin(self, tasks: Sequence[Task]) -> Sequence[Job]:
        """Hand tasks to Ray, which begins them as it has room."""
        jobs = [self._begin(recipe, folder) for recipe, folder in tasks]
        self._jobs += jobs
        return jobs

    def _begin(self, recipe: Recipe, folder: Path) -> "_RayJob":
        options = {"num_cpus": min(recipe.threads or 1, self._room)} | self._resources
        # a new process for each training (max_calls), tried again where it dies, not where it says what is wrong
        remote = self._ray.remote(max_calls=1, max_retries=self._retries, **options)(_work_from)
        return _RayJob(remote.remote(self._work, os.getcwd(), recipe.as_dict(), str(folder.resolve())), self._ray)

    def __enter__(self) -> Self:
        if self._ray.is_initialized():
            return self
        address = self._address or os.environ.get("RAY_ADDRESS")
        own = {"num_cpus": self._cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
        self._start(address or "local", {} if address else own)
        self._ours = True
        if not address:
            self._check_room()
        return self

    def _start(self, address: str, options: dict[str, Any]) -> None:
        for attempt in range(1, STARTS + 1):
            try:
                self._ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **options)
                return
            except ConnectionError as error:
                raise LauncherError(f"no Ray cluster answers at {address}: {error}") from None
            except Exception as error:  # of no special kind: a busy machine needs more than the 30 s that Ray waits
                if attempt == STARTS or "timed out during startup" not in str(error):
                    raise LauncherError(f"Ray does not start here: {error}") from error

    def _check_room(self) -> None:
        """A cluster of one's own does not grow: what has no room would wait for ever."""
        there = self._ray.cluster_resources()
        self._room = max(1, int(there.get("CPU", 1)))
        for asked, name in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
            if self._resources.get(asked, 0) > there.get(name, 0):
                self.__exit__()
                raise LauncherError(f"--resources {asked}={self._resources[asked]}: there are {there.get(name, 0):g}")

    def __exit__(self, *error: Any) -> None:
        for job in self._jobs:
            job.cancel()
        if self._ours:
            self._ray.shutdown()


def _check_amounts(resources: Mapping[str, Any]) -> None:
    for key, value in resources.items():
        if key == "accelerator_type":
            if not isinstance(value, str):
                raise LauncherError(f"--resources {key}={value!r:.80} must be a name, such as A100")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            unit = " of bytes, such as 8e9" if key == "memory" else ""
            raise LauncherError(f"--resources {key}={value!r:.80} must be a number from 0{unit}")


def _work_from(work: Work, place: str, recipe: Mapping[str, Any], folder: str) -> Outcome:
    """Work in the sweep's own working folder, so that relative paths in a recipe mean the same on all workers."""
    if Path(place).is_dir():
        os.chdir(place)
    return work(recipe, folder)


class _RayJob:
    def __init__(self, reference: Any, ray: Any):
        self._reference, self._ray, self._future = reference, ray, reference.future()

    def done(self) -> bool:
        """Whether it is over."""
        return self._future.done()

    def result(self) -> Outcome:
        """How it went."""
        try:
            return self._future.result()
        except self._ray.exceptions.RayError as error:
            raise WorkerLostError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from None

    def cancel(self) -> None:
        """Stop it, if it is not over."""
        if not self.done():
            self._ray.cancel(self._reference, force=True)
