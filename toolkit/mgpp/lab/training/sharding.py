"""Models sharded by FSDP2: on processors, too; whole again where they are saved."""

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
from mgpp.lab.training.checkpoints import fill_, weights_of
from mgpp.lab.training.processes import asks_for_shards, is_main
from mgpp.pruning.callback import bind
from mgpp.pruning.pruner import Pruner
from mgpp.pruning.sharded.shards import is_dtensor, part_of
from mgpp.runs.files import whole_folder


def is_sharded(model: Any) -> bool:
    """Whether a model's parameters are shared out among processes.

    Example:
        >>> is_sharded(torch.nn.Linear(1, 1))
        False
    """
    return any(is_dtensor(weight) for weight in model.parameters())


def prepare_sharding(trainer: Any) -> None:
    """Let accelerate shard the model, where it is asked to, as it should.

    On processors it would use DDP without a word. And what it takes for a model's layers may be its embeddings, too,
    which it then fails to shard twice, as in BERT.

    Raises:
        RecipeError: if the model shares other parameters between its parts than its embeddings.
    """
    if not asks_for_shards(trainer.args):
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
            raise RecipeError(
                f"{first} and {name} are one parameter, which FSDP2 can't keep in two of its groups; train with DDP, "
                "without trainer.fsdp"
            )


@contextmanager
def environment_kept() -> Iterator[None]:
    """Undo what accelerate does to the environment, where a later training would take it for a wish of the user.

    Example:
        >>> with environment_kept():
        ...     os.environ["ACCELERATE_USE_FSDP"] = "true"
        >>> "ACCELERATE_USE_FSDP" in os.environ
        False
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


def layers_of(model: Any) -> list[str]:
    """The classes of the modules that a model should be sharded by: those that it names, without its embeddings."""
    embeddings = model.get_input_embeddings()
    with_embeddings = {type(each).__name__ for each in model.modules() if embeddings in each.modules()}
    return sorted(set(model._no_split_modules or ()) - with_embeddings)


def _shard_on_cpu(trainer: Any) -> None:
    state, arguments = trainer.accelerator.state, trainer.args
    from torch.distributed.fsdp import CPUOffloadPolicy

    plugin = FullyShardedDataParallelPlugin(**arguments.fsdp_plugin_args or {})
    if trainer.accelerator.mixed_precision != "no":
        plugin.set_mixed_precision(trainer.accelerator.mixed_precision)
    if isinstance(plugin.cpu_offload, CPUOffloadPolicy):
        plugin.cpu_offload = CPUOffloadPolicy(pin_memory=False)  # there is no device to copy to
    state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    state.fsdp_plugin = plugin
    trainer.is_fsdp_enabled = True


def reshard_(model: torch.nn.Module) -> None:
    """Let go of what a forward pass without a backward pass has gathered; the next one would find old weights."""
    modules: list[Any] = [module for module in model.modules() if hasattr(module, "reshard")]
    for module in modules:
        module.reshard()


def shards_of(model: Any, optimizer: Any, pruner: Pruner) -> dict[str, Any]:
    """What this process holds of a sharded training, as plain tensors: its parts of weights, optimizer and masks."""
    state = optimizer.state_dict()
    moments = {key: {name: part_of(each) for name, each in own.items()} for key, own in state["state"].items()}
    return {
        "weights": {name: part_of(weight) for name, weight in weights_of(model).items()},
        "optimizer": state | {"state": moments},
        "pruner": pruner.state_dict(whole=False),
    }


def load_shards(shards: Mapping[str, Any], model: Any, optimizer: Any, pruner: Pruner, source: Path) -> None:
    """Give a training that is sharded as it was what `shards_of` noted in this process.

    Raises:
        CheckpointError: if it is of another model; it names `source`.
    """
    fill_(weights_of(model), shards["weights"], source)
    optimizer.load_state_dict(shards["optimizer"])
    for group in optimizer.param_groups:
        for weight in group["params"]:
            share_out_(optimizer.state.get(weight, {}), weight)
    bind(pruner, model)
    pruner.load_state_dict(shards["pruner"], whole=False)


def share_out_(moments: dict[str, Any], weight: Any) -> None:
    """Make parts that belong to a sharded weight, such as an optimizer's moments, parts of tensors sharded alike.

    They come to where the weight's own part lies, which is not the mesh's device if weights wait in the main memory.
    """
    for name, part in moments.items() if is_dtensor(weight) else ():
        if isinstance(part, Tensor) and part.ndim and not is_dtensor(part):
            moments[name] = torch.zeros_like(weight, dtype=part.dtype)
            fill_({name: moments[name]}, {name: part}, Path(name))


def save_final(model: Any, tokenizer: Any, target: Path) -> None:
    """Save a model, whole, and its tokenizer, as transformers does; all processes of a sharded one must call it."""
    whole = _gathered(model) if is_sharded(model) else None
    if is_main():
        with whole_folder(target) as folder:
            model.save_pretrained(folder, state_dict=whole)
            tokenizer.save_pretrained(folder)


def _gathered(model: torch.nn.Module) -> dict[str, Any]:
    """The whole state in the memory of the main process, nothing in that of the others; a tied weight once."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    names = weights_of(model)
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return {name: tensor for name, tensor in whole.items() if name in names}
