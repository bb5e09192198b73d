import subprocess
import sys
from dataclasses import replace

import pytest

from mgpp import L1, L2, METHODS, AnnealedPrior, CubicSparsity, MixtureGaussianPrior, NoPenalty, load_recipe


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_built_from_a_recipe(name):
    recipe = load_recipe("reviews", method=name)
    penalty = recipe.method_settings().penalty(CubicSparsity(0.0, 0.5, 10, 20))
    expected = {"mgpp": MixtureGaussianPrior, "l2": L2, "l1": L1}.get(name.removesuffix("-fisher"), NoPenalty)
    assert type(penalty.at(15)) is expected


def test_annealing_is_a_choice():
    constant = METHODS["mgpp"](lam=1e-6, spike_var=1e-7, slab_var=0.1, initial_lam=None)
    assert constant.penalty(CubicSparsity(0.0, 0.5, 0, 1)) == MixtureGaussianPrior(1e-6, 1e-7, 0.1)
    annealed = replace(constant, initial_lam=0.1).penalty(CubicSparsity(0.0, 0.5, 5, 10))
    assert isinstance(annealed, AnnealedPrior)
    assert (annealed.at(5).lam, annealed.at(10).lam) == (0.1, 1e-6)


def test_strengths_arrive():
    recipe = load_recipe("reviews", method="l2", **{"l2.strength": 0.25})
    assert recipe.method_settings().penalty(CubicSparsity(0.0, 0.5, 0, 1)) == L2(0.25)


@pytest.mark.parametrize(("name", "field"), [("gmp-star", "cycles"), ("gmp-star", "first_step"), ("l0", "strength")])
def test_hyperparameters_out_of_range_are_named(name, field):
    with pytest.raises(ValueError, match=field):
        METHODS[name](**{field: -1})


def test_tables_and_figures_know_the_methods_without_torch():
    code = "import sys, mgpp.methods, mgpp.plots.runs; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
