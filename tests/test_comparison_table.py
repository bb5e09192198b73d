from test_comparison import fake

from mgpp.lab.comparison.table import results_markdown


def rows(text):
    return [line for line in text.splitlines() if line.startswith("| 0")]


def test_a_row_for_each_sparsity_and_method():
    runs = [fake("dense", 0, 0.95), fake("l2", 0, 0.8), fake("l2", 1, 0.7), fake("l0", 0), fake("movement", 1, 0.5)]
    runs += [fake("mgpp", 0, 0.85), fake("mgpp", 1, 0.77), fake("mgpp", 2)]
    text = results_markdown(runs, [fake("l2", 100, 0.5)] * 3)
    assert rows(text) == [
        "| 0 | dense | 95.0 | 1 | 1.0 |  |  |  | 100 | none to tune |",
        "| 0.9 | MGPP | 81.0 ± 4.0 | 2 (1 failed) | 1.0 |  |  |  | 100 | 0 |",
        "| 0.9 | L2 | 75.0 ± 5.0 | 2 | 1.0 | +6.0 ± 1.0 | -6.7 to +18.7 | +5.0 to +7.0 | 100 | 3 |",
        "| 0.9 | L0 | – | 0 (1 failed) |  |  |  |  | 100 | 0 |",
        "| 0.9 | movement | 50.0 | 1 | 1.0 | +27.0 ± 1.4 † |  |  | 100 | 0 |",
    ]
    assert all(line.count("|") == 11 for line in text.splitlines()[:7])
    assert text.count("†") == 2
    assert "‡" not in text
    assert "the bootstrap's interval is too narrow" in text


def test_a_note_stands_only_where_the_table_needs_it():
    text = results_markdown([fake("mgpp", 0, 0.8), fake("l2", 0, 0.7, precision="bf16")])
    assert "+10.0 ± 1.4 † ‡" in text
    assert "bootstrap's interval" not in text
    alone = results_markdown([fake("mgpp", 0, 0.8)])
    assert "†" not in alone
    assert "comparisons" not in alone


def test_a_metric_that_is_no_share_and_falls():
    metric = {"name": "perplexity", "higher_is_better": False}
    runs = [fake(m, 0, 1, metric=metric, final={"perplexity": p}) for m, p in (("mgpp", 12.34), ("l2", 13.0))]
    text = results_markdown(runs)
    assert "| perplexity (lower is better) |" in text
    assert "| 0.9 | L2 | 13.00 | 1 |  | -0.66 † |  |  | 100 | 0 |" in text


def test_a_table_for_each_recipe():
    text = results_markdown([fake("mgpp", 0, 0.8, name="other"), fake("mgpp", 0, 0.7), fake("l2", 0, 0.7)])
    assert text.index("**exam**") < text.index("**other**")
    assert len(rows(text)) == 3
    assert "**" not in results_markdown([fake("mgpp", 0, 0.8)])


def test_no_runs_no_rows():
    assert results_markdown([]).count("\n") == 1
