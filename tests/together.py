"""Run a function in several processes at once, as torchrun would: with gloo on the CPU, one thread each."""

import datetime
import faulthandler
import gc
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

SLOW_TO_IMPORT = ["mgpp.lab.training.train", "transformers.models.auto.modeling_auto"]


def together(count, function, *args):
    """Call `function(index, *args)` in `count` processes; the first error of one of them is raised here."""
    multiprocessing.set_forkserver_preload(SLOW_TO_IMPORT)  # once, in the process that all of them are forks of
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        mp.start_processes(_in_process, (count, meeting, function, args), count, start_method="forkserver")


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
        timeout=datetime.timedelta(minutes=5),
    )
    function(index, *args)
    dist.barrier()
    gc.collect()  # what holds on to the group goes before it does
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # torch's threads may crash while Python closes, which is not what is tested
