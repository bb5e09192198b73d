"""Where a run comes from: versions, commit, machine, hashes."""

import hashlib
import platform
import subprocess
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from mgpp.lab.models.packages import REVIEWS
from mgpp.runs import Run, RunError, RunWarning
from mgpp.runs.files import sha256

PACKAGES = ("mgpp-toolkit", "torch", "transformers", "accelerate", "datasets", "numpy", "pandas")


def provenance() -> dict[str, Any]:
    """Versions, git commit and device, for run.json."""
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
    """The commit of the toolkit's own checkout and whether its code differs from it; None outside a checkout."""
    here = Path(__file__).parents[2]
    try:
        _git(here, "ls-files", "--error-unmatch", __file__)  # fails in a repository that is not the toolkit's
        commit = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "changed": bool(changed)}


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _device() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    kind, several = "cuda" if gpu else "cpu", dist.is_available() and dist.is_initialized()
    processes = dist.get_world_size() if several else 1
    return {"name": gpu or _processor(), "type": kind, "threads": torch.get_num_threads(), "processes": processes}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def native_bf16() -> bool:
    """Whether the device computes in bfloat16 itself; where it does not, bfloat16 is slower than float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def weights_hash(folder: Path) -> str | None:
    """The SHA-256 of a model's weights: of the one file, or of the names and hashes of the parts; None without a file.

    Example:
        >>> weights_hash(Path("google-bert/bert-base-uncased"))
    """
    if (folder / "model.safetensors").is_file():
        return sha256(folder / "model.safetensors")
    parts = [f"{part.name} {sha256(part)}\n" for part in sorted(folder.glob("model-*.safetensors"))]
    return hashlib.sha256("".join(parts).encode()).hexdigest() if parts else None


def sources_of(
    data_hash: str, model_hash: str | None, local_data: str | None, stopped: Run | None = None
) -> Mapping[str, Any]:
    """The hashes of model and data for run.json, which stay those that a run began with.

    Args:
        data_hash: of the data that were found.
        model_hash: of the model that was found, None for one of the hub.
        local_data: the recipe's folder of data, None for data of the hub or of a package.
        stopped: the run that is to go on; a hash that it did not note is not compared.

    Raises:
        RunError: if model or data are others than those that the run began with. Of data of the hub, whose hash may
            change when they are fetched again, a `RunWarning` says so.

    Example:
        >>> sources_of("3b7e", None, local_data="my-data")
        {'model': None, 'data': '3b7e'}
    """
    found: dict[str, Any] = {"model": model_hash, "data": data_hash}
    begun = stopped.info.get("sha256", {}) if stopped else {}
    of_the_hub = local_data is None and REVIEWS.sha256 not in (data_hash, begun.get("data"))
    for what, now in found.items():
        before = begun.get(what)
        if stopped is None or before is None or before == now:
            continue
        words = _changed(stopped.folder, what, now, before)
        if what == "model" or not of_the_hub:
            raise RunError(words)
        warnings.warn(f"{words}. The run goes on: it may be that only their copy is new", RunWarning, stacklevel=3)
    return found | {what: before for what, before in begun.items() if before is not None}


def _changed(folder: Path, what: str, now: Any, before: Any) -> str:
    return (
        f"{folder}: the {what} changed since the run began: sha256 found {now or 'of no file'}, expected "
        f"{before!r:.80}; bring the {what} of then back, or start anew: mgpp train RECIPE --out {folder} --replace"
    )
