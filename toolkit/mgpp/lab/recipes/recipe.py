"""Define recipes: the settings of a run, read from YAML and validated by pydantic."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic.dataclasses import dataclass
from pydantic.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from typing_extensions import TypedDict

from mgpp.methods import METHODS, Method
from mgpp.prior.schedules import CubicSparsity

FOLDER = Path(__file__).parent
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


class RecipeError(ValueError):
    """A recipe is wrong. The message names the key and the value, and the nearest key where one is unknown."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the nearest of the known words, or all of them.

    Example:
        >>> did_you_mean("sede", ["seed", "epochs"])
        "; did you mean 'seed'?"
    """
    known = list(known)
    section, _, last = word.rpartition(".")
    near = [name for name in known if name.rpartition(".")[2] == last]
    near = near or difflib.get_close_matches(word[:80], known, n=1, cutoff=0.7)
    if near:
        return f"; did you mean {near[0]!r}?"
    inside = [name for name in known if name.rpartition(".")[0] == section]
    return f"; known are {', '.join(inside or known)}"


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[^./\\][^/\\]{0,99}", name) or not name.isprintable():
        raise ValueError("must be usable as a folder's name: at most 100 characters, no slash, no dot at the start")
    return name


def _phase(amount: float) -> float:
    if amount >= 1 and amount != int(amount):
        raise ValueError("must be a fraction below 1 or a whole number of steps")
    return amount


def _finite(section: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(section, allow_nan=False)
    except ValueError:
        raise ValueError("must not hold infinities or NaN, which a run's log can't keep") from None
    return section


Section = Annotated[dict[str, Any], AfterValidator(_finite)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Phase = Annotated[NonNegativeFloat, AfterValidator(_phase)]
Patterns = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


@dataclass(frozen=True, config=STRICT)
class OptimizerSettings:
    """Adam without weight decay; the learning rate falls linearly to `final_factor` of its start.

    `rewinds`: how often it starts again; null leaves it to the method.
    """

    learning_rate: PositiveFloat = 1e-4
    final_factor: Annotated[float, Field(ge=0, le=1)] = 0.1
    rewinds: NonNegativeInt | None = None


@dataclass(frozen=True, config=STRICT)
class SparsitySettings:
    """The cubic schedule and the mask rule.

    `warmup` and `frozen` are fractions of the training below 1, or whole numbers of steps. `scope` and `freeze` null
    leave it to the method, see `mgpp.Pruner`.
    """

    initial: Fraction = 0.0
    final: Fraction = 0.9
    warmup: Phase = 0.15
    frozen: Phase = 0.15
    interval: PositiveInt = 10
    allow_regrowth: bool = True
    scope: Literal["global", "matrix"] | None = None
    freeze: bool | None = None


@dataclass(frozen=True, config=STRICT)
class TextSettings:
    """How tasks cut and write long texts, and where data of one's own have them, see `mgpp.lab.tasks.TaskSettings`."""

    stride: NonNegativeInt = 128
    target_length: PositiveInt = 128
    beams: PositiveInt = 4
    columns: Patterns | None = None
    label: str | None = None
    problem: Literal["classification", "regression", "multi-label"] | None = None
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


@dataclass(frozen=True, config=STRICT)
class TargetSettings:
    """What is prunable, see `mgpp.prunable_weights`; null: all linear maps of the blocks. `preset` is unused."""

    preset: str | None = None
    include: Patterns | None = None
    exclude: Patterns | None = None


@dataclass(frozen=True, config=STRICT)
class LogSettings:
    """What is logged, in steps; see `mgpp.Observer`."""

    every: PositiveInt = 10
    histograms_every: PositiveInt = 50
    evaluate_every: PositiveInt = 100
    trajectories: NonNegativeInt = 500
    dynamics_every: NonNegativeInt = 0


