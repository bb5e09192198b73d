import pytest
from click.testing import CliRunner
from fake_training import FakeTraining

from mgpp import RecipeError, load_run, load_runs
from mgpp.lab.cli import main
from mgpp.lab.sweeps.compare import compare
from mgpp.lab.sweeps.sweep import SweepError


@pytest.fixture
def options(tmp_path):
    lines = []
    return {
        "methods": ["mgpp", "dense", "l2"],
        "sparsities": [0.8, 0.9],
        "seeds": [0, 1],
        "out": tmp_path / "out",
        "retries": 0,
        "report": lines.append,
    }


def compared(options, fake, **more):
    return compare("reviews", **options | more, launcher=fake.launcher())


def test_every_cell_is_trained_once_and_dense_once_a_seed(options):
    fake = FakeTraining()
    assert compared(options, fake) == options["out"]
    one = ["reviews-mgpp-0.8-seed0", "reviews-dense-seed0", "reviews-l2-0.8-seed0"]
    one += ["reviews-mgpp-0.9-seed0", "reviews-l2-0.9-seed0"]
    assert fake.trained == [*one, *(name.replace("seed0", "seed1") for name in one)]
    runs = load_runs(options["out"])
    assert {run.name for run in runs} == set(fake.trained)
    assert [(run.method, run.sparsity, run.seed) for run in runs][:2] == [("dense", 0.0, 0), ("dense", 0.0, 1)]
    lines = options["report"].__self__
    assert len(lines) == 11


def test_it_continues_where_it_stopped(options):
    compared(options, FakeTraining(), seeds=[1])
    fake = FakeTraining()
    compared(options, fake)
    assert len(fake.trained) == 5
    assert all(name.endswith("seed0") for name in fake.trained)
    compared(options, fake)
    assert len(fake.trained) == 5


def test_a_failure_stops_nothing_and_is_trained_again(options):
    compared(options, FakeTraining("l2"))
    failed = load_run(options["out"] / "reviews-l2-0.9-seed1")
    assert (failed.status, failed.info["error"]) == ("failed", "MemoryError: too large")
    assert sum(run.status == "finished" for run in load_runs(options["out"])) == 6
    fake = FakeTraining()
    compared(options, fake)
    assert len(fake.trained) == 4
    assert all(run.status == "finished" for run in load_runs(options["out"]))


def test_the_command_fails_for_the_runs_that_were_asked_for_alone(options, monkeypatch):
    fake = FakeTraining("l2")
    monkeypatch.setattr("mgpp.lab.sweeps.launchers.make_launcher", lambda *_, **__: fake.launcher())
    monkeypatch.setattr(
        "mgpp.lab.comparison.report.write_comparison", lambda *_, **__: []
    )  # it needs more than fake logs
    words = ["compare", "reviews", f"--out={options['out']}", "--methods"]
    done = CliRunner().invoke(main, [*words, "mgpp,l2,gmp"])
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "reviews-l2-0.9-seed0: failed, MemoryError: too large"
    done = CliRunner().invoke(main, [*words, "mgpp,gmp"])
    assert done.exit_code == 0, done.output
    monkeypatch.setattr("mgpp.lab.sweeps.compare.train_cells", lambda *_, **__: None)  # as if all workers had vanished
    done = CliRunner().invoke(main, [*words, "mgpp,gmp", "--seeds=0-1"])
    assert done.exit_code == 1
    missing = ["reviews-mgpp-0.9-seed1: missing", "reviews-gmp-0.9-seed1: missing"]
    assert done.stderr.splitlines()[-2:] == missing


def test_another_recipe_is_refused_before_anything_starts(options):
    compared(options, FakeTraining(), methods=["mgpp", "l2"])
    fake = FakeTraining()
    with pytest.raises(SweepError, match=r"reviews-mgpp-0.8-seed0 .*epochs.*prior\.lam"):
        compared(options, fake, overrides={"prior.lam": 0.5, "epochs": 5})
    # what another method's section says is not asked; a dense run's sparsity neither
    compared(options, fake, methods=["mgpp"], overrides={"l1.strength": 0.5, "threads": 3, "save_model": False})
    with pytest.raises(SweepError, match="precision"):
        compared(options, fake, overrides={"precision": "fp32"})
    assert fake.trained == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"methods": ["mgpp", "l3"]}, "method"),
        ({"methods": ["mgpp", "mgpp"]}, "method"),
        ({"sparsities": [0.8, 1.5]}, "sparsity"),
        ({"seeds": []}, "seed"),
        ({"overrides": {"seed": 3}}, "seed"),
        ({"overrides": {"method": "l2"}}, "method"),
        ({"overrides": {"prior.lamm": 3}}, "prior.lam"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_starts(options, changes, named):
    with pytest.raises(RecipeError, match=named):
        compare("reviews", **options | changes)
    assert not options["out"].exists()
