"""Check session 1, the prior. The checkers try other weights and settings than the notebook does."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.workshop.checks.feedback import (
    Answer,
    Holes,
    Mistakes,
    NotYet,
    Unfinished,
    call,
    check_holes,
    expect,
    numbers,
    praise,
    same,
)

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
UNSQUARED = "The weight is not squared."
PRECISIONS = "These are variances. Subtract the precisions, which are one over them."
NO_LOG = "This is the ratio itself. The logarithm is missing."
TENS = "np.log is the natural logarithm, and the one that is needed. Yours has another base."
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
    (lambda var: np.exp(-WEIGHTS / (2 * var)) / _area(var), f"{UNSQUARED} Look at the exponent."),
    (lambda var: np.exp(-np.abs(WEIGHTS) / (2 * var)) / _area(var), f"{UNSQUARED} Look at the exponent."),
    (lambda var: -(WEIGHTS**2) / (2 * var) / _area(var), "The exponential is missing."),
    (lambda var: _bell(var, power=0.5), "Your bells grow away from zero: look at the sign of the exponent."),
]


def _bell_hole(var: float, other: float) -> tuple[Any, list[tuple[Any, str]], str]:
    with np.errstate(all="ignore"):
        mistakes = [(wrong(var), hint) for wrong, hint in WRONG_BELLS]
    mistakes.append((_bell(other), "This is the bell of the other variance."))
    shares = [(share * _bell(var), "The share comes later, in the last hole.") for share in (LAM, 1 - LAM)]
    return _bell(var), mistakes + shares, "Compare it with the formula of one bell above."


def _is(answer: Answer, result: Any, values: Any) -> bool:
    with contextlib.suppress(NotYet):
        return same(numbers(answer, result), values)
    return False


def _judge(
    answer: Answer,
    args: tuple[Any, ...],
    right: Any,
    holes: Holes,
    mistakes: Mistakes,
    otherwise: str,
    *,
    several: Mistakes = (),
) -> None:
    """Accept what gives the right values in any way; otherwise check the holes one by one, and the result last.

    Mistakes in `several` holes at once are told first.

    Raises:
        NotYet: if the result is not right; with the name of the hole that is wrong.
    """
    try:
        result = call(answer, *args)
    except Unfinished:
        raise
    except NotYet:
        check_holes(answer, args, holes)
        raise
    if _is(answer, result, right):
        return
    for wrong, hint in several:
        if _is(answer, result, wrong):
            raise NotYet(hint)
    check_holes(answer, args, holes)
    try:
        expect(answer, result, right, mistakes, otherwise)
    except NotYet as hint:
        raise NotYet(f"return: {hint}") from None


def density(answer: Answer) -> None:
    """Check the prior's density, a function of w, lam, spike_var, slab_var."""
    spike, slab, shares = _bell(SPIKE_VAR), _bell(SLAB_VAR), (1, LAM, 1 - LAM)
    mistakes = [
        (_mixture(lam=1 - LAM), LAM_SWAPPED),
        (slab + spike, "The two bells are there, but not their shares of the mixture."),
        *[(share * spike, "Only the spike is there: where is the slab?") for share in shares],
        *[(share * slab, "Only the slab is there: where is the spike?") for share in shares],
    ]
    with np.errstate(all="ignore"):
        for wrong, hint in WRONG_BELLS:
            mistakes += [(_mixture(*bells), hint) for bells in ((wrong, wrong), (wrong, _bell), (_bell, wrong))]
    holes = {"spike": _bell_hole(SPIKE_VAR, SLAB_VAR), "slab": _bell_hole(SLAB_VAR, SPIKE_VAR)}
    _judge(answer, (WEIGHTS.copy(), *SETTINGS), _mixture(), holes, mistakes, EARLIER)
    praise("That is the prior. With it we can ask which of the two bells a weight came from.")


def _sigmoid(odds: Any) -> Any:
    return np.exp(-np.logaddexp(0.0, -odds))


