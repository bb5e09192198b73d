"""Problems whose true structure is known: two functions of five variables among many, and a sequence of tokens.

All are regressions with noise of variance 1. Half the squared error is then the negative log likelihood of an example,
so the mean loss and the prior's 1/n are on one scale.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from mgpp.pruning.targets import prunable_weights


@dataclass(frozen=True)
class Sample:
    """Examples: inputs x (n, inputs), noisy targets y (n,), and their means without the noise (n,)."""

    x: Tensor
    y: Tensor
    mean: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Problem(ABC):
    """What is to be learned, by what model, and for how long. It is the same for all methods.

    Attributes:
        name: used in folders and tables.
        least: the importance above which an input counts as selected.
        spread: factor of the variances that are tried, larger for a truth that varies more.
        inputs: number of inputs.
        true: which of them matter, counted from 0.
        sizes: numbers of training examples.
        kept: numbers of weights to keep, among which a validation set chooses.
        steps, batch, learning_rate: Adam's budget; the learning rate falls linearly to a tenth.
    """

    name: ClassVar[str]
    least: ClassVar[float]
    spread: ClassVar[float] = 1.0
    inputs: int
    true: tuple[int, ...]
    sizes: tuple[int, ...]
    kept: tuple[int, ...]
    steps: int
    batch: int
    learning_rate: float

    def draw(self, n: int, rng: torch.Generator) -> Sample:
        """Draw `n` examples.

        Example:
            >>> sample = TEACHER.draw(3, torch.Generator().manual_seed(0))
            >>> tuple(sample.x.shape), tuple(sample.y.shape)
            ((3, 1000), (3,))
        """
        x = self._inputs(n, rng)
        mean = self.mean(x)
        return Sample(x, mean + torch.randn(n, generator=rng), mean)

    @abstractmethod
    def _inputs(self, n: int, rng: torch.Generator) -> Tensor: ...

    @abstractmethod
    def mean(self, x: Tensor) -> Tensor:
        """Return the true function, (n,), of inputs, (n, inputs)."""

    @abstractmethod
    def model(self, seed: int) -> nn.Module:
        """Return a student with random weights, (n, inputs) -> (n,), and keep the caller's random state."""

    @abstractmethod
    def targets(self, model: nn.Module) -> Mapping[str, nn.Parameter]:
        """Return the weights that are pruned."""

    @abstractmethod
    def importance(self, model: nn.Module, x: Tensor) -> list[float]:
        """Return how much the model uses each input. Inputs above `least` are selected."""


class _Student(nn.Module):
    """Hidden layers, of which only the first is pruned, and a linear output."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], activation: Callable[[Tensor], Tensor]):
        super().__init__()
        self.first = nn.Linear(inputs, hidden[0])
        self.others = nn.ModuleList(nn.Linear(*sizes) for sizes in pairwise((*hidden, 1)))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions, (n,), for inputs, (n, inputs)."""
        x = self.first(x)
        for layer in self.others:
            x = layer(self.activation(x))
        return x.squeeze(1)


@dataclass(frozen=True)
class Variables(Problem):
    """Many variables of which the first five matter, any two with correlation ½, and a network that learns.

        xi = (e + zi) / √2,     e, zi standard normal

    The authors' released generator gives e and zi variance ½ in training and 1 in testing; here it is 1 in both. Only
    the network's input weights are pruned, as a transformer's head is not pruned either. A variable is selected if one
    of its input weights survives.
    """

    least: ClassVar[float] = 0.0

    def _inputs(self, n: int, rng: torch.Generator) -> Tensor:
        shared = torch.randn(n, 1, generator=rng)
        return torch.randn(n, self.inputs, generator=rng).add_(shared).mul_(0.5**0.5)

    @abstractmethod
    def _student(self) -> nn.Module: ...

    def model(self, seed: int) -> nn.Module:
        """Return the student with random weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._student()

    def targets(self, model: nn.Module) -> Mapping[str, nn.Parameter]:
        """Return the input weights, (hidden, inputs)."""
        return {"first": model.get_parameter("first.weight")}

    def importance(self, model: nn.Module, x: Tensor) -> list[float]:
        """Count each variable's weights that survive."""
        return [float(count) for count in (model.get_parameter("first.weight") != 0).sum(0)]


@dataclass(frozen=True)
class Teacher(Variables):
    """The sparse teacher of Sun, Song & Liang (2021), section 5, structure selection: 5 of 1,000 variables matter.

        y = tanh(2 tanh(2 x1 - x2)) + 2 tanh(2 tanh(x3 - 2 x4) - tanh(2 x5)) + N(0, 1)

    The student is another than theirs: one hidden layer of tanh units.

    Example:
        >>> float(TEACHER.mean(torch.zeros(1, 1000)))
        0.0
    """

    name: ClassVar[str] = "teacher"
    hidden: int = 16

    def mean(self, x: Tensor) -> Tensor:
        """Return the teacher without noise."""
        first = torch.tanh(2 * torch.tanh(2 * x[:, 0] - x[:, 1]))
        return first + 2 * torch.tanh(2 * torch.tanh(x[:, 2] - 2 * x[:, 3]) - torch.tanh(2 * x[:, 4]))

    def _student(self) -> nn.Module:
        return _Student(self.inputs, (self.hidden,), torch.tanh)


