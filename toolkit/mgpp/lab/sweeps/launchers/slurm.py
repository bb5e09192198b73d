"""Launch trainings as jobs of Slurm."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from mgpp.lab.sweeps.launchers.base import Job, LauncherError, Task, Work, optional
from mgpp.lab.sweeps.record import ATTEMPTS_FOLDER
from mgpp.lab.sweeps.worker import Outcome, work

SLURM_DEFAULTS = {"timeout_min": 60, "name": "mgpp"}


class SlurmJobs:
    """Each training as a job of Slurm, through submitit; several at once are one array.

    A job that is preempted, or reaches its time limit, is queued again and resumes from its last checkpoint. Jobs
    outlive the sweep that began them, unless it is stopped by Ctrl-C, which cancels them.

    Args:
        folder: of the sweep, on a file system that the nodes share; `.attempts/submitit` in it has job scripts, logs,
            and the pickles by which submitit hands over recipes.
        parameters: of submitit's AutoExecutor without their prefix, such as partition, gpus_per_node, timeout_min (60
            by default) or max_num_timeout, how often a job that reached its limit is queued again (3).
        jobs: jobs of an array at a time; all by default.
        cluster: "slurm", or another executor of submitit.
        work: what a job calls.

    Raises:
        LauncherError: if submitit is not installed or refuses a parameter, or there is no Slurm here.

    Example:
        >>> with SlurmJobs(folder, {"partition": "gpu", "gpus_per_node": 1}) as launcher:  # doctest: +SKIP
        ...     [job] = launcher.begin([(recipe.as_dict(), folder / "run")])
    """

    pause = 1.0

    def __init__(
        self,
        folder: Path,
        parameters: Mapping[str, Any] | None = None,
        *,
        jobs: int | None = None,
        cluster: str = "slurm",
        work: Work = work,
    ):
        submitit, parameters = optional("submitit"), {**SLURM_DEFAULTS, **(parameters or {})}
        limits = {"slurm_max_num_timeout": parameters.pop("max_num_timeout", 3)}
        if jobs is not None:
            parameters["array_parallelism"] = jobs
        shared = submitit.AutoExecutor._typed_parameters()
        named = {key if key in shared else f"slurm_{key}": value for key, value in parameters.items()}
        try:
            logs = Path(folder).resolve() / ATTEMPTS_FOLDER / "submitit"
            self._executor = submitit.AutoExecutor(logs, cluster=cluster, **limits)
            self._executor.update_parameters(**named)
        except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
            raise LauncherError(f"--slurm: {str(error).splitlines()[0]}") from None
        self.threads = parameters.get("cpus_per_task")
        self._work, self._jobs = work, list[Any]()

    def begin(self, tasks: Sequence[Task]) -> Sequence[Job]:
        """Submit jobs, as one array if there are several."""
        with self._executor.batch():
            jobs = [
                self._executor.submit(_Requeued(self._work), recipe, str(folder.resolve())) for recipe, folder in tasks
            ]
        self._jobs += jobs
        return jobs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        for job in self._jobs:
            if not job.done():
                job.cancel()


class _Requeued:
    """Work that submitit submits again when its job is preempted; the run's folder has the checkpoint."""

    def __init__(self, work: Work):
        self.work = work

    def __call__(self, recipe: Mapping[str, Any], folder: str) -> Outcome:
        return self.work(recipe, folder)

    def checkpoint(self, recipe: Mapping[str, Any], folder: str) -> Any:
        """Return what submitit submits in its place: the same work."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, recipe, folder)
