import json

import pandas as pd
import pytest
from datasets import Dataset, DatasetDict

from mgpp.lab.tasks import sources
from mgpp.lab.tasks.sources import DataError, as_json, read_splits

TABLE = pd.DataFrame(
    {
        "text": ['He said "no", then\nleft.', "NA", "007", "", "line\u2028separator", "null"],
        "label": [0, 1, 0, 1, 1, 0],
        "extra": range(6),
    }
)


def write(folder, name, table=TABLE):
    """A table as a file whose ending says the format."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    match file.suffix:
        case ".parquet":
            table.to_parquet(file)
        case ".csv":
            table.to_csv(file, index=False)
        case ".jsonl":
            file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in table.to_dict("records")) + "\n")
        case ".json":
            file.write_text(json.dumps(table.to_dict("records")))
    return file


def read(folder, columns=("text", "label"), **settings):
    return read_splits("hub/name", columns=columns, data=folder, **settings)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "json"])
@pytest.mark.parametrize("form", ["{}.{}", "{}-00000-of-00001.{}", "{}/part.{}"])
def test_every_format_gives_the_same_rows(tmp_path, kind, form):
    for split in ("train", "validation"):
        write(tmp_path, form.format(split, kind))
    tables = read(tmp_path).tables
    assert list(tables) == ["train", "validation"]
    assert tables["train"].column_names == ["text", "label"]
    assert tables["train"]["text"][:] == TABLE["text"].tolist()
    assert [int(label) for label in tables["train"]["label"]] == TABLE["label"].tolist()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path, kind):
    """As Excel and Notepad write it."""
    for split in ("train", "validation"):
        file = write(tmp_path, f"{split}.{kind}")
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read(tmp_path).tables["train"]["text"][:] == TABLE["text"].tolist()


def test_parts_come_in_order_and_a_test_split_where_it_is(tmp_path):
    write(tmp_path, "train-00001-of-00002.parquet", TABLE[3:])
    write(tmp_path, "train-00000-of-00002.parquet", TABLE[:3])
    write(tmp_path, "validation.csv")
    write(tmp_path, "test/a.jsonl")
    tables = read(tmp_path).tables
    assert tables["train"]["text"][:] == TABLE["text"].tolist()
    assert list(tables) == ["train", "validation", "test"]


def test_the_hash_follows_names_and_contents_of_what_was_read(tmp_path):
    for split in ("train", "validation"):
        write(tmp_path, f"{split}.csv")
    first = read(tmp_path).sha256
    write(tmp_path, "notes.csv")
    assert read(tmp_path).sha256 == first
    train = tmp_path / "train.csv"
    train.write_text(train.read_text().replace("007", "008"))
    changed = read(tmp_path).sha256
    assert changed != first
    train.rename(tmp_path / "train-0.csv")
    assert read(tmp_path).sha256 not in (first, changed)


def test_a_missing_folder_split_column_row_or_value_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data='.*nowhere' is no folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no split 'train'; it has none"):
        read(tmp_path)
    write(tmp_path, "train.jsonl")
    with pytest.raises(DataError, match="has no split 'validation'; it has train; the task needs train, validation"):
        read(tmp_path)
    for other in ("dev.jsonl", "validation.tsv"):
        (tmp_path / other).write_text("")
    with pytest.raises(DataError, match=r"it has train, beside dev\.jsonl, validation\.tsv; the task needs"):
        read(tmp_path)
    write(tmp_path, "validation.jsonl", TABLE[["text"]])
    with pytest.raises(DataError, match="'validation' has no column 'label'; it has text; the task needs text, label"):
        read(tmp_path)
    (tmp_path / "validation.jsonl").write_text('{"text": "a"}\n{"text": "b", "label": 1}\n')
    with pytest.raises(DataError, match="row 0 of the split 'validation' has no 'label'"):
        read(tmp_path)
    (tmp_path / "validation.jsonl").write_text("\n")
    with pytest.raises(DataError, match="the split 'validation' has no rows"):
        read(tmp_path)


def test_a_split_that_is_there_twice_is_refused(tmp_path):
    write(tmp_path, "validation.csv")
    write(tmp_path, "train.csv")
    write(tmp_path, "train-0.csv")
    with pytest.raises(DataError, match="more than once: train.csv, train-0.csv; keep one"):
        read(tmp_path)
    (tmp_path / "train-0.csv").unlink()
    write(tmp_path, "train.parquet")
    with pytest.raises(DataError, match="more than once: train.parquet, train.csv"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.parquet", "no parquet"),
        ("train.jsonl", '{"text": "a", '),
        ("train.json", "[1, 2]"),
        ("train.jsonl", '{"text": "a", "label": 1}\n{"text": "a", "label": "one"}'),
        ("train.csv", ""),
        ("train.csv", 'text,label\n"open,1\n'),
        ("train.csv", "text,label\nfast, but dull,1\nslow, but moving,0\n"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    write(tmp_path, "validation.csv")
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=rf"{name} can't be read as {name.split('.')[1]}: \w"):
        read(tmp_path)


def test_the_line_and_the_column_at_fault_are_named(tmp_path):
    write(tmp_path, "validation.csv")
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": 1}\n\n{"text": "a" "label": 1}\n')
    with pytest.raises(DataError, match="line 3 is no JSON: Expecting ',' delimiter"):
        read(tmp_path)
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "a", "label": "one"}\n')
    with pytest.raises(DataError, match=r"the column 'label' holds values of several kinds: 1 \(int\), 'one' \(str\)"):
        read(tmp_path)


def test_texts_are_text(tmp_path):
    write(tmp_path, "validation.csv")
    for value, kind in ((12, "int64"), (["a", "b"], "list")):
        (tmp_path / "train.jsonl").write_text(json.dumps({"text": value, "label": 1}))
        assert read(tmp_path).tables["train"]["text"][0] == value
        with pytest.raises(DataError, match=f"the column 'text' of the split 'train' must hold text, not {kind}"):
            read(tmp_path, texts=["text"])


def test_parts_of_a_split_may_differ_in_the_kind_of_number(tmp_path):
    write(tmp_path, "validation.csv")
    for part, label in enumerate((3, 2.5)):
        (tmp_path / f"train-{part}.jsonl").write_text(json.dumps({"text": "a", "label": label}))
    assert read(tmp_path).tables["train"]["label"][:] == [3.0, 2.5]
    (tmp_path / "train-1.jsonl").write_text(json.dumps({"text": "a", "label": [1]}))
    with pytest.raises(DataError, match=r"train-0.jsonl, .*train-1.jsonl don't fit together: "):
        read(tmp_path)


def test_a_data_set_that_is_a_script_is_refused_in_a_sentence(monkeypatch):
    def refuse(*names):
        raise RuntimeError("Dataset scripts are no longer supported, but found xsum.py")

    monkeypatch.setattr(sources, "load_dataset", refuse)
    with pytest.raises(DataError, match=r"from the hub \(Dataset scripts are no longer.*; connect, or"):
        read_splits("some/data", columns=["text"])


def test_an_unreachable_hub_is_one_sentence_with_the_way_out():
    with pytest.raises(DataError) as caught:  # HF_HUB_OFFLINE is set for all tests
        read_splits("nyu-mll/glue", "rte", columns=["label"])
    message = str(caught.value)
    assert message.startswith("the data set nyu-mll/glue (rte) can't be loaded from the hub (")
    assert message.endswith("; connect, or read it from local files with --data DIR")
    assert "\n" not in message
    assert caught.value.__suppress_context__


def test_the_hub_is_asked_for_name_and_config(monkeypatch):
    tables = DatasetDict({split: Dataset.from_pandas(TABLE) for split in ("train", "validation", "unwanted")})
    asked = []
    monkeypatch.setattr(sources, "load_dataset", lambda *names: asked.append(names) or tables)
    first = read_splits("some/data", "part", columns=["label"])
    assert asked == [("some/data", "part")]
    assert list(first.tables) == ["train", "validation"]
    assert first.tables["train"].column_names == ["label"]
    tables["train"] = Dataset.from_pandas(TABLE[1:])
    assert read_splits("some/data", "part", columns=["label"]).sha256 != first.sha256
    with pytest.raises(DataError, match=r"the data set some/data \(part\): the split 'train' has no column 'title'"):
        read_splits("some/data", "part", columns=["title"])


def test_nested_values_of_csv_files_are_json():
    assert as_json([1], "answers") == [1]
    assert as_json('{"text": []}', "answers") == {"text": []}
    with pytest.raises(DataError, match="answers='{nonsense' must be JSON"):
        as_json("{nonsense", "answers")
