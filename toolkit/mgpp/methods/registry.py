"""The methods by name: each a composition of penalty, importance, schedule and mask rule; the Pruner does the rest.

A method is a frozen dataclass of its hyperparameters, the recipe's section of its name, and its docstring is its card:
what it does, what its hyperparameters mean at their extremes, what it costs. `mgpp methods NAME` prints the card.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from mgpp.methods.gates import HardConcrete, Movement
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.prior.penalties import L1, L2, NoPenalty, check_count, check_number
from mgpp.prior.schedules import AnnealedPrior, CubicSparsity, LinearRamp
from mgpp.pruning.importance import GivenMask, Importance, Sensitivity, read_masks
from mgpp.pruning.pruner import PenaltySchedule


@dataclass(frozen=True)
class Method:
    """A way to prune. A subclass says what it does otherwise than plain gradual magnitude pruning.

    Attributes:
        label: its name in tables and figures.
        section: the recipe's section with its hyperparameters; None if it has none.
        prunes: False for dense training and for a given mask, which have no use for the recipe's final sparsity.
        scope: what is ranked together, where the recipe does not say: all targets, or each matrix by itself.
        freeze: whether the mask is frozen at t_f, where the recipe does not say.
        must_freeze: whether the recipe may not say otherwise.
        floats_per_weight: what it holds for every target beside weight, gradient and Adam's two moments.
    """

    label: ClassVar[str]
    section: ClassVar[str | None] = None
    prunes: ClassVar[bool] = True
    scope: ClassVar[Literal["global", "matrix"]] = "global"
    freeze: ClassVar[bool] = True
    must_freeze: ClassVar[bool] = False
    floats_per_weight: ClassVar[int] = 0

    def __post_init__(self) -> None:
        """Build everything once, so that a hyperparameter out of range is refused where it is given."""
        self.penalty(CubicSparsity(0.0, 0.5, 0, 1))
        self.importance()

    def penalty(self, schedule: CubicSparsity) -> PenaltySchedule:
        """What is added to the loss, given when pruning begins and ends."""
        return NoPenalty()

    def importance(self) -> Importance:
        """What is ranked; magnitudes."""
        return Importance()

    def schedule(self, schedule: CubicSparsity) -> CubicSparsity:
        """The sparsity schedule; the recipe's own."""
        return schedule

    @property
    def rewinds(self) -> int:
        """How often the learning rate falls from its start anew, after the first time."""
        return 0


@dataclass(frozen=True)
class GMP(Method):
    """GMP, gradual magnitude pruning: the smallest weights go, more and more of them, and nothing else is done.

    Source: Han et al. (2015) for magnitudes, Zhu & Gupta (2017) for the cubic schedule; here all matrices are ranked
    together. It has no hyperparameters of its own, so it needs no tuning beside learning rate and schedule, and every
    other method is read against it: what does the penalty, or the other importance, add?

    Cost: the threshold at every prune event; a bit a weight.
    """

    label: ClassVar[str] = "GMP (no penalty)"


@dataclass(frozen=True)
class GMPStar(Method):
    """GMP*: gradual magnitude pruning with a large first step and a learning rate that starts again.

    Source: Kurtic & Alistarh (2022), arXiv 2210.06384, who show that plain magnitude pruning so tuned matches methods
    that are harder to run. The first prune event removes `first_step` of the weights at once, and the cubic schedule
    the rest; the learning rate falls to its end `cycles` times. What they add beside this (distillation from the
    dense model, more epochs) is left out, so that the budget is the same for all methods.

    Hyperparameters: `first_step` (in place of the recipe's `sparsity.initial`) 0 is GMP's own gradual begin (0.7 in the
    paper); equal to the final sparsity, it is one-shot pruning with fine-tuning afterwards. `cycles` 1 is no rewind;
    many leave no time at a low learning rate.

    Cost: that of GMP.
    """

    label: ClassVar[str] = "GMP*"
    section: ClassVar[str | None] = "gmp_star"
    first_step: float = 0.7
    cycles: int = 2

    def __post_init__(self) -> None:
        check_number(
            "gmp_star", "first_step", self.first_step, 0, 1 - 1e-9, "the share removed at the first prune event"
        )
        check_count("gmp_star", "cycles", self.cycles, 1)

    def schedule(self, schedule: CubicSparsity) -> CubicSparsity:
        """The recipe's schedule with the large first step."""
        first = min(self.first_step, schedule.final_sparsity)
        return CubicSparsity(first, schedule.final_sparsity, schedule.begin_step, schedule.end_step)

    @property
    def rewinds(self) -> int:
        """One fewer than there are cycles."""
        return self.cycles - 1


