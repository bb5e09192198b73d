"""Render movies: the distribution of the weights through training, MGPP beside L2, as a GIF and as a page.

A frame is a logged step of `Run.weights`; all numbers in it come from the log. The page's template is `movies.html`.
"""

import base64
import io
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mgpp.plots import style
from mgpp.plots.distributions import moment, plot_sparsity_schedule, plot_weight_distribution, zeros_in_words
from mgpp.plots.figures import first_of_each
from mgpp.runs import Run, load_runs

STEM = "weights_through_training"
TITLE = "Weights through training, MGPP beside L2"
SIZE, DPI = (style.PAGE_WIDTH, 3.7), 160  # inches, pixels an inch
WARMUP_MS, FRAME_MS, LAST_MS = 1500, 300, 4000  # how long a frame stays, one without zeros, and the last
AFTER_FREEZE = 2  # frames, as nothing is pruned any more
PHASES = {"warmup": "warm-up", "pruning": "pruning", "frozen": "mask frozen"}


def draw_frame(runs: Sequence[Run], step: int) -> Figure:
    """Draw one frame: the runs' distributions side by side, and below them the sparsity schedule of the first.

    Nothing in the frame moves but what the log says: the layout is the same for every step.
    """
    with style.paper_style():
        figure = plt.figure(figsize=SIZE, dpi=DPI, layout="none")
        place = {"left": 0.09, "right": 0.985, "top": 0.86, "bottom": 0.105, "hspace": 0.72, "wspace": 0.07}
        grid = figure.add_gridspec(2, len(runs), height_ratios=(4.4, 1), **place)
        for column, run in enumerate(runs):
            ax = plot_weight_distribution(run, step, ax=figure.add_subplot(grid[0, column]))
            if column:
                ax.set_ylabel("")
                ax.tick_params(labelleft=False)
        plot_sparsity_schedule(runs[0], step, ax=figure.add_subplot(grid[1, :]))
        figure.suptitle(_headline(moment(runs[0], step)), x=0.09, y=0.985, ha="left", fontsize=9, fontweight="bold")
    return figure


def _headline(now: dict[str, Any]) -> str:
    phase = PHASES.get(now["phase"], now["phase"])
    return f"step {now['step']} of {now['last']}, {phase}: sparsity {now['sparsity']:.1%}"


def describe(runs: Iterable[Run], step: int) -> str:
    """Describe a frame as text: step, phase, sparsity, and both thresholds of each run."""
    runs = list(runs)
    sentences = [f"{_headline(moment(runs[0], step)).capitalize()}."]
    for run in runs:
        now = moment(run, step)
        pruning, prior = now["pruning_threshold"], now["prior_threshold"]
        sentences.append(
            f"{style.method_label(run.method) or run.name}: {zeros_in_words(now)}, "
            f"{'no pruning threshold yet' if pruning is None else f'pruning threshold {pruning:.4f}'}, "
            f"{'no prior threshold' if prior is None else f'prior threshold {prior:.1e}'}."
        )
    return " ".join(sentences)


def shared_steps(runs: Sequence[Run]) -> list[int]:
    """Return the steps at which every run logged a histogram.

    Raises:
        ValueError: if there is none.
    """
    steps = set.intersection(*(set(run.weights.get("step", [])) for run in runs))
    if not steps:
        names = ", ".join(run.name for run in runs)
        raise ValueError(f"{names} share no step with a histogram; train them with the same log.histograms_every")
    return sorted(int(step) for step in steps)


def frame_steps(runs: Sequence[Run]) -> list[int]:
    """Return the shared steps up to `AFTER_FREEZE` of them after the mask of the first run is frozen."""
    steps = shared_steps(runs)
    moving = [step for step in steps if moment(runs[0], step)["phase"] != "frozen"]
    return steps[: len(moving) + AFTER_FREEZE]


def render_frames(runs: Sequence[Run], steps: Iterable[int]) -> list[Image.Image]:
    """Render one picture per step, all in one palette, so that they differ only where something moves."""
    pictures = []
    for step in steps:
        figure = draw_frame(runs, step)
        figure.canvas.draw()
        red, green, blue, _ = np.moveaxis(np.asarray(figure.canvas.buffer_rgba(), dtype=np.uint32), -1, 0)  # type: ignore[attr-defined]
        pictures.append(red << 16 | green << 8 | blue)
        plt.close(figure)
    return in_one_palette(pictures)


def in_one_palette(pictures: Sequence[np.ndarray]) -> list[Image.Image]:
    """Reduce pictures to one palette of up to 256 colours: keep the commonest, map the others to the nearest.

    Args:
        pictures: (height, width) whole numbers, red · 65536 + green · 256 + blue.
    """
    colors, counts = np.unique(np.concatenate([picture.ravel() for picture in pictures]), return_counts=True)
    palette = colors[np.argsort(-counts, kind="stable")[:256]]
    channels, kept = (
        np.stack([some >> 16, some >> 8 & 255, some & 255], axis=1).astype(int) for some in (colors, palette)
    )
    nearest = np.array([((kept - color) ** 2).sum(axis=1).argmin() for color in channels], dtype=np.uint8)
    images = [Image.fromarray(nearest[np.searchsorted(colors, picture)], "P") for picture in pictures]
    for image in images:
        image.putpalette(kept.astype(np.uint8).tobytes())
    return images


def frame_durations(run: Run, steps: Sequence[int]) -> list[int]:
    """Return the milliseconds of each frame: long before pruning, when little moves far, and longer for the last.

    Args:
        run: the run whose sparsity decides.
        steps: the logged steps of the frames, ascending.
    """
    before = [FRAME_MS if moment(run, step)["sparsity"] else WARMUP_MS for step in steps[:-1]]
    return [*before, LAST_MS]


def page(pictures: Sequence[Image.Image], words: Sequence[str], durations: Sequence[int]) -> str:
    """Return HTML with the pictures inside, a slider, a play button and a text for each frame; it loads nothing."""
    template = files("mgpp.plots").joinpath("movies.html").read_text(encoding="utf-8")
    frames: list[dict[str, Any]] = [
        {"picture": _data_address(picture), "words": text, "milliseconds": duration}
        for picture, text, duration in zip(pictures, words, durations, strict=True)
    ]
    texts = {
        "title": escape(TITLE),
        "last": str(len(frames) - 1),
        "words": escape(words[0]),
        "picture": frames[0]["picture"],
        "frames": json.dumps(frames, ensure_ascii=False).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda place: texts[place[1]], template)  # in one pass: a log's text is no template


def _data_address(picture: Image.Image) -> str:
    memory = io.BytesIO()
    picture.save(memory, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode()


def render_movies(runs_folder: str | Path, out: str | Path, methods: Sequence[str] = ("mgpp", "l2")) -> list[Path]:
    """Write the movie as GIF and as page: the first seed of each method at their highest common sparsity.

    Raises:
        ValueError: if no sparsity has a finished run of each method, or these share no logged step.
    """
    runs = first_of_each(load_runs(runs_folder), methods)
    steps = frame_steps(runs)
    pictures = render_frames(runs, steps)
    words, durations = [describe(runs, step) for step in steps], frame_durations(runs[0], steps)
    Path(out).mkdir(parents=True, exist_ok=True)
    paths = [Path(out, f"{STEM}.{ending}") for ending in ("gif", "html")]
    options: dict[str, Any] = {"save_all": True, "loop": 0, "optimize": False}
    pictures[0].save(paths[0], append_images=pictures[1:], duration=durations, **options)
    paths[1].write_text(page(pictures, words, durations), encoding="utf-8")
    return paths
