"""Checkers of the workshop's exercises, one a function that students write: `checks.density(density)`.

A checker prints a short praise, or raises `NotYet` with a message that says what seems to be wrong, never the answer.
"""

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
    "1_the_prior": [
        density,
        spike_probability,
        penalty_gradient,
        matched_strengths,
        prior_threshold,
        slab_as_l2,
    ],
    "2_pruning_while_training": [
        cubic_sparsity,
        global_threshold,
        exact_mask,
        prior_pull,
        one_step,
        mask_after,
    ],
    "3_reading_a_pruned_model": [
        overall_sparsity,
        sparsity_by_layer,
        spike_share,
        remaining_density,
        mask_churn,
        paired_difference,
    ],
}

__all__ = ["SESSIONS", "NotYet", *(check.__name__ for checks in SESSIONS.values() for check in checks)]
