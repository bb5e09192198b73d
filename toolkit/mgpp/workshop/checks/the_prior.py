"""Checkers of session 1, the prior. They try other weights and settings than the notebook does."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.workshop.checks.feedback import Answer, NotYet, call, expect, numbers, praise

LAM, SPIKE_VAR, SLAB_VAR = SETTINGS = 0.02, 4e-4, 0.25
WEIGHTS = np.array([-3.0, -0.5, -0.07, -0.02, 0.0, 0.01, 0.06, 0.09, 0.2, 1.0])
FAR_OUT = 600.0  # where both bells are smaller than any floating-point number, a long double too
PRIOR = MixtureGaussianPrior(*SETTINGS)

LAM_SWAPPED = "λ and 1 − λ have changed places. Which of the two is the share of the spike?"
VARIANCE = "This looks like a variance taken for a standard deviation: spike_var and slab_var are squares already."
ROOT = "This looks like a standard deviation where the variance belongs: no root is needed there."
HEIGHTS = "The heights of the bells go with the root of the variance: look at your log ratio of the two."
EARLIER = "Read the text above once more, one hole at a time."


def _bell(var: float, power: float = -0.5) -> Any:
    with np.errstate(over="ignore"):
        return np.exp(power * WEIGHTS**2 / var) / _area(var)


def _area(var: float) -> Any:
    """The area under exp(-θ²/(2·var))."""
    return np.sqrt(2 * np.pi * var)


def _mixture(bell: Callable[[float], Any], lam: float = LAM) -> Any:
    return lam * bell(SLAB_VAR) + (1 - lam) * bell(SPIKE_VAR)


def _slips(wrong: Callable[[float], Any], message: str) -> list[tuple[Any, str]]:
    """What the density is with a mistake in both bells, in the spike's only, in the slab's only."""
    spike_only = LAM * _bell(SLAB_VAR) + (1 - LAM) * wrong(SPIKE_VAR)
    slab_only = LAM * wrong(SLAB_VAR) + (1 - LAM) * _bell(SPIKE_VAR)
    return [(value, message) for value in (_mixture(wrong), spike_only, slab_only)]


def density(answer: Answer) -> None:
    """Check the prior's density, a function of w, lam, spike_var, slab_var."""
    mistakes = [
        (_mixture(_bell, lam=1 - LAM), LAM_SWAPPED),
        (_bell(SLAB_VAR) + _bell(SPIKE_VAR), "The two bells are there, but not their shares of the mixture."),
        *[(share * _bell(SPIKE_VAR), "Only the spike is there: where is the slab?") for share in (1, LAM, 1 - LAM)],
        *[(share * _bell(SLAB_VAR), "Only the slab is there: where is the spike?") for share in (1, LAM, 1 - LAM)],
        *_slips(lambda var: _bell(var**2), VARIANCE),
        *_slips(lambda var: _bell(var) / _area(var), "A root is missing under the bells: their areas are not one."),
        *_slips(
            lambda var: _bell(var) * _area(var),
            "The bells are not scaled to an area of one: what do they have to be divided by?",
        ),
        *_slips(lambda var: _bell(var) / np.sqrt(var), "The root under a bell reaches over the variance, too."),
        *_slips(
            lambda var: _bell(var) * var,
            "What divides a bell needs brackets around it: in a / b * c only b divides.",
        ),
        *_slips(
            lambda var: np.exp(-(WEIGHTS**2) / 2 * var) / _area(var),
            "The exponent needs brackets around what divides: in a / b * c only b divides.",
        ),
        *_slips(
            lambda var: _bell(var, power=-1.0),
            "Your bells are too narrow: look at the number that goes with the variance in the exponent.",
        ),
        *_slips(lambda var: _bell(var, power=0.5), "Your bells grow away from zero: look at the sign up there."),
    ]
    expect(answer, call(answer, WEIGHTS.copy(), *SETTINGS), _mixture(_bell), mistakes, EARLIER)
    praise("That is the prior. With it we can ask which of the two bells a weight came from.")


def _sigmoid(odds: Any) -> Any:
    return np.exp(-np.logaddexp(0.0, -odds))


