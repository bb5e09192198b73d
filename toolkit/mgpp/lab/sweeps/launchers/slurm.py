"""Trainings as jobs of Slurm."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from mgpp.lab.sweeps.launchers.base import Job, LauncherError, Task, Work, WorkerLostError, optional
from mgpp.lab.sweeps.record import ATTEMPTS_FOLDER
from mgpp.lab.sweeps.worker import Outcome, work

SLURM_DEFAULTS = {"timeout_min": 60, "name": "mgpp"}


class SlurmJobs:
    """Each training as a job of Slurm, through submitit; several at once are one array.

    A job that is preempted, or runs into its time limit, is put into the queue again and goes on from its last
    checkpoint. Jobs outlive the sweep that began them, unless it is stopped by Ctrl-C, which cancels them.

    Args:
        folder: of the sweep, on a file system that the nodes share; job scripts, what is handed over (as pickles that
            submitit writes and reads itself) and logs lie in `.attempts/submitit` in it.
        parameters: of submitit's AutoExecutor without their prefix, such as partition, gpus_per_node, timeout_min (60
            by default) or max_num_timeout, how often a job that ran into its limit is put into the queue again (3).
        jobs: jobs of an array at a time; all by default.
        cluster: "slurm", or another executor of submitit's.
        work: what a job calls.

    Raises:
        LauncherError: if submitit is not installed, there is no Slurm here, or a parameter is unknown.

    Example:
        >>> with SlurmJobs(folder, {"partition": "gpu", "gpus_per_node": 1}) as launcher:  # doctest: +SKIP
        ...     [job] = launcher.begin([(recipe, folder / "run")])
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
        self._work, self._jobs = work, list[_SlurmJob]()

    def begin(self, tasks: Sequence[Task]) -> Sequence[Job]:
        """Submit jobs, as one array where there are several."""
        with self._executor.batch():
            submitted = [
                self._executor.submit(_Requeued(self._work), recipe.as_dict(), str(folder.resolve()))
                for recipe, folder in tasks
            ]
        jobs = [_SlurmJob(job) for job in submitted]
        self._jobs += jobs
        return jobs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        for job in self._jobs:
            job.cancel()


class _Requeued:
    """Work that is submitted again as it was when its job is preempted; the run's folder knows how far it came."""

    def __init__(self, work: Work):
        self.work = work

    def __call__(self, recipe: Mapping[str, Any], folder: str) -> Outcome:
        return self.work(recipe, folder)

    def checkpoint(self, recipe: Mapping[str, Any], folder: str) -> Any:
        """What submitit submits in its place: the same again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, recipe, folder)


class _SlurmJob:
    def __init__(self, job: Any):
        self._job = job

    def done(self) -> bool:
        """Whether it is over."""
        return self._job.done()

    def result(self) -> Outcome:
        """How it went."""
        if self._job.exception() is not None:
            place = self._job.paths.stderr
            raise WorkerLostError(f"job {self._job.job_id} ended ({self._job.state}) without a result; see {place}")
        return self._job.result()

    def cancel(self) -> None:
        """Stop it, if it is not over."""
        if not self.done():
            self._job.cancel()
