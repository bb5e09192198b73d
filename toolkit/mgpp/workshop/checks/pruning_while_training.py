"""Checkers of session 2, pruning while training. torch is loaded when a checker needs it."""

from typing import Any

import numpy as np

from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.prior.schedules import CubicSparsity
from mgpp.workshop.checks.feedback import Answer, NotYet, call, expect, numbers, praise

EARLIER = "Read the text above once more, one hole at a time."
PARTS = ("add_prior", "backward", "prune", "update", "zero_grad")


def cubic_sparsity(answer: Answer) -> None:
    """Check the cubic schedule, a function of step, initial, final, begin, end."""
    initial, final, begin, end = 0.25, 0.85, 20, 110
    steps = np.array([0, 20, 35, 60, 99, 110, 150])
    left = 1 - np.clip((steps - begin) / (end - begin), 0, 1)
    right = np.array([CubicSparsity(initial, final, begin, end)(int(step)) for step in steps])
    late, short = (1 - np.clip(done, 0, 1) for done in (steps / end, (steps - begin) / end))
    gap = final - initial
    mistakes = [
        (initial + gap * left**3, "You start where you should end: initial and final have changed places."),
        (final - gap * left, "This is a straight line: what makes the schedule cubic is missing."),
        (final - gap * left**2, "This is a parabola: count the powers."),
        (final - gap * (1 - left) ** 3, "You end where you should start: is it the way done, or the way left?"),
        (initial + gap * (1 - left) ** 3, "Yours is slow first and fast at the end; it must be the other way round."),
        (final + gap * left**3, "You come from above: look at the sign of the difference between initial and final."),
        (final - gap * late**3, "The way starts at begin, not at the first step of the training."),
        (final - gap * short**3, "How long is the way from begin to end? Not as long as the number of its last step."),
        (1 - right, "This is how much is left; a sparsity is the share of zeros."),
    ]
    found = [numbers(answer, call(answer, int(step), initial, final, begin, end)) for step in steps]
    expect(answer, found, right, mistakes, EARLIER)
    praise("Right: fast while there is much to remove, gentle at the end. Now we know how many weights go.")


def global_threshold(answer: Answer) -> None:
    """Check the k-th smallest magnitude over all layers together, a function of weights, k."""
    import torch

    rows = [[0.5, -0.03, 0.9, -0.7], [[0.02, -0.04, 0.06], [0.3, -0.05, 0.08]]]
    weights, k = [torch.tensor(row) for row in rows], 4
    everything = torch.cat([weight.flatten() for weight in weights]).double()
    sizes, signed = (values.sort().values.numpy() for values in (everything.abs(), everything))
    result = numbers(answer, call(answer, [weight.clone() for weight in weights], k))
    per_layer = "Thresholds of single layers. A global one ranks the weights of all layers together: one for all."
    if result.size > 1:
        raise NotYet(
            "Give back one number: one threshold for all layers. Several came: a value with its place, one a layer, or "
            "all that go?"
        )
    layers = [np.sort(weight.abs().double().numpy(), axis=None) for weight in weights]
    shares = [layer[round(k / len(sizes) * len(layer)) - 1] for layer in layers]
    mistakes = [
        (sizes[k], "Off by one, a rank too high: Python counts from zero, ranks from one."),
        (sizes[k - 2], "Off by one, a rank too low."),
        (signed[k - 1], "You rank the signed values; but a large negative weight is not a small one."),
        (sizes[-k], "You rank from the largest down; pruning takes the smallest."),
        (np.quantile(sizes, k / len(sizes)), "An interpolated quantile lies between weights; this is the size of one."),
        *[(value, per_layer) for value in (np.mean(shares), max(shares))],
    ]
    expect(answer, result.reshape(()), sizes[k - 1], mistakes, "Put all magnitudes into one row, then look up a rank.")
    praise("Right, exactly. Every layer now competes with every other one.")


def exact_mask(answer: Answer) -> None:
    """Check the mask with exactly k zeros, a function of weights, k; the first of equal magnitudes go first."""
    import torch

    weights, k = torch.tensor([[0.3, -0.1, 0.5], [0.2, -0.2, 0.2], [-0.9, 0.2, 0.05]]), 4
    size = weights.abs()
    right, cut = _without_smallest(size, k), size.flatten().sort().values[k - 1]
    result = call(answer, weights.clone(), k)
    if getattr(result, "dtype", None) != torch.bool:
        raise NotYet("A mask is a tensor of True and False; yours is something else.")
    mistakes = [
        (~right, "Your mask is turned round: True means kept."),
        (size >= cut, "Equal weights at the threshold were all kept: too few zeros. Count them."),
        (size > cut, "Equal weights at the threshold all went: too many zeros. Count them."),
        (size < cut, "Your mask is turned round: True means kept. And mind the weights that tie."),
        (size <= cut, "Your mask is turned round: True means kept. And mind the weights that tie."),
        (_without_smallest(weights, k), "You rank the signed values: a large negative weight went."),
        (_without_smallest(-size, k), "The largest went: which end of the order is to be removed?"),
        (_without_smallest(size, k + 1), "One weight too many goes: where does a slice end?"),
        (_without_smallest(size, k - 1), "One weight too few goes: where does a slice end?"),
    ]
    if result.shape == right.shape and (result != right).any() and _alike(size[~result], size[~right]):
        raise NotYet("As many zeros as asked for, but of equal weights the first must go: then all machines agree.")
    expect(answer, result, right, mistakes, EARLIER)
    praise("Right, also where weights tie: exactly k zeros, the same on every machine.")


