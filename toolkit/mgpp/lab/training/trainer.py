"""Extend transformers' Trainer with pruning, and with checkpoints from which a training resumes exactly."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from transformers import TrainerCallback, TrainerState

from mgpp.lab.training import checkpoints, states
from mgpp.lab.training.faults import SigtermHandler, Terminated, check_gradient, check_loss, check_weights
from mgpp.lab.training.parallel import ParallelTrainer
from mgpp.lab.training.processes import barrier, is_main, rank
from mgpp.lab.training.sharding import is_sharded, load_shards, shards_of
from mgpp.pruning.callback import STATE_FILE, restore
from mgpp.pruning.pruner import Pruner
from mgpp.pruning.sharded.peers import Peers
from mgpp.runs.files import whole_folder


class PruningTrainer(ParallelTrainer):
    """The Trainer, with three things of its own.

    Its checkpoints are those of `mgpp.lab.training.checkpoints`. They hold what the Trainer's own lack: the Pruner's
    state, the loss summed up since the last logged step, and the random state at the beginning of the epoch, which
    decides the order of the data. A loss, a gradient or a weight that is not finite ends the training at once. And the
    learning rate starts again `rewinds` times.

    Args:
        pruner: whose state belongs into the checkpoints.
        recipe: the settings of the run, noted in the checkpoints.
        rewinds: how often the learning rate starts again.
        settings: of the Trainer.
    """

    def __init__(self, *, pruner: Pruner, recipe: Mapping[str, Any], rewinds: int = 0, **settings: Any):
        super().__init__(**settings)
        self.pruner, self.recipe, self.rewinds = pruner, recipe, rewinds
        self.resumed: dict[str, Any] = {}  # the state of this process in the checkpoint
        self.random_at_epoch: dict[str, Any] = {}
        # The Trainer believes that any model whose forward has **kwargs averages over accumulated batches by itself,
        # and most don't: their gradients would grow with the accumulation. This makes the Trainer average.
        self.model_accepts_loss_kwargs = False
        self.add_callback(RestoreOnResume(self))

    def fit(self, checkpoint: Path | None, sigterm: SigtermHandler) -> None:
        """Train to the end, from a checkpoint if one is given. If the run saves checkpoints, SIGTERM saves one more."""
        if checkpoint is not None and not self.is_fsdp_enabled:  # a sharded model's masks come with its weights
            restore(self.pruner, checkpoint)
        if checkpoint is not None and checkpoints.step_of(checkpoint) >= self.args.max_steps:
            self._load_from_checkpoint(str(checkpoint))  # the Trainer would make one step more
        else:
            saves = self.args.save_strategy != "no"
            if saves:
                self.add_callback(SaveOnSigterm(sigterm))
            with sigterm.deferred() if saves else nullcontext():
                self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        check_weights(self)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Create the Trainer's schedule, repeated for every cycle of the learning rate."""
        schedule: Any = super().create_scheduler(num_training_steps, optimizer)
        if self.rewinds:
            cycles, once = self.rewinds + 1, list(schedule.lr_lambdas)
            schedule.lr_lambdas = [lambda step, each=each: each(step * cycles % num_training_steps) for each in once]
        return schedule

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run one forward and backward pass, and check the loss."""
        loss = super().training_step(*args, **kwargs)
        check_loss(self, loss)
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        check_gradient(self, norm)
        return norm

    # The methods below replace the Trainer's, which use pickle.

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step, folder = self.state.global_step, Path(str(self.args.output_dir))
        if is_sharded(self.model) and step == self.state.max_steps:
            return  # the Trainer shards a resumed model in its first step, and there would be none
        check_weights(self)
        target = checkpoints.checkpoint_folder(folder, step)
        hidden = target.with_name(f".{target.name}.writing")  # all processes write to the folder of the main one
        with whole_folder(target) if is_main() else nullcontext():
            barrier()
            states.save_state(hidden / f"rank-{rank()}", self._state_of_this_process())
            if is_main():
                self._save_common_state(hidden)
            barrier()
            if is_main():
                about = {"step": step, "processes": self.args.world_size, "sharded": is_sharded(self.model)}
                checkpoints.write_manifest(hidden, **about, recipe=self.recipe)
        if is_main():
            checkpoints.rotate(folder, step, self.args.save_total_limit)
        barrier()

    def _save_common_state(self, folder: Path) -> None:
        model: Any = self.model
        if not is_sharded(model):
            states.save_tensors(states.weights_of(model), folder / checkpoints.MODEL_FILE)
            states.save_tensors(self.pruner.state_dict(), folder / STATE_FILE)
        model.config.save_pretrained(folder)
        states.save_state(folder / "training", {name: each.state_dict() for name, each in self._stateful().items()})
        self.state.save_to_json(str(folder / checkpoints.TRAINER_FILE))

    def _stateful(self) -> dict[str, Any]:
        parts = {"schedule": self.lr_scheduler, "scaler": self.accelerator.scaler}
        parts |= {} if is_sharded(self.model) else {"optimizer": self.optimizer}
        return {name: each for name, each in parts.items() if each is not None}

    def _state_of_this_process(self) -> dict[str, Any]:
        ends_epoch = self.state.epoch == int(self.state.epoch)
        now = states.random_state()
        state = {
            "now": now,
            "epoch": now if ends_epoch else self.random_at_epoch,
            "loss": self._tr_loss.item(),
            "total_loss": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
        }
        if is_sharded(self.model):
            state["shards"] = shards_of(self.model, self.optimizer, self.pruner)
        return state

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        target: Any = model or self.model
        if not is_sharded(target):  # shards are loaded with those of the optimizer
            states.fill_(states.weights_of(target), load_file(Path(resume_from_checkpoint) / checkpoints.MODEL_FILE))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        folder = Path(str(checkpoint))
        state, self.resumed = states.load_state(folder / "training"), states.load_state(folder / f"rank-{rank()}")
        for name, each in self._stateful().items():
            each.load_state_dict(state[name])
        if is_sharded(self.model):
            load_shards(self.resumed.pop("shards"), self.model, self.optimizer, self.pruner)

    def _load_scaler(self, checkpoint: str | None) -> None:
        pass  # loaded with the optimizer

    def _load_rng_state(self, checkpoint: str | None) -> None:
        states.set_random_state(self.resumed["now"])


class RestoreOnResume(TrainerCallback):
    """Restore what the Trainer does not when a training resumes: the loss to be logged, and the order of the data."""

    def __init__(self, trainer: PruningTrainer):
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Restore the sum of the losses since the last logged step."""
        if resumed := self.trainer.resumed:
            self.trainer._tr_loss += resumed["loss"]
            self.trainer._total_loss_scalar = resumed["total_loss"]
            self.trainer._globalstep_last_logged = resumed["last_logged"]

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Shuffle the data of an interrupted epoch as before, and remember how those of any other are shuffled."""
        if self.trainer.resumed and not self.trainer.random_at_epoch:
            states.set_random_state(self.trainer.resumed["epoch"])
        self.trainer.random_at_epoch = states.random_state()


class SaveOnSigterm(TrainerCallback):
    """Save a checkpoint at the end of the step in which SIGTERM came, and end the training there.

    Args:
        sigterm: the handler, deferred while the Trainer runs.
    """

    def __init__(self, sigterm: SigtermHandler):
        self.sigterm, self.ends = sigterm, False

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint if any process got the signal; it reaches them at different steps."""
        self.ends = bool(Peers.everyone().sum([self.sigterm.received])[0])
        control.should_save = control.should_save or self.ends

    def on_save(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Raise Terminated in all processes, if any of them got the signal."""
        if self.ends:
            raise Terminated(self.sigterm.message)
