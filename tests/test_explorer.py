"""What the explorer is given: histograms packed for the browser, presets, the page, the widget."""

import base64
import gzip
import json
import re

import numpy as np
import pytest

from mgpp import MixtureGaussianPrior, Snapshots, explore, save_explorer
from mgpp.lab.explorer.colors import COLORS, PAPERS, contrast_of
from mgpp.lab.explorer.content import PRESETS, PRETRAINED, START, Content, script, stylesheet
from mgpp.lab.explorer.sources import penalty_of

NAME = "encoder.layer.0.output.dense.weight"
OTHER = "encoder.layer.1.attention.self.query.weight"


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    return {NAME: rng.normal(0, 0.05, 2000), OTHER: np.append(rng.normal(0, 0.02, 990), np.zeros(10))}


def unpacked(content, index):
    """Counts of one source, shape (steps, matrices, columns), by a reading of the format that is not the packing."""
    source = content.header["sources"][index]
    shape = (len(source["edges"]), len(source["targets"]), len(source["rows"]))
    block = np.frombuffer(gzip.decompress(content.counts), np.uint8)[source["start"] :]
    planes = block[: 4 * np.prod(shape)].reshape(4, *shape).astype(np.int64)
    return sum(planes[i] << (8 * i) for i in range(4)).transpose(2, 1, 0)


def test_histograms_are_packed_and_come_out_again(weights, tiny_run):
    content = Content.of([tiny_run], weights)
    for index, snapshots in enumerate((Snapshots.of_weights(weights, name=""), Snapshots.of_run(tiny_run))):
        counts = unpacked(content, index)
        assert (counts[..., 0] == snapshots.zeros).all()
        assert (counts[..., 1:] == snapshots.counts).all()


def test_the_header_says_what_the_log_knows(tiny_run):
    (source,) = Content.of([tiny_run]).header["sources"]
    assert source["label"] == "MGPP, sparsity 0.9, seed 0"
    assert source["n"] == tiny_run.info["examples"]["train"]
    logged = tiny_run.metrics.set_index("step")
    for row in source["rows"]:
        threshold = logged["pruning_threshold"].get(row["step"])
        assert row["pruning_threshold"] == (None if np.isnan(threshold) else threshold)


def test_runs_that_look_alike_are_told_apart_by_their_names(tiny_run):
    twin = type(tiny_run)(tiny_run.folder.with_name("twin"), tiny_run.info)
    twin.__dict__.update(weights=tiny_run.weights, metrics=tiny_run.metrics)
    labels = [source["label"] for source in Content.of([tiny_run, twin]).header["sources"]]
    assert labels == [f"MGPP, sparsity 0.9, seed 0 ({name})" for name in (tiny_run.name, "twin")]


def test_the_same_content_gives_the_same_bytes(weights):
    first, second = (Content.of(weights=weights) for _ in range(2))
    assert first.counts == second.counts
    assert first.header_json() == second.header_json()


def test_the_header_may_stand_in_a_page():
    text = Content({"presets": "</script>"}, b"").header_json()
    assert "<" not in text
    assert json.loads(text) == {"presets": "</script>"}


@pytest.mark.parametrize("preset", [preset["settings"] for preset in PRESETS], ids=[p["label"] for p in PRESETS])
def test_presets_are_priors_with_a_threshold(preset):
    prior = {key: preset[key] for key in ("lam", "spike_var", "slab_var")}
    assert MixtureGaussianPrior(**prior).has_threshold
    assert set(preset) <= set(START)


