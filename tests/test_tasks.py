import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import transformers
from shipped import SHIPPED_TASKS
from small_models import small_bert

from mgpp import RecipeError, load_recipe, train
from mgpp.lab.tasks import TASKS, DataError, TaskSettings, find_task, reviews

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
NAMES = (
    "glue-cola glue-sst2 glue-mrpc glue-stsb glue-qqp glue-mnli glue-qnli glue-rte glue-wnli squad squad-v2 xsum "
    "cnn-dailymail clm mlm film-qa reviews reviews-lm text-classification"
)


def test_all_tasks_are_known_by_name():
    assert set(SHIPPED_TASKS) == set(NAMES.split())
    with pytest.raises(RecipeError, match="glue-mnly.*glue-mnli"):
        find_task("glue-mnly")


def test_the_registry_loads_nothing_heavy():
    code = (
        "import sys; from mgpp.lab.tasks import TASKS\n"
        "heavy = {'torch', 'transformers', 'datasets', 'sklearn'} & set(sys.modules)\n"
        "assert len(TASKS) > 10 and not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", SHIPPED_TASKS)
def test_a_task_says_all_of_itself(name):
    task = TASKS[name]
    assert hasattr(transformers, task.head)
    assert task.metrics
    of_ones_own = name == "text-classification"
    assert task.embedded == (task.hub_name is None and not of_ones_own)
    assert task.embedded or of_ones_own or task.expected_examples(512) > 0
    assert task.known_examples() in (None, task.sizes.get("train"))


def test_what_is_known_without_a_tokenizer():
    assert TASKS["reviews"].sizes == reviews.read()["split"].value_counts().to_dict()
    assert TASKS["glue-rte"].known_examples() == TASKS["glue-rte"].expected_examples(64) == 2_490
    assert TASKS["squad"].known_examples() is TASKS["clm"].known_examples() is None
    assert TASKS["squad"].expected_examples(384) == 88_524
    assert TASKS["clm"].expected_examples(512) == 118_000_000 // 512
    assert TASKS["film-qa"].expected_examples(64) is None


@pytest.mark.parametrize("name", SHIPPED_TASKS)
def test_packaged_data_take_no_folder_and_others_need_one_without_a_hub(name, tmp_path):
    tokenizer = SimpleNamespace(pad_token="[PAD]", mask_token="[MASK]", model_max_length=512)
    with pytest.raises(DataError, match="--data"):  # HF_HUB_OFFLINE is set for all tests
        TASKS[name](tokenizer, TaskSettings(data=tmp_path if TASKS[name].embedded else None))


def test_a_tokenizer_that_can_not_pad_is_refused(tmp_path):
    tokenizer = SimpleNamespace(pad_token=None, model_max_length=512, name_or_path="gpt2")
    with pytest.raises(RecipeError, match="pad_token"):
        TASKS["reviews"](tokenizer, TaskSettings())


def test_a_task_is_added_as_contributing_says(tmp_path):
    code = re.search(r"<!-- task -->\n```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), flags=re.S)[1]
    assert len(code.splitlines()) < 15
    for split, n in (("train", 24), ("validation", 6)):
        rows = {"subject": ["It broke"] * n, "body": ["NA", "Why, and how?", "Thanks!"] * (n // 3)}
        rows |= {"kind": ["bug", "question", "praise"] * (n // 3)}
        pd.DataFrame(rows).to_csv(tmp_path / f"{split}.csv", index=False)
    try:
        exec(code, {"__name__": "mine"})
        settings = {"model": str(small_bert(tmp_path / "model")), "data": str(tmp_path), "max_steps": 6, "threads": 1}
        run = train(load_recipe("reviews-quick", task="tickets", **settings), tmp_path / "run", progress=False)
    finally:
        TASKS.pop("tickets", None)
    assert run.info["examples"] == {"train": 24, "validation": 6}
    assert run.final["n"] == 6
    assert run.metric == "accuracy"
    config = transformers.AutoConfig.from_pretrained(run.checkpoint)
    assert config.id2label == {0: "bug", 1: "question", 2: "praise"}
