import pytest
from no_network import no_network  # noqa: F401
from small_models import small_bert, small_gpt2
from transformers import (
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BertConfig,
)

from mgpp import RecipeError, prunable_weights
from mgpp.lab.models.known_models import KNOWN_MODELS, empty_model, local_folder, model_config

pytestmark = pytest.mark.usefixtures("no_network")

HEADS = {"facebook": AutoModelForSeq2SeqLM, "openai-community": AutoModelForCausalLM}
# parameters of the published checkpoints with these heads, and the targets among them
SIZES = {
    "google-bert/bert-base-uncased": (109_483_778, 84_934_656),
    "microsoft/deberta-v3-base": (184_423_682, 84_934_656),
    "facebook/bart-base": (139_420_416, 99_090_432),
    "facebook/bart-large": (406_291_456, 352_321_536),
    "openai-community/gpt2": (124_439_808, 84_934_656),
    "minilm": (22_713_986, 10_616_832),
}


def test_every_known_model_is_checked():
    assert set(SIZES) == {*KNOWN_MODELS, "minilm"}


@pytest.mark.parametrize("name", SIZES)
def test_an_empty_model_has_the_published_size(name):
    model = empty_model(name, HEADS.get(name.split("/")[0], AutoModelForSequenceClassification))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    targets = sum(weight.numel() for weight in prunable_weights(model).values())
    assert (model.num_parameters(), targets) == SIZES[name]


def test_a_local_folder_is_read(tmp_path):
    small_bert(tmp_path, hidden_size=48)
    assert model_config(tmp_path).hidden_size == 48
    assert empty_model(str(tmp_path), AutoModelForQuestionAnswering).config.hidden_size == 48


def test_the_same_shape_as_the_real_model(tmp_path):
    small_gpt2(tmp_path)
    real = AutoModelForCausalLM.from_pretrained(tmp_path)
    empty = empty_model(tmp_path, AutoModelForCausalLM)
    assert {name: tuple(p.shape) for name, p in real.named_parameters()} == {
        name: tuple(p.shape) for name, p in empty.named_parameters()
    }


def test_an_unknown_model_names_the_way_out():
    with pytest.raises(RecipeError, match="model='some/model'.*hf download some/model.*bert-base"):
        model_config("some/model")


def test_a_folder_without_a_config(tmp_path):
    with pytest.raises(RecipeError, match="config.json"):
        model_config(tmp_path)


def test_a_head_that_a_model_does_not_have():
    with pytest.raises(RecipeError, match="bert.*AutoModelForSeq2SeqLM"):
        empty_model("minilm", AutoModelForSeq2SeqLM)


def test_each_call_makes_a_configuration_of_its_own():
    first = model_config("google-bert/bert-base-uncased")
    first.num_labels = 3
    assert model_config("google-bert/bert-base-uncased").num_labels == BertConfig().num_labels


def test_what_was_downloaded_before_is_found_in_the_cache(tmp_path, monkeypatch):
    snapshot = tmp_path / "models--some--model" / "snapshots" / "abc"
    small_bert(snapshot, hidden_size=48)
    (tmp_path / "models--some--model" / "refs").mkdir()
    (tmp_path / "models--some--model" / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert local_folder("some/model") == snapshot
    assert model_config("some/model").hidden_size == 48


def test_changes_of_the_configuration():
    assert empty_model("minilm", AutoModelForSequenceClassification, num_labels=3).classifier.out_features == 3