@with_config(STRICT)
class TrainerSettings(TypedDict, total=False):
    """The arguments of `transformers.TrainingArguments` that a recipe may set. None uploads, or reads another file."""

    gradient_accumulation_steps: PositiveInt
    max_grad_norm: NonNegativeFloat
    adam_beta1: Fraction
    adam_beta2: Fraction
    adam_epsilon: NonNegativeFloat
    weight_decay: NonNegativeFloat
    optim: str
    optim_args: Annotated[str, Field(pattern=r"^\s*\w+\s*=[^=,]+(,\s*\w+\s*=[^=,]+)*$")] | None
    warmup_steps: NonNegativeFloat
    label_smoothing_factor: Fraction
    neftune_noise_alpha: NonNegativeFloat | None
    average_tokens_across_devices: bool
    gradient_checkpointing: bool
    gradient_checkpointing_kwargs: Section | None
    torch_compile: bool
    torch_compile_backend: str | None
    torch_compile_mode: str | None
    torch_empty_cache_steps: PositiveInt | None
    tf32: bool | None
    use_cpu: bool
    dataloader_num_workers: NonNegativeInt
    dataloader_pin_memory: bool
    dataloader_persistent_workers: bool
    dataloader_prefetch_factor: PositiveInt | None
    train_sampling_strategy: Literal["random", "sequential", "group_by_length", "batch_rebalance"]
    fsdp: bool | str | None
    fsdp_config: Section | None
    ddp_backend: Literal["nccl", "gloo", "mpi", "xccl", "hccl"] | None
    ddp_timeout: PositiveInt
    ddp_find_unused_parameters: bool | None
    ddp_bucket_cap_mb: PositiveInt | None
    save_total_limit: PositiveInt | None
    report_to: Literal["none", "tensorboard"] | list[Literal["none", "tensorboard"]]


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """All settings of a run. Frozen: `load_recipe` and `dataclasses.replace` make changed ones, and validate them.

    The recipes of `load_recipe` and `recipe_from` have one more attribute for the section of every registered method,
    such as `recipe.prior` and `recipe.l2`.

    Example:
        >>> load_recipe("reviews-quick", method="l2", **{"l2.strength": 0.002}).l2.strength
        0.002
    """

    name: Annotated[str, AfterValidator(_folder_name)] = "recipe"
    task: str = "reviews"
    model: str = "minilm"
    data: str | None = None
    method: str = "mgpp"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    epochs: PositiveFloat = 3.0
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt = 32
    max_length: PositiveInt = 64
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    compile_prior: bool = False
    save_model: bool = True
    save_every: PositiveInt | None = None
    text: TextSettings = TextSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    sparsity: SparsitySettings = SparsitySettings()
    targets: TargetSettings = TargetSettings()
    log: LogSettings = LogSettings()
    trainer: TrainerSettings = field(default_factory=lambda: TrainerSettings())

    def __post_init__(self) -> None:
        """Check the settings that depend on each other."""
        rule, log, rate = self.sparsity, self.log, self.optimizer
        if rule.initial > rule.final:
            raise ValueError(f"sparsity.initial={rule.initial} must not exceed sparsity.final={rule.final}")
        if max(rule.warmup, rule.frozen) < 1 < rule.warmup + rule.frozen:  # exactly 1 may leave a step, by rounding
            raise ValueError(
                f"sparsity.warmup={rule.warmup:g} and sparsity.frozen={rule.frozen:g} leave no step to prune in; their "
                "sum must be at most 1"
            )
        for key in ("histograms_every", "evaluate_every"):
            if getattr(log, key) % log.every:
                raise ValueError(f"log.{key}={getattr(log, key)} must be a multiple of log.every={log.every}")
        if rate.rewinds and rate.final_factor == 1:
            raise ValueError(
                f"optimizer.rewinds={rate.rewinds} has no effect on a constant learning rate; lower "
                "optimizer.final_factor"
            )
        if METHODS[self.method].must_freeze and not self.freezes:
            raise ValueError(f"sparsity.freeze=False: {self.method} needs a frozen mask at the end; set it to true")

    def schedule(self, total_steps: int) -> CubicSparsity:
        """Return the sparsity schedule of a training of `total_steps` optimizer updates.

        Raises:
            RecipeError: if warm-up and frozen phase leave no step to prune in.
        """
        begin = _steps(self.sparsity.warmup, total_steps)
        end = total_steps - max(1, _steps(self.sparsity.frozen, total_steps))
        if end <= begin:
            raise RecipeError(
                f"sparsity.warmup={self.sparsity.warmup:g} and sparsity.frozen={self.sparsity.frozen:g} leave no step "
                f"of {total_steps} to prune in; shorten them or raise "
                f"{'epochs' if self.max_steps is None else 'max_steps'}"
            )
        asked = CubicSparsity(self.sparsity.initial, self.sparsity.final, begin, end)
        return self.method_settings().schedule(asked)

    def method_settings(self) -> Method:
        """Return the recipe's method with its hyperparameters.

        Example:
            >>> load_recipe("reviews", method="l2").method_settings()
            Ridge(strength=0.001)
        """
        method = METHODS[self.method]
        return method(**asdict(getattr(self, method.section))) if method.section else method()

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
        """Return plain nested data, as YAML and JSON hold it; `recipe_from` reads it back."""
        return asdict(self)

    @property
    def run_name(self) -> str:
        """The default name of a run's folder."""
        sparsity = f"-{self.sparsity.final:g}" if METHODS[self.method].prunes else ""
        return f"{self.name}-{self.method}{sparsity}-seed{self.seed}"


