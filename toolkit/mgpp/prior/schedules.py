"""Define schedules: pure functions of the training step, counted in optimizer updates from 0."""

from dataclasses import dataclass, replace
from typing import Literal

from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.prior.penalties import check_count, check_number

Phase = Literal["warmup", "pruning", "frozen"]


def _check_steps(schedule: "LinearRamp | CubicSparsity") -> None:
    owner = type(schedule).__name__
    for field in ("begin_step", "end_step"):
        object.__setattr__(schedule, field, check_count(owner, field, getattr(schedule, field), 0))
    if schedule.end_step <= schedule.begin_step:
        raise ValueError(
            f"{owner}: end_step={schedule.end_step} must be larger than begin_step={schedule.begin_step}; "
            "shorten the warm-up or train for more steps"
        )


@dataclass(frozen=True)
class LinearRamp:
    """Linear from `start` at `begin_step` to `stop` at `end_step`, constant before and after.

    Example:
        >>> ramp = LinearRamp(0.1, 0.0, begin_step=10, end_step=20)
        >>> ramp(0), ramp(15), ramp(99)
        (0.1, 0.05, 0.0)
    """

    start: float
    stop: float
    begin_step: int
    end_step: int

    def __post_init__(self) -> None:
        _check_steps(self)
        for field in ("start", "stop"):
            value = check_number(
                "LinearRamp", field, getattr(self, field), -1e30, 1e30, "it is a value of the schedule"
            )
            object.__setattr__(self, field, value)

    def __call__(self, step: int) -> float:
        """Return the value at `step`."""
        done = min(max((step - self.begin_step) / (self.end_step - self.begin_step), 0.0), 1.0)
        return (1 - done) * self.start + done * self.stop


@dataclass(frozen=True)
class CubicSparsity:
    """Cubic sparsity schedule of Zhu & Gupta (2017), as in MGPP (Zhang, Sun & Liang 2024).

        v(t) = v_f + (v_0 - v_f) (1 - (t - t_i)/(t_f - t_i))³      for t_i <= t <= t_f, constant before and after

    Args:
        initial_sparsity: v_0, the fraction of zeros at the first prune event, in [0, v_f].
        final_sparsity: v_f, in [v_0, 1).
        begin_step: t_i, the end of the warm-up and the first prune event.
        end_step: t_f, the last prune event; from here on the mask is frozen.

    Example:
        >>> sparsity = CubicSparsity(0.0, 0.8, begin_step=100, end_step=200)
        >>> [round(sparsity(step), 3) for step in (0, 100, 150, 200, 300)]
        [0.0, 0.0, 0.7, 0.8, 0.8]
        >>> sparsity.phase(99), sparsity.phase(100), sparsity.phase(200)
        ('warmup', 'pruning', 'frozen')
    """

    initial_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int

    def __post_init__(self) -> None:
        _check_steps(self)
        hint = "it is the fraction of zeros and must be below 1"
        below_one = 1 - 1e-9
        for field in ("initial_sparsity", "final_sparsity"):
            value = check_number("CubicSparsity", field, getattr(self, field), 0, below_one, hint)
            object.__setattr__(self, field, value)
        if self.initial_sparsity > self.final_sparsity:
            raise ValueError(
                f"CubicSparsity: initial_sparsity={self.initial_sparsity} must not exceed "
                f"final_sparsity={self.final_sparsity}"
            )

    def __call__(self, step: int) -> float:
        """Return v(step)."""
        left = 1 - (step - self.begin_step) / (self.end_step - self.begin_step)
        left = min(max(left, 0.0), 1.0)
        return self.final_sparsity + (self.initial_sparsity - self.final_sparsity) * left**3

    def phase(self, step: int) -> Phase:
        """Return "warmup" before t_i, "pruning" from t_i on, "frozen" from t_f on."""
        if step < self.begin_step:
            return "warmup"
        return "pruning" if step < self.end_step else "frozen"

    def newest_event(self, step: int, interval: int) -> int | None:
        """Return the step of the last prune event up to `step`: at t_i, every `interval` steps after it, and at t_f.

        Example:
            >>> schedule = CubicSparsity(0.0, 0.8, begin_step=100, end_step=200)
            >>> [schedule.newest_event(step, 30) for step in (99, 100, 150, 199, 250)]
            [None, 100, 130, 190, 200]
        """
        if step < self.begin_step:
            return None
        return self.end_step if step >= self.end_step else step - (step - self.begin_step) % interval

    def prunes_at(self, step: int, interval: int) -> bool:
        """Tell whether a step ends with a prune event."""
        return self.newest_event(step, interval) == step


@dataclass(frozen=True)
class AnnealedPrior:
    """Prior whose hyperparameters follow schedules (prior annealing).

    Args:
        prior: the values of the hyperparameters without a schedule.
        lam, spike_var, slab_var: schedules, each a `LinearRamp` or None.

    Example:
        >>> prior = MixtureGaussianPrior(lam=1e-4, spike_var=1e-10, slab_var=0.05)
        >>> AnnealedPrior(prior, lam=LinearRamp(0.1, 1e-4, begin_step=0, end_step=10)).at(0).lam
        0.1
    """

    prior: MixtureGaussianPrior
    lam: LinearRamp | None = None
    spike_var: LinearRamp | None = None
    slab_var: LinearRamp | None = None

    def __post_init__(self) -> None:
        ramps = [ramp for ramp in (self.lam, self.spike_var, self.slab_var) if ramp is not None]
        for ramp in ramps:
            if not isinstance(ramp, LinearRamp):
                raise ValueError(f"AnnealedPrior: {ramp!r} must be a LinearRamp or None")
        for step in {step for ramp in ramps for step in (ramp.begin_step, ramp.end_step)}:
            self.at(step)  # raise here rather than in the middle of a run

    def at(self, step: int) -> MixtureGaussianPrior:
        """Return the prior of `step`."""
        ramps = {"lam": self.lam, "spike_var": self.spike_var, "slab_var": self.slab_var}
        return replace(self.prior, **{field: ramp(step) for field, ramp in ramps.items() if ramp is not None})
