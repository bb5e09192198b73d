"""The methods by name. A method is a penalty and its schedule; the Pruner does the rest for all of them alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.prior.penalties import L1, L2, NoPenalty
from mgpp.prior.schedules import AnnealedPrior, LinearRamp
from mgpp.pruning.pruner import PenaltySchedule

Settings = Mapping[str, Any]
Build = Callable[[Settings, int, int], PenaltySchedule]


@dataclass(frozen=True)
class Method:
    """A named way to prune.

    Attributes:
        label: its name in tables and figures.
        section: the recipe's section with its settings, or None.
        build: (settings, begin_step, end_step) -> what gives the penalty of a step.
        prunes: False for dense training, whose final sparsity is 0.
    """

    label: str
    section: str | None
    build: Build
    prunes: bool = True


def annealed_prior(settings: Settings, begin_step: int, end_step: int) -> PenaltySchedule:
    """The prior of MGPP; λ runs from `initial_lam` to `lam` while pruning, or is constant if that is None.

    Example:
        >>> settings = {"lam": 1e-4, "initial_lam": 0.1, "spike_var": 1e-10, "slab_var": 0.05}
        >>> annealed_prior(settings, 0, 10).at(10).lam
        0.0001
    """
    prior = MixtureGaussianPrior(settings["lam"], settings["spike_var"], settings["slab_var"])
    if settings.get("initial_lam") is None:
        return prior
    return AnnealedPrior(prior, lam=LinearRamp(settings["initial_lam"], prior.lam, begin_step, end_step))


METHODS: dict[str, Method] = {
    "mgpp": Method("MGPP", "prior", annealed_prior),
    "l2": Method("L2", "l2", lambda settings, begin, end: L2(settings["strength"])),
    "l1": Method("L1", "l1", lambda settings, begin, end: L1(settings["strength"])),
    "gmp": Method("GMP (no penalty)", None, lambda settings, begin, end: NoPenalty()),
    "dense": Method("dense", None, lambda settings, begin, end: NoPenalty(), prunes=False),
}
