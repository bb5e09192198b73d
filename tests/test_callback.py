from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset, IterableDataset
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import HPSearchBackend

from mgpp import L2, CubicSparsity, Movement, Pruner, PruningCallback, RunWriter, Sensitivity, SparsityError, load_run
from mgpp.pruning.callback import restore, unscale_
from mgpp.pruning.trainer_arguments import check_arguments

SCHEDULE = CubicSparsity(0.1, 0.8, begin_step=2, end_step=7)


class Points(Dataset):
    """Forty examples of a linear problem."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(40, 5, generator=generator)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"x": self.x[i], "labels": self.x[i].sum()}


class Linear(nn.Module):
    """The smallest model that the Trainer accepts."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 1)

    def forward(self, x, labels):
        prediction = self.layer(x).squeeze(-1)
        return {"loss": ((prediction - labels) ** 2).mean(), "logits": prediction}


def build(
    tmp_path,
    penalty=None,
    callbacks=(),
    importance=None,
    n_train=40,
    model=None,
    data=None,
    model_init=None,
    writer=None,
    **arguments,
):
    torch.manual_seed(0)
    model = model or Linear()
    pruner = Pruner(
        {"layer.weight": model.layer.weight},
        sparsity=SCHEDULE,
        penalty=penalty,
        importance=importance,
        n_train=n_train,
        interval=2,
    )
    defaults = {
        "output_dir": str(tmp_path),
        "max_steps": 10,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.05,
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_strategy": "no",
    }
    trainer = Trainer(
        model=None if model_init else model,
        model_init=model_init,
        args=TrainingArguments(**defaults | arguments),
        train_dataset=data or Points(),
        eval_dataset=Points(),
        callbacks=[PruningCallback(pruner, writer), *callbacks],
    )
    return trainer, pruner


class Counter(TrainerCallback):
    """Writes down in which order things happen."""

    def __init__(self, pruner_weight):
        self.events, self.weight = [], pruner_weight

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.events.append(("pre", state.global_step, self.weight.detach().clone(), self.weight.grad.clone()))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"gradient_accumulation_steps": 3},
        {"max_grad_norm": 0.1},
        {"max_grad_norm": 0.0},
        {"bf16": True},
        {"max_steps": -1, "num_train_epochs": 2},
    ],
    ids=str,
)
def test_the_final_model_is_exactly_as_sparse_as_promised(tmp_path, arguments):
    trainer, pruner = build(tmp_path, penalty=L2(0.1), **arguments)
    trainer.train()
    assert pruner.audit() == 4


@pytest.mark.parametrize("arguments", [{}, {"gradient_accumulation_steps": 4}, {"max_grad_norm": 1e-6}], ids=str)
def test_the_penalty_is_added_once_an_update_after_clipping(tmp_path, arguments):
    """With and without penalty, the gradients of the first update differ by exactly the penalty's gradient."""
    grads = []
    for penalty in (None, L2(0.5)):
        trainer, pruner = build(tmp_path, penalty=penalty, max_steps=8, **arguments)
        seen = Counter(pruner.weights["layer.weight"])
        trainer.add_callback(seen)  # after the PruningCallback
        trainer.train()
        assert [event[1] for event in seen.events] == list(range(8))
        grads.append(seen.events[0][3])
        weight = seen.events[0][2]
    torch.testing.assert_close(grads[1] - grads[0], 0.5 * weight)


def test_a_training_that_ends_before_pruning_is_refused(tmp_path):
    trainer, _ = build(tmp_path, max_steps=7)
    with pytest.raises(ValueError, match="step 7"):
        trainer.train()


class FakeAcceleratedOptimizer:
    """What the Trainer hands to callbacks under fp16: an optimizer with a scaler beside it."""

    def __init__(self, optimizer, scaler):
        self.optimizer, self.scaler = optimizer, scaler


def scaled(loss_factor=1.0):
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(loss_factor * (weight**2).sum()).backward()
    return weight, FakeAcceleratedOptimizer(optimizer, scaler)


@pytest.mark.parametrize("already_clipped", [False, True])
def test_fp16_gradients_are_unscaled_exactly_once(already_clipped):
    weight, optimizer = scaled()
    if already_clipped:
        optimizer.scaler.unscale_(optimizer.optimizer)
    unscale_(optimizer)
    torch.testing.assert_close(weight.grad, 2 * weight.detach())
    optimizer.scaler.step(optimizer.optimizer)
    torch.testing.assert_close(weight.detach(), torch.tensor([0.8, -1.6]))


