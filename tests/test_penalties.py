import numpy as np
import pytest
import torch

from mgpp import L0, L1, L2, NoPenalty, NoThresholdError, Penalty

ALL = [NoPenalty(), L0(0.3), L1(0.3), L2(0.3)]


@pytest.mark.parametrize("penalty", ALL, ids=lambda p: p.label)
def test_gradient_equals_autograd(penalty):
    w = torch.tensor([-2.0, -1e-3, 1e-3, 5.0], dtype=torch.float64, requires_grad=True)
    value = penalty.penalty(w).sum()
    expected = torch.autograd.grad(value, w)[0] if value.requires_grad else torch.zeros_like(w)
    torch.testing.assert_close(penalty.penalty_grad(w.detach()), expected)


def test_values():
    w = np.array([-2.0, 0.0, 3.0])
    np.testing.assert_allclose(L2(0.5).penalty(w), [1.0, 0.0, 2.25])
    np.testing.assert_allclose(L1(0.5).penalty(w), [1.0, 0.0, 1.5])
    np.testing.assert_allclose(L0(0.5).penalty(w), [0.5, 0.0, 0.5])
    np.testing.assert_allclose(NoPenalty().penalty(w), 0)


@pytest.mark.parametrize("penalty", ALL, ids=lambda p: p.label)
def test_there_is_no_spike(penalty):
    w = torch.randn(3, 2)
    assert (penalty.spike_probability(w) == 0).all()
    assert (penalty.inclusion_probability(w) == 1).all()
    assert not penalty.has_threshold
    with pytest.raises(NoThresholdError, match="L2|L1|L0|NoPenalty"):
        _ = penalty.threshold


@pytest.mark.parametrize("penalty", ALL, ids=lambda p: p.label)
def test_log_prob_is_minus_the_penalty_and_the_step_changes_nothing(penalty):
    w = torch.randn(5)
    torch.testing.assert_close(penalty.log_prob(w), -penalty.penalty(w))
    assert penalty.at(17) is penalty


def test_strength_is_on_the_scale_of_the_mean_loss():
    w, grad = torch.randn(4), torch.zeros(4)
    L2(0.1).add_grad_(grad, w, n=1000)
    torch.testing.assert_close(grad, 0.1 * w)


def test_scalar_tensors_and_empty_ones():
    grad = torch.tensor(1.0)
    L2(0.5).add_grad_(grad, torch.tensor(2.0), n=1)
    assert grad.item() == 2.0
    L2(0.5).add_grad_(torch.zeros(0, 3), torch.zeros(0, 3), n=1)


def test_a_penalty_without_formulas_is_refused_when_it_is_made():
    class Unfinished(Penalty):
        def _penalty(self, xp, w):
            return w

    with pytest.raises(TypeError, match="_grad"):
        Unfinished()


def test_a_negative_strength_is_refused():
    with pytest.raises(ValueError, match="strength"):
        L2(-1)
