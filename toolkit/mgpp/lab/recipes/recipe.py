"""Recipes: the validated settings of a run, read from YAML. What is wrong is said before anything expensive starts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from mgpp.lab.recipes.plain_yaml import LONGEST, read_yaml
from mgpp.lab.recipes.reach import check_name, check_reach
from mgpp.lab.recipes.recipe_sizes import check_sizes
from mgpp.lab.recipes.strict import RecipeError, build, deep_copy, did_you_mean, dotted_keys, shown
from mgpp.lab.recipes.trainer_section import check_trainer_section
from mgpp.methods import METHODS, Method
from mgpp.prior.schedules import CubicSparsity


@dataclass(frozen=True)
class OptimizerSettings:
    """Adam without weight decay; the learning rate falls linearly to `final_factor` of its start.

    `rewinds`: how often it starts again; null leaves it to the method.
    """

    learning_rate: float = 1e-4
    final_factor: float = 0.1
    rewinds: int | None = None


@dataclass(frozen=True)
class SparsitySettings:
    """The cubic schedule and the mask rule.

    `warmup` and `frozen` are fractions of the training below 1, or whole numbers of steps. `scope` and `freeze` null
    leave it to the method, see `mgpp.Pruner`.
    """

    initial: float = 0.0
    final: float = 0.9
    warmup: float = 0.15
    frozen: float = 0.15
    interval: int = 10
    allow_regrowth: bool = True
    scope: Literal["global", "matrix"] | None = None
    freeze: bool | None = None


@dataclass(frozen=True)
class TextSettings:
    """How tasks with long texts cut and write them, see `mgpp.lab.tasks.base.TaskSettings`."""

    stride: int = 128
    target_length: int = 128
    beams: int = 4


@dataclass(frozen=True)
class TargetSettings:
    """What is prunable, see `mgpp.prunable_weights`; null chooses the preset of the model's architecture."""

    preset: str | None = None
    include: list[str] | None = None
    exclude: list[str] | None = None


@dataclass(frozen=True)
class LogSettings:
    """What is logged, in steps; see `mgpp.Observer`."""

    every: int = 10
    histograms_every: int = 50
    evaluate_every: int = 100
    trajectories: int = 500


