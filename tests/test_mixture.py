import math
import shutil
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from mgpp import MixtureGaussianPrior, NoThresholdError

lams = st.floats(1e-12, 1 - 1e-12)
exponents = st.floats(-12, 2)
thetas = st.floats(-50, 50)


def reference_log_prob(theta, prior):
    """log π written out with torch, for autograd."""
    parts = [
        math.log(weight) - 0.5 * math.log(2 * math.pi * var) - theta**2 / (2 * var)
        for weight, var in ((prior.lam, prior.slab_var), (1 - prior.lam, prior.spike_var))
    ]
    return torch.logaddexp(*parts)


@st.composite
def priors(draw):
    a, b = sorted((draw(exponents), draw(exponents)))
    return MixtureGaussianPrior(draw(lams), 10**a, 10**b)


@given(priors(), thetas)
def test_gradient_equals_autograd(prior, theta):
    w = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(-reference_log_prob(w, prior), w)
    # autograd's own cancellation: p0 = exp(difference of logs), each known to eps relative
    conditioning = 1 + theta**2 / prior.spike_var + abs(math.log(prior.lam)) + 40
    p0 = prior.spike_probability(theta)
    bound = 1e-15 * conditioning * p0 * (1 - p0) * prior.precision_gap * abs(theta)
    assert prior.penalty_grad(theta) == pytest.approx(expected.item(), rel=1e-10, abs=bound)


@given(priors(), thetas)
def test_gradient_equals_autograd_of_its_own_penalty(prior, theta):
    w = torch.tensor([theta], dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(prior.penalty(w).sum(), w)
    torch.testing.assert_close(prior.penalty_grad(w.detach()), expected, rtol=1e-7, atol=1e-300)


@given(priors(), thetas)
def test_penalty_is_the_reference(prior, theta):
    expected = -reference_log_prob(torch.tensor(theta, dtype=torch.float64), prior).item()
    assert prior.penalty(theta) == pytest.approx(expected, rel=1e-12, abs=1e-10)
    assert prior.log_prob(theta) == -prior.penalty(theta)


def test_threshold_is_the_closed_form():
    prior = MixtureGaussianPrior(lam=1e-6, spike_var=1e-7, slab_var=0.1)
    odds = math.log((1 - 1e-6) / 1e-6 * math.sqrt(0.1 / 1e-7))
    assert prior.threshold == pytest.approx(math.sqrt(2 * odds / (1 / 1e-7 - 1 / 0.1)), rel=1e-12)


@given(priors())
def test_spike_probability_is_one_half_at_the_threshold(prior):
    if prior.has_threshold:
        assert prior.spike_probability(prior.threshold) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("lam", "spike_var", "slab_var"), [(0.999, 0.1, 0.2), (1.0, 1e-7, 0.1), (0.0, 1e-7, 0.1), (0.1, 0.1, 0.1)]
)
def test_a_prior_without_a_threshold_raises(lam, spike_var, slab_var):
    prior = MixtureGaussianPrior(lam, spike_var, slab_var)
    assert not prior.has_threshold
    with pytest.raises(NoThresholdError):
        _ = prior.threshold


