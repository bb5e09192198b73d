"""Check session 2, pruning while training. torch is loaded when a checker needs it."""

from typing import Any

import numpy as np

from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.prior.schedules import CubicSparsity
from mgpp.workshop.checks.feedback import Answer, NotYet, call, expect, numbers, praise, same

EARLIER = "Read the text above again, one hole at a time."
PARTS = ("add_prior", "backward", "prune", "update", "zero_grad")
TURNED = "Your mask is turned round: True means kept."
SIGNED = "You rank the signed values, but a large negative weight is not a small one."


def cubic_sparsity(answer: Answer) -> None:
    """Check the cubic schedule, a function of step, initial, final, begin, end."""
    initial, final, begin, end = 0.25, 0.85, 20, 110
    steps, gap = np.array([0, 20, 35, 60, 99, 110, 150]), final - initial
    right = np.array([CubicSparsity(initial, final, begin, end)(int(step)) for step in steps])
    ways_done = (steps - begin) / (end - begin), steps / end, (steps - begin) / end
    left, late, short = (1 - np.clip(done, 0, 1) for done in ways_done)
    mistakes = [
        (initial + gap * left**3, "You start where you should end: initial and final have changed places."),
        (final - gap * left, "This is a straight line: the third power is missing."),
        (final - gap * left**2, "This is a parabola: count the powers."),
        (final - gap * (1 - left) ** 3, "You end where you should start: is it the way done, or the way left?"),
        (initial + gap * (1 - left) ** 3, "Yours is slow first and fast at the end. It must be the other way round."),
        (final + gap * left**3, "You come from above: look at the sign of the difference of initial and final."),
        (final - gap * late**3, "The way starts at begin, not at the first step of the training."),
        (final - gap * short**3, "How long is the way from begin to end? Shorter than end itself."),
    ]
    found = [numbers(answer, call(answer, int(step), initial, final, begin, end)) for step in steps]
    expect(answer, found, right, mistakes, EARLIER)
    praise("Right: fast while there is much to remove, gentle at the end. Now we know how many weights go.")


def global_threshold(answer: Answer) -> None:
    """Check the k-th smallest magnitude over all layers together, a function of weights, k."""
    import torch

    rows = [[0.5, -0.03, 0.9, -0.7], [[0.02, -0.04, 0.06], [0.3, -0.05, 0.08]]]
    weights, k = [torch.tensor(row) for row in rows], 4
    signed = np.sort(torch.cat([weight.flatten() for weight in weights]).double())
    sizes, layers = np.sort(np.abs(signed)), [np.sort(weight.abs().double(), axis=None) for weight in weights]
    own = [layer[round(k / len(sizes) * len(layer)) - 1] for layer in layers]
    result = numbers(answer, call(answer, [weight.clone() for weight in weights], k))
    if result.size > 1:
        raise NotYet("Return one number, the threshold for all layers. You return several.")
    mistakes = [
        (sizes[k], "Off by one, a rank too high: Python counts from zero, ranks from one."),
        (sizes[k - 2], "Off by one, a rank too low."),
        (signed[k - 1], SIGNED),
        (sizes[-k], "You rank from the largest down. Pruning takes the smallest."),
        (np.quantile(sizes, k / len(sizes)), "An interpolated quantile lies between weights. Return the size of one."),
        *[(value, "A threshold of single layers. Rank all layers together.") for value in (np.mean(own), max(own))],
    ]
    expect(answer, result.reshape(()), sizes[k - 1], mistakes, "Put all magnitudes into one row, then look up a rank.")
    praise("Right, exactly. Every layer now competes with every other one.")


