"""Races: variants take turns within one run, so that a slow minute of the machine hits them all."""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(function: Callable[[], object]) -> float:
    synchronize()
    start = time.perf_counter()
    function()
    synchronize()
    return time.perf_counter() - start


def race(
    variants: dict[str, Callable[[], object]], rounds: int, reset: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Median seconds of each variant over some rounds, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name, function in variants.items():
            reset()
            taken[name].append(seconds(function))
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def peak_extra_mb(function: Callable[[], object]) -> float | None:
    """How many MB beyond what was held before the call took at its peak; None where that can't be measured."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        function()
        return (torch.cuda.max_memory_allocated() - held) / 1e6
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        CLEAR.write_text("5")  # Linux: forget the peak so far
    except OSError:
        return None
    held = _resident("VmRSS")
    function()
    return max(0.0, _resident("VmHWM") - held) / 1e3


def _resident(field: str) -> float:
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(field)]
    return float(line.split()[1])


def free_gb() -> float:
    """Memory that is left on the device."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] / 1e9
    info = Path("/proc/meminfo")
    if not info.exists():
        return float("inf")
    (line,) = [line for line in info.read_text().splitlines() if line.startswith("MemAvailable")]
    return float(line.split()[1]) / 1e6
