import hashlib
import json
import os
import re
from contextlib import contextmanager
from html.parser import HTMLParser

import browser as real
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from mgpp import METHODS, RunWriter, load_run, load_runs
from mgpp.plots import movies, style
from mgpp.plots.distributions import moment


@pytest.fixture(scope="module")
def pair(tiny_runs_folder):
    runs = load_runs(tiny_runs_folder)
    return [next(run for run in runs if run.method == method) for method in ("mgpp", "l2")]


@pytest.fixture(scope="module")
def files(tiny_runs_folder, tmp_path_factory):
    return movies.render_movies(tiny_runs_folder, tmp_path_factory.mktemp("movies"))


class Page(HTMLParser):
    """All tags with their attributes, and the text of each element that has an id."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = dict(attrs).get("id")

    def handle_data(self, data):
        self.texts.setdefault(self._open, data)

    def one(self, tag):
        (attrs,) = [attrs for name, attrs in self.tags if name == tag]
        return attrs


def test_panels_share_their_axes_and_a_dot_says_where_we_are(pair):
    step = movies.frame_steps(pair)[1]
    figure = movies.draw_frame(pair, step)
    left, right, strip = figure.axes
    assert (left.get_xlim(), left.get_ylim()) == (right.get_xlim(), right.get_ylim())
    line, dot, *_ = strip.lines
    np.testing.assert_array_equal(line.get_ydata(), pair[0].metrics["sparsity"])
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (step, moment(pair[0], step)["sparsity"])
    assert figure.get_suptitle().startswith(f"step {step} of {pair[0].metrics['step'].max()}, ")


def test_nothing_but_the_log_moves(pair):
    first, *_, last = movies.frame_steps(pair)
    places = [[ax.get_position().bounds for ax in movies.draw_frame(pair, step).axes] for step in (first, last)]
    assert places[0] == places[1]


def test_a_frame_in_words_has_both_thresholds(pair):
    first, *_, last = movies.frame_steps(pair)
    assert "L2: no weight is zero, no pruning threshold yet, no prior threshold." in movies.describe(pair, first)
    now, words = moment(pair[0], last), movies.describe(pair, last)
    assert now["phase"] == "frozen"
    assert words.startswith(
        f"Step {last} of {now['last']}, mask frozen: sparsity 90.0%. MGPP: 90.0% of the weights are zero, "
    )
    assert f"pruning threshold {now['pruning_threshold']:.4f}, prior threshold {now['prior_threshold']:.1e}." in words


def test_the_gif_has_a_frame_a_step_and_rests_on_the_last(files, pair):
    with Image.open(files[0]) as gif:
        durations = []
        for index in range(gif.n_frames):
            gif.seek(index)
            durations.append(gif.info["duration"])
        assert gif.info["loop"] == 0
    assert durations == movies.frame_durations(pair[0], movies.frame_steps(pair))


def test_frames_of_the_warm_up_stay_longer_and_the_last_one_longest(pair):
    steps = movies.frame_steps(pair)
    *durations, last = movies.frame_durations(pair[0], steps)
    dense = [moment(pair[0], step)["sparsity"] == 0 for step in steps[:-1]]
    assert any(dense)
    assert durations == [movies.WARMUP_MS if still else movies.FRAME_MS for still in dense]
    assert last == movies.LAST_MS > movies.WARMUP_MS > movies.FRAME_MS


def test_it_stops_soon_after_the_mask_is_frozen(pair):
    logged = pair[0].weights["step"].unique()
    frozen = [step for step in sorted(logged) if moment(pair[0], step)["phase"] == "frozen"]
    shown = [step for step in movies.frame_steps(pair) if step in frozen]
    assert shown == frozen[: movies.AFTER_FREEZE]


def test_the_page_has_every_frame_as_picture_and_in_words(files, pair):
    page, steps = Page(files[1]), movies.frame_steps(pair)
    frames = json.loads(page.texts["frames"])
    assert [frame["milliseconds"] for frame in frames] == movies.frame_durations(pair[0], steps)
    assert [frame["words"] for frame in frames] == [movies.describe(pair, step) for step in steps]
    assert all(frame["picture"].startswith("data:image/png;base64,iVBOR") for frame in frames)
    assert len({frame["picture"] for frame in frames}) == len(steps)
    assert (page.one("img")["src"], page.one("img")["alt"]) == (frames[0]["picture"], frames[0]["words"])
    assert page.texts["words"] == frames[0]["words"]
    slider = page.one("input")
    assert (slider["type"], slider["min"], slider["max"]) == ("range", "0", str(len(steps) - 1))
    assert page.one("label")["for"] == slider["id"]
    assert page.one("output")["aria-live"] == "polite"
    assert page.one("html")["lang"] == "en"


def test_the_page_loads_nothing_and_does_not_move_against_the_readers_will(files):
    text = files[1].read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|url\(|@import|<link", text)
    assert not [attrs for tag, attrs in Page(files[1]).tags if tag == "script" and "src" in attrs]
    assert 'if (matchMedia("(prefers-reduced-motion: no-preference)").matches) start();' in text
    assert "{{" not in text


def test_rendering_twice_gives_the_same_bytes(files, tiny_runs_folder, tmp_path):
    again = movies.render_movies(tiny_runs_folder, tmp_path)
    assert [path.name for path in again] == ["weights_through_training.gif", "weights_through_training.html"]
    hashes = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] for paths in (files, again)]
    assert hashes[0] == hashes[1]


def test_common_colours_stay_exact_and_rare_ones_go_to_the_nearest():
    values = np.arange(256, dtype=np.uint32)
    gray = values << 16 | values << 8 | values
    picture = np.concatenate([np.repeat(gray, 3), [0xFF0001]]).astype(np.uint32)[None]
    (image,) = movies.in_one_palette([picture])
    pixels = np.asarray(image.convert("RGB")).astype(int)[0]
    np.testing.assert_array_equal(pixels[:-1, 0], np.repeat(values, 3))
    distances = [((pixel - [255, 0, 1]) ** 2).sum() for pixel in pixels[:-1]]
    assert ((pixels[-1] - [255, 0, 1]) ** 2).sum() == min(distances)


def test_frames_have_the_style_s_colours(pair):
    (image,) = movies.render_frames(pair, movies.frame_steps(pair)[-1:])
    colors = {
        to_hex(np.array(color) / 255).upper() for _, color in image.convert("RGB").getcolors(image.width * image.height)
    }
    assert {METHODS["mgpp"].color, METHODS["l2"].color, style.PRUNING_THRESHOLD, "#FFFFFF"} <= colors


def test_runs_without_a_shared_step_are_refused(pair, tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        writer.metrics({"step": 0})
    with pytest.raises(ValueError, match="run share no step with a histogram"):
        movies.shared_steps([*pair, load_run(tmp_path / "run")])


@pytest.fixture(scope="module")
def chromium():
    if real.find_chromium() is None and "CI" not in os.environ:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    assert real.find_chromium(), "CI must test in a browser; on Debian: apt-get install chromium"
    with real.chromium() as running:
        yield running


@contextmanager
def opened(chromium, file, motion):
    """The page from disk in a browser that is offline; what it asks for beyond itself or breaks fails the test."""
    context = chromium.new_context(reduced_motion=motion, offline=True, viewport={"width": 900, "height": 800})
    page, problems, asked = context.new_page(), [], []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda request: asked.append(request.url.split(":")[0]))
    page.goto(file.as_uri())
    yield page
    assert not problems
    assert set(asked) <= {"file", "data"}
    context.close()


def test_arrow_keys_move_through_the_frames(chromium, files, pair):
    steps = movies.frame_steps(pair)
    with opened(chromium, files[1], "reduce") as page:
        slider = page.get_by_label("Logged step")
        slider.focus()
        for step in steps[1:3]:
            page.keyboard.press("ArrowRight")
            words = movies.describe(pair, step)
            assert page.locator("output").inner_text() == words
            assert page.get_by_role("img").get_attribute("alt") == words
            assert slider.get_attribute("aria-valuetext") == words.split(". ")[0]
        page.keyboard.press("End")
        assert page.locator("output").inner_text() == movies.describe(pair, steps[-1])


def test_it_plays_to_the_end_and_is_silent_while_it_plays(chromium, files, pair):
    with opened(chromium, files[1], "reduce") as page:
        assert page.locator("output").inner_text() == movies.describe(pair, movies.frame_steps(pair)[0])
        page.get_by_role("button", name="Play").press("Enter")
        assert page.locator("output").get_attribute("aria-live") == "off"
        page.get_by_role("button", name="Play").wait_for()  # again: it has stopped
        assert page.locator("output").get_attribute("aria-live") == "polite"
        assert page.locator("output").inner_text() == movies.describe(pair, movies.frame_steps(pair)[-1])


def test_it_starts_by_itself_only_where_motion_is_welcome(chromium, files, pair):
    last = movies.describe(pair, movies.frame_steps(pair)[-1])
    with opened(chromium, files[1], "no-preference") as page:
        page.get_by_text(last).wait_for()
    with opened(chromium, files[1], "reduce") as page:
        page.wait_for_timeout(4 * movies.FRAME_MS)
        assert page.get_by_label("Logged step").input_value() == "0"
