"""Check session 1, the prior. The checkers try other weights and settings than the notebook does."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.workshop.checks.feedback import Answer, NotYet, call, expect, numbers, praise

LAM, SPIKE_VAR, SLAB_VAR = SETTINGS = 0.02, 4e-4, 0.25
WEIGHTS = np.array([-3.0, -0.5, -0.07, -0.02, 0.0, 0.01, 0.06, 0.09, 0.2, 1.0])
FAR_OUT = 600.0  # both bells are smaller there than any floating-point number, a long double too
PRIOR = MixtureGaussianPrior(*SETTINGS)
SQUARED = MixtureGaussianPrior(LAM, SPIKE_VAR**2, SLAB_VAR**2)  # variances taken for standard deviations
SHARES, PEAKS = np.log((1 - LAM) / LAM), 0.5 * np.log(SLAB_VAR / SPIKE_VAR)

LAM_SWAPPED = "λ and 1 − λ have changed places. Which of the two is the share of the spike?"
VARIANCE = "A variance was taken for a standard deviation: spike_var and slab_var are squares already."
ROOT = "A standard deviation stands where the variance belongs: no root is needed there."
HEIGHTS = "The heights of the bells go with the root of the variance. Look at your log ratio of the two."
HIGHER = "At zero the narrow bell is the higher one: its height must speak for the spike."
EARLIER = "Read the text above again, one hole at a time."

Bell = Callable[[float], Any]


def _bell(var: float, power: float = -0.5) -> Any:
    with np.errstate(over="ignore"):
        return np.exp(power * WEIGHTS**2 / var) / _area(var)


def _area(var: float) -> Any:
    return np.sqrt(2 * np.pi * var)


def _mixture(spike: Bell = _bell, slab: Bell = _bell, lam: float = LAM) -> Any:
    return lam * slab(SLAB_VAR) + (1 - lam) * spike(SPIKE_VAR)


WRONG_BELLS: list[tuple[Bell, str]] = [
    (lambda var: _bell(var**2), VARIANCE),
    (lambda var: _bell(var) / _area(var), "A root is missing under the bells: their areas are not one."),
    (lambda var: _bell(var) * _area(var), "The bells do not have an area of one. By what must they be divided?"),
    (lambda var: _bell(var) / np.sqrt(var), "The root under a bell reaches over the variance, too."),
    (lambda var: _bell(var) * var, "What divides a bell needs brackets around it: in a / b * c only b divides."),
    (lambda var: np.exp(-(WEIGHTS**2) / 2 * var) / _area(var), "The exponent needs brackets around what divides."),
    (lambda var: _bell(var, power=-1.0), "Your bells are too narrow: which number goes with the exponent's variance?"),
    (lambda var: _bell(var, power=0.5), "Your bells grow away from zero: look at the sign of the exponent."),
]


def density(answer: Answer) -> None:
    """Check the prior's density, a function of w, lam, spike_var, slab_var."""
    spike, slab, shares = _bell(SPIKE_VAR), _bell(SLAB_VAR), (1, LAM, 1 - LAM)
    mistakes = [
        (_mixture(lam=1 - LAM), LAM_SWAPPED),
        (slab + spike, "The two bells are there, but not their shares of the mixture."),
        *[(share * spike, "Only the spike is there: where is the slab?") for share in shares],
        *[(share * slab, "Only the slab is there: where is the spike?") for share in shares],
    ]
    for wrong, hint in WRONG_BELLS:
        mistakes += [(_mixture(*bells), hint) for bells in ((wrong, wrong), (wrong, _bell), (_bell, wrong))]
    expect(answer, call(answer, WEIGHTS.copy(), *SETTINGS), _mixture(), mistakes, EARLIER)
    praise("That is the prior. With it we can ask which of the two bells a weight came from.")


def _sigmoid(odds: Any) -> Any:
    return np.exp(-np.logaddexp(0.0, -odds))


def spike_probability(answer: Answer) -> None:
    """Check the spike probability, a function of w, lam, spike_var, slab_var, also far from zero."""
    w = np.append(WEIGHTS, FAR_OUT)
    distance = 0.5 * w**2 * PRIOR.precision_gap
    result, right = numbers(answer, call(answer, w.copy(), *SETTINGS)), _sigmoid(SHARES + PEAKS - distance)
    if result.shape == w.shape and not np.isfinite(result[-1]):
        raise NotYet("Far from zero you get NaN: both bells underflow. Stay with logarithms until the last line.")
    mistakes = [
        (_sigmoid(-SHARES + PEAKS - distance), LAM_SWAPPED),
        (SQUARED.spike_probability(w), VARIANCE),
        (_sigmoid(SHARES + 2 * PEAKS - distance), HEIGHTS),
        (_sigmoid(SHARES - PEAKS - distance), HIGHER),
        (_sigmoid(SHARES + PEAKS - 2 * distance), "The distance costs twice as much as in a Gaussian's exponent."),
        (_sigmoid(SHARES + PEAKS + distance), "Far from zero the slab must win: look at the sign of the distance."),
    ]
    expect(answer, result, right, mistakes, EARLIER)
    praise("Right at every weight that was tried, one far out among them. Now the penalty's gradient is near.")


