"""The explorer in a real browser: as a page from disk, and in JupyterLab.

Screenshots go to the folder MGPP_SCREENSHOTS, by default tests/screenshots.
"""

import ast
import json
import math
import os
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import browser as real
import numpy as np
import pytest
from PIL import Image

from mgpp import MixtureGaussianPrior, Snapshots, load_runs, pretrained_weights, save_explorer
from mgpp.lab.explorer.content import PRETRAINED, asset

ROOT = Path(__file__).parents[1]
SCREENSHOTS = Path(os.environ.get("MGPP_SCREENSHOTS", ROOT / "tests" / "screenshots"))
RUN = "reviews-mgpp-0.95-seed0"
OTHERS = [f"reviews-{method}-0.95-seed0" for method in ("l2", "gmp", "movement")]
NUMBER = r"([\d.]+(?:e-?\d+)?)"

pytestmark = pytest.mark.skipif(
    real.find_chromium() is None and "CI" not in os.environ,
    reason="no Chromium here; on Debian: apt-get install chromium",
)


@pytest.fixture(scope="module")
def chromium():
    assert real.find_chromium(), "CI must test in a browser; on Debian: apt-get install chromium"
    with real.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def weights():
    return Snapshots.of_weights(pretrained_weights(), name=PRETRAINED)


@pytest.fixture(scope="module")
def run():
    (found,) = load_runs(ROOT / "data" / "runs" / RUN)
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory, run):
    others = [run for name in OTHERS for run in load_runs(ROOT / "data" / "runs" / name)]
    return save_explorer(
        tmp_path_factory.mktemp("page") / "page.html",
        runs=[run, *others],
        weights=pretrained_weights(),
        source=PRETRAINED,
    )


@pytest.fixture
def page(chromium, file):
    """The page, opened from disk by a browser that is offline; errors in its script fail the test."""
    context = chromium.new_context(viewport={"width": 1040, "height": 980}, offline=True)
    opened, problems = context.new_page(), []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("requestfailed", lambda request: problems.append(request.url))
    opened.set_default_timeout(real.MINUTE)
    opened.goto(file.as_uri())
    opened.get_by_text("lie in the spike").wait_for()
    yield opened
    assert not problems
    context.close()


def slider(page, label):
    return page.get_by_role("slider", name=re.compile(f"^{label}"))


def drag(handle, to):
    """Drag a slider from its middle to a share of its width."""
    box, mouse = handle.bounding_box(), handle.page.mouse
    middle = box["y"] + box["height"] / 2
    mouse.move(box["x"] + box["width"] / 2, middle)
    mouse.down()
    mouse.move(box["x"] + to * box["width"], middle, steps=5)
    mouse.up()


def words(page):
    return page.get_by_role("status").inner_text()


def pictures(page):
    return page.locator(".mgpp-explorer .panels").inner_html()


