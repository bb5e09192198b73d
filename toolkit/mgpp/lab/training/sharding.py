"""Train models sharded by FSDP2, on CPUs too, and gather them where they are saved."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor

from mgpp.lab.recipes.recipe import RecipeError
from mgpp.lab.training.states import fill_, weights_of
from mgpp.pruning.callback import bind
from mgpp.pruning.pruner import Pruner
from mgpp.pruning.sharded.peers import Peers
from mgpp.pruning.sharded.shards import is_dtensor, part_of
from mgpp.pruning.trainer_arguments import uses_fsdp
from mgpp.runs.files import whole_folder


def is_sharded(model: Any) -> bool:
    """Return whether a model's parameters are sharded over processes.

    Example:
        >>> is_sharded(torch.nn.Linear(1, 1))
        False
    """
    return any(is_dtensor(weight) for weight in model.parameters())


def prepare_sharding(trainer: Any) -> None:
    """Correct how accelerate shards the Trainer's model, if the recipe asks for FSDP.

    On CPUs accelerate would silently use DDP. And it may take the embeddings for one of the model's layers, as in
    BERT, and then fails to shard them twice.

    Raises:
        RecipeError: if the model ties parameters other than its embeddings.
    """
    if not uses_fsdp(trainer.args):
        return
    _check_ties(trainer.model)
    if trainer.accelerator.state.distributed_type == DistributedType.MULTI_CPU:
        _shard_on_cpu(trainer)
    plugin = trainer.accelerator.state.fsdp_plugin
    plugin.transformer_cls_names_to_wrap = plugin.transformer_cls_names_to_wrap or layers_of(trainer.model)


def _check_ties(model: Any) -> None:
    names: dict[int, str] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        first = names.setdefault(id(weight), name)
        if first != name and weight is not getattr(model.get_input_embeddings(), "weight", None):
            raise RecipeError(f"trainer.fsdp can't shard {first} and {name}, which are one parameter; train with DDP")


@contextmanager
def environment_kept() -> Iterator[None]:
    """Remove the environment variables that a block sets: a later training would take accelerate's for the user's.

    Example:
        >>> with environment_kept():
        ...     os.environ["ACCELERATE_USE_FSDP"] = "true"
        >>> "ACCELERATE_USE_FSDP" in os.environ
        False
    """
    before = set(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before:
            del os.environ[name]


def layers_of(model: Any) -> list[str]:
    """Return the classes of the modules to shard a model by: those that it names, without its embeddings."""
    embeddings = model.get_input_embeddings()
    with_embeddings = {type(each).__name__ for each in model.modules() if embeddings in each.modules()}
    return sorted(set(model._no_split_modules or ()) - with_embeddings)


def _shard_on_cpu(trainer: Any) -> None:
    from torch.distributed.fsdp import CPUOffloadPolicy

    state, plugin = trainer.accelerator.state, FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args or {})
    if trainer.accelerator.mixed_precision != "no":
        plugin.set_mixed_precision(trainer.accelerator.mixed_precision)
    if isinstance(plugin.cpu_offload, CPUOffloadPolicy):
        plugin.cpu_offload = CPUOffloadPolicy(pin_memory=False)  # there is no device to copy to
    state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    state.fsdp_plugin = plugin
    trainer.is_fsdp_enabled = True


def reshard_(model: torch.nn.Module) -> None:
    """Free the weights that a forward pass without backward has gathered; the next one would use old values."""
    modules: list[Any] = [module for module in model.modules() if hasattr(module, "reshard")]
    for module in modules:
        module.reshard()


def shards_of(model: Any, optimizer: Any, pruner: Pruner) -> dict[str, Any]:
    """Return this process's parts of weights, optimizer and masks as plain tensors."""
    state = optimizer.state_dict()
    moments = {key: {name: part_of(each) for name, each in own.items()} for key, own in state["state"].items()}
    return {
        "weights": {name: part_of(weight) for name, weight in weights_of(model).items()},
        "optimizer": state | {"state": moments},
        "pruner": pruner.state_dict(whole=False),
    }


def load_shards(shards: Mapping[str, Any], model: Any, optimizer: Any, pruner: Pruner) -> None:
    """Restore what `shards_of` returned in this process, in a training sharded in the same way."""
    fill_(weights_of(model), shards["weights"])
    optimizer.load_state_dict(shards["optimizer"])
    for group in optimizer.param_groups:
        for weight in group["params"]:
            shard_moments_(optimizer.state.get(weight, {}), weight)
    bind(pruner, model)
    pruner.load_state_dict(shards["pruner"], whole=False)


def shard_moments_(moments: dict[str, Any], weight: Any) -> None:
    """Turn this process's parts of an optimizer's moments into DTensors sharded like their weight.

    They are placed where the weight's own part is: not on the mesh's device if weights are offloaded to the CPU.
    """
    for name, part in moments.items() if is_dtensor(weight) else ():
        if isinstance(part, Tensor) and part.ndim and not is_dtensor(part):
            moments[name] = torch.zeros_like(weight, dtype=part.dtype)
            fill_({name: moments[name]}, {name: part})


def gathered_state(model: torch.nn.Module) -> dict[str, Any] | None:
    """Return a sharded model's whole state in the main process, {} in others; None if the model is not sharded."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    if not is_sharded(model):
        return None
    names = weights_of(model)
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return {name: tensor for name, tensor in whole.items() if name in names}


def save_model(model: Any, tokenizer: Any, target: Path) -> None:
    """Save model and tokenizer as transformers does; all processes of a sharded model must call this."""
    whole = gathered_state(model)
    if Peers.everyone().index == 0:
        with whole_folder(target) as folder:
            model.save_pretrained(folder, state_dict=whole)
            if tokenizer is not None:
                tokenizer.save_pretrained(folder)
