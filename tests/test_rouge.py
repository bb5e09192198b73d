import math
from collections import Counter

import pytest

from mgpp.lab.tasks.rouge import one_a_line, rouge


def lcs(a, b):
    """Length of the longest common subsequence, by its definition."""
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return lcs(a[:-1], b[:-1]) + 1
    return max(lcs(a[:-1], b), lcs(a, b[:-1]))


def f_measure(shared, predicted, reference):
    return 2 * shared / (predicted + reference)


def shared_ngrams(a, b, n):
    grams = [Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for words in (a, b)]
    return (grams[0] & grams[1]).total()


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("the cat sat on the mat", "the cat was on the mat"),
        ("a b c d e f", "f e d c b a"),
        ("one two three", "three one two one"),
        ("x y", "a b"),
        ("the the the", "the"),
    ],
)
def test_ngrams_and_subsequences_by_definition(prediction, reference):
    found = rouge([prediction], [reference])
    a, b = prediction.split(), reference.split()
    assert found["rouge1"] == pytest.approx(f_measure(shared_ngrams(a, b, 1), len(a), len(b)))
    assert found["rouge2"] == pytest.approx(f_measure(shared_ngrams(a, b, 2), max(1, len(a) - 1), max(1, len(b) - 1)))
    assert found["rougeL"] == found["rougeLsum"] == pytest.approx(f_measure(lcs(a, b), len(a), len(b)))


def test_words_are_stemmed_and_case_and_punctuation_ignored():
    assert rouge(["Running, films!"], ["run film"])["rouge2"] == pytest.approx(1)


def test_sentences_in_another_order_cost_rouge_l_but_not_its_sum_over_sentences():
    found = rouge(["We won. He came home"], ["He came home.\nWe won."])
    assert found["rougeLsum"] == pytest.approx(1)
    assert found["rougeL"] == pytest.approx(f_measure(3, 5, 5))


def test_means_and_standard_errors_over_examples():
    found = rouge(["a b", "x y", "a c"], ["a b", "a b", "a b"])  # rouge1: 1, 0, 1/2
    assert found["rouge1"] == pytest.approx(0.5)
    assert found["rouge1_se"] == pytest.approx(0.5 / math.sqrt(3))
    assert "rouge1_se" not in rouge(["a"], ["a"])


def test_an_empty_summary_scores_nothing():
    assert rouge([""], ["a b"])["rouge1"] == 0


def test_one_sentence_a_line():
    assert one_a_line(" A b. C d?\nE 1.5 f\n") == "A b.\nC d?\nE 1.5 f"
