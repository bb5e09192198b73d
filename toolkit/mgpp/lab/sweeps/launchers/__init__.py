"""Where the runs of a sweep are trained: in processes of this machine, on a Ray cluster, or as jobs of Slurm.

A launcher begins trainings and says when each is over. Queues, machines and resources are the engine's business; what
is to be trained, what is tried again and what is reported is the sweep's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mgpp.lab.recipes.recipe import did_you_mean
from mgpp.lab.sweeps.launchers.base import Job, Launcher, LauncherError, WorkerLostError
from mgpp.lab.sweeps.launchers.local import LocalProcesses
from mgpp.lab.sweeps.launchers.ray_cluster import RayCluster
from mgpp.lab.sweeps.launchers.slurm import SlurmJobs

__all__ = [
    "Job",
    "Launcher",
    "LauncherError",
    "LocalProcesses",
    "RayCluster",
    "SlurmJobs",
    "WorkerLostError",
    "make_launcher",
]

OPTIONS = {"local": set[str](), "ray": {"address", "resources"}, "slurm": {"slurm"}}  # and jobs, for all


def make_launcher(
    launcher: str, folder: str | Path, *, jobs: int | None = None, retries: int = 2, **options: Any
) -> Launcher:
    """The launcher of a name.

    Args:
        launcher: local, ray or slurm.
        folder: of the sweep.
        jobs: trainings at a time: local processes (1 by default), jobs of Slurm, or tasks on a Ray cluster that is
            started here; on one that runs already it is the cluster that decides.
        retries: how often Ray is to begin a task anew whose worker died.
        options: address and resources, see `RayCluster`; slurm, the parameters of `SlurmJobs`. Empty ones are as none.

    Raises:
        LauncherError: if the launcher is unknown, can't be used here, or an option is another's.

    Example:
        >>> make_launcher("local", "my-sweep", jobs=2).pause
        0.05
    """
    if launcher not in OPTIONS:
        raise LauncherError(f"launcher={launcher!r} is unknown{did_you_mean(launcher, OPTIONS)}")
    if jobs is not None and jobs < 1:
        raise LauncherError(f"jobs={jobs} must be at least 1")
    given: Mapping[str, Any] = {key: value for key, value in options.items() if value}
    for key in given.keys() - OPTIONS[launcher]:
        raise LauncherError(f"--{key} is not for the launcher {launcher}; leave it out")
    if launcher == "ray":
        return RayCluster(jobs=jobs, retries=retries, **given)
    if launcher == "slurm":
        return SlurmJobs(Path(folder), given.get("slurm"), jobs=jobs)
    return LocalProcesses(jobs or 1)