SHARES_HOLE = (
    SHARES,
    [
        (-SHARES, LAM_SWAPPED),
        ((1 - LAM) / LAM, NO_LOG),
        (LAM / (1 - LAM), f"{NO_LOG} And {LAM_SWAPPED}"),
        (SHARES / np.log(10), TENS),
        (SHARES / np.log(2), TENS),
        *[(np.log(share), "Odds compare two shares. Yours has only one.") for share in (LAM, 1 - LAM)],
        (np.log(1 - LAM) * np.log(LAM), "Odds divide one share by the other."),
        (np.log(1 - LAM) / np.log(LAM), "The logarithm of a ratio is not the ratio of logarithms."),
        (np.log(1 - LAM) + np.log(LAM), "The logarithm of a ratio is a difference, not a sum."),
        (-np.inf, "Brackets are missing around what is divided."),
    ],
    "It needs the two shares of the mixture, and nothing else.",
)
PEAKS_HOLE = (
    PEAKS,
    [
        (2 * PEAKS, HEIGHTS),
        (-2 * PEAKS, f"{HIGHER} {HEIGHTS}"),
        (4 * PEAKS, VARIANCE),
        (-PEAKS, HIGHER),
        (PEAKS / 2, "One root too many: how does the height of a bell depend on its variance?"),
        *[(np.exp(power * PEAKS), NO_LOG) for power in (-2, -1, 1, 2)],
        *[(power * PEAKS / np.log(10), TENS) for power in (1, 2)],
        (PEAKS / np.log(2), TENS),
        *[(0.5 * np.log(var), "It compares two heights. Yours has only one.") for var in (SLAB_VAR, SPIKE_VAR)],
        (0.5 * np.log(SLAB_VAR * SPIKE_VAR), "Heights are compared by a ratio, not by a product."),
        (0.5 * np.log(SLAB_VAR) / np.log(SPIKE_VAR), "The logarithm of a ratio is not the ratio of logarithms."),
        (0.5 * np.log(SLAB_VAR - SPIKE_VAR), "Heights are compared by a ratio, not by a difference."),
        (SHARES + PEAKS, "The shares have a hole of their own."),
    ],
    "It needs the two variances, and nothing else.",
)


def _distance_hole(w: Any) -> tuple[Any, list[tuple[Any, str]], str]:
    gap, spike, slab = PRIOR.precision_gap, 1 / SPIKE_VAR, 1 / SLAB_VAR
    right, half = 0.5 * w**2 * gap, "The distance costs {} as much as in a Gaussian's exponent."
    mistakes = [
        (2 * right, half.format("twice")),
        (right / 2, half.format("half")),
        (-right, "Far from zero the slab must win: look at the sign of the distance."),
        *[(factor * value * gap, UNSQUARED) for factor in (0.5, 1) for value in (w, np.abs(w))],
        (0.5 * (w * gap) ** 2, "Only the weight is squared, not the precisions."),
        (0.5 * w**2 * (spike**2 - slab**2), VARIANCE),
        (0.5 * w**2 * (spike**0.5 - slab**0.5), ROOT),
        (0.5 * w**2 * spike, "The slab falls as well, gently. Its part is missing."),
        (0.5 * w**2 * slab, "The spike falls as well, and steeply. Its part is missing."),
        (0.5 * w**2 * (spike + slab), "How much more does the spike fall than the slab? A sum does not say."),
        *[(sign * 0.5 * w**2 * (SLAB_VAR - SPIKE_VAR), PRECISIONS) for sign in (-1, 1)],
        *[(sign * 0.5 * w**2 / (SLAB_VAR - SPIKE_VAR), PRECISIONS) for sign in (-1, 1)],
        (0.5 * gap, "Where does the weight come in?"),
        (gap, "Where does the weight come in?"),
        (np.exp(-right), "This is not a logarithm any more: no exponential is needed here."),
    ]
    return right, mistakes, "Take the exponents of the two bells, and subtract."


def _underflows(answer: Answer, w: Any) -> bool:
    """Whether the answer computes with bells of its own, which vanish far from zero."""
    names = getattr(getattr(answer, "__code__", None), "co_varnames", ())
    try:
        result = numbers(answer, call(answer, w.copy(), *SETTINGS))
    except NotYet:
        return False
    ours = {"shares", "peaks", "distance"} <= set(names)
    return not ours and result.shape == w.shape and not np.isfinite(result[-1])


