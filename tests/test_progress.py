from mgpp.lab.training.progress import ProgressBar


def test_the_bar_shows_the_metric_of_the_task(capsys):
    with ProgressBar(1, "a run", visible=True, metric="perplexity") as bar:
        bar.show({"loss": 0.5, "eval_perplexity": 24.25, "eval_accuracy": 0.75})
        bar.on_step_end(None, None, None)
    shown = capsys.readouterr().err.splitlines()[-1]
    assert "loss=0.5, perplexity=24.25" in shown
    assert "accuracy" not in shown


def test_the_bar_keeps_the_newest_values(capsys):
    with ProgressBar(10, "a run", visible=True) as bar:
        bar.show({"loss": 0.5, "sparsity": 0.25, "pruning_threshold": None, "eval_accuracy": 0.75})
        bar.show({"loss": 0.25, "sparsity": 0.5, "pruning_threshold": 0.125})
        for _ in range(10):
            bar.on_step_end(None, None, None)
    shown = capsys.readouterr().err.splitlines()[-1]
    assert "a run: 100%" in shown
    assert "loss=0.25, sparsity=0.5, accuracy=0.75, threshold=0.125" in shown