def screenshot(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def settings(page):
    """What the typed fields say."""
    fields = {"lam": "λ", "spike_var": "σ0²", "slab_var": "σ1²", "learning_rate": "learning rate", "n": "n, training"}
    return {key: float(page.get_by_role("textbox", name=text).input_value()) for key, text in fields.items()}


def check_sentence(page, snapshots, **where):
    """Every number of the sentence is the library's, to three digits."""
    now, text = settings(page), words(page)
    prior = MixtureGaussianPrior(now["lam"], now["spike_var"], now["slab_var"])
    expected = {
        rf"^{NUMBER}% of these": 100 * snapshots.share_below(prior.threshold, **where),
        rf"τ is {NUMBER}": prior.threshold,
        rf"an L2 of strength {NUMBER}": 1 / (now["n"] * now["slab_var"]),
        rf"spike as one of {NUMBER}": 1 / (now["n"] * now["spike_var"]),
    }
    for pattern, value in expected.items():
        found = float(re.search(pattern, text).group(1).rstrip("."))
        assert found == pytest.approx(value, rel=6e-3, abs=1e-12), (pattern, text)
    steps = prior.threshold / now["learning_rate"]
    told = re.search(rf"about {NUMBER} optimizer steps", text)
    assert (float(told.group(1)) if told else 1.0) == pytest.approx(steps, rel=6e-3 if told else 0.06)


# the formulas


@pytest.fixture(scope="module")
def formulas(chromium):
    """Calls a function of formulas.js with one JSON argument."""
    page = chromium.new_page()
    page.goto("about:blank")
    module = f"URL.createObjectURL(new Blob([{json.dumps(asset('formulas.js'))}], {{type: 'text/javascript'}}))"
    page.evaluate(f"import({module}).then((found) => {{ window.formulas = found; }})")
    yield lambda code, value: page.evaluate(f"(given) => {{ const {{mixture, countBelow}} = formulas; {code} }}", value)
    page.close()


def test_formulas_in_the_browser_are_those_of_the_library(formulas):
    rng = np.random.default_rng(0)
    cases = [
        {
            "lam": 10 ** rng.uniform(-12, -0.01),
            "spike_var": 10**spike,
            "slab_var": 10 ** rng.uniform(spike, 5),
        }
        for spike in rng.uniform(-14, -2, 2000)
    ]
    sizes = (10 ** rng.uniform(-8, 0.5, 2000)).tolist()
    code = """return given.cases.map((settings, i) => {
        const prior = mixture(settings), w = given.sizes[i];
        return [prior.penalty(w), prior.penaltyGrad(w), prior.spikeProbability(w), prior.threshold];
    })"""
    found = formulas(code, {"cases": cases, "sizes": sizes})
    for case, w, (penalty, grad, probability, threshold) in zip(cases, sizes, found, strict=True):
        prior = MixtureGaussianPrior(**case)
        assert penalty == pytest.approx(prior.penalty(w), rel=1e-12, abs=1e-12)
        assert grad == pytest.approx(prior.penalty_grad(w), rel=1e-9)
        assert probability == pytest.approx(prior.spike_probability(w), rel=1e-9, abs=1e-300)
        expected = prior.threshold if prior.has_threshold else math.nan
        assert threshold == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_shares_in_the_browser_are_those_of_the_library(formulas):
    snapshots = Snapshots.of_weights({"layer.0.output.dense.weight": np.linspace(-0.1, 0.1, 999)}, name="")
    edges = snapshots.edges[:-1].tolist()
    below = np.concatenate([[0], snapshots.counts.sum(axis=(0, 1)).cumsum()])[:-1].tolist()
    given = {"edges": edges, "below": below, "zeros": 1, "thresholds": [0, 1e-9, 0.01234, 0.099, 0.5, 100]}
    found = formulas("return given.thresholds.map((threshold) => countBelow(given, threshold) / 999)", given)
    assert found == pytest.approx([snapshots.share_below(threshold) for threshold in given["thresholds"]])


# the page


def test_fifty_random_positions_of_the_sliders(page, weights):
    rng = np.random.default_rng(1)
    ranges = {"λ": (-12, -1), "σ0²": (-14, -5), "σ1²": (-3, 2), "learning rate": (-7, -1), "n, training": (2, 7)}
    for _ in range(50):
        for label, bounds in ranges.items():
            slider(page, label).fill(str(round(rng.uniform(*bounds) * 20) / 20))
        check_sentence(page, weights)


def test_the_keyboard_moves_a_slider_picture_and_sentence(page, weights):
    before, told, start = pictures(page), words(page), settings(page)
    slider(page, "σ0²").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert settings(page)["spike_var"] == pytest.approx(start["spike_var"] * 10**0.5, rel=0.01)
    assert pictures(page) != before
    assert words(page) != told
    check_sentence(page, weights)
    screenshot(page, "page-keyboard")


def test_the_mouse_drags_a_slider(page, weights):
    drag(slider(page, "λ"), to=0.9)
    assert settings(page)["lam"] > 1e-3
    check_sentence(page, weights)


def test_every_control_can_be_reached_by_tab_and_has_a_name(page):
    page.get_by_label("weights", exact=True).select_option(RUN)
    name = "(({ labels, ariaLabel, textContent }) => ariaLabel ?? labels[0]?.textContent ?? textContent)"
    names = []
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement !== document.body"):
        names.append(page.evaluate(f"{name}(document.activeElement)").strip())
        page.keyboard.press("Tab")
    assert all(names)
    assert len(names) == len(set(names)) == 24, names
    assert page.get_by_role("img").count() == 7
    assert all(page.locator("svg > title").all_text_contents())


def test_a_logged_run_step_by_step(page, run):
    page.get_by_label("weights", exact=True).select_option(RUN)
    snapshots = Snapshots.of_run(run)
    logged = snapshots.steps.iloc[-1]
    assert f"pruning threshold of step {logged['step']} is {logged['pruning_threshold']:.3g}" in words(page)
    for row in (20, 10, 3):
        slider(page, "step").fill(str(row))
        now = snapshots.steps.iloc[row]
        assert settings(page)["lam"] == pytest.approx(now["lam"], rel=1e-2)
        check_sentence(page, snapshots, step=now["step"])
        share = 100 * snapshots.zeros[row].sum() / run.info["targets"]["count"]
        told = re.search(rf"\({NUMBER}% are exactly zero\)", words(page))
        assert (float(told.group(1)) if told else 0) == pytest.approx(share, rel=6e-3)
    screenshot(page, "page-run")


def test_a_layer_and_a_kind(page, run):
    page.get_by_label("weights", exact=True).select_option(RUN)
    page.get_by_label("layer").select_option("4")
    page.get_by_label("kind").select_option("attention_output")
    snapshots = Snapshots.of_run(run)
    step = int(snapshots.steps["step"].iloc[-1])
    check_sentence(page, snapshots, step=step, layer=4, kind="attention_output")


def test_play_goes_through_the_steps_and_stops(page):
    page.get_by_label("weights", exact=True).select_option(RUN)
    at = [page.locator(".steps b").inner_text()]
    page.get_by_role("button", name="play").click()
    for _ in range(2):
        page.wait_for_function("(last) => document.querySelector('.steps b').textContent !== last", arg=at[-1])
        at.append(page.locator(".steps b").inner_text())
    page.get_by_role("button", name="pause").click()
    assert len(set(at)) == 3
    stopped = page.locator(".steps b").inner_text()
    page.wait_for_timeout(600)
    assert page.locator(".steps b").inner_text() == stopped


def test_settings_of_the_paper_and_the_line_of_python(page, weights):
    page.get_by_label("settings").select_option(label="SST-2")
    assert settings(page) == {"lam": 1e-4, "spike_var": 1e-9, "slab_var": 0.1, "learning_rate": 5e-5, "n": 67_349}
    check_sentence(page, weights)
    call = ast.parse(page.locator("code").inner_text(), mode="eval").body
    assert call.func.id == "MixtureGaussianPrior"
    found = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    assert found == {"lam": 1e-4, "spike_var": 1e-9, "slab_var": 0.1}
    page.get_by_role("button", name="copy").click()
    assert page.evaluate("getSelection().toString()") == page.locator("code").inner_text()


def test_typed_values_count_and_wrong_ones_are_marked(page, weights):
    field = page.get_by_role("textbox", name="σ0²")
    field.fill("3e-8")
    field.press("Enter")
    assert settings(page)["spike_var"] == 3e-8
    check_sentence(page, weights)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("λ", "0"),
        ("λ", "1"),
        ("λ", "0,5"),
        ("λ", "10^-6"),
        ("σ0²", ""),
        ("σ1²", "-1"),
        ("learning rate", "0"),
        ("n, training", "2.5"),
    ],
)
def test_what_makes_no_prior_is_said_and_greys_the_pictures(page, field, wrong):
    stale = page.locator(".mgpp-explorer .panels svg.stale")
    typed = page.get_by_role("textbox", name=field)
    typed.fill(wrong)
    typed.press("Enter")
    assert typed.get_attribute("aria-invalid") == "true"
    assert field.split(",")[0] in words(page)
    assert wrong in words(page)
    assert "lie in the spike" not in words(page)
    assert stale.count() == 5
    assert page.locator("code").inner_text() == ""
    slider(page, field).press("ArrowRight")
    assert stale.count() == 0
    assert typed.get_attribute("aria-invalid") == "false"


