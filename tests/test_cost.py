import pytest
import torch
from small_models import small_bart, small_bert, small_gpt2
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from mgpp.lab.cost import Shape, activation_bytes, matmul_rate, shape_of, state_bytes, training_flops
from mgpp.lab.models.known_models import empty_model

BATCH, SOURCE, TARGET = 2, 96, 32
TASKS = {
    "classification": (small_bert, AutoModelForSequenceClassification),
    "masked": (small_bert, AutoModelForMaskedLM),
    "causal": (small_gpt2, AutoModelForCausalLM),
    "summaries": (small_bart, AutoModelForSeq2SeqLM),
}


def measured_flops(model, target):
    """What torch counts in one forward and backward pass, for each example."""
    model.set_attn_implementation("eager")  # the counter does not know every kernel of the processor
    batch = {"input_ids": torch.ones(BATCH, SOURCE, dtype=torch.long)}
    written = target or SOURCE
    labels = torch.ones(BATCH, written, dtype=torch.long) if model.get_output_embeddings() else torch.ones(BATCH).long()
    with FlopCounterMode(display=False) as counter:
        model(**batch, labels=labels).loss.backward()
    return counter.get_total_flops() / BATCH


@pytest.mark.parametrize("task", TASKS)
def test_operations_are_those_that_torch_counts(task, tmp_path):
    make, auto_class = TASKS[task]
    model = auto_class.from_pretrained(make(tmp_path))
    target = TARGET if task == "summaries" else 0
    estimate = training_flops(shape_of(model), SOURCE, target)
    # what is counted besides: biases and norms, pooler and classifier at every token, the first block's backward
    assert estimate == pytest.approx(measured_flops(model, target), rel=0.08)


def test_operations_by_hand():
    shape = Shape(parameters=0, encoder=100, decoder=0, vocabulary=7, hidden=4, heads=2, layers=3, decoder_layers=0)
    assert training_flops(shape, 5) == 6 * (100 * 5 + 7 * 4 * 5) + 12 * 4 * 3 * 25


def test_lasting_memory_is_that_of_a_real_training_step(tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(small_bert(tmp_path))
    optimizer = torch.optim.Adam(model.parameters())
    model(input_ids=torch.ones(2, 8, dtype=torch.long), labels=torch.tensor([0, 1])).loss.backward()
    optimizer.step()
    parts = state_bytes(shape_of(model), targets=0, floats_per_weight=0)
    parameters = list(model.parameters())
    moments = [state[key] for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]
    assert parts["weights"] == sum(p.nbytes for p in parameters)
    assert parts["gradients"] == sum(p.grad.nbytes for p in parameters)
    assert parts["Adam"] == sum(moment.nbytes for moment in moments)


def test_a_method_that_remembers_needs_memory():
    shape = Shape(100, 80, 0, 0, 8, 2, 1, 0)
    assert state_bytes(shape, 60, 5)["method"] == 1200
    assert state_bytes(shape, 60, 0)["mask"] == 8  # bits, rounded up to bytes


def saved_bytes(model, batch):
    """What autograd keeps for backward, weights and repeated tensors left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def _keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address is given out twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(_keep, lambda tensor: tensor):
        model(**batch)
    return sum(size for size, _ in kept.values())


def test_activations_are_of_the_size_of_what_autograd_keeps(tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(
        small_bert(tmp_path, hidden_size=64, intermediate_size=256, num_hidden_layers=4), attn_implementation="eager"
    ).train()
    batch = {"input_ids": torch.ones(4, 64, dtype=torch.long), "labels": torch.zeros(4, dtype=torch.long)}
    estimate = activation_bytes(shape_of(model), 4, 64, half=False)
    assert estimate == pytest.approx(saved_bytes(model, batch), rel=0.15)


def test_half_precision_halves_the_blocks_but_not_the_logits():
    shape = Shape(0, 0, 0, 50, 8, 2, 1, 0)
    logits = 3 * 8 * 50 * 10
    full, half = (activation_bytes(shape, 3, 10, half=half) for half in (False, True))
    assert full - logits == 2 * (half - logits)


def test_a_decoder_works_on_the_target():
    shape = shape_of(empty_model("facebook/bart-base", AutoModelForSeq2SeqLM))
    assert shape.decoder > shape.encoder > 0
    assert training_flops(shape, 100, 20) < training_flops(shape, 100, 40)
    assert activation_bytes(shape, 1, 100, 20, half=True) < activation_bytes(shape, 1, 100, 40, half=True)


def test_the_rate_is_measured():
    start = torch.get_num_threads()
    assert 1e6 < matmul_rate(32, 64, torch.float32, seconds=0.02) < 1e15
    assert torch.get_num_threads() == start
