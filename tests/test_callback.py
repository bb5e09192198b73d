import pytest
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from mgpp import L2, CubicSparsity, Pruner, PruningCallback
from mgpp.pruning.callback import restore, unscale_

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


def build(tmp_path, penalty=None, callbacks=(), **arguments):
    torch.manual_seed(0)
    model = Linear()
    pruner = Pruner({"w": model.layer.weight}, sparsity=SCHEDULE, penalty=penalty, n_train=40, interval=2)
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
        model=model,
        args=TrainingArguments(**defaults | arguments),
        train_dataset=Points(),
        callbacks=[PruningCallback(pruner), *callbacks],
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
        seen = Counter(pruner.weights["w"])
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
