"""The Pruner inside `transformers.Trainer`."""

import warnings
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch.nn import Module
from transformers import TrainerCallback, TrainerState

from mgpp.pruning.mean_loss import MeanLoss, sums_own_loss, trainer_of
from mgpp.pruning.observer import Observer, Writer
from mgpp.pruning.pruner import Pruner, SparsityError
from mgpp.pruning.sharded.peers import Peers
from mgpp.pruning.sharded.shards import is_dtensor
from mgpp.pruning.state import check_continues_at
from mgpp.pruning.targets import parameters_by_name
from mgpp.pruning.trainer_arguments import check_arguments

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

    On logged steps the Trainer is asked for its loss, so it logs there too, to the console and to `report_to`. If
    gradients are accumulated, the loss is the mean over the whole batch, see `MeanLoss`. The best checkpoint and the
    patience of early stopping count from t_f on: before it, no checkpoint has the final sparsity. When the training
    ends, the callback audits the model.

    If a training begins anew with the same callback, as with `auto_find_batch_size`, in a hyperparameter search or in a
    second `train()`, the Pruner is reset and a warning says so.

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
        self._mean_loss: MeanLoss | None = None
        options = getattr(run_writer, "observing", {}) | observing
        self.observer = Observer(pruner, run_writer, **options) if run_writer is not None else None

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Bind the Pruner to the model that the Trainer has prepared, and check that they fit each other.

        Raises:
            ValueError: if the training ends before pruning does, `n_train` is not the number of training examples, the
                training goes on without the masks it had or with those of another step, or an argument of the Trainer
                is one of `mgpp.pruning.trainer_arguments`.
        """
        check_arguments(args)
        end = self.pruner.sparsity.end_step
        if state.max_steps <= end:
            raise ValueError(
                f"pruning ends at step {end}, but the training has only {state.max_steps} steps; "
                "train longer, or shorten the warm-up and the pruning phase"
            )
        check_count(self.pruner.n_train, getattr(kwargs.get("train_dataloader"), "dataset", None))
        _begin(self.pruner, state.global_step)
        self._release()
        if kwargs.get("model") is not None:
            bind(self.pruner, kwargs["model"])
            trainer = trainer_of(self)
            if getattr(trainer, "loss_is_scaled_for_ga", None) is not False:  # else the Trainer divides
                self._mean_loss = MeanLoss(kwargs["model"], sums=trainer is not None and sums_own_loss(trainer))
        if self.observer is not None:
            steps = {"total": state.max_steps, "begin": self.pruner.sparsity.begin_step, "end": end}
            self.observer.writer.update(steps=steps)

    def _release(self) -> None:
        if self._mean_loss is not None:
            self._mean_loss.remove()
            self._mean_loss = None

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Draw the gates of this step, if the method has gates."""
        self.pruner.begin_step(state.global_step)

    def on_save(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Save the Pruner's state in the Trainer's checkpoint; all processes take part, and the first writes."""
        if not self.saves:
            return
        tensors = {key: value.contiguous() for key, value in self.pruner.state_dict().items()}
        if state.is_world_process_zero:
            save_file(tensors, checkpoint_of(args, state) / STATE_FILE)

    def on_pre_optimizer_step(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Add the penalty to unscaled gradients."""
        unscale_(kwargs.get("optimizer"))
        dynamics = self.observer.dynamics(state.global_step) if self.observer else None
        if dynamics is not None:
            dynamics.before_penalty()
        self.pruner.before_step(state.global_step)
        if dynamics is not None:
            dynamics.after_penalty()

    def on_optimizer_step(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Prune, then measure."""
        step = state.global_step
        if self.observer is not None and (dynamics := self.observer.dynamics(step)) is not None:
            self.observer.writer.part("dynamics", step, dynamics.rows(step, kwargs["optimizer"]))
        self.pruner.after_step(step)
        if self.observer is not None and self.observer.is_due(step, state.max_steps):
            self.observer.measure(step)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Ask the Trainer for its loss where the observer has measured, and forget a best model that is too dense."""
        if (state.best_global_step or 0) <= self.pruner.sparsity.end_step:  # after so many steps t_f is still to come
            state.best_metric = state.best_model_checkpoint = state.best_global_step = None
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

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Audit the model, and note the number of zeros in the log.

        Raises:
            SparsityError: if the model is not as sparse as promised, as when another callback ends the training before
                t_f. A trial of a hyperparameter search gets a warning instead.
        """
        self._release()
        try:
            zeros = self.pruner.audit()
        except SparsityError as error:
            if not state.is_hyper_param_search:
                raise
            warnings.warn(f"the trial at step {state.global_step}: {error}", stacklevel=2)
            return
        if self.observer is not None:
            self.observer.writer.update(final={"zeros": zeros, "sparsity": zeros / self.pruner.total})


def check_count(n_train: int, examples: Any) -> None:
    """Raise ValueError unless n is the number of training examples; warn if they can't be counted.

    Example:
        >>> check_count(3, ["a", "b", "c"])
    """
    try:
        count = len(examples)
    except TypeError:
        if examples is not None:
            warnings.warn(f"the train set has no length, so n_train={n_train} is taken as it is given", stacklevel=2)
        return
    if count != n_train:
        raise ValueError(
            f"n_train={n_train}, but the train set has {count} examples; the prior's strength is 1/n, so make the "
            f"Pruner with n_train={count}"
        )


def _begin(pruner: Pruner, step: int) -> None:
    """Check that a Pruner fits a training that begins at `step`, and reset one that has seen another."""
    begin = pruner.sparsity.begin_step
    if pruner.is_fresh:
        if step > 0 and (step > begin or pruner.importance.tensors()):
            raise ValueError(
                f"the training goes on at step {step}, with pruning from step {begin}, but the Pruner lacks its masks "
                "and what it ranks by; call mgpp.pruning.callback.restore(pruner, checkpoint) first"
            )
    elif step == 0 and not pruner.is_restored:
        warnings.warn(
            "the training begins anew, so the Pruner forgets its masks and prune events; the weights stay as they are",
            stacklevel=2,
        )
        pruner.reset()
    else:
        check_continues_at(pruner, step)


def checkpoint_of(args: Any, state: TrainerState) -> Path:
    """Return the checkpoint that the Trainer has just saved; those of a hyperparameter search have a folder a trial.

    Raises:
        FileNotFoundError: if there is none of this step.
    """
    folder, name = Path(str(args.output_dir)), f"checkpoint-{state.global_step}"
    if (folder / name).is_dir() and not state.is_hyper_param_search:
        return folder / name
    found = list(folder.rglob(f"{name}/trainer_state.json"))
    if not found:
        raise FileNotFoundError(f"{folder} has no {name} to save the Pruner's state in; set saves=False and save it")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent


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
