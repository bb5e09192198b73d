"""Tiny random models of the real architectures, each with a tokenizer trained on a few texts, in a folder that
`from_pretrained` loads: what comes from the hub elsewhere."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BartTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DebertaV2Tokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "A man is playing a guitar on stage, and the crowd of 1,000 people likes it.",
    "Who wrote the book? It was written in Paris by a woman of 27 years.",
    "What a film: dull at first, then moving, then dull again!",
)
VOCABULARY = 400
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BART_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
GPT2_SPECIAL = ["<|endoftext|>"]


def small_tokenizer(folder: Path, texts: Iterable[str] = TEXTS, kind: str = "bert") -> PreTrainedTokenizerBase:
    """Train a tokenizer and save it: WordPiece ("bert"), Unigram ("deberta"), byte-level BPE ("bart", "gpt2")."""
    tokenizer = {"bert": _wordpiece, "deberta": _unigram, "bart": _bart, "gpt2": _gpt2}[kind](list(texts))
    tokenizer.save_pretrained(folder)
    return tokenizer


def small_bert(folder: Path, texts: Iterable[str] = TEXTS, **config) -> Path:
    """BERT: two layers, hidden size 32."""
    tokenizer = small_tokenizer(folder, texts, "bert")
    return _save(BertForMaskedLM(BertConfig(**_encoder(tokenizer) | config)), folder)


def small_deberta(folder: Path, texts: Iterable[str] = TEXTS, **config) -> Path:
    """DeBERTa-v3: relative positions only, shared and bucketed as in the published model, no token types."""
    tokenizer = small_tokenizer(folder, texts, "deberta")
    settings = _encoder(tokenizer) | {
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_buckets": 16,
    }
    return _save(DebertaV2ForMaskedLM(DebertaV2Config(**settings | config)), folder)


def small_bart(folder: Path, texts: Iterable[str] = TEXTS, **config) -> Path:
    """BART: two encoder and two decoder layers of width 32."""
    tokenizer = small_tokenizer(folder, texts, "bart")
    settings = {
        "vocab_size": len(tokenizer),
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 128,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.eos_token_id,
        "forced_eos_token_id": tokenizer.eos_token_id,
    }
    return _save(BartForConditionalGeneration(BartConfig(**settings | config)), folder)


def small_gpt2(folder: Path, texts: Iterable[str] = TEXTS, **config) -> Path:
    """GPT-2: two layers of width 32; as in the published model, no padding token."""
    tokenizer = small_tokenizer(folder, texts, "gpt2")
    end = tokenizer.eos_token_id
    settings = {
        "vocab_size": len(tokenizer),
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 128,
        "bos_token_id": end,
        "eos_token_id": end,
    }
    return _save(GPT2LMHeadModel(GPT2Config(**settings | config)), folder)


def _encoder(tokenizer: PreTrainedTokenizerBase) -> dict:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _save(model: PreTrainedModel, folder: Path) -> Path:
    """Save with weights that depend on nothing but the shape."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.1, generator=generator)
    model.save_pretrained(folder)
    return Path(folder)


def _wordpiece(texts: list[str]) -> BertTokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _train(tokenizer, trainers.WordPieceTrainer, texts, BERT_SPECIAL)
    return BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=True, model_max_length=128)


def _unigram(texts: list[str]) -> DebertaV2Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    _train(tokenizer, trainers.UnigramTrainer, texts, BERT_SPECIAL, unk_token="[UNK]")
    vocabulary = [(piece, score) for piece, score in _learned(tokenizer)["vocab"]]
    return DebertaV2Tokenizer(vocab=vocabulary, unk_id=BERT_SPECIAL.index("[UNK]"), model_max_length=128)


def _bart(texts: list[str]) -> BartTokenizer:
    return BartTokenizer(**_byte_level_bpe(texts, BART_SPECIAL), model_max_length=128)


def _gpt2(texts: list[str]) -> GPT2Tokenizer:
    return GPT2Tokenizer(**_byte_level_bpe(texts, GPT2_SPECIAL), model_max_length=128)


def _byte_level_bpe(texts: list[str], special: list[str]) -> dict:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    _train(tokenizer, trainers.BpeTrainer, texts, special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    learned = _learned(tokenizer)
    return {"vocab": learned["vocab"], "merges": [tuple(pair) for pair in learned["merges"]]}


def _train(tokenizer: Tokenizer, trainer: type, texts: list[str], special: list[str], **settings) -> None:
    tokenizer.train_from_iterator(
        texts, trainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False, **settings)
    )


def _learned(tokenizer: Tokenizer) -> dict:
    return json.loads(tokenizer.to_str())["model"]