@pytest.mark.parametrize("lam", [0.0, 1e-300, 1e-6, 0.5, 1 - 1e-16, 1.0])
@pytest.mark.parametrize("spike_var", [1e-30, 1e-10, 1.0])
@pytest.mark.parametrize("slab_var", [1.0, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_finite_and_silent_over_the_whole_range(lam, spike_var, slab_var, dtype):
    prior = MixtureGaussianPrior(lam, spike_var, slab_var)
    values = [0.0, 1e-30, -1e-15, 1e-3, -1.0, 1e4 if dtype is torch.float16 else 1e6]
    w = torch.tensor(values, dtype=dtype) if isinstance(dtype, torch.dtype) else np.array(values, dtype)
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        for method in (prior.penalty, prior.penalty_grad, prior.spike_probability, prior.inclusion_probability):
            assert np.isfinite(np.asarray(method(w))).all()
        grad = torch.zeros(len(values)) if isinstance(w, torch.Tensor) else np.zeros_like(w)
        prior.add_grad_(grad, w, n=1)
        assert np.isfinite(np.asarray(grad)).all()


def test_types_come_back_as_they_went_in():
    prior = MixtureGaussianPrior(0.1, 1e-4, 1.0)
    assert isinstance(prior.penalty(0.5), float)
    for dtype in (np.float32, np.float64):
        assert prior.penalty(np.ones((2, 3), dtype)).dtype == dtype
    for dtype in (torch.float32, torch.float64):
        assert prior.penalty(torch.ones(2, 3, dtype=dtype)).dtype == dtype
    for dtype in (torch.float16, torch.bfloat16):
        assert prior.penalty(torch.ones(2, dtype=dtype)).dtype == torch.float32
    assert prior.penalty([1.0, 2.0]).shape == (2,)


@given(priors(), st.integers(1, 10**6))
def test_add_grad_adds_the_gradient_over_n(prior, n):
    w = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
    grad = torch.ones_like(w)
    prior.add_grad_(grad, w, n=n)
    torch.testing.assert_close(grad, 1 + prior.penalty_grad(w) / n)


@given(priors())
def test_the_short_formula_of_torch_equals_the_plain_one(prior):
    """In float64 to rounding, from the middle of the spike to where it no longer counts."""
    reach = 3 * prior.threshold if prior.has_threshold else 1.0
    w = torch.linspace(-reach, reach, 201, dtype=torch.float64)
    grad, plain = torch.zeros_like(w), np.zeros(201)
    prior.add_grad_(grad, w, n=7)
    prior.add_grad_(plain, w.numpy(), n=7)
    np.testing.assert_allclose(grad.numpy(), plain, rtol=1e-12)


def test_add_grad_in_float32_agrees_with_float64():
    prior = MixtureGaussianPrior(0.1, 1e-10, 0.05)
    w = torch.randn(100, 1000) * torch.logspace(-7, 0, 1000)
    grad = torch.zeros_like(w)
    prior.add_grad_(grad, torch.nn.Parameter(w), n=1)
    torch.testing.assert_close(grad.double(), prior.penalty_grad(w.double()), rtol=1e-5, atol=1e-12)
    beyond = w.abs() > 4 * prior.threshold
    assert torch.equal(grad[beyond], w[beyond] * torch.tensor(1 / 0.05))  # only the slab is left, and it is exact


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_the_compiled_loop_agrees():
    w = torch.cat([torch.randn(500) * torch.logspace(-7, 0, 500), torch.zeros(12)])
    for lam in (0.1, 1e-4):  # another number does not compile anew, and is not mistaken for the first
        prior = MixtureGaussianPrior(lam, 1e-10, 0.05)
        grads = [torch.ones_like(w), torch.ones(16, 32).bfloat16(), torch.ones(32, 16).T]
        weights = [w, w.view(16, 32).bfloat16(), w.view(32, 16).T]
        plain = [grad.clone() for grad in grads]
        prior.add_grads_(grads, weights, n=3, compiled=True)
        prior.add_grads_(plain, weights, n=3)
        for grad, expected in zip(grads, plain, strict=True):
            torch.testing.assert_close(grad, expected, rtol=1e-5 if grad.dtype == torch.float32 else 1e-2, atol=1e-6)


def test_a_list_of_weights_is_taken_one_by_one():
    prior = MixtureGaussianPrior(0.1, 1e-4, 1.0)
    weights = [torch.randn(3, 4), torch.randn(5)]
    grads = [torch.ones(3, 4), torch.ones(5)]
    prior.add_grads_(grads, weights, n=2)
    for grad, w in zip(grads, weights, strict=True):
        torch.testing.assert_close(grad, 1 + prior.penalty_grad(w) / 2)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        prior.add_grads_(grads, weights[:1], n=2)


def test_nothing_of_the_weights_size_is_made():
    made = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            made.append(out.untyped_storage().nbytes() if isinstance(out, torch.Tensor) else 0)
            return out

    w, grad = torch.randn(3_000_000), torch.zeros(3_000_000)
    with Watch():
        MixtureGaussianPrior(0.1, 1e-4, 1.0).add_grad_(grad, w, n=2)
    assert max(size for size in made if size != w.nbytes) < 4e6


def test_add_grad_handles_views_and_half_precision():
    prior = MixtureGaussianPrior(0.1, 1e-4, 1.0)
    w = torch.randn(8, 6)
    grad = torch.zeros(6, 8).T  # not contiguous
    prior.add_grad_(grad, w, n=2)
    torch.testing.assert_close(grad, prior.penalty_grad(w) / 2)
    half = torch.zeros(8, 6, dtype=torch.bfloat16)
    prior.add_grad_(half, w.bfloat16(), n=2)
    torch.testing.assert_close(half, (prior.penalty_grad(w.bfloat16()) / 2).bfloat16())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"lam": 1.5, "spike_var": 1e-7, "slab_var": 0.1}, "lam=1.5"),
        ({"lam": -0.1, "spike_var": 1e-7, "slab_var": 0.1}, "lam=-0.1"),
        ({"lam": math.nan, "spike_var": 1e-7, "slab_var": 0.1}, "lam=nan"),
        ({"lam": 0.1, "spike_var": 0.2, "slab_var": 0.1}, "spike_var=0.2"),
        ({"lam": 0.1, "spike_var": 0.0, "slab_var": 0.1}, "spike_var=0.0"),
        ({"lam": 0.1, "spike_var": 1e-7, "slab_var": math.inf}, "slab_var=inf"),
        ({"lam": "much", "spike_var": 1e-7, "slab_var": 0.1}, "lam='much'"),
    ],
)
def test_bad_hyperparameters_are_named(arguments, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        MixtureGaussianPrior(**arguments)


def test_bad_arguments_of_add_grad_are_named():
    prior = MixtureGaussianPrior(0.1, 1e-7, 0.1)
    with pytest.raises(ValueError, match="n=0"):
        prior.add_grad_(torch.zeros(2), torch.zeros(2), n=0)
    with pytest.raises(ValueError, match="shape"):
        prior.add_grad_(torch.zeros(3), torch.zeros(2), n=1)


def test_small_inclusion_probabilities_do_not_cancel():
    prior = MixtureGaussianPrior(1e-12, 1e-10, 0.05)
    odds = 1e-12 / (1 - 1e-12) * math.sqrt(1e-10 / 0.05)
    assert prior.inclusion_probability(0.0) == pytest.approx(odds / (1 + odds), rel=1e-12)
    assert MixtureGaussianPrior(0.0, 1e-10, 0.05).inclusion_probability(3.0) == 0.0
    assert MixtureGaussianPrior(1.0, 1e-10, 0.05).inclusion_probability(3.0) == 1.0
