"""Checkers of the workshop: the solutions pass, and a wrong answer gets a hint at what is wrong, never the answer."""

import ast
import inspect
import math
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from mgpp.workshop import checks
from mgpp.workshop.checks import NotYet, feedback

WORKSHOP = Path(__file__).parents[1] / "notebooks" / "workshop"
NAMES = [check.__name__ for session in checks.SESSIONS.values() for check in session]
HOLE = re.compile(r"^(\s*)(return|\w+ =) (.+?)  # hole: .*$", re.MULTILINE)
SYMBOLS = re.compile(r"1 − λ|[Ll][12]|p0|σ[01]?²")  # what may hold a digit in a message


@cache
def exercises(folder):
    """Return the source of every exercise's cell in source, student or solutions."""
    found = {}
    for path in sorted((WORKSHOP / folder).glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if "exercise" in cell.metadata.get("tags", []):
                found[ast.parse(cell.source).body[-1].name] = cell.source
    return found


def defined(name, source):
    """Return the function of an exercise, among solutions of the others."""
    scope = {"np": np, "pd": pd, "torch": torch, "math": math}
    for other, text in {**exercises("solutions"), name: source}.items():
        exec(compile(text, f"<{other}>", "exec"), scope)
    return scope[name]


def filled(name, **holes):
    """Fill an exercise's holes as a student might. A hole is `returns` or the name that is assigned."""
    source = exercises("solutions")[name]
    for key, value in holes.items():
        left = "return" if key == "returns" else f"{key} ="
        source, count = re.subn(
            rf"^(\s*{left}) .+?  # hole: .*$",
            lambda hole, value=value: f"{hole[1]} {value}",
            source,
            flags=re.MULTILINE,
        )
        assert count, f"{name} has no hole {key}"
    return defined(name, source)


def message_of(name, answer):
    with pytest.raises(NotYet) as error:
        getattr(checks, name)(answer)
    return str(error.value)


def bells(form):
    """Fill both bells of the density with one formula of the variance VAR."""
    return {name: form.replace("VAR", f"{name}_var") for name in ("spike", "slab")}


# exercise, what stands in its holes, a part of the message
WRONG = [
    ("density", {"returns": "(1 - lam) * slab + lam * spike"}, "changed places"),
    ("density", {"returns": "slab + spike"}, "their shares"),
    ("density", bells("np.exp(-(w**2) / (2 * VAR**2)) / np.sqrt(2 * np.pi) / VAR"), "standard deviation"),
    ("density", bells("np.exp(-(w**2) / (2 * VAR)) / (2 * np.pi * VAR)"), "A root is missing"),
    ("density", bells("np.exp(-(w**2) / (2 * VAR))"), "area of one"),
    ("density", bells("np.exp(-(w**2) / VAR) / np.sqrt(2 * np.pi * VAR)"), "too narrow"),
    ("density", bells("np.exp(w**2 / (2 * VAR)) / np.sqrt(2 * np.pi * VAR)"), "grow away"),
    ("density", bells("np.exp(-(w**2) / 2 * VAR) / np.sqrt(2 * np.pi * VAR)"), "exponent needs brackets"),
    ("density", {"slab": "np.exp(-(w**2) / 2 * slab_var) / np.sqrt(2 * np.pi * slab_var)"}, "exponent needs brackets"),
    ("density", bells("np.exp(-(w**2) / (2 * VAR)) / np.sqrt(2 * np.pi) / VAR"), "root under a bell"),
    ("density", bells("np.exp(-(w**2) / (2 * VAR)) / np.sqrt(2 * np.pi) * np.sqrt(VAR)"), "divides a bell"),
    ("density", {"returns": "spike"}, "Only the spike"),
    ("density", {"returns": "(1 - lam) * spike"}, "Only the spike"),
    ("density", {"returns": "lam * slab"}, "Only the slab"),
    ("density", {"spike": "math.exp(-(w**2) / (2 * spike_var)) / math.sqrt(2 * math.pi * spike_var)"}, "math.exp"),
    ("spike_probability", {"shares": "np.log(lam / (1 - lam))"}, "changed places"),
    ("spike_probability", {"peaks": "np.log(slab_var / spike_var)"}, "root of the variance"),
    ("spike_probability", {"peaks": "0.5 * np.log(spike_var / slab_var)"}, "the higher one"),
    ("spike_probability", {"distance": "w**2 * (1 / spike_var - 1 / slab_var)"}, "twice as much"),
    ("spike_probability", {"distance": "0.5 * w**2 * (1 / slab_var - 1 / spike_var)"}, "sign of the distance"),
    ("spike_probability", {"peaks": "np.log(slab_var / spike_var)",
                           "distance": "0.5 * w**2 * (1 / spike_var**2 - 1 / slab_var**2)"}, "standard deviation"),
    ("penalty_gradient", {"returns": "-w * precision"}, "The sign"),
    ("penalty_gradient", {"precision": "(1 - p0) / spike_var + p0 / slab_var"}, "changed places"),
    ("penalty_gradient", {"precision": "p0 / spike_var**0.5 + (1 - p0) / slab_var**0.5"}, "no root"),
    ("penalty_gradient", {"precision": "p0 / spike_var**2 + (1 - p0) / slab_var**2"}, "standard deviation"),
    ("penalty_gradient", {"precision": "1 / (p0 * spike_var + (1 - p0) * slab_var)"}, "average the variances"),
    ("penalty_gradient", {"precision": "p0 * spike_var + (1 - p0) * slab_var"}, "not precisions"),
    ("penalty_gradient", {"returns": "2 * w * precision"}, "Too much by a factor of two"),
    ("penalty_gradient", {"returns": "w * precision / 2"}, "Too little by a factor of two"),
    ("penalty_gradient", {"returns": "w * precision / 3"}, "too small by the same factor"),
    ("penalty_gradient", {"returns": "7 * w * precision"}, "too large by the same factor"),
    ("penalty_gradient", {"precision": "p0 / spike_var"}, "Only the spike pulls"),
    ("penalty_gradient", {"precision": "(1 - p0) / slab_var"}, "Only the slab pulls"),
    ("penalty_gradient", {"precision": "np.where(p0 > 0.5, 1 / spike_var, 1 / slab_var)"}, "You switch"),
    ("penalty_gradient", {"precision": "1 / spike_var + 1 / slab_var"}, "not their probabilities"),
    ("penalty_gradient", {"precision": "p0**2 / spike_var + (1 - p0) / slab_var"}, "too small in places"),
    ("penalty_gradient", {"returns": "precision"}, "stiff"),
    ("penalty_gradient", {"returns": "abs(w) * precision"}, "got lost"),
    ("matched_strengths", {"l1": "pull / w", "l2": "pull"}, "changed places"),
    ("matched_strengths", {"l2": "pull"}, "in proportion"),
    ("matched_strengths", {"l1": "pull / w"}, "L1 pulls equally"),
    ("matched_strengths", {"l2": "pull * w"}, "Put your L2 back"),
    ("matched_strengths", {"l2": "2 * pull / w"}, "Too much by a factor of two"),
    ("matched_strengths", {"l2": "pull / w / 2"}, "Too little by a factor of two"),
    ("prior_threshold", {"log_odds": "np.log((1 - lam) / lam) - 0.5 * np.log(slab_var / spike_var)"}, "the higher one"),
    ("prior_threshold", {"log_odds": "np.log((1 - lam) / lam) + 0.5 * np.log(spike_var / slab_var)"}, "the higher one"),
    ("prior_threshold", {"returns": "2 * log_odds / gap"}, "This is a square"),
    ("prior_threshold", {"returns": "log_odds / gap"}, "square, and a factor"),
    ("prior_threshold", {"returns": "np.sqrt(log_odds / gap)"}, "is missing"),
    ("prior_threshold", {"returns": "np.sqrt(log_odds / gap / 2)"}, "wrong side"),
    ("prior_threshold", {"returns": "-np.sqrt(2 * log_odds / gap)"}, "sign"),
    ("prior_threshold", {"log_odds": "np.log(lam / (1 - lam)) + 0.5 * np.log(slab_var / spike_var)"},
     "changed places"),
    ("prior_threshold", {"log_odds": "np.log((1 - lam) / lam) + np.log(slab_var / spike_var)"}, "root of the variance"),
    ("prior_threshold", {"log_odds": "np.log((1 - lam) / lam)"}, "the heights are missing"),
    ("prior_threshold", {"log_odds": "0.5 * np.log(slab_var / spike_var)"}, "the shares are missing"),
    ("prior_threshold", {"gap": "1 / spike_var"}, "slab's precision is missing"),
    ("prior_threshold", {"gap": "1 / slab_var - 1 / spike_var"}, "The sign"),
    ("slab_as_l2", {"returns": "slope"}, "number of examples is missing"),
    ("slab_as_l2", {"returns": "slope * n"}, "The more examples"),
    ("slab_as_l2", {"slope": "slab_var"}, "pulls gently"),
    ("slab_as_l2", {"slope": "1 / slab_var**0.5"}, "no root"),
    ("slab_as_l2", {"slope": "1 / slab_var**2"}, "standard deviation"),
    ("slab_as_l2", {"slope": "1 / (2 * slab_var)"}, "exponent's factor"),
    ("slab_as_l2", {"slope": "2 / slab_var"}, "Too much"),
    ("cubic_sparsity", {"returns": "initial + (final - initial) * left**3"}, "initial and final have changed places"),
    ("cubic_sparsity", {"returns": "final + (initial - final) * left"}, "straight line"),
    ("cubic_sparsity", {"returns": "final + (initial - final) * left**2"}, "count the powers"),
    ("cubic_sparsity", {"returns": "final + (initial - final) * (1 - left) ** 3"}, "the way left"),
    ("cubic_sparsity", {"returns": "initial + (final - initial) * (1 - left) ** 3"}, "slow first"),
    ("cubic_sparsity", {"returns": "final + (final - initial) * left**3"}, "from above"),
    ("cubic_sparsity", {"done": "step / end"}, "starts at begin"),
    ("cubic_sparsity", {"done": "(step - begin) / end"}, "How long"),
    ("cubic_sparsity", {"returns": "1 - final - (initial - final) * left**3"}, "one minus"),
    ("global_threshold", {"returns": "sizes.sort()[0][k].item()"}, "a rank too high"),
    ("global_threshold", {"returns": "sizes.kthvalue(k - 1).values.item()"}, "a rank too low"),
    ("global_threshold", {"sizes": "torch.cat([weight.flatten() for weight in weights])"}, "signed values"),
    ("global_threshold", {"returns": "sizes.sort(descending=True)[0][k - 1].item()"}, "from the largest"),
    ("global_threshold", {"returns": "sizes.quantile(k / len(sizes)).item()"}, "interpolated"),
    ("global_threshold", {"returns": "[w.abs().quantile(k / len(sizes)) for w in weights]"}, "one number"),
    ("global_threshold", {"returns": "sizes.kthvalue(k)"}, "one number"),
    ("global_threshold", {"returns": "sizes.sort().values[:k]"}, "one number"),
    ("exact_mask", {"removed": "order[k:]"}, "True means kept"),
    ("exact_mask", {"order": "weights.flatten().argsort(stable=True)"}, "signed values"),
    ("exact_mask", {"order": "weights.abs().flatten().argsort(descending=True, stable=True)"}, "The largest went"),
    ("exact_mask", {"removed": "order[: k + 1]"}, "too many"),
    ("exact_mask", {"removed": "order[: k - 1]"}, "too few"),
    ("exact_mask", {"order": "(weights.numel() - 1) - weights.abs().flatten().flip(0).argsort(stable=True)"},
     "the first must go"),
    ("exact_mask", {"removed": "weights.abs().flatten() < weights.abs().flatten()[order[k - 1]]"}, "too few zeros"),
    ("exact_mask", {"removed": "weights.abs().flatten() <= weights.abs().flatten()[order[k - 1]]"}, "too many zeros"),
    ("prior_pull", {"returns": "-slope / n"}, "The sign"),
    ("prior_pull", {"returns": "slope"}, "number of examples is missing"),
    ("prior_pull", {"returns": "-slope"}, "and the number of examples"),
    ("prior_pull", {"returns": "slope * n"}, "The more examples"),
    ("prior_pull", {"slope": "prior.penalty(w)"}, "penalty itself"),
    ("prior_pull", {"slope": "prior.log_prob(w)"}, "log prior itself"),
    ("one_step", {"order": "(zero_grad, backward, update, add_prior, prune)"}, "too late"),
    ("one_step", {"order": "(zero_grad, add_prior, backward, update, prune)"}, "too early"),
    ("one_step", {"order": "(zero_grad, backward, add_prior, prune, update)"}, "moves the zeros away"),
    ("one_step", {"order": "(backward, zero_grad, add_prior, update, prune)"}, "wiped out"),
    ("one_step", {"order": "(zero_grad, update, backward, add_prior, prune)"}, "before there is a gradient"),
    ("one_step", {"order": "(zero_grad, backward, update, prune)"}, "Never called: add_prior"),
    ("one_step", {"order": "(zero_grad, backward, add_prior, update, prune, zero_grad)"}, "more than once"),
    ("mask_after", {"k": "round((1 - schedule(step)) * w.numel())"}, "turned round"),
    ("mask_after", {"k": "int(schedule(step) * w.numel())"}, "cut off the fraction"),
    ("mask_after", {"k": "round(schedule(step) * w.numel()) + 1"}, "another number of weights"),
    ("mask_after", {"keep_old": "False"}, "In the frozen phase"),
    ("mask_after", {"keep_old": 'schedule.phase(step) == "pruning"'}, "may regrow"),
    ("mask_after", {"keep_old": 'schedule.phase(step) != "pruning"'}, "In the warm-up"),
    ("overall_sparsity", {"targets": "table"}, "The wrong total"),
    ("overall_sparsity", {"returns": 'zeros / table["n"].sum()'}, "the total is everything"),
    ("overall_sparsity", {"zeros": 'table["zeros"].sum()'}, "the zeros are everyone's"),
    ("overall_sparsity", {"returns": '(targets["zeros"] / targets["n"]).mean()'}, "Weight by size"),
    ("overall_sparsity", {"returns": '1 - zeros / targets["n"].sum()'}, "one minus"),
    ("overall_sparsity", {"returns": "zeros"}, "not a share"),
    ("overall_sparsity", {"returns": '100 * zeros / targets["n"].sum()'}, "percent"),
    ("sparsity_by_layer", {"returns": 'layers.groupby("layer")["sparsity"].mean()'}, "Weight by size"),
    ("sparsity_by_layer", {"returns": '1 - sums["zeros"] / sums["n"]'}, "one minus"),
    ("sparsity_by_layer", {"returns": 'sums["zeros"] / layers["n"].sum()'}, "the whole model"),
    ("sparsity_by_layer", {"returns": 'sums["zeros"] / sums["zeros"].sum()'}, "shared out"),
    ("sparsity_by_layer", {"returns": 'sums["zeros"]'}, "not a share"),
    ("sparsity_by_layer", {"zeros": 'layers["sparsity"]', "returns": 'sums["zeros"]'}, "do not add up"),
    ("spike_share", {"reach": 'bins["right"]'}, "Every negative weight"),
    ("spike_share", {"inside": 'bins.loc[bins["right"] <= 0, "count"].sum()'}, "compare with zero"),
    ("spike_share", {"reach": '-bins["left"]'}, "Every positive weight"),
    ("spike_share", {"inside": 'bins.loc[reach > tau, "count"].sum()'}, "share of the slab"),
    ("spike_share", {"inside": "(reach <= tau).sum()"}, "You count bins"),
    ("spike_share", {"inside": 'bins.loc[(reach <= tau) & (reach > 0), "count"].sum()'}, "exact zeros are missing"),
    ("spike_share", {"inside": 'bins.loc[reach <= 0, "count"].sum()'}, "Only the exact zeros"),
    ("spike_share", {"reach": 'bins[["left", "right"]].abs().min(axis=1)'}, "far edge"),
    ("spike_share", {"inside": 'bins.loc[reach < tau, "count"].sum()'}, "exactly at the threshold"),
    ("remaining_density", {"rest": "bins"}, "exact zeros is still there"),
    ("remaining_density", {"rest": 'bins[(bins["left"] != 0) & (bins["right"] != 0)]'}, "Too many bins"),
    ("remaining_density", {"shares": 'rest["count"] / bins["count"].sum()'}, "pruned zeros are in the total"),
    ("remaining_density", {"returns": "shares"}, "These are shares"),
    ("remaining_density", {"shares": 'rest["count"]'}, "counts per unit"),
    ("remaining_density", {"returns": 'rest["count"]'}, "neither"),
    ("remaining_density", {"returns": 'shares * (rest["right"] - rest["left"])'}, "multiply or divide"),
    ("mask_churn", {"changed": "before == after"}, "one minus"),
    ("mask_churn", {"changed": "before & ~after"}, "Only newly removed"),
    ("mask_churn", {"changed": "~before & after"}, "Only weights that came back"),
    ("mask_churn", {"returns": "abs(before.mean() - after.mean())"}, "cancel out"),
    ("mask_churn", {"returns": "changed.sum() / before.sum()"}, "kept before"),
    ("mask_churn", {"returns": "changed.sum() / (~before).sum()"}, "removed before"),
    ("mask_churn", {"returns": "changed.sum()"}, "not a share"),
    ("paired_difference", {"difference": "theirs - ours"}, "wrong sign"),
    ("paired_difference", {"error": "((ours.var() + theirs.var()) / len(ours)) ** 0.5"}, "unpaired"),
    ("paired_difference", {"difference": "pd.Series(ours.to_numpy() - theirs.to_numpy())"}, "matched by row"),
    ("paired_difference", {"error": "difference.std()"}, "single differences"),
    ("paired_difference", {"error": "difference.std() / len(difference)"}, "Too small an error"),
    ("paired_difference", {"error": "np.std(difference.to_numpy()) / len(difference) ** 0.5"}, "degrees of freedom"),
    ("paired_difference", {"error": "difference.var() / len(difference) ** 0.5"}, "A variance"),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes_and_is_praised(name, capsys):
    getattr(checks, name)(defined(name, exercises("solutions")[name]))
    printed = capsys.readouterr().out
    assert printed.startswith("✓ ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("name", NAMES)
def test_what_is_unfinished_or_broken_is_named(name):
    def broken(*args, **named):
        raise KeyError("n")

    stub = exercises("student")[name]
    opened = "\n".join(line for line in stub.splitlines() if "NotImplementedError" not in line)
    assert f"{name} is still a stub" in message_of(name, defined(name, stub))
    assert f"{name} still has a hole" in message_of(name, defined(name, opened))
    assert message_of(name, broken) == "broken stopped with KeyError: 'n'"
    assert "not a function" in message_of(name, 3.0)


@pytest.mark.parametrize(("name", "holes", "keyword"), WRONG, ids=[f"{name}-{keyword}" for name, _, keyword in WRONG])
def test_a_wrong_answer_gets_a_fitting_hint_without_numbers(name, holes, keyword):
    message = message_of(name, filled(name, **holes))
    assert keyword in message
    assert not re.search(r"\d", SYMBOLS.sub("", message))


@pytest.mark.parametrize("dtype", [np.float64, np.longdouble])
def test_bells_that_vanish_far_out_are_found(dtype):
    def spike_probability(w, lam, spike_var, slab_var):
        w = np.asarray(w, dtype=dtype)
        spike = (1 - lam) * np.exp(-(w**2) / (2 * spike_var)) / np.sqrt(spike_var)
        slab = lam * np.exp(-(w**2) / (2 * slab_var)) / np.sqrt(slab_var)
        return spike / (spike + slab)

    assert "logarithms" in message_of("spike_probability", spike_probability)


def test_a_mask_by_an_unstable_sort_is_found():
    for order in ("weights.abs().flatten().argsort()", "weights.abs().flatten().sort().indices"):
        assert "stable" in message_of("exact_mask", filled("exact_mask", order=order))
    unstable = "torch.from_numpy(np.argsort(weights.abs().flatten().numpy(), kind='heapsort'))"
    assert message_of("exact_mask", filled("exact_mask", order=unstable))


def test_the_rows_of_a_matrix_are_not_its_weights():
    assert message_of("mask_after", filled("mask_after", k="round(schedule(step) * len(w))")).startswith("k: ")


def mask_that_removes(order_of):
    """Return a mask_after whose prune events remove the first k positions of `order_of(w, old)`."""

    def mask_after(step, w, old, schedule, interval):
        if schedule.prunes_at(step, interval):
            kept = torch.ones_like(old)
            kept[order_of(w, old)[: round(schedule(step) * w.numel())]] = False
            return kept
        return old if schedule.phase(step) == "frozen" else torch.ones_like(old)

    return mask_after


@pytest.mark.parametrize(
    ("order_of", "keyword"),
    [
        (lambda w, old: w.abs().argsort(descending=True), "the largest"),
        (lambda w, old: w.argsort(), "not those of the smallest"),
        (lambda w, old: torch.arange(w.numel()), "not those of the smallest"),
        (lambda w, old: (w * old).abs().argsort(stable=True), "judged anew"),
    ],
)
def test_a_mask_that_removes_others_than_the_smallest_is_found(order_of, keyword):
    assert keyword in message_of("mask_after", mask_that_removes(order_of))


def test_old_zeros_are_not_kept_at_an_event():
    def mask_after(step, w, old, schedule, interval):
        return right(step, w, old, schedule, interval) & (old | (not schedule.prunes_at(step, interval)))

    right = filled("mask_after")
    assert "judged anew" in message_of("mask_after", mask_after)


@pytest.mark.parametrize("order", ["update, zero_grad, prune", "update, prune, zero_grad"])
def test_an_order_with_the_same_effect_is_called_equivalent(order, capsys):
    checks.one_step(filled("one_step", order=f"(backward, add_prior, {order})"))
    assert "equivalent" in capsys.readouterr().out


def test_values_on_both_sides_of_zero_are_compared_by_magnitude():
    with pytest.raises(NotYet, match="too large in places"):
        feedback.expect(len, [-2.0, 1.0, 3.0, 9.0], [-1.0, 1.0, 2.0, 9.0], [], "Look.")


def test_a_threshold_from_one_layer_at_a_time_is_found():
    def global_threshold(weights, k):
        return np.mean([float(w.abs().quantile(0.4, interpolation="lower")) for w in weights])

    assert "one row" in message_of("global_threshold", global_threshold)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "one_step"])  # whose answers return nothing
@pytest.mark.parametrize("result", [None, "text", float("nan"), 12345.0, [1.0] * 99, {}, object()])
def test_no_answer_brings_a_checker_down(name, result):
    parameters = inspect.signature(defined(name, exercises("solutions")[name])).parameters
    scope = {"result": result}
    exec(f"def {name}({', '.join(parameters)}):\n    return result", scope)
    assert len(message_of(name, scope[name])) < 250


def test_no_message_contains_an_answer():
    answers = {match[3] for source in exercises("source").values() for match in HOLE.finditer(source)}
    assert len(answers) > 35
    for path in Path(checks.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if " " in text:  # others are names of columns and parts
                assert not [answer for answer in answers if len(answer) > 5 and answer in text], text


def test_an_answer_may_be_of_any_kind_of_numbers(capsys):
    solved = defined("density", exercises("solutions")["density"])
    checks.density(lambda *args: solved(*args).tolist())
    checks.density(lambda *args: torch.tensor(solved(*args), requires_grad=True))
    assert capsys.readouterr().out.count("✓") == 2


def test_checkers_load_no_torch_before_they_need_it():
    code = "import sys; from mgpp.workshop import checks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
