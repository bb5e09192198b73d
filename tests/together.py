"""Run a function in several processes at once, as torchrun would: with gloo on the CPU, one thread each."""

import datetime
import faulthandler
import gc
import os
import sys
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
    faulthandler.enable()  # so that a crash says where
    torch.set_num_threads(1)
    mp.current_process().name = "MainProcess"  # as it is under torchrun; a collator of transformers asks for it
    os.environ |= {"RANK": str(index), "LOCAL_RANK": str(index), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    os.environ |= {"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "HF_HUB_OFFLINE": "1"}
    dist.init_process_group(
        "gloo",
        init_method=f"file://{meeting}",
        rank=index,
        world_size=count,
        timeout=datetime.timedelta(seconds=60),
    )
    function(index, *args)
    dist.barrier()
    gc.collect()  # what holds on to the group goes before it does
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # torch's threads may crash while Python closes, which is not what is tested
