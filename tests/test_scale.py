import re
from pathlib import Path

import pytest

from mgpp.pruning.threshold import LARGEST_SAMPLE, MOST_CANDIDATES
from tools.scale import MODELS, Size, memory, sample_of, traffic, write

PAGE = Path(__file__).parents[1] / "docs" / "clusters.md"


@pytest.fixture(scope="module")
def sizes():
    return {name: Size.of(name) for name in MODELS}


def test_the_page_holds_what_the_command_writes(tmp_path):
    copy = tmp_path / "page.md"
    text = PAGE.read_text(encoding="utf-8")
    copy.write_text(re.sub(r"(<!-- scale -->).*(<!-- /scale -->)", r"\1\2", text, flags=re.DOTALL), encoding="utf-8")
    write(copy)
    assert copy.read_text(encoding="utf-8") == text


def test_sizes_are_the_published_ones(sizes):
    assert sizes["Llama 7B"].parameters == 6_738_415_616
    assert sizes["GPT-2 XL"].parameters == 1_557_611_200
    assert sizes["GPT-2 medium"].parameters == 354_823_168
    assert sizes["Llama 7B"].targets == 32 * (4 * 4096**2 + 3 * 4096 * 11008)


def test_shards_are_equal_and_what_a_threshold_needs_does_not_grow(sizes):
    big = sizes["Llama 7B"]
    assert sample_of(big) == LARGEST_SAMPLE
    for gpus in (4, 16):
        whole, part = memory(big, gpus, sharded=False), memory(big, gpus, sharded=True)
        assert all(part[what] == whole[what] / gpus for what in ("weights", "gradients", "Adam", "mask"))
        assert part["threshold"] == whole["threshold"] == 4 * (LARGEST_SAMPLE + MOST_CANDIDATES)
    assert whole["buckets"] == whole["weights"] == 4 * big.parameters
    assert "buckets" not in memory(big, 1, sharded=False)


def test_traffic_of_a_ring(sizes):
    bert = sizes["BERT-base"]
    assert traffic(bert, 2, sharded=False)["step"] == 4 * bert.parameters
    assert traffic(bert, 2, sharded=True)["step"] == 3 * bert.parameters
    assert traffic(bert, 1, sharded=True) == {"step": 0.0, "event": 0.0}


def test_what_the_page_reads_from_its_tables(sizes):
    big = sizes["Llama 7B"]
    alone, sharded = (sum(memory(big, gpus, sharded=True).values()) for gpus in (1, 4))
    assert alone > 80e9 > 2 * sharded
    for gpus in (4, 8, 16):
        sent = traffic(big, gpus, sharded=True)
        assert sent["event"] < sent["step"] / 1000
