"""The benchmarks in small: they run, and what they race gives the same results. Nothing here looks at speed."""

import json
import os
from pathlib import Path

import pytest
import torch
from browser import find_chromium
from click.testing import CliRunner

from mgpp import MixtureGaussianPrior
from mgpp.pruning.masks import pack, prune_, unpack
from mgpp.pruning.observer import signed_counts
from mgpp.pruning.threshold import find_cut
from tools.tables import benchmark_markdown, training_lines

FOLDER = Path(__file__).parent / "benchmarks"


@pytest.fixture
def textbook(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import textbook

    return textbook


def call(command, *words):
    """What a script of the benchmarks prints."""
    done = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("k", [1, 500, 1777, 2400])
def test_the_textbook_prunes_the_same(textbook, k):
    weights = [torch.randn(40, 30), torch.randn(1200).round(decimals=1)]  # the second with many ties
    named = {str(i): weight.clone() for i, weight in enumerate(weights)}
    old = [weight > 0 for weight in weights]
    cut = find_cut(named, k)
    ours = prune_(named, cut, k - cut.below, {name: pack(mask) for name, mask in zip(named, old, strict=True)})
    threshold, masks, regrown, changed = textbook.prune(weights, k, old)
    assert threshold == cut.threshold
    assert (regrown, changed) == (ours.regrown, ours.changed)
    for name, mask, weight in zip(named, masks, weights, strict=True):
        assert torch.equal(unpack(ours.masks[name], mask.numel()), mask.flatten())
        assert torch.equal(named[name], weight)


def test_the_textbook_adds_and_counts_the_same(textbook):
    prior, w = MixtureGaussianPrior(0.1, 1e-6, 0.05), torch.randn(1000) * torch.logspace(-6, 0, 1000)
    ours, theirs = torch.zeros(1000), torch.zeros(1000)
    prior.add_grads_([ours], [w], n=3)
    textbook.add_grads_(prior, [theirs], [w], n=3)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    assert (signed_counts(w) == textbook.signed_counts(w)).all()


@pytest.mark.slow
def test_the_kernels_race_and_fill_the_table(textbook, tmp_path):
    import run

    out = tmp_path / "new" / "bench.json"
    said = call(run.main, "--sizes", "tiny", "--rounds", 1, "--steps", 0, "--out", out)
    result = json.loads(out.read_text(encoding="utf-8"))
    assert {row["what"] for row in result["kernels"]} >= {"threshold", "prune event", "frozen mask", "histogram"}
    assert benchmark_markdown(result) in said


@pytest.mark.slow
@pytest.mark.skipif(
    find_chromium() is None and "CI" not in os.environ, reason="no Chromium here; on Debian: apt-get install chromium"
)
def test_the_explorer_is_timed_in_the_page_and_in_jupyterlab(textbook, tmp_path, monkeypatch):
    import explorer

    monkeypatch.setattr(explorer, "RUNS", explorer.RUNS / "reviews-mgpp-0.95-seed0")
    out, picture = tmp_path / "explorer.json", tmp_path / "explorer.png"
    call(explorer.main, "--moves", 6, "--out", out, "--picture", picture)
    result = json.loads(out.read_text(encoding="utf-8"))
    assert [row["where"] for row in result["rows"]] == ["page from disk", "page from disk, A and B", "JupyterLab"]
    assert all(row["moves"] == 6 and 0 < row["median_ms"] <= row["p95_ms"] <= row["max_ms"] for row in result["rows"])
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.usefixtures("few_reviews")
def test_a_training_is_taken_apart(textbook, tiny_model_folder):
    import training

    options = {"model": str(tiny_model_folder), "threads": 1}
    shares = training.shares(12, "reviews-quick", **options)
    for spent in shares.values():
        assert 0 < spent["prior"] + spent["pruning"] + spent["logging"] < spent["training"]
    careless = training.steps_with_less_care(2, "reviews-quick", **options)
    assert len(careless) >= 3
    result = {"steps": 12, "shares": shares, "careless": careless}
    assert "| every text padded to the limit |" in "\n".join(training_lines(result))
