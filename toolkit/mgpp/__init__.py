"""MGPP: magnitude pruning of pretrained transformers with a mixture Gaussian prior (Zhang, Sun & Liang 2024).

This is the whole public API: first the library (prior, pruning, runs, plots), then the lab around it. Names load when
they are first used, so that importing the package costs nothing.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        # prior: the mathematics
        "prior.mixture": ["MixtureGaussianPrior"],
        "prior.penalties": ["Penalty", "L0", "L1", "L2", "NoPenalty", "NoThresholdError"],
        "prior.schedules": ["AnnealedPrior", "CubicSparsity", "LinearRamp"],
        # pruning: the method in a training loop
        "pruning.pruner": ["Pruner", "SparsityError"],
        "pruning.handover": ["StepError"],
        "pruning.callback": ["PruningCallback"],
        "pruning.targets": ["prunable_weights", "target_table"],
        "pruning.threshold": ["magnitude_threshold"],
        "pruning.importance": ["Importance"],
        "pruning.observer": ["Observer"],
        # runs: the record
        "runs": ["Run", "RunError", "RunWriter", "load_run", "load_runs"],
        "runs.histograms": ["Snapshots"],
        # plots: the pictures
        "plots.landscape": ["plot_paths", "plot_penalties", "plot_prior_family", "plot_pulls", "plot_weights"],
        "plots.runs": [
            "plot_metric",
            "plot_remaining_weights",
            "plot_sparsity_by_layer",
            "plot_thresholds",
            "plot_trajectories",
        ],
        "plots.distributions": ["plot_weight_distribution", "plot_weights_over_steps"],
        "plots.sensitivity": ["sensitivity_table"],
        "plots.figures": ["figure_1", "figure_2", "figure_a1", "figure_sensitivity", "figure_weights", "save_figure"],
        "plots.consistency": ["figure_consistency"],
        "plots.movies": ["render_movies"],
        # methods: MGPP and its rivals by name
        "methods": ["METHODS", "Method"],
        "methods.curvature": ["Curvature"],
        "methods.l0": ["HardConcrete"],
        "methods.movement": ["Movement"],
        "methods.platon": ["Sensitivity"],
        "methods.transfer": ["GivenMask"],
        # lab: experiments
        "lab.record": ["record"],
        "lab.recipes.recipe": ["Recipe", "RecipeError", "load_recipe"],
        "lab.training.train": ["resume", "train"],
        "lab.sweeps.sweep": ["sweep"],
        "lab.sweeps.compare": ["compare"],
        "lab.sweeps.record": ["load_sweep"],
        "lab.sweeps.launchers": ["LocalProcesses", "RayCluster", "SlurmJobs"],
        "lab.comparison.frame": ["comparison_frame", "comparison_summary", "paired_to"],
        "lab.comparison.report": ["write_comparison"],
        "lab.comparison.figures": ["figure_comparison", "figure_survivors"],
        "lab.models.packages": ["pretrained_weights"],
        "lab.explorer.page": ["save_explorer"],
        "lab.explorer.widget": ["Explorer", "explore"],
        "lab.watch.widget": ["Watch", "watch"],
        "lab.export.export": ["export"],
        "lab.export.packed": ["ExportError"],
        "lab.export.folder": ["load_packed", "unpack"],
        "lab.environment": ["check_environment"],
    },
)