def _without_smallest(ranked: Any, k: int) -> Any:
    """The mask that removes the k smallest entries of `ranked`, of equal ones the first."""
    place = ranked.flatten().argsort(stable=True).argsort()
    return (place >= k).view(ranked.shape)


def _alike(some: Any, others: Any) -> bool:
    """Whether two tensors hold the same numbers, in any order."""
    return bool(sorted(some.tolist()) == sorted(others.tolist()))


def prior_pull(answer: Answer) -> None:
    """Check what the prior adds to the gradient of the mean loss, a function of w, prior, n."""
    import torch

    prior, n = MixtureGaussianPrior(lam=0.02, spike_var=4e-4, slab_var=0.25), 50
    w = torch.tensor([-0.5, -0.02, 0.0, 0.01, 0.06, 1.0], dtype=torch.float64)
    pull = prior.penalty_grad(w)
    mistakes = [
        (-pull / n, "The sign is turned round: the penalty is minus the log prior, and its gradient is added."),
        (pull, "The number of examples is missing: the loss is a mean, one log prior stands against all its terms."),
        (-pull, "The sign is turned round, and the number of examples is missing."),
        (pull * n, "The more examples, the less the prior weighs: multiply or divide?"),
        (prior.penalty(w) / n, "This is the penalty itself; a training step needs its slope."),
        (prior.log_prob(w) / n, "This is the log prior itself; a training step needs the slope of the penalty."),
    ]
    expect(answer, call(answer, w.clone(), prior, n), pull / n, mistakes, EARLIER)
    praise("Right. In closed form, no automatic differentiation needed.")


def one_step(answer: Answer) -> None:
    """Check the order of a training step, a function of its five parts (`PARTS`), which take nothing."""
    calls: list[str] = []
    call(answer, **{part: lambda part=part: calls.append(part) for part in PARTS})
    if missing := [part for part in PARTS if part not in calls]:
        raise NotYet(f"Never called: {', '.join(missing)}. A step needs each of its five parts.")
    if len(calls) > len(PARTS):
        raise NotYet("A part is called more than once; each has its one place in a step.")
    backward, update, clear, prior, prune = map(calls.index, ("backward", "update", "zero_grad", "add_prior", "prune"))
    wrong = {
        "The optimizer moves the weights before there is a gradient to follow.": backward > update,
        "The gradient is wiped out before the optimizer has seen it.": min(backward, prior) < clear < update,
        "The prior comes too late: this optimizer step does not feel it.": prior > update,
        "The prior comes too early: clipping and scaling the data's gradient would touch it, too.": prior < backward,
        "You prune, and then the optimizer moves the zeros away: the step ends without them.": prune < update,
    }
    for message, is_wrong in wrong.items():
        if is_wrong:
            raise NotYet(message)
    if calls == ["zero_grad", "backward", "add_prior", "update", "prune"]:
        praise("Right. This order is part of the method, and of what the library promises.")
    else:
        praise("Right: not the usual order, but equivalent, as the gradient is forgotten before the next backward.")


def mask_after(answer: Answer) -> None:
    """Check the mask at the end of a step, a function of step, w, old, schedule, interval, in all phases."""
    import torch

    schedule, interval = CubicSparsity(0.2, 0.7, begin_step=4, end_step=16), 4
    w = torch.tensor([0.6, -0.1, 0.9, -0.4, 0.2, 1.1, -0.8, 0.3, -1.0, 0.7, 0.5])
    old = torch.arange(11) % 2 == 0
    for step in (2, 4, 6, 8, 16, 19):
        result = numbers(answer, call(answer, step, w.clone(), old.clone(), schedule, interval))
        if result.shape != (len(w),):
            raise NotYet("A mask has one entry a weight; yours has another shape.")
        kept, phase = result > 0, schedule.phase(step)
        if schedule.prunes_at(step, interval):
            _check_event(kept, w, old, schedule(step))
        elif phase == "frozen" and not (kept == old.numpy()).all():
            raise NotYet("In the frozen phase the old mask stays, whatever the weights do.")
        elif phase != "frozen" and not kept.all():
            where = "In the warm-up nothing is pruned." if phase == "warmup" else "Between two events zeros may regrow."
            raise NotYet(f"{where} Your mask removes weights there: in which phase only does the old one act?")
    praise("Right. All parts of the method are yours now; next comes a training with them.")


def _check_event(kept: Any, w: Any, old: Any, sparsity: float) -> None:
    """At a prune event the smallest magnitudes go, as many as the schedule asks for, whatever the old mask was."""
    k = round(sparsity * len(w))
    right = _without_smallest(w.abs(), k).numpy()
    if (kept == right).all():
        return
    if any((kept == wrong).all() for wrong in (right & old.numpy(), _without_smallest((w * old).abs(), k).numpy())):
        raise NotYet("At a prune event all weights are judged anew, those at zero as well: the old mask has no say.")
    _check_count(int((~kept).sum()), sparsity, len(w))
    if (kept == _without_smallest(-w.abs(), k).numpy()).all():
        raise NotYet("As many weights go as should, but the largest: which end of the order is to be removed?")
    raise NotYet("As many weights go as should, but not those of the smallest magnitudes: exact_mask knows which.")


def _check_count(removed: int, sparsity: float, total: int) -> None:
    count = sparsity * total
    if removed == round(count):
        return
    if removed == round(total - count):
        raise NotYet("As many weights go as should be kept: is the share or the mask turned round?")
    if removed == int(count):
        raise NotYet("You cut off the fraction: k is the nearest whole number, not the next lower one.")
    raise NotYet("A prune event removes another number of weights than the schedule asks for at that step.")