def test_a_skipped_fp16_update_changes_no_weight_but_pruning_goes_on():
    weight, optimizer = scaled(loss_factor=float("inf"))
    pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0.5, 0.5, 0, 1), penalty=L2(1.0), n_train=1)
    unscale_(optimizer)
    pruner.before_step(0)
    optimizer.scaler.step(optimizer.optimizer)
    assert weight.tolist() == [1.0, -2.0]
    pruner.after_step(0)
    assert weight.tolist() == [0.0, -2.0]


def test_without_a_scaler_nothing_is_unscaled():
    unscale_(None)
    unscale_(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))


def test_going_on_without_the_masks_is_refused(tmp_path):
    trainer, _ = build(tmp_path, save_strategy="steps", save_steps=5, save_only_model=False)
    trainer.train()
    resumed, other = build(tmp_path)
    with pytest.raises(ValueError, match="restore"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    resumed, other = build(tmp_path)
    restore(other, tmp_path / "checkpoint-5")
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert other.audit() == 4


def test_a_second_training_starts_anew(tmp_path):
    """The warm-up of the second training holds no mask; the weights go on from where they are."""
    for importance in (None, Sensitivity(window=1), Movement()):
        seen = []
        trainer, pruner = build(tmp_path, penalty=L2(0.1), importance=importance, callbacks=[Zeros(seen)])
        trainer.train()
        with pytest.warns(UserWarning, match="anew"):
            trainer.train()
        assert seen[:2] == seen[10:12] == [0, 0]
        assert seen[7:10] == seen[17:] == [4, 4, 4]
        assert pruner.audit() == 4


class Zeros(TrainerCallback):
    """Writes down the zeros after every step."""

    def __init__(self, seen):
        self.seen = seen

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.seen.append(int((model.layer.weight == 0).sum()))


class Crowded(Linear):
    """Runs out of memory in its fourth forward pass, and never again."""

    passes = 0

    def forward(self, x, labels):
        self.passes += 1
        if self.passes == 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return super().forward(x, labels)


def test_a_restart_with_a_smaller_batch_trains_rightly(tmp_path):
    seen = []
    trainer, pruner = build(
        tmp_path, penalty=L2(0.1), model=Crowded(), callbacks=[Zeros(seen)], auto_find_batch_size=True
    )
    with pytest.warns(UserWarning, match="anew"):
        trainer.train()
    assert seen == [0, 0, 0, *seen[3:]]  # three steps, then the restart
    assert seen[3:5] == [0, 0]
    assert len(seen) == 13
    assert pruner.audit() == 4


def eval_on(tmp_path, callbacks=(), **arguments):
    """A training that evaluates and saves at every step."""
    usual = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 16}
    return build(tmp_path, callbacks=callbacks, **usual | {"metric_for_best_model": "loss"} | arguments)


@pytest.mark.parametrize("save_strategy", ["steps", "best"])
@pytest.mark.parametrize(("greater", "best"), [(True, SCHEDULE.end_step + 1), (False, 16)])
def test_the_best_model_is_one_from_after_the_end_of_pruning(tmp_path, save_strategy, greater, best):
    """The loss falls to the end. If greater were better, the best of all would be the dense model of the first step."""
    options = {"load_best_model_at_end": True, "save_strategy": save_strategy, "greater_is_better": greater}
    trainer, pruner = eval_on(tmp_path, **options)
    trainer.train()
    assert trainer.state.best_global_step == best
    saved = load_file(tmp_path / f"checkpoint-{best}" / "model.safetensors")["layer.weight"]
    assert torch.equal(trainer.model.layer.weight, saved)
    assert int((saved == 0).sum()) == pruner.audit() == 4


@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
def test_patience_counts_from_the_end_of_pruning(tmp_path, first):
    early = EarlyStoppingCallback(early_stopping_patience=1, early_stopping_threshold=1e9)  # nothing is an improvement
    trainer, pruner = eval_on(tmp_path, [] if first else [early], load_best_model_at_end=True)
    if first:
        trainer.callback_handler.callbacks.insert(0, early)
    trainer.train()
    assert trainer.state.global_step == SCHEDULE.end_step + 2  # the second evaluation of a sparse model
    assert pruner.audit() == 4


class Stop(TrainerCallback):
    """Ends a training after a number of steps."""

    def __init__(self, after):
        self.after = after

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.after


