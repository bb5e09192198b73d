"""Show the explorer as a widget in a notebook. Python can read what is chosen in the browser."""

from collections.abc import Iterable, Mapping
from typing import Any

import anywidget
import traitlets

from mgpp.lab.explorer.content import START, Content, script, stylesheet
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.runs import Run


class Explorer(anywidget.AnyWidget):
    """Sliders for λ, σ0², σ1², learning rate and n beside pictures that follow them; see `explore`.

    The attributes follow the browser when a slider is released, and the browser follows them.
    """

    _esm = script()
    _css = stylesheet()

    header = traitlets.Unicode().tag(sync=True)
    counts = traitlets.Bytes().tag(sync=True)
    lam = traitlets.Float(START["lam"]).tag(sync=True)
    spike_var = traitlets.Float(START["spike_var"]).tag(sync=True)
    slab_var = traitlets.Float(START["slab_var"]).tag(sync=True)
    learning_rate = traitlets.Float(START["learning_rate"]).tag(sync=True)
    n = traitlets.Int(int(START["n"])).tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)
    step = traitlets.Int(None, allow_none=True).tag(sync=True)
    layer = traitlets.Unicode("").tag(sync=True)
    kind = traitlets.Unicode("").tag(sync=True)
    follow = traitlets.Bool(True).tag(sync=True)
    compare = traitlets.Dict(None, allow_none=True).tag(sync=True)

    @property
    def prior(self) -> MixtureGaussianPrior:
        """Return the prior that the sliders are set to."""
        return MixtureGaussianPrior(lam=self.lam, spike_var=self.spike_var, slab_var=self.slab_var)


def explore(*, runs: Iterable[Run] = (), weights: Mapping[str, Any] | None = None, **settings: Any) -> Explorer:
    """Return the explorer for a notebook: penalty, pull, spike probability and real weights, linked.

    Everything is computed in the browser, so it goes on while the kernel trains.

    Args:
        runs: logged runs whose histograms can be chosen, step by step.
        weights: a model's weights by name, for instance `pretrained_weights()` or `prunable_weights(model)`.
        settings: where it begins: lam, spike_var, slab_var, learning_rate, n, source (a run's name), step, layer, kind;
            `compare`, a mapping of such settings, for B. Without settings of the prior a run's own are followed.

    Raises:
        ValueError: if there are neither runs nor weights, a run has no histograms, or a setting is unknown or wrong.

    Example:
        >>> import numpy as np
        >>> explorer = explore(weights={"layer.0.output.dense.weight": np.array([1e-4, 0.1])}, lam=1e-3)
        >>> explorer.prior
        MixtureGaussianPrior(lam=0.001, spike_var=1e-07, slab_var=0.1)
    """
    content = Content.of(runs, weights)
    return Explorer(header=content.header_json(), counts=content.counts, **content.start(settings))