def test_the_page_needs_nothing_else(weights, tiny_run, tmp_path):
    page = save_explorer(tmp_path / "deep" / "page.html", runs=[tiny_run], weights=weights, lam=1e-3).read_text("utf-8")
    assert not re.search(r"(src|href)=|@import|url\((?!#)|import\(", page)
    assert set(re.findall(r"https?://[^\s\"'`]+", page)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    header = json.loads(re.search(r'<script id="header".*?>(.*?)</script>', page).group(1))
    assert header["state"]["lam"] == 1e-3
    packed = re.search(r'<script id="counts".*?>(.*?)</script>', page).group(1)
    assert base64.b64decode(packed) == Content.of([tiny_run], weights).counts


def test_no_weights_and_runs_that_come_twice_are_refused(tiny_run):
    with pytest.raises(ValueError, match="runs and weights"):
        Content.of()
    with pytest.raises(ValueError, match=tiny_run.name):
        Content.of([tiny_run, tiny_run])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 1}, "sigma"),
        ({"lam": 5}, "lam=5"),
        ({"spike_var": 1.0}, "spike_var=1"),
        ({"n": 0}, "n=0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"source": "mine"}, "source='mine'"),
        ({"step": 7}, "step=7"),
    ],
)
def test_settings_that_cannot_be_are_refused(weights, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        save_explorer(tmp_path / "page.html", weights=weights, **settings)
    with pytest.raises(ValueError, match=message):
        explore(weights=weights, **settings)


def test_it_begins_with_a_run_of_the_method_and_follows_it_unless_told_otherwise(weights, tiny_run):
    content = Content.of([tiny_run], weights)
    places = {"step": None, "layer": "", "kind": "", "follow": True, "compare": None}
    assert Content.of(weights=weights).start({}) == START | places | {"source": PRETRAINED, "step": 0}
    opening = content.start({})
    rows = {row["step"]: row["sparsity"] for row in content.header["sources"][1]["rows"]}
    assert opening["source"] == tiny_run.name
    assert rows[opening["step"]] >= 0.5 * max(rows.values())
    told = content.start({"lam": np.float32(0.5), "n": np.int64(5), "layer": 1, "source": tiny_run.name})
    assert (told["lam"], told["n"], told["layer"], told["source"]) == (0.5, 5, "1", tiny_run.name)
    assert not told["follow"]
    json.dumps(told)


def test_b_begins_like_a_but_for_what_is_said(weights, tiny_run):
    told = Content.of([tiny_run], weights).start({"source": tiny_run.name, "compare": {"lam": 1e-3}})
    assert told["follow"]
    assert told["compare"]["source"] == tiny_run.name
    assert (told["compare"]["lam"], told["compare"]["follow"]) == (1e-3, False)


def test_the_widget_holds_the_prior_of_its_sliders(weights):
    explorer = explore(weights=weights, lam=1e-4, n=500)
    assert explorer.prior == MixtureGaussianPrior(lam=1e-4, spike_var=START["spike_var"], slab_var=START["slab_var"])
    assert explorer.n == 500
    assert json.loads(explorer.header) == Content.of(weights=weights).header
    explorer.close()


@pytest.mark.parametrize("paper", PAPERS)
def test_colours_stand_out_from_light_and_dark_paper(paper):
    for name, pair in re.findall(r"--(\w+): light-dark\((.*?)\)", stylesheet())[: len(COLORS)]:
        shown = dict(zip(PAPERS, pair.split(", "), strict=True))[paper]
        assert contrast_of(shown, PAPERS[paper]) >= 3, name


@pytest.mark.parametrize(
    ("method", "recipe", "expected"),
    [
        ("l2", {"l2": {"strength": 0.25}}, {"label": "L2", "strength": 0.25}),
        ("l1", {"l1": {"strength": 0}}, {"label": "no penalty", "strength": 0}),
        ("gmp", {}, {"label": "no penalty", "strength": None}),
        ("movement", {"movement": {"strength": 3.0}}, {"label": "no penalty", "strength": None}),
        ("nobody-knows", {}, {"label": "", "strength": None}),
    ],
)
def test_the_penalty_of_a_run_is_that_of_its_recipe(tiny_run, method, recipe, expected):
    run = type(tiny_run)(tiny_run.folder, {"recipe": {"method": method} | recipe})
    run.__dict__["metrics"] = tiny_run.metrics.assign(lam=None)
    assert penalty_of(run) == expected


@pytest.mark.parametrize(
    ("method", "magnitudes"), [("mgpp", True), ("movement", False), ("platon", False), ("obd", False)]
)
def test_only_thresholds_of_magnitudes_are_shown(tiny_run, method, magnitudes):
    run = type(tiny_run)(tiny_run.folder, tiny_run.info | {"recipe": {"method": method}, "ranks_magnitudes": None})
    run.__dict__.update(weights=tiny_run.weights, metrics=tiny_run.metrics)
    (source,) = Content.of([run]).header["sources"]
    assert source["scores"] is not magnitudes
    assert any(row["pruning_threshold"] for row in source["rows"]) is magnitudes


def test_the_script_is_one_module_with_one_default_export():
    assert script().count("export default") == 1
    assert "import " not in re.sub(r"//.*|/\*.*?\*/", "", script())