def spike_probability(answer: Answer) -> None:
    """Check the spike probability, a function of w, lam, spike_var, slab_var, also far from zero."""
    w = np.append(WEIGHTS, FAR_OUT)
    distance = 0.5 * w**2 * PRIOR.precision_gap
    right = _sigmoid(SHARES + PEAKS - distance)
    mistakes = [
        (_sigmoid(-SHARES + PEAKS - distance), LAM_SWAPPED),
        (_sigmoid(SHARES + 2 * PEAKS - distance), HEIGHTS),
        (_sigmoid(SHARES - PEAKS - distance), HIGHER),
        (_sigmoid(SHARES + PEAKS - 2 * distance), "The distance costs twice as much as in a Gaussian's exponent."),
        (_sigmoid(SHARES + PEAKS + distance), "Far from zero the slab must win: look at the sign of the distance."),
    ]
    holes = {"shares": SHARES_HOLE, "peaks": PEAKS_HOLE, "distance": _distance_hole(w)}
    try:
        squared = [(SQUARED.spike_probability(w), f"peaks, distance: {VARIANCE}")]
        _judge(answer, (w.copy(), *SETTINGS), right, holes, mistakes, EARLIER, several=squared)
    except NotYet:
        if _underflows(answer, w):
            raise NotYet(
                "Far from zero you get NaN: both bells underflow. Stay with logarithms until the last line."
            ) from None
        raise
    praise("Right at every weight that was tried, one far out among them. Now the penalty's gradient is near.")


def penalty_gradient(answer: Answer) -> None:
    """Check the gradient of the penalty, a function of w, p0, spike_var, slab_var."""
    w, p0, spike, slab = WEIGHTS, PRIOR.spike_probability(WEIGHTS), 1 / SPIKE_VAR, 1 / SLAB_VAR
    precision, variance = p0 * spike + (1 - p0) * slab, p0 * SPIKE_VAR + (1 - p0) * SLAB_VAR
    averages = [
        ((1 - p0) * spike + p0 * slab, "Spike and slab have changed places: which precision goes with p0?"),
        (p0 * np.sqrt(spike) + (1 - p0) * np.sqrt(slab), ROOT),
        (p0 * spike**2 + (1 - p0) * slab**2, VARIANCE),
        (1 / variance, "You average the variances. Average the precisions."),
        (variance, "These are variances, not precisions: a narrow bell pulls harder than a wide one."),
        (p0 * spike, "Only the spike pulls: the slab does as well, gently."),
        ((1 - p0) * slab, "Only the slab pulls: where is the spike's part?"),
        (np.where(p0 > 0.5, spike, slab), "You switch between the two precisions. Average them instead."),
        (spike + slab + 0 * p0, "The two precisions are there, but not their probabilities."),
        *[
            (total, "The two precisions are there, but not their probabilities.")
            for total in (spike + slab, (spike + slab) / 2)
        ],
        *[(single, "This is one of the two precisions. Where are the probabilities?") for single in (spike, slab)],
        (w * precision, "The weight comes in with the last hole, not here."),
    ]
    holes = {"precision": (precision, averages, "Each precision counts with the probability of its bell.")}
    mistakes = [
        *[(w * average, hint) for average, hint in averages[:-1]],
        (w**2 * precision, "The slope of half a square goes with the weight, not with its square."),
        (precision, "This is how stiff the spring is, not how hard it pulls: where does the weight come in?"),
        (abs(w) * precision, "The sign of w got lost: a negative weight must be pulled the other way."),
    ]
    otherwise = "The penalty rises on both sides of zero, like half a square. What is the slope of that?"
    _judge(answer, (w.copy(), p0, SPIKE_VAR, SLAB_VAR), w * precision, holes, mistakes, otherwise)
    praise("Right. That is all that MGPP adds to a training step, up to one factor.")


