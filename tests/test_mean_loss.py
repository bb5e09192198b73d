"""Gradients of accumulated batches, as the Trainer makes them, against those of the whole batch at once."""

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from mgpp import L2, CubicSparsity, Pruner, PruningCallback, prunable_weights
from mgpp.pruning.mean_loss import MeanLoss

SMALL = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
BERT = BertConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3)
SEVERAL = BertConfig(**BERT.to_diff_dict() | {"problem_type": "multi_label_classification"})
LLAMA = LlamaConfig(**SMALL, num_key_value_heads=2, pad_token_id=0, num_labels=3)
T5 = T5Config(
    vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0, decoder_start_token_id=0
)

MODELS = {
    "bert": (BertForSequenceClassification, BERT, "class"),
    "bert, several labels": (BertForSequenceClassification, SEVERAL, "multi"),
    "bert, tokens": (BertForTokenClassification, BERT, "tokens"),
    "bert, masked": (BertForMaskedLM, BERT, "text"),
    "llama, causal": (LlamaForCausalLM, LLAMA, "text"),
    "llama": (LlamaForSequenceClassification, LLAMA, "class"),
    "t5": (T5ForConditionalGeneration, T5, "text"),
}


def rows(kind):
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 40, (16, 6), generator=draw)
    labels = {
        "class": torch.randint(0, 3, (16,), generator=draw),
        "multi": torch.randint(0, 2, (16, 3), generator=draw).float(),
        "tokens": torch.randint(0, 3, (16, 6), generator=draw),
        "text": ids.clone(),
    }[kind]
    if kind in ("tokens", "text"):
        for i in range(16):
            labels[i, 1 + i % 5 :] = -100  # rows with different numbers of labels
    return [{"input_ids": ids[i], "labels": labels[i]} for i in range(16)]


class Spy(TrainerCallback):
    """Keeps the gradient of the first update, before the penalty: put it in front."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if state.global_step == 0:
            self.gradient = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


class OwnLoss(Trainer):
    """A loss from the logits, as for weighted classes."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        loss = nn.functional.cross_entropy(outputs.logits, inputs["labels"])
        return (loss, outputs) if return_outputs else loss


class SameLoss(Trainer):
    """The model's loss, through a method of its own."""

    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs)


def first_gradient(tmp_path, kind, accumulation, guarded=True, trainer=Trainer, scaled=None, **arguments):
    """The data gradient of the first update over 16 rows, and the loss that is logged for it."""
    build, config, data = MODELS[kind]
    torch.manual_seed(0)
    model = build(config)
    pruner = Pruner(
        prunable_weights(model),
        penalty=L2(0.1),
        sparsity=CubicSparsity(0, 0.5, 0, 1),
        n_train=16,
    )
    spy = Spy()
    trainer = trainer(
        model,
        TrainingArguments(
            str(tmp_path),
            max_steps=3,
            per_device_train_batch_size=16 // accumulation,
            gradient_accumulation_steps=accumulation,
            train_sampling_strategy="sequential",
            max_grad_norm=0.0,
            report_to="none",
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
            logging_steps=1,
            **arguments,
        ),
        train_dataset=rows(data),
        callbacks=[spy, *([PruningCallback(pruner)] if guarded else [])],
    )
    trainer.loss_is_scaled_for_ga = scaled
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return spy.gradient, losses[0]


@pytest.mark.parametrize("kind", MODELS)
def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path, kind):
    (whole, loss), (parts, same) = (first_gradient(tmp_path, kind, count) for count in (1, 4))
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-6, msg=name)
    assert same == pytest.approx(loss, rel=1e-4)


def test_without_the_callback_the_gradient_of_a_bert_is_four_times_too_large(tmp_path):
    """What is mended; if this fails, transformers averages by itself."""
    whole, parts = (first_gradient(tmp_path, "bert", count, guarded=False)[0] for count in (1, 4))
    name = "bert.encoder.layer.0.output.dense.weight"
    assert float(parts[name].norm() / whole[name].norm()) == pytest.approx(4.0, rel=1e-3)


@pytest.mark.parametrize("kind", ["bert", "llama, causal"])
def test_without_accumulation_the_gradient_stays_what_it_was(tmp_path, kind):
    (plain, _), (guarded, _) = (first_gradient(tmp_path, kind, 1, guarded=flag) for flag in (False, True))
    for name, gradient in plain.items():
        torch.testing.assert_close(guarded[name], gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", ["bert", "llama, causal"])
def test_label_smoothing_is_left_to_the_trainer(tmp_path, kind):
    whole, parts = (first_gradient(tmp_path, kind, count, label_smoothing_factor=0.1)[0] for count in (1, 4))
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-6)


class Model(nn.Module):
    """A mean loss as a tuple, and what else the forward pass was given."""

    def forward(self, labels=None, **kwargs):
        self.seen = kwargs
        return (None if labels is None else labels.float().mean(), "logits")


def test_only_a_training_forward_pass_of_a_trainer_changes():
    model, labels = Model(), torch.tensor([1, 3])
    hooks = MeanLoss(model)
    assert model(labels=labels, num_items_in_batch=8) == (0.5, "logits")
    assert model.seen == {}
    assert model(labels=labels) == (2.0, "logits")
    assert model(num_items_in_batch=8) == (None, "logits")
    model.eval()
    assert model(labels=labels, num_items_in_batch=8) == (2.0, "logits")
    assert model.seen == {"num_items_in_batch": 8}
    hooks.remove()
    assert model.train()(labels=labels, num_items_in_batch=8) == (2.0, "logits")


@pytest.mark.parametrize(("trainer", "scaled"), [(OwnLoss, False), (SameLoss, None), (Trainer, False), (Trainer, None)])
def test_a_loss_of_ones_own_is_averaged_as_it_says(tmp_path, trainer, scaled):
    whole, _ = first_gradient(tmp_path, "bert", 1)
    parts, _ = first_gradient(tmp_path, "bert", 4, trainer=trainer, scaled=scaled)
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-6)


def test_a_loss_of_ones_own_that_does_not_say_is_refused_when_it_accumulates(tmp_path):
    with pytest.raises(ValueError, match="loss_is_scaled_for_ga"):
        first_gradient(tmp_path, "bert", 4, trainer=OwnLoss)
    first_gradient(tmp_path, "bert", 1, trainer=OwnLoss)