def test_a_run_shows_what_it_had_and_nothing_else(page):
    sources = page.get_by_label("weights", exact=True)
    sources.select_option(RUN)
    for name, kind in zip(OTHERS, ("L2 of strength 0.001", "no penalty", "no penalty"), strict=True):
        sources.select_option(name)
        assert kind in words(page)
        assert "spike (" not in words(page)
        for key in ("lam", "spike_var", "slab_var"):
            assert page.locator(f"[name={key}]").is_disabled()
            assert page.locator(f"[name={key}-text]").input_value() == ""
        assert page.locator(".marks .tau0, .marks path.tau:not([d=''])").count() == 0
        cut = page.locator(".marks path.cut:not([d=''])").count()
        assert (cut > 0) == ("movement" not in name)
        assert ("pruning threshold of step" in words(page)) == ("movement" not in name)
    sources.select_option(RUN)
    assert settings(page)["lam"] == pytest.approx(1e-4)


def test_two_runs_are_drawn_over_each_other_with_their_differences(page):
    page.get_by_label("weights", exact=True).select_option(RUN)
    page.get_by_role("button", name="compare").click()
    page.get_by_label("weights", exact=True).select_option(OTHERS[0])
    assert page.locator(".differences").is_visible()
    assert "MGP in A, L2 in B" in page.locator(".differences").inner_text()
    assert page.locator(".marks path.b.curve:not([d=''])").count() == 3
    page.get_by_role("button", name="A", exact=True).click()
    assert page.get_by_label("weights", exact=True).input_value() == RUN
    screenshot(page, "page-compare")
    page.get_by_role("button", name="close B").click()
    assert page.locator(".differences").is_hidden()


