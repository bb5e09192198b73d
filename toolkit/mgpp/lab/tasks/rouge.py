"""Compute ROUGE (Lin 2004): how many words and pairs of words a summary shares with the one people wrote.

Computed by the package rouge-score with Porter's stemmer; scores are F-measures from 0 to 1.
"""

import math
import re
from collections.abc import Sequence

import numpy as np

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return mean F-measures of summaries against their references, and standard errors `<kind>_se` over the examples.

    With P the shared part of the prediction and R that of the reference, F = 2PR / (P + R). Shared are words for
    rouge1, pairs of neighbouring words for rouge2, and the longest common subsequence of words for rougeL. rougeLsum
    takes the union of the subsequences sentence by sentence: for summaries of several sentences, that is the ROUGE-L
    of the papers.

    Args:
        predictions: summaries of the model.
        references: one for each.

    Example:
        >>> found = rouge(["the cat sat"], ["the cat ran"])
        >>> round(found["rouge1"], 4), round(found["rouge2"], 4)
        (0.6667, 0.5)
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(KINDS, use_stemmer=True)
    pairs = zip(references, predictions, strict=True)
    scored = [scorer.score(one_a_line(reference), one_a_line(prediction)) for reference, prediction in pairs]
    found: dict[str, float] = {}
    for kind in KINDS:
        values = np.array([scores[kind].fmeasure for scores in scored])
        found[kind] = float(values.mean())
        if len(values) > 1:
            found[f"{kind}_se"] = float(values.std(ddof=1)) / math.sqrt(len(values))
    return found


def one_a_line(text: str) -> str:
    r"""Put every sentence of a text on a line of its own: lines stay, and a blank after . ! or ? ends one.

    Example:
        >>> one_a_line("He came. He saw!\nHe won 1.5 cups")
        'He came.\nHe saw!\nHe won 1.5 cups'
    """
    return re.sub(r"(?<=[.!?])\s+", "\n", text.strip())