def spike_probability(answer: Answer) -> None:
    """Check the spike probability, a function of w, lam, spike_var, slab_var; far out too."""
    w = np.append(WEIGHTS, FAR_OUT)
    result = numbers(answer, call(answer, w.copy(), *SETTINGS))
    if result.shape == w.shape and not np.isfinite(result[-1]):
        raise NotYet(
            "Far from zero you get NaN or infinity: both bells are smaller there than any floating-point number. "
            "Stay with logarithms until the last line."
        )
    shares, peaks = np.log((1 - LAM) / LAM), 0.5 * np.log(SLAB_VAR / SPIKE_VAR)
    distance = 0.5 * w**2 * (1 / SPIKE_VAR - 1 / SLAB_VAR)
    right = _sigmoid(shares + peaks - distance)
    mistakes = [
        (_sigmoid(-shares + peaks - distance), LAM_SWAPPED),
        (MixtureGaussianPrior(LAM, SPIKE_VAR**2, SLAB_VAR**2).spike_probability(w), VARIANCE),
        (_sigmoid(shares + 2 * peaks - distance), HEIGHTS),
        (
            _sigmoid(shares - peaks - distance),
            "At zero the narrow bell is the higher one: its height must speak for the spike.",
        ),
        (
            _sigmoid(shares + peaks - 2 * distance),
            "You lose twice as much with the distance as a Gaussian does: look at its exponent.",
        ),
        (
            _sigmoid(shares + peaks + distance),
            "Further from zero the spike must become less probable: look at the sign of the distance.",
        ),
        (1 - right, "This is the probability of the other component, the slab."),
    ]
    expect(answer, result, right, mistakes, EARLIER)
    praise("Right at every weight that was tried, one far out among them. Now the penalty's gradient is near.")


def penalty_gradient(answer: Answer) -> None:
    """Check the gradient of the penalty, a function of w, p0, spike_var, slab_var."""
    w, p0 = WEIGHTS, PRIOR.spike_probability(WEIGHTS)
    precision = p0 / SPIKE_VAR + (1 - p0) / SLAB_VAR
    variance = p0 * SPIKE_VAR + (1 - p0) * SLAB_VAR
    mistakes = [
        (-w * precision, "The sign is turned round: the penalty is smallest at zero, so which way does it rise?"),
        (
            w * ((1 - p0) / SPIKE_VAR + p0 / SLAB_VAR),
            "Spike and slab have changed places: which precision goes with p0?",
        ),
        (w * (p0 / np.sqrt(SPIKE_VAR) + (1 - p0) / np.sqrt(SLAB_VAR)), ROOT),
        (w * (p0 / SPIKE_VAR**2 + (1 - p0) / SLAB_VAR**2), VARIANCE),
        (w / variance, "You average the variances; it is the precisions that are averaged."),
        (w * variance, "These are variances, not precisions: a narrow bell pulls harder than a wide one."),
        (2 * w * precision, "Too much by a factor of two: the slope of half a square has no two left."),
        (w * precision / 2, "Too little by a factor of two: the slope of half a square has no half left."),
        (w * p0 / SPIKE_VAR, "Only the spike pulls: the slab does as well, gently, where it may own the weight."),
        (w * (1 - p0) / SLAB_VAR, "Only the slab pulls: where is the spike's part?"),
        (
            w * np.where(p0 > 0.5, 1 / SPIKE_VAR, 1 / SLAB_VAR),
            "You switch between the two precisions; they are averaged, so that the change is smooth.",
        ),
        (w * (1 / SPIKE_VAR + 1 / SLAB_VAR), "The two precisions are there, but not their probabilities."),
        (precision, "This is how stiff the spring is, not how hard it pulls: where does the weight itself come in?"),
        (abs(w) * precision, "A negative weight must be pulled the other way: the sign of w got lost."),
    ]
    expect(answer, call(answer, w.copy(), p0, SPIKE_VAR, SLAB_VAR), w * precision, mistakes, EARLIER)
    praise("Right. That is all that MGPP adds to a training step, up to one factor.")