@dataclass(frozen=True)
class Regression(Variables):
    """The nonlinear regression of Sun, Song & Liang (2021), section 5: 5 of 2,000 variables matter.

        y = 5 x2 / (1 + x1²) + 5 sin(x3 x4) + 2 x5 + N(0, 1)

    No network is this function, and x3 and x4 act only together. The student has two hidden layers of rectified linear
    units: with one it learns the product hardly at all.

    Example:
        >>> float(REGRESSION.mean(torch.tensor([[0.0, 1.0, 0.0, 0.0, 1.0] + 1995 * [0.0]])))
        7.0
    """

    name: ClassVar[str] = "regression"
    spread: ClassVar[float] = 10.0  # the truth varies by 26, the teacher's by 3
    hidden: tuple[int, ...] = (32, 16)

    def mean(self, x: Tensor) -> Tensor:
        """Return the function without noise."""
        return 5 * x[:, 1] / (1 + x[:, 0] ** 2) + 5 * torch.sin(x[:, 2] * x[:, 3]) + 2 * x[:, 4]

    def _student(self) -> nn.Module:
        return _Student(self.inputs, self.hidden, torch.relu)


class _Encoder(nn.Module):
    """A tiny BERT with a linear head on the first token, which is always the same."""

    def __init__(self, length: int, vocabulary: int, hidden: int):
        super().__init__()
        config = BertConfig(
            vocab_size=vocabulary + 1,
            hidden_size=hidden,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=2 * hidden,
            max_position_embeddings=length + 1,
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=0.15,  # about 1/√hidden: the usual 0.02 is made for wide models
        )
        self.bert, self.head = BertModel(config, add_pooling_layer=False), nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions, (n,), for tokens, (n, length). The first token is added here."""
        x = nn.functional.pad(x, (1, 0), value=self.bert.config.vocab_size - 1)
        return self.head(self.bert(x).last_hidden_state[:, 0]).squeeze(1)


@dataclass(frozen=True)
class Positions(Problem):
    """A sequence of random tokens; those at three positions matter.

        y = s1(token 3) + 0.7 s2(token 8) + 0.5 s3(token 13) + N(0, 1)

    with tables s1, s2, s3 of mean 0 and variance 1 over a vocabulary of 8. The student is a BERT of one layer, of which
    the toolkit's usual targets are pruned. Its weights belong to no position, so what it uses is measured: the total
    effect of position j (Sobol; estimated as in Jansen 1999), with x' an independent draw of the token at j,

        T_j = E[(g(x) - g(x with x'_j))²] / (2 Var g),

    the share of the model's output variance that is lost where the token is unknown. A position is selected if T_j is
    above 1%. The true function's are 0.57, 0.28 and 0.14.

    Example:
        >>> POSITIONS.draw(2, torch.Generator().manual_seed(0)).x.shape
        torch.Size([2, 16])
    """

    name: ClassVar[str] = "positions"
    least: ClassVar[float] = 0.01
    vocabulary: int = 8
    hidden: int = 32
    effects: tuple[float, ...] = (1.0, 0.7, 0.5)

    def _inputs(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randint(self.vocabulary, (n, self.inputs), generator=rng)

    def mean(self, x: Tensor) -> Tensor:
        """Return the sum of the three tables' entries."""
        rng = torch.Generator().manual_seed(7)  # one fixed choice of tables
        scores = torch.linspace(-1, 1, self.vocabulary)
        scores /= scores.square().mean().sqrt()
        tables = [scores[torch.randperm(self.vocabulary, generator=rng)] for _ in self.true]
        parts = zip(self.true, self.effects, tables, strict=True)
        return torch.stack([effect * table[x[:, place]] for place, effect, table in parts]).sum(0)

    def model(self, seed: int) -> nn.Module:
        """Return the student: a BERT encoder of one layer and a linear head on the first token."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _Encoder(self.inputs, self.vocabulary, self.hidden)

    def targets(self, model: nn.Module) -> Mapping[str, nn.Parameter]:
        """Return the six matrices of the layer, 8,192 weights."""
        return prunable_weights(model.get_submodule("bert"))

    @torch.no_grad()
    def importance(self, model: nn.Module, x: Tensor) -> list[float]:
        """Return T_j by position. The draws of tokens are the same for every model."""
        output, effects = model(x), []
        for place in range(self.inputs):
            rng = torch.Generator().manual_seed(place)
            other = x.clone()
            other[:, place] = torch.randint(self.vocabulary, (len(x),), generator=rng)
            effects.append(float((model(other) - output).square().mean() / 2))
        variance = float(output.var())
        return [effect / variance if variance > 1e-12 else 0.0 for effect in effects]


TEACHER = Teacher(
    inputs=1000,
    true=(0, 1, 2, 3, 4),
    sizes=(100, 300, 1000, 3000, 10000),
    kept=(10, 20, 40),
    steps=1000,
    batch=128,
    learning_rate=0.01,
)
REGRESSION = Regression(
    inputs=2000,
    true=(0, 1, 2, 3, 4),
    sizes=(300, 1000, 3000, 10000),
    kept=(64,),  # one weight in a thousand
    steps=4000,
    batch=128,
    learning_rate=3e-3,
)
POSITIONS = Positions(
    inputs=16,
    true=(2, 7, 12),
    sizes=(100, 300, 1000, 3000),
    kept=(819,),  # a tenth of 8,192, the published sparsity
    steps=600,
    batch=64,
    learning_rate=2e-3,
)
PROBLEMS: dict[str, Problem] = {problem.name: problem for problem in (TEACHER, REGRESSION, POSITIONS)}
