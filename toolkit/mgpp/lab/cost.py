"""What a training will cost in memory and time, estimated from shapes alone. The rules stand in the docstrings."""

import math
import time
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

FLOAT = 4  # bytes
MEASURE_SECONDS = 0.2


@dataclass(frozen=True)
class Shape:
    """The numbers of a model that its cost depends on.

    Attributes:
        parameters: all of them.
        encoder: parameters that work on the source's tokens: all but embeddings and decoder.
        decoder: parameters of the decoder that stands beside an encoder, which work on the target's tokens; else 0.
        vocabulary: classes of the language modelling head, 0 without one.
        hidden, heads, layers, decoder_layers: width, attention heads, and blocks on either side.
    """

    parameters: int
    encoder: int
    decoder: int
    vocabulary: int
    hidden: int
    heads: int
    layers: int
    decoder_layers: int


def shape_of(model: PreTrainedModel) -> Shape:
    """Read the shape off a model, which may be an empty one (see `empty_model`).

    Example:
        >>> from transformers import AutoModelForCausalLM
        >>> from mgpp.lab.models.known_models import empty_model
        >>> shape = shape_of(empty_model("openai-community/gpt2", AutoModelForCausalLM))
        >>> shape.parameters, shape.encoder, shape.vocabulary
        (124439808, 85056000, 50257)
    """
    config, head = model.config, model.get_output_embeddings()
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)] + ([head] if head else [])
    skipped = {id(parameter) for table in tables for parameter in table.parameters()}
    weights = {name: p.numel() for name, p in model.named_parameters() if id(p) not in skipped}
    paired = bool(config.is_encoder_decoder)
    decoder = sum(count for name, count in weights.items() if paired and ".decoder." in f".{name}")
    return Shape(
        parameters=model.num_parameters(),
        encoder=sum(weights.values()) - decoder,
        decoder=decoder,
        vocabulary=config.vocab_size if head else 0,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        layers=config.num_hidden_layers,
        decoder_layers=config.decoder_layers if paired else 0,
    )


def training_flops(shape: Shape, source: float, target: float = 0) -> float:
    """Floating point operations to train on one example, forward and backward.

        6 (encoder · source + decoder · target + vocabulary · hidden · written)
        + 12 hidden (layers · source² + decoder_layers · (target² + target · source))

    A parameter costs one multiplication and one addition a token, forward once and backward twice; attention costs the
    same for each pair of tokens and each of the two products of a block (Kaplan et al. 2020, section 2.1). What is
    written, the tokens that the head classifies, is the target where there is a decoder, and the source otherwise.

    Args:
        shape: of the model.
        source: tokens of the example, padding included.
        target: tokens of its summary, where there is a decoder.
    """
    written = target if shape.decoder else source
    weights = shape.encoder * source + shape.decoder * target + shape.vocabulary * shape.hidden * written
    pairs = shape.layers * source**2 + shape.decoder_layers * (target**2 + target * source)
    return 6 * weights + 12 * shape.hidden * pairs


def search_flops(shape: Shape, source: float, target: float, beams: int) -> float:
    """Floating point operations of a beam search: the source is read once, and each beam writes the target.

        2 (encoder · source + beams · (decoder + vocabulary · hidden) · target)
        + 4 hidden (layers · source² + beams · decoder_layers · (target² + target · source))

    The forward third of `training_flops` with as many targets as beams. Keys and values of earlier tokens are kept, so
    that each token goes through the decoder once.

    Args:
        shape: of the model.
        source: tokens of the document.
        target: tokens of the summary, written to the end by every beam.
        beams: how many.

    Example:
        >>> tiny = Shape(100, 40, 40, 10, 8, 2, 1, 1)
        >>> search_flops(tiny, 6, 3, beams=1) == training_flops(tiny, 6, 3) / 3
        True
    """
    weights = shape.encoder * source + beams * (shape.decoder + shape.vocabulary * shape.hidden) * target
    pairs = shape.layers * source**2 + beams * shape.decoder_layers * (target**2 + target * source)
    return 2 * weights + 4 * shape.hidden * pairs


def state_bytes(shape: Shape, targets: int, floats_per_weight: int) -> dict[str, int]:
    """Memory that lasts through the training, in bytes, by what it is for.

    Args:
        shape: of the model.
        targets: prunable weights.
        floats_per_weight: what the method keeps in float32 for each of them, such as a score.

    Example:
        >>> tiny = Shape(100, 80, 0, 0, 8, 2, 1, 0)
        >>> state_bytes(tiny, targets=64, floats_per_weight=1)
        {'weights': 400, 'gradients': 400, 'Adam': 800, 'mask': 8, 'method': 256}
    """
    return {
        "weights": FLOAT * shape.parameters,
        "gradients": FLOAT * shape.parameters,
        "Adam": 2 * FLOAT * shape.parameters,
        "mask": math.ceil(targets / 8),
        "method": FLOAT * floats_per_weight * targets,
    }


def activation_bytes(shape: Shape, batch: int, source: float, target: float = 0, *, half: bool) -> int:
    """Memory of a step's intermediate results, in bytes: what backward needs of each block, and the head's logits.

    A block keeps hidden · (34 + 5 · heads · length / hidden) bytes a token in 16 bits (Korthikanti et al. 2022,
    section 4.1), and twice that in 32. Logits and their gradients are kept in float32. Attention kernels that don't
    keep the attention weights need less.

    Args:
        shape: of the model.
        batch: examples that go through the model at once.
        source: tokens of an example, padding included.
        target: tokens of its summary, where there is a decoder.
        half: whether the model computes in 16 bits.
    """

    def _block(length: float) -> float:
        return length * (34 * shape.hidden + 5 * shape.heads * length)

    cross = 5 * shape.heads * target * source  # a decoder's blocks attend to the source as well
    blocks = shape.layers * _block(source) + shape.decoder_layers * (_block(target) + cross)
    written = target if shape.decoder else source
    logits = 2 * FLOAT * shape.vocabulary * written
    return round(batch * ((1 if half else 2) * blocks + logits))


def matmul_rate(rows: int, width: int, dtype: torch.dtype, seconds: float = MEASURE_SECONDS) -> float:
    """Floating point operations a second of matrix products here and now, of (rows, width) with (width, 4 width).

    Measured on the GPU where there is one, otherwise on the processor with torch's current number of threads.

    Args:
        rows: tokens of a batch.
        width: of the model.
        dtype: in which the model computes.
        seconds: how long to measure.

    Example:
        >>> matmul_rate(64, 32, torch.float32, seconds=0.01) > 0
        True
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left = torch.ones(rows, width, dtype=dtype, device=device)
    right = torch.ones(width, 4 * width, dtype=dtype, device=device)
    products = 0
    _wait_for(left @ right)  # the first one pays for setting up
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not products:
        _wait_for(left @ right)
        products += 1
    return products * 2 * rows * width * 4 * width / elapsed


def _wait_for(result: torch.Tensor) -> None:
    if result.is_cuda:
        torch.cuda.synchronize()
