"""Record where a run comes from: versions, commit, machine, hashes of model and data."""

import hashlib
import platform
import subprocess
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from mgpp.lab.models.packages import REVIEWS
from mgpp.pruning.sharded.peers import Peers
from mgpp.runs import Run, RunError, RunWarning
from mgpp.runs.files import sha256

PACKAGES = ("mgpp-toolkit", "torch", "transformers", "accelerate", "datasets", "numpy", "pandas")


def provenance() -> dict[str, Any]:
    """Return versions, git commit and device, for run.json."""
    return {"versions": _versions(), "git": git_commit(), "device": _device()}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> dict[str, Any] | None:
    """Return the commit of the toolkit's checkout, and whether its code differs from it; None outside a checkout."""
    here = Path(__file__).parents[2]
    try:
        _git(here, "ls-files", "--error-unmatch", __file__)  # fails in a repository that is not the toolkit's
        return {"commit": _git(here, "rev-parse", "HEAD"), "changed": bool(_git(here, "status", "--porcelain", "."))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _device() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    name, kind = (gpu, "cuda") if gpu else (_processor(), "cpu")
    return {"name": name, "type": kind, "threads": torch.get_num_threads(), "processes": Peers.everyone().count}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def native_bf16() -> bool:
    """Return whether the device computes in bfloat16 natively; where it does not, bfloat16 is slower than float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def weights_hash(folder: Path) -> str | None:
    """Return the SHA-256 of a local model's weights; of those in parts, that of the parts' names and hashes.

    Example:
        >>> weights_hash(Path("google-bert/bert-base-uncased"))  # None, as it is not a local folder
    """
    if (folder / "model.safetensors").is_file():
        return sha256(folder / "model.safetensors")
    parts = [f"{part.name} {sha256(part)}\n" for part in sorted(folder.glob("model-*.safetensors"))]
    return hashlib.sha256("".join(parts).encode()).hexdigest() if parts else None


def check_sources(found: dict[str, Any], local_data: str | None, stopped: Run | None = None) -> dict[str, Any]:
    """Return the hashes of model and data for run.json, which stay those that the run began with.

    Args:
        found: the hashes of `model` and `data` now; None for a model of the hub.
        local_data: the recipe's folder of data; None for data of the hub or of a package.
        stopped: the run that is to go on; a hash that it did not note is not compared.

    Raises:
        RunError: if model or data changed since the run began. Of data of the hub, whose hash may change when they
            are downloaded again, a `RunWarning` says so.

    Example:
        >>> check_sources({"model": None, "data": "3b7e"}, local_data="my-data")
        {'model': None, 'data': '3b7e'}
    """
    if stopped is None:
        return found
    begun = {what: before for what, before in stopped.info.get("sha256", {}).items() if before is not None}
    of_the_hub = local_data is None and REVIEWS.sha256 not in (found["data"], begun.get("data"))
    for what in [what for what in begun if begun[what] != found.get(what)]:
        message = (
            f"{stopped.folder}: the {what} changed since the run began, sha256 {found.get(what)}, not {begun[what]}"
        )
        if what == "model" or not of_the_hub:
            raise RunError(f"{message}; restore it, or start anew: mgpp train RECIPE --out {stopped.folder} --replace")
        warnings.warn(f"{message}. The run goes on: it may be that only their copy is new", RunWarning, stacklevel=3)
    return found | begun
