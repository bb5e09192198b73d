"""Where a run comes from: versions, commit, machine, hashes."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

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
    here = Path(__file__).parents[1]
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
    return {"name": gpu or _processor(), "type": "cuda" if gpu else "cpu", "threads": torch.get_num_threads()}


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