def penalty_gradient(answer: Answer) -> None:
    """Check the gradient of the penalty, a function of w, p0, spike_var, slab_var."""
    w, p0, spike, slab = WEIGHTS, PRIOR.spike_probability(WEIGHTS), 1 / SPIKE_VAR, 1 / SLAB_VAR
    precision, variance = p0 * spike + (1 - p0) * slab, p0 * SPIKE_VAR + (1 - p0) * SLAB_VAR
    mistakes = [
        (w * ((1 - p0) * spike + p0 * slab), "Spike and slab have changed places: which precision goes with p0?"),
        (w * (p0 * np.sqrt(spike) + (1 - p0) * np.sqrt(slab)), ROOT),
        (w * (p0 * spike**2 + (1 - p0) * slab**2), VARIANCE),
        (w / variance, "You average the variances. Average the precisions."),
        (w * variance, "These are variances, not precisions: a narrow bell pulls harder than a wide one."),
        (w * p0 * spike, "Only the spike pulls: the slab does as well, gently."),
        (w * (1 - p0) * slab, "Only the slab pulls: where is the spike's part?"),
        (w * np.where(p0 > 0.5, spike, slab), "You switch between the two precisions. Average them instead."),
        (w * (spike + slab), "The two precisions are there, but not their probabilities."),
        (precision, "This is how stiff the spring is, not how hard it pulls: where does the weight come in?"),
        (abs(w) * precision, "The sign of w got lost: a negative weight must be pulled the other way."),
    ]
    otherwise = "The penalty rises on both sides of zero, like half a square. What is the slope of that?"
    expect(answer, call(answer, w.copy(), p0, SPIKE_VAR, SLAB_VAR), w * precision, mistakes, otherwise)
    praise("Right. That is all that MGPP adds to a training step, up to one factor.")


def matched_strengths(answer: Answer) -> None:
    """Check the strengths at which L1 and L2 pull as hard at w as the prior, a function of pull, w."""
    pull, w = 6.0, 0.4
    half = "of two in L2: differentiate its penalty as the table has it."
    mistakes = [
        ((pull / w, pull), "The two strengths have changed places."),
        ((pull, pull), "L2 pulls in proportion to the weight. Yours pulls equally on all."),
        ((pull / w, pull / w), "L1 pulls equally on all weights. Yours depends on the size of one."),
        ((pull, pull * w), "Put your L2 back: times w it must give the pull asked for. Multiply or divide?"),
        ((pull, 2 * pull / w), f"Too much by a factor {half}"),
        ((pull, pull / w / 2), f"Too little by a factor {half}"),
    ]
    otherwise = "Write down how hard each of the two pulls at w, and set that equal to pull."
    expect(answer, call(answer, pull, w), (pull, pull / w), mistakes, otherwise)
    praise("Right. Now the three can be compared fairly, weight by weight.")


def prior_threshold(answer: Answer) -> None:
    """Check the prior threshold τ, a function of lam, spike_var, slab_var."""
    right, gap, odds = PRIOR.threshold, PRIOR.precision_gap, PRIOR.log_odds_at_zero
    result = numbers(answer, call(answer, *SETTINGS))
    if result.ndim == 0 and np.isnan(result):
        raise NotYet("The root of a negative number: look at the sign of each hole. τ exists for these settings.")
    missing = "Log odds at zero have two sources, shares and heights: the"
    mistakes = [
        (right**2, "This is a square: the log odds are lost with θ², and τ is a magnitude."),
        (right**2 / 2, "This is a square, and a factor is lost as well: solve for θ² first, on paper."),
        (right / np.sqrt(2), "A factor under the root is missing: look at the exponent of a Gaussian."),
        (right / 2, "A factor under the root is on the wrong side of the fraction."),
        (np.sqrt(2 * (odds + PEAKS) / gap), HEIGHTS),
        (np.sqrt(2 * (SHARES - PEAKS) / gap), HIGHER),
        (np.sqrt(2 * SHARES / gap), f"{missing} heights are missing."),
        (np.sqrt(2 * PEAKS / gap), f"{missing} shares are missing."),
        (np.sqrt(2 * odds * SPIKE_VAR), "The slab's precision is missing in the gap."),
        (SQUARED.threshold, VARIANCE),
    ]
    otherwise = "Set the log odds of your spike_probability to zero, and solve for the positive w."
    expect(answer, result, right, mistakes, otherwise)
    praise("Right. Below τ a weight belongs to the spike, above it to the slab.")


def slab_as_l2(answer: Answer) -> None:
    """Check the strength of the L2 that the slab is beside the mean loss, a function of slab_var, n."""
    slab_var, n = 0.2, 5000
    right = 1 / (slab_var * n)
    mistakes = [
        (1 / slab_var, "The number of examples is missing: the pull stands beside the mean of the losses."),
        (n / slab_var, "The more examples, the less a prior weighs: multiply or divide?"),
        (slab_var / n, "A wide slab pulls gently: multiply or divide by its variance?"),
        (1 / (np.sqrt(slab_var) * n), ROOT),
        (1 / (slab_var**2 * n), VARIANCE),
    ]
    otherwise = (
        "Take the slab's slope at a weight of one, not its exponent. What share of a mean loss is one log prior?"
    )
    expect(answer, call(answer, slab_var, n), right, mistakes, otherwise)
    praise("Right. Say n whenever you say σ²: settings travel with both.")


CHECKS = [density, spike_probability, penalty_gradient, matched_strengths, prior_threshold, slab_as_l2]
