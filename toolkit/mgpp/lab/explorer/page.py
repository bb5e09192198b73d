"""Write the explorer as one page that works from disk, without a kernel, a server or internet."""

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any

from mgpp.lab.explorer.content import Content, asset, script, stylesheet
from mgpp.runs import Run


def save_explorer(
    file: str | Path, *, runs: Iterable[Run] = (), weights: Mapping[str, Any] | None = None, **settings: Any
) -> Path:
    """Write the explorer as one self-contained HTML page.

    Args:
        file: where to; its folder is made.
        runs: logged runs whose histograms can be chosen, step by step.
        weights: a model's weights by name, for instance `pretrained_weights()` or `prunable_weights(model)`.
        settings: where it begins: lam, spike_var, slab_var, learning_rate, n, source (a run's name), step, layer, kind;
            `compare`, a mapping of such settings, for B.

    Raises:
        ValueError: if there are neither runs nor weights, a run has no histograms, or a setting is unknown or wrong.

    Example:
        >>> import tempfile, numpy as np
        >>> weights = {"encoder.layer.0.output.dense.weight": np.array([1e-4, 0.1])}
        >>> save_explorer(Path(tempfile.mkdtemp()) / "explorer.html", weights=weights).stat().st_size < 150_000
        True
    """
    content = Content.of(runs, weights)
    page = Template(asset("page.html")).substitute(
        css=stylesheet(),
        header=content.header_json(state=content.start(settings)),
        counts=base64.b64encode(content.counts).decode(),
        script=script(),
    )
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return file
