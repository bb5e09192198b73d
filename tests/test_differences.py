from pathlib import Path

from mgpp import load_recipe, load_run
from mgpp.lab.recipes.differences import differences
from mgpp.lab.sweeps.compare import grid


def test_what_counts_as_the_same_training():
    asked = load_recipe("reviews")
    older = asked.as_dict()
    del older["compile_prior"], older["log"]["trajectories"]
    assert differences(asked, older | {"precision": "fp16", "threads": 64}) == []
    assert differences(asked, older | {"batch_size": 8}) == ["batch_size: 8, not 32"]
    assert differences(asked, older | {"trainer": {"max_grad_norm": 2.0}}) == ["trainer.max_grad_norm: 2.0, not unset"]
    assert "from_the_future" in differences(asked, older | {"from_the_future": 1})[0]
    dense = load_recipe("reviews", method="dense")
    sparser = load_recipe("reviews", method="dense", **{"sparsity.final": 0.1})
    assert differences(dense, sparser.as_dict()) == []


def test_the_committed_runs_are_those_of_today():
    """Runs made before the newest settings existed still count."""
    data = Path(__file__).parents[1] / "data"
    for recipe, folder, sparsity in (
        ("reviews", "runs", 0.95),
        ("film-qa", "tasks", 0.8),
        ("reviews-lm", "tasks", 0.8),
    ):
        cells = grid(recipe, ["mgpp", "l2", "gmp"], [sparsity], [0, 1, 2], {})
        assert [differences(cell.recipe, load_run(data / folder / cell.name).recipe) for cell in cells] == [[]] * 9
