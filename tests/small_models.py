"""Tiny random models of the real architectures, each with a tokenizer trained on a few texts, in a folder that
`from_pretrained` loads: what comes from the hub elsewhere."""

import json
import math
from collections import Counter
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
    """Make a tokenizer and save it: WordPiece ("bert"), Unigram ("deberta"), byte-level BPE ("bart", "gpt2")."""
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


# The library's trainers of WordPiece and Unigram number their pieces by chance, anew in every process. A test should
# not meet other tokens each time, so these two get letters and whole words, in a fixed order.
def _wordpiece(texts: list[str]) -> BertTokenizer:
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words, letters = _words_and_letters([normalizer.normalize_str(text) for text in texts], splitter)
    pieces = [*BERT_SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces[:VOCABULARY]))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=128)


def _unigram(texts: list[str]) -> DebertaV2Tokenizer:
    splitter = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    words, letters = _words_and_letters(texts, splitter)
    scores = dict.fromkeys(BERT_SPECIAL, 0.0) | dict.fromkeys(letters, -20.0)
    total = words.total()
    scores |= {word: math.log(count / total) for word, count in words.items() if word not in scores}
    vocabulary = list(scores.items())[:VOCABULARY]
    return DebertaV2Tokenizer(vocab=vocabulary, unk_id=BERT_SPECIAL.index("[UNK]"), model_max_length=128)


def _words_and_letters(texts: list[str], splitter: pre_tokenizers.PreTokenizer) -> tuple[Counter[str], list[str]]:
    """Words with their counts, in the order of their first use, and the letters in order."""
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    return words, sorted(set("".join(words)))


def _bart(texts: list[str]) -> BartTokenizer:
    return BartTokenizer(**_byte_level_bpe(texts, BART_SPECIAL), model_max_length=128)


def _gpt2(texts: list[str]) -> GPT2Tokenizer:
    return GPT2Tokenizer(**_byte_level_bpe(texts, GPT2_SPECIAL), model_max_length=128)


def _byte_level_bpe(texts: list[str], special: list[str]) -> dict:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    return {"vocab": learned["vocab"], "merges": [tuple(pair) for pair in learned["merges"]]}