def test_the_address_holds_the_state_and_goes_back_and_forth(page):
    first = words(page)
    page.get_by_label("settings").select_option(label="MNLI")
    second = words(page)
    page.get_by_role("button", name="compare").click()
    page.go_back()
    page.go_back()
    page.wait_for_function("(told) => document.querySelector('.sentence').textContent === told", arg=first)
    page.go_forward()
    page.wait_for_function("(told) => document.querySelector('.sentence').textContent === told", arg=second)
    page.reload()
    page.wait_for_function("(told) => document.querySelector('.sentence').textContent === told", arg=second)
    page.get_by_role("button", name="reset").click()
    assert words(page) == first


def test_tau_is_dragged_and_values_are_read(page, weights):
    grip = page.locator("svg:has(title:text-is('Real weights')) .grip")
    title = page.locator("svg:has(title:text-is('Real weights')) text.title")
    box, before = grip.bounding_box(), settings(page)
    at = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*at)
    assert title.text_content().startswith("|θ| = ")
    page.mouse.down()
    page.mouse.move(at[0] + 60, at[1], steps=4)
    page.mouse.up()
    after = settings(page)
    assert after["spike_var"] > 2 * before["spike_var"]
    assert after | {"spike_var": 0} == before | {"spike_var": 0}
    check_sentence(page, weights)


