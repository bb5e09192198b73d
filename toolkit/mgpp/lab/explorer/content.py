"""Prepare what the explorer shows: settings of the paper, and histograms of weights packed for the browser."""

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from mgpp.lab.explorer.colors import colors_css
from mgpp.lab.explorer.sources import describe_source
from mgpp.plots.runs import run_label
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.runs import Run
from mgpp.runs.histograms import Snapshots

SCRIPTS = (
    *("numbers.js", "formulas.js", "counts.js", "view.js", "words.js", "scales.js", "panel.js", "pictures.js"),
    *("strip.js", "save.js", "tour.js"),
    *("hash.js", "explorer.js"),
)  # one module, in this order
PRETRAINED = "pretrained model"

# λ is where annealing from 0.1 ends; Zhang, Sun & Liang (2024), Figure 1 and the published settings by task
_PUBLISHED = [
    ("Figure 1", 1e-6, 1e-7, 0.1, None, None),
    ("the toolkit's reviews", 1e-4, 1e-10, 0.05, 1e-4, 9_706),
    ("MNLI", 1e-4, 1e-10, 0.05, 5e-5, 392_702),
    ("QQP", 1e-4, 1e-10, 0.05, 5e-5, 363_846),
    ("QNLI", 1e-4, 1e-9, 0.05, 5e-5, 104_743),
    ("SST-2", 1e-4, 1e-9, 0.1, 5e-5, 67_349),
    ("SQuAD v1.1 (n: questions)", 1e-4, 1e-10, 0.05, 5e-5, 87_599),
]
_KEYS = ("lam", "spike_var", "slab_var", "learning_rate", "n")
PRESETS = [
    {"label": label, "settings": {key: value for key, value in zip(_KEYS, values, strict=True) if value is not None}}
    for label, *values in _PUBLISHED
]
START = {"lam": 1e-6, "spike_var": 1e-7, "slab_var": 0.1, "learning_rate": 1e-4, "n": 9_706}


@dataclass(frozen=True)
class Content:
    """What the browser is sent, once.

    Attributes:
        header: presets and sources, as JSON holds them.
        counts: the histograms of all sources, gzipped: little-endian counts by byte plane, column (zeros first, then
            the bins), matrix and step.
    """

    header: dict[str, Any]
    counts: bytes

    @classmethod
    def of(cls, runs: Iterable[Run] = (), weights: Mapping[str, Any] | None = None) -> "Content":
        """Pack the histograms of `weights` first, then those of the logged runs.

        Raises:
            ValueError: if there are neither, or a run has no histograms.
        """
        sources: list[tuple[Snapshots, str, Run | None]] = []
        if weights:
            sources.append((Snapshots.of_weights(weights, name=PRETRAINED), PRETRAINED, None))
        sources += [(Snapshots.of_run(run), run_label(run), run) for run in runs]
        if not sources:
            raise ValueError("runs and weights are both empty; give logged runs or weights")
        names = [snapshots.name for snapshots, _, _ in sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"runs must have different names; more than one is called {', '.join(twice)}")
        blocks = [_block(snapshots) for snapshots, _, _ in sources]
        starts = np.cumsum([0, *map(len, blocks)]).tolist()
        labels = [text for _, text, _ in sources]
        described = [
            describe_source(snapshots, text if labels.count(text) == 1 else f"{text} ({snapshots.name})", run, start)
            for (snapshots, text, run), start in zip(sources, starts, strict=False)
        ]
        counts = gzip.compress(b"".join(blocks), compresslevel=9, mtime=0)
        return cls({"presets": PRESETS, "sources": described}, counts)

    def start(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that the explorer starts with. It follows a run's own settings unless others are given.

        Without settings it starts with the first run that had a mixture prior, at half of its sparsity.

        Raises:
            ValueError: if a setting is unknown or out of its range, or there is no such source or step.
        """
        side = self._side({key: value for key, value in settings.items() if key != "compare"})
        compare = settings.get("compare")
        if compare is None:
            return side | {"compare": None}
        follow = not set(compare) & set(START) and (side["follow"] or "source" in compare)
        return side | {"compare": self._side({**side, "step": None, "follow": follow, **compare})}

    def _side(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        rows = {source["name"]: [row["step"] for row in source["rows"]] for source in self.header["sources"]}
        opening = self._opening() if not set(settings) else {"source": next(iter(rows)), "step": None}
        places = opening | {"layer": "", "kind": ""}
        if unknown := sorted(set(settings) - {*START, *places, "follow"}):
            allowed = ", ".join([*START, *places, "compare"])
            raise ValueError(f"{', '.join(unknown)}: the explorer's settings are {allowed}")
        numbers = _checked({key: settings.get(key, value) for key, value in START.items()})
        places |= {key: settings[key] for key in places if key in settings}
        if places["source"] not in rows:
            raise ValueError(f"source={places['source']!r} is none of {', '.join(rows)}")
        if places["step"] not in (None, *(steps := rows[places["source"]])):
            raise ValueError(f"step={places['step']} has no histogram; logged: {', '.join(map(str, steps))}")
        texts = {key: str(places[key]) for key in ("layer", "kind")}
        return numbers | places | texts | {"follow": settings.get("follow", not set(settings) & set(START))}

    def _opening(self) -> dict[str, Any]:
        """Return the source and step that show the method best."""
        sources = self.header["sources"]
        source = next((each for each in sources if (each["penalty"] or {}).get("label") == "MGP"), sources[0])
        sparsities = [row.get("sparsity") or 0 for row in source["rows"]]
        half = next(i for i, sparsity in enumerate(sparsities) if sparsity >= sparsities[-1] / 2)
        return {"source": source["name"], "step": source["rows"][half]["step"]}

    def header_json(self, **more: Any) -> str:
        """Return the header as JSON that can stand inside a page's script element."""
        text = json.dumps(self.header | more, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.replace("<", "\\u003c")


def _checked(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of the sliders, after checking that they make a prior and a step."""
    MixtureGaussianPrior(numbers["lam"], numbers["spike_var"], numbers["slab_var"])
    for key in ("learning_rate", "n"):
        if not numbers[key] > 0:
            raise ValueError(f"{key}={numbers[key]!r} must be larger than 0, for instance {START[key]}")
    return {key: float(value) for key, value in numbers.items()} | {"n": int(numbers["n"])}


def script() -> str:
    """Return the JavaScript module of the explorer."""
    return "\n".join(asset(name) for name in SCRIPTS)


def stylesheet() -> str:
    """Return the explorer's CSS."""
    return colors_css() + asset("explorer.css")


def asset(name: str, package: str = "mgpp.lab.explorer") -> str:
    """Return the text of a file that lies in a package, by default beside this one."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _block(snapshots: Snapshots) -> bytes:
    """Return the counts as byte planes, (4, columns, matrices, steps): in this order they compress to a twelfth."""
    full = np.concatenate([snapshots.zeros[..., None], snapshots.counts], axis=-1).transpose(2, 1, 0)
    return np.ascontiguousarray(full.astype("<u4")[..., None].view(np.uint8).transpose(3, 0, 1, 2)).tobytes()