def matched_strengths(answer: Answer) -> None:
    """Check the strengths at which L1 and L2 pull as hard at w as the prior, a function of pull, w."""
    pull, w = 6.0, 0.4
    half = "of two in L2: differentiate its penalty as the table has it."
    mistakes = [
        ((pull / w, pull), "The two have changed places, or you return them the other way round."),
        ((pull, pull), "L2 pulls in proportion to the weight; yours pulls equally on all."),
        ((pull / w, pull / w), "L1 pulls equally on all weights; yours knows the size of one."),
        (
            (pull, pull * w),
            "Put your L2 back: its pull, in proportion to w, must be the pull asked for. Multiply or divide?",
        ),
        ((pull, 2 * pull / w), f"Too much by a factor {half}"),
        ((pull, pull / w / 2), f"Too little by a factor {half}"),
    ]
    otherwise = "Write down how hard each of the two pulls at w, and set that equal to pull."
    expect(answer, call(answer, pull, w), (pull, pull / w), mistakes, otherwise)
    praise("Right. Now the three can be compared fairly, weight by weight.")


def prior_threshold(answer: Answer) -> None:
    """Check the prior threshold τ, a function of lam, spike_var, slab_var."""
    right, gap, odds = PRIOR.threshold, PRIOR.precision_gap, PRIOR.log_odds_at_zero
    peaks, shares = 0.5 * np.log(SLAB_VAR / SPIKE_VAR), np.log((1 - LAM) / LAM)
    result = numbers(answer, call(answer, *SETTINGS))
    if result.ndim == 0 and np.isnan(result):
        raise NotYet("The root of a negative number: look at the sign of each hole. τ exists for these settings.")
    mistakes = [
        (right**2, "This is a square: the log odds are lost with θ², and τ is a magnitude."),
        (right**2 / 2, "This is a square, and a factor is lost as well: solve for θ² first, on paper."),
        (right / np.sqrt(2), "Almost: a factor under the root is missing, look at the exponent of a Gaussian."),
        (right / 2, "Almost: a factor under the root is on the wrong side of the fraction."),
        (np.sqrt(2 * (odds + peaks) / gap), HEIGHTS),
        (
            np.sqrt(2 * (shares - peaks) / gap),
            "At zero the narrow bell is the higher one: its height must speak for the spike.",
        ),
        (np.sqrt(2 * shares / gap), "Log odds at zero have two sources, shares and heights: the heights are missing."),
        (np.sqrt(2 * peaks / gap), "Log odds at zero have two sources, shares and heights: the shares are missing."),
        (
            np.sqrt(2 * odds * SPIKE_VAR),
            "The slab's precision is missing in the gap: often too small to see, but it belongs there.",
        ),
        (MixtureGaussianPrior(LAM, SPIKE_VAR**2, SLAB_VAR**2).threshold, VARIANCE),
        (-right, "Your threshold is negative: it is a magnitude, take the other root."),
    ]
    otherwise = "Set the log odds of your spike_probability to zero, and solve for w."
    expect(answer, result, right, mistakes, otherwise)
    praise("Right. Below τ a weight belongs to the spike, above it to the slab.")


def slab_as_l2(answer: Answer) -> None:
    """Check the strength of the L2 that the slab is beside the mean loss, a function of slab_var, n."""
    slab_var, n = 0.2, 5000
    right = 1 / (slab_var * n)
    half = "of two: a Gaussian's exponent has a half, and so has the penalty of L2; their slopes have none."
    mistakes = [
        (
            1 / slab_var,
            "The number of examples is missing: this is the pull beside the sum of the losses, not beside their mean.",
        ),
        (n / slab_var, "The more examples, the less a prior weighs: multiply or divide?"),
        (slab_var / n, "A wide slab pulls gently: multiply or divide by its variance?"),
        (1 / (np.sqrt(slab_var) * n), ROOT),
        (1 / (slab_var**2 * n), VARIANCE),
        (right / 2, f"Too little by a factor {half}"),
        (2 * right, f"Too much by a factor {half}"),
    ]
    otherwise = "Take the slab's gradient at a weight of one, and ask what share of the mean loss one log prior is."
    expect(answer, call(answer, slab_var, n), right, mistakes, otherwise)
    praise("Right. Say n whenever you say σ²: settings travel with both.")
