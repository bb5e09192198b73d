"""MGPP: magnitude pruning of pretrained transformers with a mixture Gaussian prior (Zhang, Sun & Liang 2024).

This is the whole public API. Names load when they are first used, so that importing the package costs nothing.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        # the prior
        "prior.mixture": ["MixtureGaussianPrior"],
        "prior.penalties": ["Penalty", "L0", "L1", "L2", "NoPenalty", "NoThresholdError"],
        "prior.schedules": ["AnnealedPrior", "CubicSparsity", "LinearRamp"],
        # pruning
        "pruning.targets": ["prunable_weights", "target_table"],
        "pruning.threshold": ["magnitude_threshold"],
        "pruning.importance": ["GivenMask", "Importance", "Sensitivity"],
        "pruning.gates": ["HardConcrete", "Movement"],
        "pruning.pruner": ["Pruner", "SparsityError"],
        "pruning.methods": ["METHODS", "Method"],
        "pruning.observer": ["Observer"],
        "pruning.callback": ["PruningCallback"],
        # training
        "training.recipes": ["Recipe", "load_recipe"],
        "training.strict": ["RecipeError"],
        "training.train": ["resume", "train"],
        "training.compare": ["compare"],
        "training.sweep": ["sweep"],
        "training.launchers": ["LocalProcesses", "RayCluster", "SlurmJobs"],
        "training.packages": ["pretrained_weights"],
        # the record
        "runs.sweeps": ["load_sweep"],
        "runs": ["Run", "RunError", "RunWriter", "load_run", "load_runs"],
        # the picture
        "analysis.landscape": ["plot_paths", "plot_penalties", "plot_prior_family", "plot_pulls", "plot_weights"],
        "analysis.plots": [
            "plot_metric",
            "plot_remaining_weights",
            "plot_sparsity_by_layer",
            "plot_thresholds",
            "plot_trajectories",
        ],
        "analysis.distributions": ["plot_weight_distribution"],
        "analysis.figures": [
            "figure_1",
            "figure_2",
            "figure_a1",
            "figure_comparison",
            "figure_sensitivity",
            "figure_survivors",
            "save_figure",
        ],
        "analysis.consistency_plots": ["figure_consistency"],
        "analysis.comparison": ["comparison_frame", "comparison_summary"],
        "analysis.report": ["write_comparison"],
        "analysis.sensitivity": ["sensitivity_table"],
        "analysis.movies": ["render_movies"],
        "analysis.snapshots": ["Snapshots"],
        "analysis.explorer.page": ["save_explorer"],
        "analysis.explorer.widget": ["Explorer", "explore"],
        # what leaves the house
        "exporting.export": ["export"],
        "exporting.packed": ["ExportError"],
        "exporting.unpacking": ["load_packed", "unpack"],
        # the machine
        "environment": ["check_environment"],
    },
)