@pytest.mark.parametrize(("after", "is_early"), [(5, True), (7, True), (8, False)])
def test_a_training_that_another_callback_ends_before_pruning_has_failed(tmp_path, after, is_early):
    with (
        RunWriter(tmp_path / "run") if not is_early else pytest.raises(SparsityError),
        RunWriter(tmp_path / "early") as writer,
    ):
        trainer, _ = build(tmp_path, writer=writer, callbacks=[Stop(after)], logging_strategy="steps")
        trainer.train()
    run = load_run(tmp_path / "early")
    assert run.status == ("failed" if is_early else "finished")
    assert run.info.get("final") == (None if is_early else {"zeros": 4, "sparsity": 0.8})


def test_the_audit_at_the_end_finds_weights_that_were_changed(tmp_path):
    class Fill(TrainerCallback):
        def on_epoch_end(self, args, state, control, model=None, **kwargs):
            model.layer.weight.data.fill_(1.0)

    trainer, _ = build(tmp_path, callbacks=[Fill()], max_steps=-1, num_train_epochs=1)
    with pytest.raises(SparsityError):
        trainer.train()


@pytest.mark.parametrize("n_train", [39, 41, 10**9])
def test_another_number_of_examples_is_refused(tmp_path, n_train):
    trainer, _ = build(tmp_path, n_train=n_train)
    with pytest.raises(ValueError, match=f"n_train={n_train}"):
        trainer.train()


class Stream(IterableDataset):
    def __iter__(self):
        return iter(Points()[i] for i in range(40))


def test_a_stream_needs_the_number_of_its_user(tmp_path):
    trainer, pruner = build(tmp_path, n_train=1234, data=Stream())
    with pytest.warns(UserWarning, match="n_train=1234"):
        trainer.train()
    assert pruner.audit() == 4


def test_a_state_of_another_step_is_refused(tmp_path):
    for trainer, _ in [build(tmp_path, save_strategy="steps", save_steps=1)]:
        trainer.train()
    for step in (4, 6, 10):
        resumed, other = build(tmp_path)
        restore(other, tmp_path / f"checkpoint-{step}")
        with pytest.raises(ValueError, match="step 5"):
            resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
        with pytest.raises(ValueError, match="step 0"):
            resumed.train()
    resumed, other = build(tmp_path)
    restore(other, tmp_path / "checkpoint-5")
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert other.audit() == 4


class Trial(dict):
    """What the Trainer takes for a trial."""

    def __init__(self, number):
        self.number, self.params = number, {}


@pytest.mark.parametrize("hp_name", [None, lambda trial: f"a/trial-{trial.number}"])
def test_each_trial_of_a_search_has_its_own_state_and_starts_anew(tmp_path, hp_name):
    """What `hyperparameter_search` does, without the package that chooses the parameters."""
    trainer, pruner = build(tmp_path, penalty=L2(0.1), model_init=Linear, save_strategy="steps", save_steps=5)
    trainer.hp_search_backend, trainer.hp_space, trainer.hp_name = HPSearchBackend.OPTUNA, lambda trial: {}, hp_name
    for number in range(2):
        with pytest.warns(UserWarning, match="anew") if number else nullcontext():
            trainer.train(trial=Trial(number))
        assert int((trainer.model.layer.weight == 0).sum()) == pruner.audit() == 4
    states = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("pruner.safetensors"))
    folder = "a/trial" if hp_name else "run"
    assert states == [f"{folder}-{n}/checkpoint-{step}/pruner.safetensors" for n in range(2) for step in (10, 5)]
    for path in tmp_path.rglob("pruner.safetensors"):
        assert int(load_file(path)["step"]) == int(path.parent.name.removeprefix("checkpoint-"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"optim": "lomo"},
        {"optim": "adalomo"},
        {"optim": "galore_adamw_layerwise"},
        {"optim": "apollo_adamw_layerwise"},
        {"optim": "schedule_free_adamw"},
        {"n_gpu": 2},
        {"deepspeed": "zero2.json"},
        {"deepspeed_plugin": True},
        {"fsdp": True, "fsdp_plugin_args": {"fsdp_version": 1}},
    ],
    ids=str,
)
def test_arguments_that_would_lose_the_penalty_are_refused(tmp_path, arguments):
    field = next(iter(arguments))
    with pytest.raises(ValueError, match=field):
        check_arguments(SimpleNamespace(**arguments))
    check_arguments(TrainingArguments(str(tmp_path), use_cpu=True))


def test_the_trainer_meets_the_list(tmp_path):
    trainer, _ = build(tmp_path, optim="galore_adamw_layerwise")
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="optim"):
        trainer.train()
