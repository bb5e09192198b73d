"""The processes of one training: which one this is, and waiting for the others."""

import torch.distributed as dist


def is_distributed() -> bool:
    """Whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """The number of this process among those of the training, from 0.

    Example:
        >>> rank()
        0
    """
    return dist.get_rank() if is_distributed() else 0


def is_main() -> bool:
    """Whether this process is the one that writes.

    Example:
        >>> is_main()
        True
    """
    return rank() == 0


def barrier() -> None:
    """Wait until all processes of the training have come here."""
    if is_distributed():
        dist.barrier()
