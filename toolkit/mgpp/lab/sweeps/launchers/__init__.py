"""Launch trainings: in processes of this machine, on a Ray cluster, or as jobs of Slurm.

A launcher begins trainings and tells when each is done. The sweep decides what is trained, tried again and reported.
"""

from pathlib import Path
from typing import Any

from mgpp.lab.sweeps.launchers.base import Job, Launcher, LauncherError
from mgpp.lab.sweeps.launchers.local import LocalProcesses
from mgpp.lab.sweeps.launchers.ray_cluster import RayCluster
from mgpp.lab.sweeps.launchers.slurm import SlurmJobs

__all__ = ["Job", "Launcher", "LauncherError", "LocalProcesses", "RayCluster", "SlurmJobs", "make_launcher"]

OPTIONS = {"local": set[str](), "ray": {"address", "resources"}, "slurm": {"slurm"}}  # beside jobs, which all have


def make_launcher(launcher: str, folder: str | Path, *, jobs: int | None = None, **options: Any) -> Launcher:
    """Make a launcher by its name.

    Args:
        launcher: local, ray or slurm.
        folder: of the sweep.
        jobs: trainings at a time: local processes (1 by default), jobs of Slurm, or tasks on a Ray cluster that is
            started here. A Ray cluster that runs already decides by itself.
        options: address and resources, see `RayCluster`; slurm, the parameters of `SlurmJobs`.

    Raises:
        LauncherError: if the launcher can't be used here, or an option belongs to another one.

    Example:
        >>> make_launcher("local", "my-sweep", jobs=2).pause
        0.05
    """
    given = {name: value for name, value in options.items() if value}
    if wrong := given.keys() - OPTIONS[launcher]:
        raise LauncherError(f"the launcher {launcher} has no options {', '.join(f'--{name}' for name in wrong)}")
    if launcher == "ray":
        return RayCluster(jobs=jobs, **given)
    if launcher == "slurm":
        return SlurmJobs(Path(folder), given.get("slurm"), jobs=jobs)
    return LocalProcesses(jobs or 1)
