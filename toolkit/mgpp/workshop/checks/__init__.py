"""Check the workshop's exercises, one function for each that students write: `checks.density(density)`.

A checker prints a short praise, or raises `NotYet` with a hint at what is wrong. It never tells the answer.
"""

# ruff: noqa: F401, the names are re-exported
from mgpp.workshop.checks import pruning_while_training, reading_a_pruned_model, the_prior
from mgpp.workshop.checks.feedback import NotYet
from mgpp.workshop.checks.pruning_while_training import (
    cubic_sparsity,
    exact_mask,
    global_threshold,
    mask_after,
    one_step,
    prior_pull,
)
from mgpp.workshop.checks.reading_a_pruned_model import (
    mask_churn,
    overall_sparsity,
    paired_difference,
    remaining_density,
    sparsity_by_layer,
    spike_share,
)
from mgpp.workshop.checks.the_prior import (
    density,
    matched_strengths,
    penalty_gradient,
    prior_threshold,
    slab_as_l2,
    spike_probability,
)

SESSIONS = {
    "1_the_prior": the_prior.CHECKS,
    "2_pruning_while_training": pruning_while_training.CHECKS,
    "3_reading_a_pruned_model": reading_a_pruned_model.CHECKS,
}

__all__ = ["SESSIONS", "NotYet", *(check.__name__ for checks in SESSIONS.values() for check in checks)]