def _steps(amount: float, total_steps: int) -> int:
    return round(amount * total_steps) if amount < 1 else int(amount)


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the toolkit."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


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
    known = str(name_or_path) in recipe_names()
    path = FOLDER / f"{name_or_path}.yaml" if known else Path(name_or_path)
    if not path.is_file():
        hint = did_you_mean(str(name_or_path), recipe_names())
        raise RecipeError(f"recipe={str(name_or_path)!r} is neither a file nor a known recipe{hint}")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{path} must hold keys and values, such as task: reviews; it holds {data!r:.80}")
    return recipe_from({"name": path.stem, **data}, **overrides)


def recipe_from(data: Mapping[str, Any], /, **overrides: Any) -> Recipe:
    """Validate nested data, changed by values with dotted keys, and return the recipe.

    Raises:
        RecipeError: if a key is unknown or a value is not valid.

    Example:
        >>> recipe_from({"task": "reviews"}, **{"prior.lam": "1e-5"}).prior.lam
        1e-05
    """
    nested = _plain(data)
    for key, value in overrides.items():
        *parents, last = key.split(".")
        section = nested
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise RecipeError(f"{key}={value!r:.80}: {parent} holds a value, not keys")
        value = _plain(value)
        both = isinstance(section.get(last), dict) and isinstance(value, dict)
        section[last] = {**section[last], **value} if both else value
    try:
        return _adapter(tuple(METHODS.items())).validate_json(json.dumps(nested))
    except ValidationError as error:
        raise RecipeError(_explain(error)) from None


def _plain(value: Any) -> Any:
    """Copy nested data as JSON has it. YAML reads 1e-5 as text; here it is a number."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, str) and EXPONENT.fullmatch(value):
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, str | int | float | None):
        return value
    return value.item() if hasattr(value, "item") else str(value)  # NumPy's numbers; paths and dates


@cache
def _adapter(methods: tuple[tuple[str, type[Method]], ...]) -> TypeAdapter[Recipe]:
    """Return the validator of recipes that have a section for each of the methods."""
    sections: dict[str, type[Method]] = {}
    for _, method in methods:
        if method.section:
            sections.setdefault(method.section, method)
    kinds = {"method": Literal[tuple(name for name, _ in methods)], **sections}
    defaults = {"method": "mgpp", **{name: method() for name, method in sections.items()}}
    namespace = {"__annotations__": kinds, "__module__": __name__, "__doc__": Recipe.__doc__, **defaults}
    with_sections: Any = dataclass(type("Recipe", (Recipe,), namespace), frozen=True, config=STRICT)
    return TypeAdapter(with_sections)


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema of recipes, with which editors complete and check them."""
    return _adapter(tuple(METHODS.items())).json_schema()


def _explain(error: ValidationError) -> str:
    """Return a line for every wrong key, ten at most: its value and what is allowed, or the nearest known key."""
    lines: dict[str, str] = {}
    allowed = ""
    for each in error.errors():
        key = ".".join(map(str, each["loc"][:2]))[:80]  # what follows are items of lists and members of unions
        message = each["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        if each["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            hint = did_you_mean(key, known_keys())
            if not hint.endswith("?") and any(hint in line for line in lines.values()):
                hint = ""  # the list of all keys is told once
            lines[key] = f"{key} is not a known key{hint}"
            if key.startswith("trainer.") and hint.endswith("?"):
                allowed = f" A recipe may set trainer.{', '.join(TrainerSettings.__annotations__)}"
        elif each["type"] == "value_error" and isinstance(each["input"], dict):
            lines[key] = f"{key}: {message}" if key else message
        elif key in lines:  # another type that the value could have
            lines[key] += "" if message in lines[key] else f" or {message}"
        else:
            own = "; one of your own needs --import FILE" if key == "method" else ""
            lines[key] = f"{key}={each['input']!r:.80} {message}{own}"
    told = [*list(lines.values())[:10], *([f"and {len(lines) - 10} more"] if len(lines) > 10 else [])]
    return "\n".join(told) + allowed


def known_keys() -> list[str]:
    """Return all dotted keys of a recipe, and its sections."""
    sections = recipe_from({}).as_dict() | {"trainer": TrainerSettings.__annotations__}
    inside = [f"{name}.{key}" for name, value in sections.items() if isinstance(value, dict) for key in value]
    return [*sections, *inside]


def parse_override(text: str, option: str = "--set") -> tuple[str, Any]:
    """Split `key=value` and read the value as YAML. Messages name the `option` that it was given to.

    Example:
        >>> parse_override("sparsity.final=0.95")
        ('sparsity.final', 0.95)
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise RecipeError(f"{option} {text!r:.80} must have the form key=value, such as prior.lam=1e-5")
    try:
        return key.strip(), yaml.safe_load(value)
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{option} {text!r:.80} is not valid YAML; quote the value if it is text: {error}") from None
