"""Find the columns of texts and labels in data of one's own, by the names that people give them."""

from collections.abc import Sequence

from mgpp.lab.recipes.recipe import did_you_mean
from mgpp.lab.tasks.errors import DataError

PAIRS = [("sentence1", "sentence2"), ("question1", "question2"), ("premise", "hypothesis"), ("question", "sentence")]
PAIRS += [("text1", "text2"), ("text_a", "text_b"), ("query", "document"), ("question", "context")]
SINGLES = ("text", "sentence", "review", "content", "body", "document", "comment", "message", "tweet", "utterance")
NEITHER = {"", "id", "idx", "index", "unnamed: 0", "__index_level_0__"}  # columns of row numbers
LABELS = ("label", "labels", "target", "class", "category", "score", "rating", "stars", "sentiment", "intent", "y")


def choose_label(names: Sequence[str], asked: str | None, texts: Sequence[str] = ()) -> str:
    """Return the column of the label: the one asked for, one with a usual name, or the only one beside the texts.

    Raises:
        DataError: if there is no such column, or it can't be told.

    Example:
        >>> choose_label(["id", "body", "Category"], None)
        'Category'
    """
    if asked is not None:
        return _known(asked, names, "text.label")
    usual = {name.lower(): name for name in names if name not in texts and name.lower() not in NEITHER}
    beside = usual.keys() - {*SINGLES, *(column for pair in PAIRS for column in pair)}
    chosen = next((name for name in LABELS if name in usual), beside.pop() if len(beside) == 1 else None)
    if chosen is None:
        raise DataError(f"which column is the label? There are {', '.join(names)}; say: --set text.label=NAME")
    return usual[chosen]


def choose_texts(names: Sequence[str], asked: Sequence[str] | None, label: str) -> tuple[str, ...]:
    """Return the columns of one or two texts: those asked for, those with usual names, or the only one left.

    Raises:
        DataError: if there are no such columns, or they can't be told.

    Example:
        >>> choose_texts(["Premise", "Hypothesis", "label"], None, "label")
        ('Premise', 'Hypothesis')
    """
    if asked is not None:
        if len(asked) not in (1, 2):
            raise DataError(f"text.columns={list(asked)!r} must name one or two columns")
        return tuple(_known(name, names, "text.columns") for name in asked)
    usual = {name.lower(): name for name in names if name != label and name.lower() not in NEITHER}
    for columns in (*PAIRS, *((single,) for single in SINGLES)):
        if all(column in usual for column in columns):
            return tuple(usual[column] for column in columns)
    if len(usual) != 1:
        raise DataError(f"which columns are texts? There are {', '.join(names)}; say: --set 'text.columns=[NAME]'")
    return tuple(usual.values())


def _known(name: str, names: Sequence[str], key: str) -> str:
    if name not in names:
        raise DataError(f"{key}={name!r} is not a column of the data{did_you_mean(name, names)}")
    return name