def exact_mask(answer: Answer) -> None:
    """Check the mask with exactly k zeros, a function of weights, k; of equal magnitudes the first go."""
    import torch

    weights, k = torch.tensor([[0.3, -0.1, 0.5], [0.2, -0.2, 0.2], [-0.9, 0.2, 0.05]]), 4
    size = weights.abs()
    right, cut = _without_smallest(size, k), size.flatten().sort().values[k - 1]
    result = call(answer, weights.clone(), k)
    if getattr(result, "dtype", None) != torch.bool:
        raise NotYet("A mask is a tensor of True and False. Yours is something else.")
    many = torch.arange(240.0).remainder(3).view(12, 20)  # so many ties that an unstable sort changes their order
    ties = [(many, call(answer, tensor, 100)) for tensor in (many.clone(), _any_order(many))]
    mistakes = [
        (~right, TURNED),
        (size >= cut, "Equal weights at the threshold were all kept: too few zeros. Count them."),
        (size > cut, "Equal weights at the threshold all went: too many zeros. Count them."),
        *[(mask, f"{TURNED} Mind the weights that tie, too.") for mask in (size < cut, size <= cut)],
        (_without_smallest(weights, k), SIGNED),
        (_without_smallest(-size, k), "The largest went: which end of the order is to be removed?"),
        (_without_smallest(size, k + 1), "One weight too many goes: where does a slice end?"),
        (_without_smallest(size, k - 1), "One weight too few goes: where does a slice end?"),
    ]
    others = result.shape == right.shape and (result != right).any()
    first = "As many zeros as asked for. But of equal weights the first must go, so that all machines agree."
    if others and torch.equal(size[~result].sort().values, size[~right].sort().values):
        raise NotYet(first)
    expect(answer, result, right, mistakes, EARLIER)
    if not all(same(mask, _without_smallest(tensor, 100)) for tensor, mask in ties):
        raise NotYet(f"{first} Is your sort stable?")
    praise("Right, also where weights tie: exactly k zeros, the same on every machine.")


