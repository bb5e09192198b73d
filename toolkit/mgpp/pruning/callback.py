"""The Pruner inside `transformers.Trainer`."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch.nn import Module
from transformers import TrainerCallback, TrainerState

from mgpp.pruning.observer import Observer, Writer
from mgpp.pruning.pruner import Pruner
from mgpp.pruning.sharded.peers import Peers
from mgpp.pruning.sharded.shards import is_dtensor
from mgpp.pruning.targets import parameters_by_name

STATE_FILE = "pruner.safetensors"
TIMES = ("_runtime", "_per_second", "_time")  # endings of what an evaluation logs of itself


class PruningCallback(TrainerCallback):
    """Call a `Pruner` at the right moments of a Trainer's step, and log what it did.

    The Trainer accumulates, unscales and clips the data gradient; then `on_pre_optimizer_step` adds the penalty, once
    an optimizer update; then `on_optimizer_step` prunes. Steps are counted by the Trainer's clock, so an update that
    fp16 loss scaling skips still counts and the schedule reaches its end.

    In distributed training every process has a callback, a Pruner and, if any, an Observer of its own; give all but the
    first a writer that drops what it gets. When the training begins the Pruner is bound to the parameters of the
    prepared model: those of DDP are the ones that it has, FSDP2 makes new ones.

    Beside each of the Trainer's checkpoints it saves what the Pruner remembers. To go on from one, call
    `mgpp.pruning.callback.restore(pruner, folder)` and then `trainer.train(resume_from_checkpoint=folder)`.

    On logged steps the Trainer is asked for its loss, so it logs there too, to the console and to `report_to`. If you
    accumulate gradients, see that the Trainer averages them: it does not for a model whose forward takes **kwargs and
    ignores `num_items_in_batch`, as BERT's does; set `trainer.model_accepts_loss_kwargs = False` then.

    Args:
        pruner: holds weights, schedule and penalty.
        run_writer: where to log: what `mgpp.record` yields, or a `mgpp.RunWriter(folder)`; None logs nothing.
        saves: whether to save the Pruner's state; False for a Trainer that does so itself.
        observing: options of the `Observer`, such as `every=10`, before those of `mgpp.record`.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=data, callbacks=[PruningCallback(pruner)])  # doctest: +SKIP
    """

    def __init__(self, pruner: Pruner, run_writer: Writer | None = None, *, saves: bool = True, **observing: Any):
        self.pruner, self.saves = pruner, saves
        options = getattr(run_writer, "observing", {}) | observing
        self.observer = Observer(pruner, run_writer, **options) if run_writer is not None else None

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Bind the Pruner to the model that the Trainer has prepared.

        Raises:
            ValueError: if the training ends before pruning does, or goes on without the masks it had.
        """
        if kwargs.get("model") is not None:
            bind(self.pruner, kwargs["model"])
        end = self.pruner.sparsity.end_step
        if state.max_steps <= end:
            raise ValueError(
                f"pruning ends at step {end}, but the training has only {state.max_steps} steps; "
                "train longer, or shorten the warm-up and the pruning phase"
            )
        begin = self.pruner.sparsity.begin_step
        remembers = state.global_step > begin or bool(self.pruner.importance.tensors())
        if state.global_step > 0 and remembers and self.pruner.is_fresh:
            raise ValueError(
                f"the training goes on at step {state.global_step}, with pruning from step {begin}, but the Pruner "
                "lacks its masks and what it ranks by; call mgpp.pruning.callback.restore(pruner, checkpoint) first"
            )
        if self.observer is not None:
            self.observer.writer.update(steps={"total": state.max_steps, "begin": begin, "end": end})

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Draw the gates of this step, if the method has gates."""
        self.pruner.begin_step(state.global_step)

    def on_save(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Save the Pruner's state in the Trainer's checkpoint; all processes take part, and the first writes."""
        if not self.saves:
            return
        tensors = {key: value.contiguous() for key, value in self.pruner.state_dict().items()}
        if state.is_world_process_zero:
            save_file(tensors, Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / STATE_FILE)

    def on_pre_optimizer_step(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Add the penalty to unscaled gradients."""
        unscale_(kwargs.get("optimizer"))
        self.pruner.before_step(state.global_step)

    def on_optimizer_step(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Prune, then measure."""
        step = state.global_step
        self.pruner.after_step(step)
        if self.observer is not None and self.observer.is_due(step, state.max_steps):
            self.observer.measure(step)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Ask the Trainer for its loss where the observer has measured."""
        if self.observer is not None and self.observer.is_pending:
            control.should_log = True

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Complete the row with the Trainer's loss and learning rate, and write it."""
        if self.observer is not None and self.observer.is_pending:
            self.observer.write(logs or {})

    def on_evaluate(self, args: Any, state: TrainerState, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Log what the Trainer has measured at its last step, but for the times."""
        if self.observer is not None:
            kept = {name: value for name, value in (metrics or {}).items() if not name.endswith(TIMES)}
            self.observer.writer.metrics({"step": max(state.global_step - 1, 0), **kept})


def bind(pruner: Pruner, model: Module) -> None:
    """Bind a Pruner to a model that was wrapped or sharded since it got its weights; see `Pruner.bind`.

    Raises:
        ValueError: if the model lacks one of the weights, or is wrapped in a way that is not supported.
    """
    found = parameters_by_name(model)
    present = {id(weight) for weight in found.values()}
    weights = dict(pruner.weights)
    moved = not all(id(weight) in present for weight in weights.values())
    if moved:
        for name in weights.keys() - found.keys():
            raise ValueError(f"{name} is a target, but no parameter of the Trainer's model; take targets from it")
        weights = {name: found[name] for name in weights}
    everyone, sharded = Peers.everyone(), any(is_dtensor(weight) for weight in weights.values())
    if moved or everyone.are_many:
        pruner.bind(weights, copies=None if sharded else everyone)


def restore(pruner: Pruner, checkpoint: str | Path) -> None:
    """Load the state that the callback saved in a checkpoint into a Pruner.

    Raises:
        FileNotFoundError: if the checkpoint holds none.
        ValueError: if it belongs to another model or method.
    """
    pruner.load_state_dict(load_file(Path(checkpoint) / STATE_FILE))


def unscale_(optimizer: Any) -> None:
    """Divide the gradients by the loss scale, unless clipping has done so already in this step."""
    scaler = getattr(optimizer, "scaler", None)
    if scaler is None or not scaler.is_enabled():
        return
    try:
        scaler.unscale_(optimizer.optimizer)
    except RuntimeError as error:
        if "already been called" not in str(error):
            raise
