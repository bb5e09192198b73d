"""Wrong answers to session 1 that students may give: the message begins with the hole that is wrong."""

import pytest
from test_checks import bells, filled, message_of

from mgpp.workshop import checks

SQUARE_ROOT = "np.sqrt(2 * np.pi * VAR)"
ONE_BELL = [
    "np.exp(-w / (2 * VAR)) / " + SQUARE_ROOT,
    "np.exp(-abs(w) / (2 * VAR)) / " + SQUARE_ROOT,
    "np.exp(-(w**2) / VAR) / " + SQUARE_ROOT,
    "np.exp(-(w**2) / (2 * VAR**2)) / (VAR * np.sqrt(2 * np.pi))",
    "np.exp(-(w**2) / (2 * VAR))",
    "np.exp(w**2 / (2 * VAR)) / " + SQUARE_ROOT,
    "-(w**2) / (2 * VAR) / " + SQUARE_ROOT,
    "np.exp(-(w**2) / (2 * VAR)) / (2 * np.pi * VAR)",
    "np.exp(-(w**2) / (2 * VAR)) / np.sqrt(VAR)",
    "'a bell'",
    "np.exp(-(w**2) / (2 * sigma)) / " + SQUARE_ROOT,
]
HOLES = {
    ("density", "return"): [
        "slab + spike",
        "(1 - lam) * slab + lam * spike",
        "lam * slab",
        "lam * slab * (1 - lam) * spike",
        "(slab + spike) / 2",
    ],
    ("spike_probability", "shares"): [
        "np.log(lam / (1 - lam))",
        "np.log(1 - lam)",
        "np.log(lam)",
        "(1 - lam) / lam",
        "np.log10((1 - lam) / lam)",
        "np.log(1 - lam) / np.log(lam)",
        "np.log(1 - lam / lam)",
        "1 - lam",
        "np.log(1 - lam) + np.log(lam)",
    ],
    ("spike_probability", "peaks"): [
        "np.log(slab_var / spike_var)",
        "0.5 * np.log(spike_var / slab_var)",
        "np.sqrt(slab_var / spike_var)",
        "slab_var / spike_var",
        "2 * np.log(slab_var / spike_var)",
        "0.5 * np.log(slab_var - spike_var)",
        "0.0",
        "0.5 * np.log10(slab_var / spike_var)",
        "np.log(spike_var / slab_var)",
    ],
    ("spike_probability", "distance"): [
        "0.5 * w * (1 / spike_var - 1 / slab_var)",
        "w**2 * (1 / spike_var - 1 / slab_var)",
        "0.5 * w**2 / spike_var",
        "0.5 * w**2 * (1 / slab_var - 1 / spike_var)",
        "0.5 * w**2 * (slab_var - spike_var)",
        "0.5 * w**2 / (slab_var - spike_var)",
        "0.5 * w**2 * (1 / spike_var + 1 / slab_var)",
        "0.5 * w**2 * (1 / spike_var**2 - 1 / slab_var**2)",
        "0.5 * (1 / spike_var - 1 / slab_var)",
        "0.5 * (w * (1 / spike_var - 1 / slab_var)) ** 2",
        "w.mean()",
        "0.5 * w**2 * (1 / spike - 1 / slab)",
    ],
    ("penalty_gradient", "precision"): [
        "p0 * spike_var + (1 - p0) * slab_var",
        "(1 - p0) / spike_var + p0 / slab_var",
        "1 / spike_var + 1 / slab_var",
        "1 / spike_var",
        "p0 / spike_var",
        "p0 / spike_var * (1 - p0) / slab_var",
        "(1 / spike_var + 1 / slab_var) / 2",
    ],
    ("penalty_gradient", "return"): [
        "precision",
        "-w * precision",
        "w**2 * precision",
        "w / precision",
        "0.5 * w**2 * precision",
    ],
    ("matched_strengths", "l1"): ["pull / w", "pull * w", "2 * pull", "'pull'", "abs(w)"],
    ("matched_strengths", "l2"): [
        "pull",
        "pull * w",
        "2 * pull / w",
        "pull / w**2",
        "pull / (2 * w)",
        "2 * pull / w**2",
    ],
    ("prior_threshold", "log_odds"): [
        "np.log((1 - lam) / lam)",
        "0.5 * np.log(slab_var / spike_var)",
        "np.log(lam / (1 - lam)) + 0.5 * np.log(slab_var / spike_var)",
        "np.log((1 - lam) / lam) + np.log(slab_var / spike_var)",
        "(1 - lam) / lam * np.sqrt(slab_var / spike_var)",
    ],
    ("prior_threshold", "gap"): [
        "1 / slab_var - 1 / spike_var",
        "slab_var - spike_var",
        "1 / spike_var",
        "1 / spike_var + 1 / slab_var",
        "1 / (slab_var - spike_var)",
    ],
    ("prior_threshold", "return"): [
        "np.sqrt(log_odds / gap)",
        "2 * log_odds / gap",
        "np.sqrt(2 * gap / log_odds)",
        "np.sqrt(2 * log_odds) / gap",
        "log_odds / gap",
    ],
    ("slab_as_l2", "slope"): [
        "slab_var",
        "1 / np.sqrt(slab_var)",
        "0.5 / slab_var",
        "1 / slab_var**2",
        "'1 / slab_var'",
        "1 / (slab_var * n)",
    ],
    ("slab_as_l2", "return"): [
        "slope",
        "slope * n",
        "str(slope / n)",
        "slope / n**2",
        "slope / np.sqrt(n)",
        "f'{slope / n}'",
    ],
}
BELLS = [(name, text.replace("VAR", f"{name}_var")) for text in ONE_BELL for name in ("spike", "slab")]
WRONG = [("density", *bell) for bell in BELLS] + [(*hole, text) for hole, texts in HOLES.items() for text in texts]


def test_there_are_enough():
    assert len(set(WRONG)) > 80


@pytest.mark.parametrize(("name", "hole", "text"), WRONG)
def test_the_message_begins_with_the_hole_that_is_wrong(name, hole, text):
    assert message_of(name, filled(name, **{"returns" if hole == "return" else hole: text})).startswith(f"{hole}: ")


@pytest.mark.parametrize("text", ONE_BELL)
def test_of_two_wrong_bells_the_first_is_named(text):
    assert message_of("density", filled("density", **bells(text))).startswith("spike: ")


def test_two_values_are_asked_for():
    assert "one value" in message_of("matched_strengths", lambda pull, w: pull / w)
    assert "one value" in message_of("matched_strengths", lambda pull, w: pull)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_holes_may_be_shared_out_in_another_way(factor, capsys):
    """What is right as a whole passes, whatever its variables hold."""
    text = f"{factor} * np.log(slab_var / spike_var)"
    rest = f"0.5 * w**2 * (1 / spike_var - 1 / slab_var) + ({factor} - 0.5) * np.log(slab_var / spike_var)"
    checks.spike_probability(filled("spike_probability", peaks=text, distance=rest))
    assert capsys.readouterr().out.startswith("✓ ")