def test_a_click_in_the_strip_chooses_the_step(page, run):
    strip = page.locator(".training svg").first
    assert not strip.is_visible()
    page.get_by_label("weights", exact=True).select_option(RUN)
    assert page.locator(".training image").first.get_attribute("href").startswith("data:image/png")
    for line in ("tau", "cut", "now"):
        assert page.locator(f".training svg:first-child .marks path.{line}").get_attribute("d")
    rows, box = Snapshots.of_run(run).steps, strip.bounding_box()
    wanted = rows["step"].iloc[len(rows) // 3]
    at = 54 + (box["width"] - 64) * wanted / rows["step"].iloc[-1]
    strip.click(position={"x": at, "y": 80})
    assert page.locator(".steps b").inner_text().startswith(f"{wanted},")
    assert f"step={wanted}&" in page.url
    evaluated = run.metrics["eval_accuracy"].notna().sum()
    assert page.locator(".training path.dot").last.get_attribute("d").count("M") == evaluated
    assert "Accuracy" in page.locator(".training title").all_text_contents()


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_every_picture_becomes_a_file(page, kind, tmp_path):
    page.get_by_label("weights", exact=True).select_option(RUN)
    for number, title in enumerate(page.locator("[name=picture] option").all_text_contents()):
        page.get_by_label("save the picture").select_option(str(number))
        with page.expect_download() as found:
            page.locator(f"[name={kind}]").click()
        found.value.save_as(tmp_path / "picture")
        assert found.value.suggested_filename == f"{re.sub('[^a-z0-9]+', '-', title.lower())}.{kind}"
        if kind == "svg":
            root = ElementTree.parse(tmp_path / "picture").getroot()
            assert root.find("{*}title").text == title
            assert "rgb(" in ElementTree.tostring(root, encoding="unicode")
        else:
            with Image.open(tmp_path / "picture") as image:
                assert image.width == pytest.approx(
                    3 * page.locator(f"svg:has(title:text-is('{title}'))").bounding_box()["width"], abs=6
                )
                assert len(image.getcolors(1 << 20)) > 5


def test_a_tour_of_five_stops(page):
    box = page.get_by_role("region", name="tour")
    assert not box.is_visible()
    page.get_by_role("button", name="a tour of five stops").click()
    texts = []
    while box.is_visible():
        texts.append(box.locator("p").inner_text())
        assert page.locator(".pointed").count() == 1
        screenshot(page, f"page-tour-{len(texts)}")
        page.locator("[name=tour-next]").click()
    assert len(set(texts)) == 5
    page.get_by_role("button", name="a tour of five stops").click()
    page.get_by_role("button", name="end the tour").click()
    assert page.locator(".pointed").count() == 0


def test_dark_mode_and_a_phone(chromium, file):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    opened = context.new_page()
    opened.goto(file.as_uri())
    opened.get_by_text("lie in the spike").wait_for()
    assert (
        opened.evaluate("getComputedStyle(document.querySelector('.mgpp-explorer')).backgroundColor")
        == "rgb(21, 21, 21)"
    )
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    assert not slider(opened, "λ").is_visible()
    opened.locator("summary").click()
    small = """[...document.querySelectorAll(".controls :is(button, select, input[type=text], summary)")].filter(
        (each) => each.checkVisibility() && each.getBoundingClientRect().height < 40).map((each) => each.outerHTML)"""
    assert opened.evaluate(small) == []
    assert opened.locator(".controls").bounding_box()["height"] < 0.5 * 844
    sizes = "[...document.querySelectorAll('svg text')].map((each) => parseFloat(getComputedStyle(each).fontSize))"
    assert min(opened.evaluate(sizes)) >= 11
    screenshot(opened, "page-phone-dark")
    context.close()


def test_no_prior_threshold_and_no_prior(page):
    slider(page, "λ").fill("-0.05")
    slider(page, "σ0²").fill("-2")
    slider(page, "σ1²").fill("-2")
    assert "0% of these weights lie in the spike: there is no prior threshold" in words(page)
    screenshot(page, "page-no-threshold")
    slider(page, "λ").fill("-1")
    assert "100% of these weights lie in the spike: there is no prior threshold, since the spike" in words(page)
    slider(page, "σ1²").fill("-3")
    assert words(page) == "The spike must be narrower than the slab: lower σ0² or raise σ1²."
    assert page.locator("code").inner_text() == ""
    screenshot(page, "page-no-prior")


def test_names_from_a_stranger_are_text(chromium, tmp_path, run):
    name = '"><img src=x onerror=window.seized=1>'
    stranger = type(run)(Path(name), run.info | {"recipe": run.recipe | {"method": name}})
    stranger.__dict__.update(weights=run.weights.assign(kind=name), metrics=run.metrics.assign(phase=name))
    page = chromium.new_page()
    page.goto(save_explorer(tmp_path / "page.html", runs=[stranger]).as_uri())
    page.get_by_text("lie in the spike").wait_for()
    page.get_by_label("kind").select_option(name)
    page.wait_for_timeout(300)
    assert page.evaluate("window.seized") is None
    assert page.locator("option", has_text="onerror").count() == 2
    page.close()


def test_the_runs_own_prior_is_followed_until_one_moves_a_slider(page, run):
    page.get_by_label("weights", exact=True).select_option(RUN)
    box = page.get_by_role("checkbox", name="follow the run")
    assert box.is_checked()
    slider(page, "n, training").fill("6")
    assert not box.is_checked()
    slider(page, "step").fill("3")
    assert settings(page)["n"] == 1_000_000
    box.check()
    assert settings(page)["n"] == run.info["examples"]["train"]
    page.get_by_label("weights", exact=True).select_option(PRETRAINED)
    assert page.locator("[name=follow]").is_disabled()


# JupyterLab


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a copy of the notebooks, beside the data and figures that they read."""
    root = tmp_path_factory.mktemp("lab")
    (root / "notebooks").mkdir()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, root / "notebooks")
    for folder in ("data", "figures"):
        (root / folder).symlink_to(ROOT / folder)
    with real.jupyter_lab(root, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture
def notebook(chromium, lab):
    """Opens a notebook in JupyterLab and runs it."""
    context = chromium.new_context(viewport={"width": 1300, "height": 1100})
    page = context.new_page()

    def run(name):
        real.run_all(page, lab(f"notebooks/{name}.ipynb"))
        assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        return page

    yield run
    context.close()


@pytest.mark.slow
def test_the_start_runs_in_jupyterlab(notebook):
    page = notebook("0_start_here")
    page.get_by_text("Everything is in place").first.wait_for()
    assert page.locator(".jp-OutputArea-output img").count() >= 1
    screenshot(page, "lab-start")


@pytest.mark.slow
def test_the_explorer_runs_in_jupyterlab(notebook, weights):
    page = notebook("2_sensitivity")
    explorer = page.locator(".mgpp-explorer")
    explorer.wait_for(timeout=real.MINUTE)
    explorer.scroll_into_view_if_needed()
    check_sentence(page, weights)
    before, told = pictures(page), words(page)
    slider(page, "σ0²").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert pictures(page) != before
    assert words(page) != told
    check_sentence(page, weights)
    drag(slider(page, "λ"), to=0.8)
    assert settings(page)["lam"] > 1e-4
    check_sentence(page, weights)
    screenshot(page, "lab-explorer")
    page.get_by_label("settings").focus()
    page.keyboard.press("m")  # would make Markdown of the cell, if JupyterLab saw it
    page.keyboard.press("ArrowDown")
    assert explorer.is_visible()
    assert page.evaluate("document.activeElement.name") == "preset"
