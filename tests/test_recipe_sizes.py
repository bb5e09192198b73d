import pytest

from mgpp import load_recipe
from mgpp.lab.recipes.strict import RecipeError

EDGES = {  # the first value that is allowed, the last that is not
    "epochs": (1e-9, 0),
    "batch_size": (1, 0),
    "threads": (1, 0),
    "save_every": (1, 0),
    "seed": (2**32 - 1, 2**32),
    "text.stride": (0, -1),
    "log.trajectories": (0, -1),
    "optimizer.final_factor": (0.0, -1e-9),
    "sparsity.warmup": (0.69, 0.71),  # the frozen phase takes 0.3
    "sparsity.frozen": (20, 20.5),
}


@pytest.mark.parametrize("key", EDGES)
def test_every_number_has_its_range(key):
    allowed, refused = EDGES[key]
    load_recipe("reviews", **{key: allowed})
    with pytest.raises(RecipeError, match=f"{key}="):
        load_recipe("reviews", **{key: refused})


def test_what_is_evaluated_is_logged():
    load_recipe("reviews", **{"log.every": 5, "log.evaluate_every": 25})
    with pytest.raises(RecipeError, match="log.evaluate_every=25 must be a multiple of log.every=10"):
        load_recipe("reviews", **{"log.evaluate_every": 25})
