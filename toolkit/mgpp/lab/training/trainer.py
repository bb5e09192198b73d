"""transformers' Trainer with checkpoints to go on from exactly, and a learning rate that starts again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mgpp.lab.training.checkpoints import (
    MODEL_FILE,
    TRAINER_FILE,
    checkpoint_folder,
    load_weights,
    reading,
    rotate,
    weights_of,
    write_manifest,
)
from mgpp.lab.training.faults import Ending, Terminated, check_gradient, check_loss, check_weights
from mgpp.lab.training.parallel import ParallelTrainer
from mgpp.lab.training.processes import barrier, is_main, rank
from mgpp.lab.training.randomness import random_state, set_random_state
from mgpp.lab.training.sharding import is_sharded, load_shards, shards_of
from mgpp.lab.training.states import load_state, save_state, save_tensors
from mgpp.pruning.callback import STATE_FILE
from mgpp.pruning.pruner import Pruner
from mgpp.pruning.sharded.peers import Peers
from mgpp.runs.files import begin_folder, complete_folder

STATE_OF_A_PROCESS = {"now", "epoch", "loss", "total_loss", "last_logged"}


class PruningTrainer(ParallelTrainer):
    """The Trainer, with three things of its own.

    Its checkpoints are those of `mgpp.lab.training.checkpoints`. What the Trainer's own lack: the Pruner's state, the
    loss summed up since the last logged step, and the random state at the beginning of the epoch, from which the order
    of the data comes. A loss, a gradient or a weight that is no number ends the training at once. And the learning rate
    starts again `rewinds` times.

    Args:
        pruner: whose state belongs into the checkpoints.
        recipe: the settings of the run, noted in the checkpoints.
        rewinds: how often the learning rate starts again.
        settings: of the Trainer.
    """

    def __init__(self, *, pruner: Pruner, recipe: Mapping[str, Any], rewinds: int = 0, **settings: Any):
        super().__init__(**settings)
        self.pruner, self.recipe, self.rewinds = pruner, recipe, rewinds
        self.resumed: dict[str, Any] = {}  # of this process, from the checkpoint
        self.resumed_from = Path()
        self.random_at_epoch: dict[str, Any] = {}
        self.add_callback(_Going(self))

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The Trainer's own schedule, once for every cycle."""
        schedule: Any = super().create_scheduler(num_training_steps, optimizer)
        if self.rewinds:
            cycles, once = self.rewinds + 1, list(schedule.lr_lambdas)
            schedule.lr_lambdas = [lambda step, each=each: each(step * cycles % num_training_steps) for each in once]
        return schedule

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One forward and backward pass; a loss that is no number ends the training."""
        loss = super().training_step(*args, **kwargs)
        check_loss(self, loss)
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        check_gradient(self, norm)
        return norm

    # What follows stands in for the Trainer's methods of these names, which use pickle.

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        sharded = is_sharded(self.model)
        if sharded and self.state.global_step == self.state.max_steps:
            return  # it takes a step of the Trainer to shard the model again, and none would be left
        check_weights(self)
        folder = Path(str(self.args.output_dir))
        target = checkpoint_folder(folder, self.state.global_step)
        hidden = target.with_name(f".{target.name}.writing")
        if is_main():
            begin_folder(hidden)
        barrier()
        shards = {"shards": shards_of(self.model, self.optimizer, self.pruner)} if sharded else {}
        save_state(hidden / f"rank-{rank()}", self._state_of_this_process() | shards)
        if is_main():
            self._write(hidden)
        barrier()
        if is_main():
            about = {"step": self.state.global_step, "processes": self.args.world_size, "sharded": sharded}
            write_manifest(hidden, **about, recipe=self.recipe)
            complete_folder(hidden, target)
            rotate(folder, self.state.global_step, self.args.save_total_limit)
        barrier()

    def _write(self, folder: Path) -> None:
        model: Any = self.model
        if not is_sharded(model):
            save_tensors(weights_of(model), folder / MODEL_FILE)
            save_tensors(self.pruner.state_dict(), folder / STATE_FILE)
        model.config.save_pretrained(folder)
        save_state(folder / "training", self._state_of_the_training())
        self.state.save_to_json(str(folder / TRAINER_FILE))

    def _state_of_the_training(self) -> dict[str, Any]:
        return {name: each.state_dict() for name, each in self._parts().items()}

    def _parts(self) -> dict[str, Any]:
        parts = {"schedule": self.lr_scheduler, "scaler": self.accelerator.scaler}
        parts |= {} if is_sharded(self.model) else {"optimizer": self.optimizer}
        return {name: each for name, each in parts.items() if each is not None}

    def _state_of_this_process(self) -> dict[str, Any]:
        ends_epoch = self.state.epoch == int(self.state.epoch)
        now = random_state()
        return {
            "now": now,
            "epoch": now if ends_epoch else self.random_at_epoch,
            "loss": self._tr_loss.item(),
            "total_loss": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
        }

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        target: Any = model or self.model
        if not is_sharded(target):  # its shards come with those of the optimizer
            load_weights(target, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        self.resumed_from = folder = Path(str(checkpoint))
        with reading(folder):
            state = load_state(folder / "training")
            for name, each in self._parts().items():
                each.load_state_dict(state[name])
            self.resumed = load_state(own := folder / f"rank-{rank()}")
            if missing := STATE_OF_A_PROCESS - set(self.resumed):
                raise KeyError(min(missing))
            if is_sharded(self.model):
                load_shards(self.resumed.pop("shards"), self.model, self.optimizer, self.pruner, own)

    def _load_scaler(self, checkpoint: str | None) -> None:
        pass  # loaded with the optimizer

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with reading(Path(str(checkpoint))):
            set_random_state(self.resumed["now"])


class _Going(TrainerCallback):
    """Gives a PruningTrainer that goes on what the Trainer's state lacks: the loss, and the order of the data."""

    def __init__(self, trainer: PruningTrainer):
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go on with the sum of the losses since the last logged step."""
        if resumed := self.trainer.resumed:
            self.trainer._tr_loss += resumed["loss"]
            self.trainer._total_loss_scalar = resumed["total_loss"]
            self.trainer._globalstep_last_logged = resumed["last_logged"]

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Shuffle the data of an epoch that was interrupted as they were, and remember how those of any other are."""
        if self.trainer.resumed and not self.trainer.random_at_epoch:
            with reading(self.trainer.resumed_from):
                set_random_state(self.trainer.resumed["epoch"])
        self.trainer.random_at_epoch = random_state()


class LastCheckpoint(TrainerCallback):
    """Saves a checkpoint where SIGTERM came, at the end of the step, and ends the training there.

    Args:
        ending: of the training, deferred while it runs.
    """

    def __init__(self, ending: Ending):
        self.ending, self.ends = ending, False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a checkpoint if any process was asked to end: the signal reaches them at different steps."""
        self.ends = bool(Peers.everyone().sum([self.ending.asked])[0])
        control.should_save = control.should_save or self.ends

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Leave, all processes together.

        Raises:
            Terminated: if any of them was asked to end.
        """
        if self.ends:
            raise Terminated(self.ending.words)