@dataclass(frozen=True)
class MGPP(Method):
    """MGPP: magnitude pruning with a mixture Gaussian prior.

    Source: Zhang, Sun & Liang (2024). The prior pulls weights near zero strongly (spike) and large ones gently (slab);
    while pruning, the slab's weight λ falls from `initial_lam` to `lam`. Then the smallest magnitudes go, as in GMP.

    Hyperparameters: `lam` → 1 leaves the slab alone, an L2 of 1/(n slab_var); → 0 draws all weights below the prior
    threshold τ. `initial_lam` null: λ is constant. `spike_var` → 0 is a spike too narrow to catch anything between two
    steps of the optimizer; near `slab_var` the two are one Gaussian. `slab_var` → ∞ is no shrinkage of what is kept;
    small, it is a strong L2. What acts is 1/(n variance): settings from another n are another method.

    Cost: five operations a weight at every step until t_f; no memory.
    """

    label: ClassVar[str] = "MGPP"
    section: ClassVar[str | None] = "prior"
    lam: float = 1e-4
    initial_lam: float | None = 0.1
    spike_var: float = 1e-10
    slab_var: float = 0.05

    def penalty(self, schedule: CubicSparsity) -> PenaltySchedule:
        """The prior, annealed while pruning."""
        prior = MixtureGaussianPrior(self.lam, self.spike_var, self.slab_var)
        if self.initial_lam is None:
            return prior
        ramp = LinearRamp(self.initial_lam, prior.lam, schedule.begin_step, schedule.end_step)
        return AnnealedPrior(prior, lam=ramp)


@dataclass(frozen=True)
class Ridge(Method):
    """L2: gradual magnitude pruning of weights that a ridge penalty shrinks.

    Source: Hoerl & Kennard (1970) for the penalty; the paper's baseline. `strength` 0 is GMP; strong, it shrinks what
    is kept as much as what goes, and the loss pays. A slab of variance σ1² is an L2 of strength 1/(n σ1²).

    Cost: one operation a weight at every step until t_f; no memory.
    """

    label: ClassVar[str] = "L2"
    section: ClassVar[str | None] = "l2"
    strength: float = 1e-3

    def penalty(self, schedule: CubicSparsity) -> PenaltySchedule:
        """½ strength θ²."""
        return L2(self.strength)


@dataclass(frozen=True)
class Lasso(Method):
    """L1: gradual magnitude pruning of weights that a lasso penalty draws to zero at a constant speed.

    Source: Tibshirani (1996), by subgradients, without a proximal step. `strength` 0 is GMP; strong, it removes what
    the loss would keep and biases all that is left by the same amount.

    Cost: one operation a weight at every step until t_f; no memory.
    """

    label: ClassVar[str] = "L1"
    section: ClassVar[str | None] = "l1"
    strength: float = 1e-5

    def penalty(self, schedule: CubicSparsity) -> PenaltySchedule:
        """Strength |θ|."""
        return L1(self.strength)


@dataclass(frozen=True)
class L0Gates(Method):
    """L0: hard concrete gates, whose expected number is penalised.

    Source: Louizos, Welling & Kingma (2018). Every weight is multiplied by a random gate that is often exactly 0 or 1;
    the gates' scores are learned by the reparametrisation, and the penalty closes them. In the original the sparsity is
    whatever `strength` leads to; here the schedule says how many of the lowest scores go, so that all methods end at
    the same sparsity, and the gates of what is kept are folded into the weights at t_f, those that have closed as a
    hundredth.

    Hyperparameters: `strength` 0 lets the loss alone move the scores; strong, more gates close than the schedule asks
    for (the log's sparsity says so), and the order of the closed means little. `learning_rate` is of the scores (Adam):
    too small, the order stays what it was. `initial`: 2.5 starts with open gates; at 0 half the signal is lost at once.

    Cost: a score, its gradient, two moments of Adam, the gate and the kept weight, six floats a weight; a draw a
    weight a step.
    """

    label: ClassVar[str] = "L0"
    section: ClassVar[str | None] = "l0"
    must_freeze: ClassVar[bool] = True
    floats_per_weight: ClassVar[int] = 6
    learning_rate: float = 1e-2
    strength: float = 100.0
    initial: float = 2.5

    def importance(self) -> Importance:
        """Hard concrete gates."""
        return HardConcrete(self.learning_rate, self.strength, self.initial)


@dataclass(frozen=True)
class MovementPruning(Method):
    """Movement pruning: what matters is whether a weight moves away from zero, not how large it is.

    Source: Sanh, Wolf & Rush (2020), hard version. Every weight has a score, learned with the gradient θ ∂L/∂θ' as if
    the mask were not there (straight-through estimator); the lowest scores of every matrix go, and a weight lives on
    under the mask for the day its score rises: without a gradient, moved by what is left of the optimizer's momentum.
    Made for fine-tuning, where most pretrained weights stay near where they were and magnitude says little about the
    task.

    Hyperparameters: `learning_rate` of the scores (Adam, constant; the authors': 1e-2, falling with that of the
    weights). Adam moves scores by its length a step at most, whatever the gradient's size; all being in proportion to
    it, it hardly changes their order. The authors mask anew at every step; here at prune events.

    Cost: a score, its gradient, two moments of Adam and the kept weight, five floats a weight.
    """

    label: ClassVar[str] = "movement"
    section: ClassVar[str | None] = "movement"
    scope: ClassVar[Literal["global", "matrix"]] = "matrix"
    floats_per_weight: ClassVar[int] = 5
    learning_rate: float = 1e-2

    def importance(self) -> Importance:
        """Movement scores."""
        return Movement(self.learning_rate)


