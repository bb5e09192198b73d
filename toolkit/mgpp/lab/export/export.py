"""Export a run: write its pruned model as a folder that others can load, with exactly the zeros that the run logged."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from mgpp.lab.export.card import write_card
from mgpp.lab.export.folder import PACKED, check_place, read_weights, write_record
from mgpp.lab.export.packed import ExportError, pack_tensors
from mgpp.lab.record import snapshot
from mgpp.pruning.pruner import Pruner
from mgpp.pruning.saved import CODE, load_saved
from mgpp.runs import Run, load_run
from mgpp.runs.files import whole_folder

FORMATS = ("plain", "packed")
DTYPES = {None: "auto", "float32": torch.float32, "bfloat16": torch.bfloat16}


def export(
    run: str | Path | Run | tuple[PreTrainedModel, Pruner],
    to: str | Path,
    *,
    tokenizer: Any = None,
    format: Literal["plain", "packed"] = "plain",
    dtype: Literal["float32", "bfloat16"] | None = None,
    replace: bool = False,
    push_to_hub: str | None = None,
) -> Path:
    """Write the pruned model of a finished run into a folder, with tokenizer and model card.

    The zeros of the pruned matrices are written as +0.0. They are counted when the checkpoint is read and again in what
    was written, and must be as many as the run logged. The checkpoint is read as safetensors and JSON only.

    Args:
        run: a run or its folder, with `checkpoints/final`, which git does not keep; or the pair (model, pruner) of a
            training that is over.
        to: the new folder; it must not exist yet, or be empty.
        tokenizer: of the model in a pair; a run has its own.
        format: "plain", which `from_pretrained` loads without this toolkit, or "packed", which takes less room on disk
            and is read by `load_packed` and `unpack`, bit for bit.
        dtype: of the weights; None keeps that of the checkpoint. bfloat16 rounds.
        replace: overwrite an export that `to` holds.
        push_to_hub: the name of a repository to upload the folder to, such as "me/my-model".

    Raises:
        RunError: if the run can't be read.
        ExportError: if the run is not finished, its checkpoint is missing, damaged, or does not hold the zeros that the
            run logged, `to` is in use, or the upload fails. Unless the upload failed, nothing is left in `to`.
        SparsityError: if the model of a pair does not hold the zeros that its Pruner promised.

    Example:
        >>> export("data/local/reviews-mgpp-0.9-seed0", "my-model", format="packed")  # doctest: +SKIP
        >>> export((model, pruner), "my-model", tokenizer=tokenizer)  # doctest: +SKIP
    """
    for name, value, allowed in (("format", format, FORMATS), ("dtype", dtype, tuple(DTYPES))):
        if value not in allowed:
            raise ExportError(f"{name}={value!r} must be one of {allowed}")
    if push_to_hub is not None:
        validate_repo_id(push_to_hub)
    to = Path(to)
    check_place(to, replace=replace)
    with TemporaryDirectory() as place:
        if isinstance(run, tuple):
            run = snapshot(*run, Path(place) / to.name, tokenizer)
        _write(run if isinstance(run, Run) else load_run(run), to, format, dtype)
    if push_to_hub is not None:
        upload(to, push_to_hub)
    return to


def _write(run: Run, to: Path, format: str, dtype: str | None) -> None:
    targets = _targets(run)
    model = _load_model(run.checkpoint, dtype)
    weights = _pruned_weights(model, targets, run)
    with whole_folder(to) as folder:
        model.save_pretrained(folder)
        _save_tokenizer(run.checkpoint, folder)
        if format == "packed":
            _pack_weights(folder)
        state = _read_again(run, model, folder, targets)
        facts = _facts(targets, weights, state)
        write_record(folder, layout=format, dtype=dtype, **facts)
        write_card(folder, run, facts, type(model).__name__)


def _targets(run: Run) -> dict[str, dict[str, Any]]:
    """Return the pruned matrices of a finished run: layer and kind by name."""
    own = run.info.get("recorded")
    if run.status != "finished":
        way = "record the training again" if own else f"continue it: mgpp train --resume {run.folder}"
        raise ExportError(f"{run.folder} is {run.status}, not finished; {way}")
    if not run.checkpoint.is_dir():
        again = "mgpp.record(..., model=model)" if own else "save_model=true"
        raise ExportError(f"{run.checkpoint} is missing (git keeps no weights): repeat the run with {again}")
    try:
        return {row["name"]: {"layer": row["layer"], "kind": row["kind"]} for row in run.info["targets"]["table"]}
    except (KeyError, TypeError) as error:
        raise ExportError(f"{run.folder}/run.json: targets.table does not list pruned matrices: {error!r}") from error


def _load_model(folder: Path, dtype: str | None) -> PreTrainedModel:
    try:
        return load_saved(folder, DTYPES[dtype])
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ExportError(f"{folder} can't be loaded: {error}") from error


def _pruned_weights(model: PreTrainedModel, targets: Mapping[str, Any], run: Run) -> dict[str, Tensor]:
    """Return the pruned matrices by name after turning -0.0 into 0.0 and counting their zeros."""
    parameters = dict(model.named_parameters())
    if missing := [name for name in targets if name not in parameters]:
        raise ExportError(f"{run.checkpoint} has no weight {missing[0]!r}, which run.json lists as pruned")
    weights = {name: parameters[name].detach() for name in targets}
    for weight in weights.values():
        weight.masked_fill_(weight == 0, 0.0)
    zeros, logged = sum(_zeros(weight) for weight in weights.values()), run.final.get("zeros")
    if zeros != logged:
        raise ExportError(
            f"{run.checkpoint} has zeros={zeros} in its pruned matrices, but run.json says zeros={logged}"
        )
    return weights


def _save_tokenizer(checkpoint: Path, folder: Path) -> None:
    if (checkpoint / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False)
        for key in CODE:
            tokenizer.init_kwargs.pop(key, None)
        tokenizer.save_pretrained(folder)


def _pack_weights(folder: Path) -> None:
    """Replace the plain files of weights in `folder` by one packed file."""
    packed = _packed(read_weights(folder.glob("*.safetensors")))
    for file in folder.glob("model*.safetensors*"):
        file.unlink()
    save_file(packed, folder / f"model{PACKED}", metadata={"format": "pt"})


def _read_again(run: Run, model: PreTrainedModel, folder: Path, targets: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state dict that was written, after counting its zeros in a model that is loaded from it.

    Names on disk can differ from those of the model's parameters, which run.json lists.
    """
    state = read_weights(folder.glob("*.safetensors"))
    again = type(model).from_pretrained(None, config=model.config, state_dict=dict(state), trust_remote_code=False)
    _pruned_weights(again, targets, run)
    return state


