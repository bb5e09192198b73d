"""YAML as plain data: keys, texts, numbers, lists. Whoever wrote it can neither run code nor fill the memory."""

from collections import Counter
from typing import Any

import yaml

from mgpp.lab.recipes.strict import RecipeError

LONGEST = 64 * 1024  # characters; the longest recipe that comes with the toolkit has two thousand
DEEPEST = 20


class _PlainLoader(yaml.SafeLoader):
    """No tags but those of JSON, no aliases (a few of them can stand for gigabytes), no key twice, not too deep."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next piece of the text, if it is neither an alias nor too deep."""
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are refused; write the value out", mark)
        if self.depth == DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"it is nested more than {DEEPEST} deep", mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Keys and values, if no key stands there twice."""
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, count in counts.most_common(1):
            if count > 1:
                raise yaml.constructor.ConstructorError(None, None, f"a key stands there twice: {key}", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _refuse(loader: Any, node: yaml.Node) -> None:
    raise yaml.constructor.ConstructorError(None, None, f"the tag {node.tag} is refused", node.start_mark)


def _text(loader: Any, node: Any) -> str:
    return str(node.value)


for _tag in ("binary", "omap", "pairs", "set"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _refuse)
_PlainLoader.add_constructor("tag:yaml.org,2002:timestamp", _text)  # a day is no type of JSON


def read_yaml(text: str, what: str) -> Any:
    r"""Plain data from YAML.

    Args:
        text: the YAML.
        what: where it stands, for messages.

    Raises:
        RecipeError: if it is not YAML, too long or too deep, or uses more of YAML than keys, lists, texts and numbers.

    Example:
        >>> read_yaml("{lam: 1.0e-5, on: 2001-01-01}", "my.yaml")
        {'lam': 1e-05, True: '2001-01-01'}
        >>> read_yaml("a: &b [1]\nc: *b", "my.yaml")
        Traceback (most recent call last):
        ...
        mgpp.lab.recipes.strict.RecipeError: my.yaml is not YAML that a recipe may use: aliases are refused; write the
        value out (line 2)
    """
    if len(text) > LONGEST:
        raise RecipeError(f"{what} has {len(text):,} characters; a recipe has at most {LONGEST:,}")
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506  # a loader stricter than the safe one
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise RecipeError(f"{what} is not YAML that a recipe may use: {error.problem}{line}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise RecipeError(f"{what} is not YAML that a recipe may use: {' '.join(str(error).split())}") from None
