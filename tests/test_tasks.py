import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from mgpp.lab.tasks import TASKS
from mgpp.lab.tasks.base import TaskSettings
from mgpp.lab.tasks.sizes import SIZES, WINDOWS, training_examples

NAMES = (
    "glue-cola glue-sst2 glue-mrpc glue-stsb glue-qqp glue-mnli glue-qnli glue-rte glue-wnli squad squad-v2 xsum "
    "cnn-dailymail clm mlm film-qa reviews reviews-lm"
)


def test_all_tasks_are_known_by_name():
    assert set(TASKS) == set(NAMES.split())


def test_knowing_the_names_imports_nothing_heavy():
    code = (
        "import sys; from mgpp.lab.tasks import TASKS\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'numpy'} & set(sys.modules)\n"
        "assert len(TASKS) > 10 and not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", TASKS)
def test_every_name_leads_to_a_function(name):
    place = TASKS[name].args[0]
    module, _, function = place.partition(":")
    assert callable(getattr(import_module(f"mgpp.lab.tasks.{module}"), function))


@pytest.mark.parametrize("name", SIZES)
def test_what_has_a_published_size_comes_from_the_hub(name):
    with pytest.raises(ValueError, match=r"can't be loaded from the hub \(.*\); connect, or .*--data DIR"):
        TASKS[name](SimpleNamespace(pad_token="[PAD]", model_max_length=512), TaskSettings())


def test_training_examples_are_windows_where_questions_are_asked():
    assert set(WINDOWS) < set(SIZES) < set(TASKS)
    assert all(training_examples(name) >= SIZES[name]["train"] for name in SIZES)
    assert training_examples("squad") == WINDOWS["squad"] > SIZES["squad"]["train"]
    assert training_examples("clm") is None
