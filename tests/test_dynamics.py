"""The dynamics of single weights: against Adam written out, in a Trainer, and off by default."""

import numpy as np
import pytest
import torch
from test_callback import SCHEDULE, Linear, Points
from transformers import Trainer, TrainingArguments

from mgpp import L2, Pruner, PruningCallback, RunWriter, load_run
from mgpp.pruning.dynamics import values_at

RATE, BETA1, BETA2 = 0.05, 0.9, 0.999


def trained(tmp_path, **observing):
    torch.manual_seed(0)
    model = Linear()
    pruner = Pruner({"w": model.layer.weight}, sparsity=SCHEDULE, penalty=L2(3.0), n_train=40, interval=2)
    arguments = TrainingArguments(
        str(tmp_path / "trainer"),
        max_steps=10,
        per_device_train_batch_size=4,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        report_to="none",
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        max_grad_norm=0.0,
    )
    with RunWriter(tmp_path / "run") as writer:
        callback = PruningCallback(pruner, writer, every=1, **observing)
        Trainer(model=model, args=arguments, train_dataset=Points(), callbacks=[callback]).train()
    return load_run(tmp_path / "run")


def test_they_are_the_steps_of_adam(tmp_path):
    rows = trained(tmp_path, dynamics_every=1).dynamics
    assert len(rows) == 10 * 5
    first, second = np.zeros(5), np.zeros(5)
    for step, each in rows.groupby("step"):
        gradient = each["loss_gradient"] + each["pull"]
        first = BETA1 * first + (1 - BETA1) * gradient.to_numpy()
        second = BETA2 * second + (1 - BETA2) * gradient.to_numpy() ** 2
        np.testing.assert_allclose(each["first_moment"], first, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(each["second_moment"], second, rtol=1e-4, atol=1e-9)
        unbiased = first / (1 - BETA1 ** (step + 1)), second / (1 - BETA2 ** (step + 1))
        step_length = -RATE * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        np.testing.assert_allclose(each["step_length"], step_length, rtol=1e-3, atol=1e-6)
        pull = 3.0 * each["value"] if step <= SCHEDULE.end_step else 0 * each["value"]
        np.testing.assert_allclose(each["pull"], pull, rtol=1e-4, atol=1e-6)


def test_the_value_is_that_before_the_step(tmp_path):
    run = trained(tmp_path, dynamics_every=1)
    before = run.dynamics.pivot(index="step", columns="index", values="value")
    after = run.trajectories.pivot(index="step", columns="index", values="value")
    np.testing.assert_array_equal(before.iloc[1:], after.iloc[:-1])


@pytest.mark.parametrize(("every", "steps"), [(0, []), (4, [2, 6, 7, 9])])
def test_they_are_logged_when_asked_for(tmp_path, every, steps):
    rows = trained(tmp_path, dynamics_every=every).dynamics
    assert sorted(set(rows["step"] if len(rows) else [])) == steps


def test_what_there_is_none_of_is_not_a_number():
    weights = {"w": torch.ones(3), "v": torch.zeros(2)}
    followed = {"w": torch.tensor([0, 2]), "v": torch.tensor([1])}
    np.testing.assert_array_equal(values_at(weights, followed, {"w": torch.arange(3.0), "v": None}), [0, 2, np.nan])