def matched_strengths(answer: Answer) -> None:
    """Check the strengths at which L1 and L2 pull as hard at w as the prior, a function of pull, w."""
    pull, w = 6.0, 0.4
    two = "Two strengths are asked for, and the exercise returns both. You return one value."
    constant = "L1 pulls equally on all weights. Yours depends on the size of one."
    slope = "What pulls is the slope of the penalty, not the penalty itself."
    half = "of two in L2: differentiate its penalty as the table has it."
    of_l2 = [
        (pull, "L2 pulls in proportion to the weight. Yours pulls equally on all."),
        (pull * w, "Put your L2 back: times w it must give the pull asked for. Multiply or divide?"),
        (2 * pull / w, f"Too much by a factor {half}"),
        (pull / w / 2, f"Too little by a factor {half}"),
        *[(factor * pull / w**2, slope) for factor in (1, 2)],
    ]
    otherwise = "Write down how hard each of the two pulls at w, and set that equal to pull."
    holes = {
        "l1": (pull, [(value, constant) for value in (pull / w, pull * w)], otherwise),
        "l2": (pull / w, of_l2, otherwise),
    }
    mistakes = [
        *[(value, two) for value in (pull, pull / w, (pull,), (pull / w,))],
        *[((pull, value), hint) for value, hint in of_l2],
        ((pull / w, pull / w), constant),
    ]
    swapped = [((pull / w, pull), "l1, l2: the two strengths have changed places.")]
    _judge(answer, (pull, w), (pull, pull / w), holes, mistakes, otherwise, several=swapped)
    praise("Right. Now the three can be compared fairly, weight by weight.")


def prior_threshold(answer: Answer) -> None:
    """Check the prior threshold τ, a function of lam, spike_var, slab_var."""
    right, gap, odds = PRIOR.threshold, PRIOR.precision_gap, PRIOR.log_odds_at_zero
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
    spike, slab = 1 / SPIKE_VAR, 1 / SLAB_VAR
    _, of_shares, _ = SHARES_HOLE
    _, of_peaks, _ = PEAKS_HOLE
    odds_mistakes = [
        (SHARES, f"{missing} heights are missing."),
        (PEAKS, f"{missing} shares are missing."),
        *[(wrong + PEAKS, hint) for wrong, hint in of_shares],
        *[(SHARES + wrong, hint) for wrong, hint in of_peaks],
        (np.exp(odds), NO_LOG),
        (SHARES * PEAKS, "Two logarithms are added where their numbers are multiplied."),
    ]
    gap_mistakes = [
        (-gap, "The sign: which of the two precisions is larger?"),
        (spike + slab, "By how much more? A sum does not say."),
        (spike, "The slab's precision is missing in the gap."),
        (slab, "The spike's precision is missing in the gap."),
        (spike**2 - slab**2, VARIANCE),
        (spike**0.5 - slab**0.5, ROOT),
        *[(value, PRECISIONS) for value in (SLAB_VAR - SPIKE_VAR, SPIKE_VAR - SLAB_VAR, 1 / (SLAB_VAR - SPIKE_VAR))],
        (gap / 2, "The factor of a Gaussian's exponent has its place in the last hole."),
    ]
    holes = {
        "log_odds": (odds, odds_mistakes, "It is what your spike_probability has at a weight of zero."),
        "gap": (gap, gap_mistakes, "It is the difference of two precisions."),
    }
    _judge(answer, SETTINGS, right, holes, mistakes, otherwise)
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
    slopes = [
        (slab_var, "A wide slab pulls gently: multiply or divide by its variance?"),
        (1 / np.sqrt(slab_var), ROOT),
        (1 / slab_var**2, VARIANCE),
        (0.5 / slab_var, "This is the exponent's factor. The slope of a square has another."),
        (right, "The number of examples comes in with the last hole, not here."),
    ]
    holes = {"slope": (1 / slab_var, slopes, "Take the slab's slope at a weight of one.")}
    _judge(answer, (slab_var, n), right, holes, mistakes, otherwise)
    praise("Right. Say n whenever you say σ²: settings travel with both.")


CHECKS = [density, spike_probability, penalty_gradient, matched_strengths, prior_threshold, slab_as_l2]