def _any_order(weights: Any) -> Any:
    """Return a tensor whose sorts reverse the order of equal values unless they are stable, as another machine may."""
    import torch

    class _AnyOrder(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func.__name__ not in ("argsort", "sort", "topk") or kwargs.get("stable") or args[0].ndim != 1:
                return super().__torch_function__(func, types, args, kwargs)
            row = args[0].as_subclass(torch.Tensor)
            found, last = func(row.flip(0), *args[1:], **kwargs), len(row) - 1
            return last - found if func.__name__ == "argsort" else type(found)((found[0], last - found[1]))

    return weights.clone().as_subclass(_AnyOrder)


def _without_smallest(ranked: Any, k: int) -> Any:
    """Return the mask that removes the k smallest entries of `ranked`, of equal ones the first."""
    place = ranked.flatten().argsort(stable=True).argsort()
    return (place >= k).view(ranked.shape)


def prior_pull(answer: Answer) -> None:
    """Check what the prior adds to the gradient of the mean loss, a function of w, prior, n."""
    import torch

    prior, n = MixtureGaussianPrior(lam=0.02, spike_var=4e-4, slab_var=0.25), 50
    w = torch.tensor([-0.5, -0.02, 0.0, 0.01, 0.06, 1.0], dtype=torch.float64)
    pull = prior.penalty_grad(w)
    mistakes = [
        (pull, "The number of examples is missing: the loss is a mean, so one log prior counts one n-th."),
        (-pull, "The sign is wrong, and the number of examples is missing."),
        (pull * n, "The more examples, the less the prior weighs: multiply or divide?"),
        (prior.penalty(w) / n, "This is the penalty itself. A training step needs its slope."),
        (prior.log_prob(w) / n, "This is the log prior itself. A training step needs the slope of the penalty."),
    ]
    otherwise = "Add the slope of the penalty, which is minus the log prior."
    expect(answer, call(answer, w.clone(), prior, n), pull / n, mistakes, otherwise)
    praise("Right. In closed form, no automatic differentiation needed.")


def one_step(answer: Answer) -> None:
    """Check the order of a training step, a function of its five parts (`PARTS`), which take no arguments."""
    calls: list[str] = []
    call(answer, **{part: lambda part=part: calls.append(part) for part in PARTS})
    if missing := [part for part in PARTS if part not in calls]:
        raise NotYet(f"Never called: {', '.join(missing)}. A step needs each of its five parts.")
    if len(calls) > len(PARTS):
        raise NotYet("A part is called more than once. Each has one place in a step.")
    prior, backward, prune, update, clear = map(calls.index, PARTS)
    wrong = [
        (backward > update, "The optimizer moves the weights before there is a gradient to follow."),
        (min(backward, prior) < clear < update, "The gradient is wiped out before the optimizer has seen it."),
        (prior > update, "The prior comes too late: this optimizer step does not feel it."),
        (prior < backward, "The prior comes too early: clipping and scaling the data's gradient would touch it, too."),
        (prune < update, "You prune, and then the optimizer moves the zeros away: the step ends without them."),
    ]
    for is_wrong, hint in wrong:
        if is_wrong:
            raise NotYet(hint)
    usual = calls == ["zero_grad", "backward", "add_prior", "update", "prune"]
    other = "Right. The order is not the usual one, but equivalent: the gradient is cleared before the next backward."
    praise("Right. This order is part of the method, and the library keeps it." if usual else other)


def mask_after(answer: Answer) -> None:
    """Check the mask at the end of a step, a function of step, w, old, schedule, interval, in all phases."""
    import torch

    schedule, interval = CubicSparsity(0.2, 0.7, begin_step=4, end_step=16), 4
    w = torch.tensor([0.6, -0.1, 0.9, -0.4, 0.2, 1.1, -0.8, 0.3, -1.0, 0.7, 0.5])
    old = torch.arange(11) % 2 == 0
    for step in (2, 4, 6, 8, 16, 19):
        result = numbers(answer, call(answer, step, w.clone(), old.clone(), schedule, interval))
        if result.shape != w.shape:
            raise NotYet("A mask has one entry a weight. Yours has another shape.")
        kept, phase = result > 0, schedule.phase(step)
        if schedule.prunes_at(step, interval):
            _check_event(answer, kept, w, old, schedule(step) * w.numel())
        elif phase == "frozen" and not (kept == old.numpy()).all():
            raise NotYet("In the frozen phase the old mask stays, whatever the weights do.")
        elif phase != "frozen" and not kept.all():
            where = "In the warm-up nothing is pruned." if phase == "warmup" else "Between two events zeros may regrow."
            raise NotYet(f"{where} Your mask removes weights there. In which phase only does the old one act?")
    _check_count_of_a_matrix(answer, w[1:].view(5, 2), schedule, interval)
    praise("Right. All parts of the method are yours now. Next comes a training with them.")


def _check_count_of_a_matrix(answer: Answer, w: Any, schedule: CubicSparsity, interval: int) -> None:
    """Check how many weights of a matrix go at an event; an answer that is made for one row alone is let through."""
    step = schedule.end_step
    try:
        kept = numbers(answer, call(answer, step, w.clone(), w > 0, schedule, interval))
    except NotYet:
        return
    if (kept == 0).sum() != round(schedule(step) * w.numel()):
        raise NotYet("k: too few weights go where w is a matrix. Do you count its entries, or its rows alone?")


def _check_event(answer: Answer, kept: np.ndarray, w: Any, old: Any, count: float) -> None:
    """Check the mask after a prune event: round(count) of the smallest magnitudes go, whatever the old mask was."""
    k, size = round(count), w.abs()
    right = _without_smallest(size, k)
    judged_anew = "At a prune event all weights are judged anew, also those at zero: the old mask has no say."
    turned = "As many weights go as should be kept: is the share or the mask turned round?"
    mistakes = [
        (right & old, judged_anew),
        (_without_smallest(size * old, k), judged_anew),
        (~right, turned),
        (_without_smallest(size, round(w.numel() - count)), turned),
        (_without_smallest(size, int(count)), "You cut off the fraction: k is the nearest whole number."),
        (_without_smallest(-size, k), "The right number of weights go, but the largest: which end of the order goes?"),
    ]
    if kept.sum() == right.sum() and not any(same(kept, mask) for mask, _ in [(right, ""), *mistakes]):
        raise NotYet("The right number of weights go, but not those of the smallest magnitudes: see exact_mask.")
    expect(answer, kept, right, mistakes, "At a prune event another number of weights goes than the schedule asks for.")


CHECKS = [cubic_sparsity, global_threshold, exact_mask, prior_pull, one_step, mask_after]
