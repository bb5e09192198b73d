"""The study of the prior under Adam: the proximal map finds the minimum, and the toy shows kick, trap and hold."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgpp import MixtureGaussianPrior, RunError
from studies.adam.experiments import PARTS, TRIAL_SEED, TRIED, cells, chosen
from studies.adam.proximal import proximal
from studies.adam.toy import Adam, sizes_before_events

N = 10_000


def write_run(folder, info):
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"format": 1, "recipe": {}, **info}))


def cost(prior, u, theta, distance):
    return 0.5 * (u - theta) ** 2 / distance + prior.penalty(u)


@settings(max_examples=40, deadline=None)
@given(
    lam=st.floats(1e-6, 0.5),
    spike=st.floats(-10, -5),
    slab=st.floats(-2, 0),
    size=st.floats(-6, 0),
    distance=st.floats(-10, -3),
)
def test_no_point_of_a_fine_grid_is_lower(lam, spike, slab, size, distance):
    prior, theta, d = MixtureGaussianPrior(lam, 10**spike, 10**slab), 10**size, 10**distance
    found = proximal(prior, np.array([theta, -theta]), np.array([d, d]))
    grid = np.concatenate([np.linspace(0, theta, 10_001), theta * np.logspace(-12, 0, 10_001)])
    lowest = cost(prior, grid, theta, d).min()
    assert cost(prior, found[0], theta, d) <= lowest + 1e-6 * max(1.0, abs(lowest))
    assert found[1] == -found[0]
    assert 0 <= found[0] <= theta


def test_a_weight_is_held_below_the_threshold_of_the_log_odds():
    prior, d = MixtureGaussianPrior(1e-3, 1e-14, 1e3), 1e-5
    threshold = np.sqrt(2 * d * prior.log_odds_at_zero)
    low, high = proximal(prior, np.array([0.98, 1.02]) * threshold, np.array([d, d]))
    assert abs(low) < 1e-6 < threshold < high


def last_sizes(spike_var, place="through", events=12):
    prior = None if spike_var is None else MixtureGaussianPrior(0.1, spike_var, 0.05)
    return sizes_before_events(prior, Adam(), n=N, place=place, events=events)["rms"].to_numpy()


def test_a_narrow_spike_throws_weights_out_and_then_freezes_them():
    free, narrow, wide = last_sizes(None), last_sizes(1e-10), last_sizes(1e-8)
    assert free == pytest.approx(free[0], rel=0.1)
    assert narrow[0] > 2 * free[0]
    assert narrow[-1] < free[-1] / 100
    assert wide[0] < free[0]


def test_the_proximal_step_holds_weights_without_a_kick():
    assert last_sizes(1e-10, "proximal", events=1).max() < last_sizes(1e-10, events=1).max() / 1000


def test_a_step_beside_adam_is_unstable_where_the_spike_is_narrow():
    assert last_sizes(1e-10, "beside", events=2)[-1] > 5 * last_sizes(None, events=2)[-1]


def test_every_run_of_the_study_has_a_name_and_settings_of_its_own():
    for which, part in PARTS.items():
        runs = list(cells(which, range(2)))
        assert len({cell.name for cell in runs}) == len(runs) == 2 * len(part.runs)
        assert len({repr(cell.recipe) for cell in runs}) == len(runs)


def test_the_validation_set_chooses_among_the_trials(tmp_path):
    for number, name in enumerate(TRIED):
        final = {"validation_accuracy": number, "accuracy": -number}
        write_run(tmp_path / f"{name}-seed{TRIAL_SEED}", {"status": "finished", "final": final})
    best = chosen(tmp_path)
    assert best["l2"]["l2.strength"] == 2e-3
    assert {settings["method"] for settings in best.values()} == set(best)
    write_run(tmp_path / f"obd-0-seed{TRIAL_SEED}", {"status": "stopped"})
    with pytest.raises(RunError, match="obd-0"):
        chosen(tmp_path)