@dataclass(frozen=True)
class SoftMovementPruning(Method):
    """Soft movement pruning: movement scores that a penalty pulls down, and one threshold for all matrices.

    Source: Sanh, Wolf & Rush (2020), soft version. Scores are learned as in movement pruning, with a penalty
    strength · mean sigmoid(s) that makes all sink which the loss does not hold up, so matrices lose unequal shares. In
    the original the threshold is fixed and the sparsity is whatever `strength` leads to; here the schedule says how
    many go, and the threshold follows, so that all methods end at the same sparsity.

    Hyperparameters: `strength` 0 is movement pruning with a global threshold; strong, all scores sink together.
    `learning_rate` against `strength` decides how far scores sink into the flat part of the sigmoid.

    Cost: five floats a weight.
    """

    label: ClassVar[str] = "soft movement"
    section: ClassVar[str | None] = "soft_movement"
    floats_per_weight: ClassVar[int] = 5
    learning_rate: float = 1e-2
    strength: float = 100.0

    def importance(self) -> Importance:
        """Movement scores with their penalty."""
        return Movement(self.learning_rate, self.strength)


@dataclass(frozen=True)
class Platon(Method):
    """PLATON: what goes has a low sensitivity |θ ∂L/∂θ|, and a sure one.

    Source: Zhang et al. (2022). The sensitivity, which varies much from batch to batch, is smoothed, and multiplied by
    its smoothed deviation: a weight that is doubtful gets the benefit of the doubt. As in the authors' code the mask
    is judged anew at every step after t_f; `platon-frozen` freezes it as MGPP does.

    Hyperparameters: `beta1` → 0 trusts the last window alone (at 0 nothing deviates from it, and there is no ranking),
    → 1 never learns; `beta2` likewise for the uncertainty
    (authors: 0.85, and 0.85 to 0.95 by sparsity). `window`: steps averaged before smoothing (authors: the interval of
    prune events; 1 is the paper's equations).

    Cost: three floats a weight, six operations a weight a step.
    """

    label: ClassVar[str] = "PLATON"
    section: ClassVar[str | None] = "platon"
    freeze: ClassVar[bool] = False
    floats_per_weight: ClassVar[int] = 3
    beta1: float = 0.85
    beta2: float = 0.95
    window: int = 10

    def importance(self) -> Importance:
        """Smoothed sensitivity times uncertainty."""
        return Sensitivity(self.beta1, self.beta2, self.window)


@dataclass(frozen=True)
class PlatonFrozen(Platon):
    """PLATON with the mask frozen at t_f, as for the other methods; see `platon`."""

    label: ClassVar[str] = "PLATON, mask frozen"
    freeze: ClassVar[bool] = True


@dataclass(frozen=True)
class Transfer(Method):
    """Sparse transfer: a model that was pruned is fine-tuned on another task, and its zeros stay zeros.

    Source: upstream pruning as in Zafrir et al. (2021) and in Zhang, Sun & Liang (2024), section 5. `mask` is the
    folder of the pruned model, matched by the weights' names; null: what is zero in the model that is trained. A
    mask that matches no target is an error.

    Cost: a bit a weight.
    """

    label: ClassVar[str] = "transfer"
    prunes: ClassVar[bool] = False
    section: ClassVar[str | None] = "transfer"
    mask: str | None = None

    def __post_init__(self) -> None:
        """The folder is looked at when the training begins."""

    def importance(self) -> Importance:
        """The mask that is given."""
        return GivenMask(None if self.mask is None else read_masks(self.mask))


@dataclass(frozen=True)
class Dense(Method):
    """Dense training: nothing is pruned. The level that pruned models are measured against."""

    label: ClassVar[str] = "dense"
    prunes: ClassVar[bool] = False

    def schedule(self, schedule: CubicSparsity) -> CubicSparsity:
        """No sparsity."""
        return CubicSparsity(0.0, 0.0, schedule.begin_step, schedule.end_step)


METHODS: dict[str, type[Method]] = {
    "mgpp": MGPP,
    "l2": Ridge,
    "l1": Lasso,
    "gmp": GMP,
    "gmp-star": GMPStar,
    "l0": L0Gates,
    "movement": MovementPruning,
    "soft-movement": SoftMovementPruning,
    "platon": Platon,
    "platon-frozen": PlatonFrozen,
    "transfer": Transfer,
    "dense": Dense,
}
