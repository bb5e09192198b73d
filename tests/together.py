"""Run a function in several processes at once, as torchrun would: with gloo on the CPU, one thread each."""

import datetime
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def together(count, function, *args):
    """Call `function(index, *args)` in `count` processes; the first error of one of them is raised here."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_in_process, (count, str(Path(folder) / "meeting"), function, args), count)


def _in_process(index, count, meeting, function, args):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{meeting}",
        rank=index,
        world_size=count,
        timeout=datetime.timedelta(seconds=20),
    )
    function(index, *args)
    dist.barrier()
    dist.destroy_process_group()