@dataclass(frozen=True)
class Recipe:
    """All settings of a run. Frozen: `replace` and `load_recipe` make changed ones.

    `sections` holds the hyperparameters of every method by its section; `recipe.l2` is `recipe.sections["l2"]`.

    Example:
        >>> load_recipe("reviews-quick", method="l2", **{"l2.strength": 0.002}).l2.strength
        0.002
    """

    name: str = "recipe"
    task: str = "reviews"
    model: str = "minilm"
    data: str | None = None
    method: str = "mgpp"
    seed: int = 0
    epochs: float = 3.0
    max_steps: int | None = None
    batch_size: int = 32
    max_length: int = 64
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: int | None = None
    compile_prior: bool = False
    save_model: bool = True
    save_every: int | None = None
    text: TextSettings = field(default_factory=TextSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    sparsity: SparsitySettings = field(default_factory=SparsitySettings)
    targets: TargetSettings = field(default_factory=TargetSettings)
    log: LogSettings = field(default_factory=LogSettings)
    trainer: dict[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Method] = field(default_factory=lambda: default_sections(), metadata={"derived": True})

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["sections"][name]
        except KeyError:
            raise AttributeError(f"a recipe has no {name!r}{did_you_mean(name, _known_keys())}") from None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise RecipeError(f"method={self.method!r} is unknown{did_you_mean(self.method, METHODS)}")
        try:
            CubicSparsity(self.sparsity.initial, self.sparsity.final, 0, 1)
        except ValueError as error:
            raise RecipeError(f"sparsity: {error}") from None
        if METHODS[self.method].must_freeze and not self.freezes:
            raise RecipeError(f"sparsity.freeze=False: {self.method} folds its gates when the mask is frozen; say true")
        if self.optimizer.rewinds and self.optimizer.final_factor == 1:
            raise RecipeError(
                f"optimizer.rewinds={self.optimizer.rewinds} has nothing to start again with a constant learning rate; "
                "lower optimizer.final_factor"
            )
        check_sizes(self)
        check_name(self.name)
        check_reach(self.trainer)
        check_trainer_section(self.trainer)

    def schedule(self, total_steps: int) -> CubicSparsity:
        """The sparsity schedule of a training of `total_steps` optimizer updates.

        Raises:
            RecipeError: if warm-up and frozen phase leave no step to prune in.
        """
        begin = _steps(self.sparsity.warmup, total_steps)
        end = total_steps - max(1, _steps(self.sparsity.frozen, total_steps))
        if end <= begin:
            raise RecipeError(
                f"sparsity.warmup={self.sparsity.warmup:g} and sparsity.frozen={self.sparsity.frozen:g} (shares "
                f"below 1, steps from 1 on) leave no step of {total_steps} to prune in; shorten them, or train longer: "
                f"{'epochs' if self.max_steps is None else 'max_steps'}"
            )
        asked = CubicSparsity(self.sparsity.initial, self.sparsity.final, begin, end)
        return self.method_settings().schedule(asked)

    def method_settings(self) -> Method:
        """The recipe's method with its hyperparameters.

        Example:
            >>> load_recipe("reviews", method="l2").method_settings()
            Ridge(strength=0.001)
        """
        method = METHODS[self.method]
        return method(**asdict(self.sections[method.section])) if method.section else method()

    @property
    def scope(self) -> Literal["global", "matrix"]:
        """What is ranked together."""
        return self.sparsity.scope or METHODS[self.method].scope

    @property
    def freezes(self) -> bool:
        """Whether the mask is frozen at t_f."""
        return METHODS[self.method].freeze if self.sparsity.freeze is None else self.sparsity.freeze

    @property
    def rewinds(self) -> int:
        """How often the learning rate starts again."""
        asked = self.optimizer.rewinds
        return self.method_settings().rewinds if asked is None else asked

    def as_dict(self) -> dict[str, Any]:
        """Plain nested data, as YAML and JSON hold it; `recipe_from` reads it back."""
        plain = asdict(self)
        sections = plain.pop("sections")
        return plain | sections

    @property
    def run_name(self) -> str:
        """The default name of a run's folder."""
        sparsity = f"-{self.sparsity.final:g}" if METHODS[self.method].prunes else ""
        return f"{self.name}-{self.method}{sparsity}-seed{self.seed}"


def _steps(amount: float, total_steps: int) -> int:
    return round(amount * total_steps) if amount < 1 else int(amount)


def recipe_names() -> list[str]:
    """The recipes that come with the toolkit."""
    return sorted(path.name.removesuffix(".yaml") for path in _packaged().iterdir() if path.name.endswith(".yaml"))


def _packaged() -> Any:
    return resources.files("mgpp.lab.recipes")


def load_recipe(name_or_path: str | Path, /, **overrides: Any) -> Recipe:
    """Read a recipe that comes with the toolkit by its name, or any YAML file by its path.

    Args:
        name_or_path: such as "reviews", or "my/recipe.yaml".
        overrides: values by dotted key, such as `**{"prior.lam": 1e-5}`.

    Raises:
        RecipeError: if there is no such recipe, or a key or value in it is not valid.

    Example:
        >>> load_recipe("reviews", seed=3, **{"sparsity.final": 0.9}).run_name
        'reviews-mgpp-0.9-seed3'
    """
    name, path, known = str(name_or_path), Path(name_or_path), recipe_names()
    data = read_yaml(_text_of(path, name, known), name)
    if data is None:
        raise RecipeError(f"{name_or_path} is empty; a recipe holds keys and values, such as task: reviews")
    if not isinstance(data, Mapping):
        raise RecipeError(f"{name_or_path} must hold keys and values, not {type(data).__name__}")
    return recipe_from({"name": path.stem, **data}, **overrides)


def _text_of(path: Path, name: str, known: list[str]) -> str:
    if name in known:
        return str((_packaged() / f"{name}.yaml").read_text(encoding="utf-8"))
    try:
        if path.is_file():
            with path.open("rb") as stream:  # no more than a recipe may have, whatever it is
                return stream.read(4 * LONGEST + 1).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise RecipeError(f"recipe={shown(name)} can't be read: {error}") from None
    raise RecipeError(f"recipe={shown(name)} is no file and no recipe{did_you_mean(name, known)}")


def recipe_from(data: Mapping[str, Any], /, **overrides: Any) -> Recipe:
    """A recipe from nested data and values by dotted key, checked strictly.

    Example:
        >>> recipe_from({"task": "reviews"}, **{"prior.lam": "1e-5"}).prior.lam
        1e-05
    """
    nested = deep_copy(data)
    for key, value in overrides.items():
        *parents, last = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise RecipeError(f"{key}: {parent} holds a value, not keys{did_you_mean(parent, _known_keys())}")
        if isinstance(value, Mapping) and isinstance(place.get(last), dict):
            place[last] = {**place[last], **deep_copy(value)}  # a section changes only what it names
        else:
            place[last] = deep_copy(value)
    method = nested.get("method", "mgpp")
    if not isinstance(method, str) or method not in METHODS:  # first: a method that is not there has no section either
        raise RecipeError(f"method={shown(method)} is unknown{did_you_mean(str(shown(method)), METHODS)}")
    known = _known_keys()
    sections = default_sections()
    for name in sections.keys() & nested.keys():
        sections[name] = _section(type(sections[name]), nested.pop(name), known)
    return replace(build(Recipe, nested, "", known), sections=sections)


def default_sections() -> dict[str, Method]:
    """The sections of all registered methods; methods that share one are told apart by `method` alone.

    Example:
        >>> default_sections()["l2"]
        Ridge(strength=0.001)
    """
    return {method.section: method() for method in reversed(METHODS.values()) if method.section}


def _section(method: type[Method], data: Any, known: list[str]) -> Method:
    try:
        return build(method, data, str(method.section), known)
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(f"{method.section}: {error}") from None


def _known_keys() -> list[str]:
    sections = [dotted_keys(type(section), f"{name}.") for name, section in default_sections().items()]
    return dotted_keys(Recipe) + [key for keys in sections for key in keys]


def parse_override(text: str, option: str = "--set") -> tuple[str, Any]:
    """Split `key=value`, reading the value as YAML; `option` is where it stood, for messages.

    Example:
        >>> parse_override("sparsity.final=0.95")
        ('sparsity.final', 0.95)
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise RecipeError(f"{option} {shown(text)} must have the form key=value, such as prior.lam=1e-5")
    try:
        return key.strip(), read_yaml(value, f"{option} {shown(text)}")
    except RecipeError as error:
        raise RecipeError(f"{error}; quote the value if it is text") from None
