"""Score an answer against accepted ones as SQuAD does (Rajpurkar et al. 2016, section 6.1; 2018 for no answer)."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Return a text in lower case, without ASCII punctuation, then without articles, with single spaces.

    Example:
        >>> normalize(" The  Eiffel-Tower's top, a view!")
        'eiffeltowers top view'
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(answer: str, accepted: str) -> float:
    """Return 1.0 if the two are the same once normalized, else 0.0.

    Example:
        >>> exact_match("the Seine.", "Seine"), exact_match("Seine", "the river Seine")
        (1.0, 0.0)
    """
    return float(normalize(answer) == normalize(accepted))


def f1(answer: str, accepted: str) -> float:
    """Return the harmonic mean of precision and recall of the normalized words, each counted as often as it is in both.

    If one of them has no words, 1.0 if both have none, else 0.0.

    Example:
        >>> f1("the river Seine", "Seine"), f1("", "Seine"), f1("", "")
        (0.6666666666666666, 0.0, 1.0)
    """
    found, wanted = normalize(answer).split(), normalize(accepted).split()
    if not found or not wanted:
        return float(found == wanted)
    shared = (Counter(found) & Counter(wanted)).total()
    return 2 * shared / (len(found) + len(wanted))


def best_of(score: Callable[[str, str], float], answer: str, accepted: Sequence[str]) -> float:
    """Return the best score against any of the accepted answers; without any (with words), no answer is the right one.

    Example:
        >>> best_of(f1, "Paris", ["Rome", "Paris"]), best_of(f1, "", []), best_of(f1, "Paris", [])
        (1.0, 1.0, 0.0)
    """
    return max(score(answer, text) for text in [text for text in accepted if normalize(text)] or [""])