def _packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pack all matrices: those with zeros are the pruned ones, which may have other names and shapes on disk."""
    return pack_tensors(state, [name for name, tensor in state.items() if tensor.ndim > 1])


def _zeros(weight: Tensor) -> int:
    return weight.numel() - int(weight.count_nonzero())


def _facts(
    targets: Mapping[str, Mapping[str, Any]], weights: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return what record and card say: a row a pruned matrix, zeros, and bytes, dense and packed."""
    rows = [
        {"name": name, **targets[name], "shape": list(weight.shape), "zeros": _zeros(weight)}
        for name, weight in weights.items()
    ]
    sizes = {"targets_dense": _bytes(weights), "targets_packed": _bytes(_packed(weights))}
    sizes |= {"model_dense": _bytes(state), "model_packed": _bytes(_packed(state))}
    return {"targets": rows, "zeros": sum(row["zeros"] for row in rows), "bytes": sizes}


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def upload(folder: Path, name: str) -> None:
    """Upload an export to the repository `name` of the Hugging Face hub, which is made if it does not exist.

    Raises:
        ExportError: if the upload fails; the folder stays.
    """
    api = HfApi()
    try:
        repository = api.create_repo(name, exist_ok=True).repo_id
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Exported by mgpp")
    except (HTTPError, OSError) as error:
        raise ExportError(f"{folder} is written, but the upload to {name} failed: {error}") from error
