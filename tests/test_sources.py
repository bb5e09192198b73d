import json

import pandas as pd
import pytest
from datasets import Dataset, DatasetDict

from mgpp.lab.tasks import DataError, sources
from mgpp.lab.tasks.sources import read_splits

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
    return read_splits("hub/name", columns=columns, data=folder, **settings)[0]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "json"])
@pytest.mark.parametrize("form", ["{}.{}", "{}-00000-of-00001.{}", "{}/part.{}"])
def test_every_format_gives_the_same_rows(tmp_path, kind, form):
    for split in ("train", "validation"):
        write(tmp_path, form.format(split, kind))
    tables = read(tmp_path)
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
    assert read(tmp_path)["train"]["text"][:] == TABLE["text"].tolist()


def test_parts_come_in_order_and_a_test_split_where_it_is(tmp_path):
    write(tmp_path, "train-00001-of-00002.parquet", TABLE[3:])
    write(tmp_path, "train-00000-of-00002.parquet", TABLE[:3])
    write(tmp_path, "validation.csv")
    write(tmp_path, "test/a.jsonl")
    tables = read(tmp_path)
    assert tables["train"]["text"][:] == TABLE["text"].tolist()
    assert list(tables) == ["train", "validation", "test"]


def test_the_hash_follows_names_and_contents_of_what_was_read(tmp_path):
    def sha256():
        return read_splits(None, texts=["text"], data=tmp_path)[1]

    for split in ("train", "validation"):
        (tmp_path / f"{split}.txt").write_text(f"a text of {split}\n")
    first = sha256()
    assert (
        first == "2c9fb26f0e5d10286403508cf3eaa1941f05c4e55b42cde1839b237ff1a5d055"
    )  # as before, or runs on local files could not be resumed
    write(tmp_path, "notes.csv")
    assert sha256() == first
    train = tmp_path / "train.txt"
    train.write_text("another text\n")
    changed = sha256()
    assert changed != first
    train.rename(tmp_path / "train-0.txt")
    assert sha256() not in (first, changed)


def test_a_missing_folder_split_column_row_or_value_is_named(tmp_path):
    def refused(*named):
        with pytest.raises(DataError) as caught:
            read(tmp_path)
        assert all(name in str(caught.value) for name in (str(tmp_path), *named))

    with pytest.raises(DataError, match="nowhere"):
        read(tmp_path / "nowhere")
    refused("'train'")
    write(tmp_path, "train.jsonl")
    refused("'validation'", "validation.csv")
    write(tmp_path, "validation.jsonl", TABLE[["text"]])
    refused("'validation'", "'label'")
    (tmp_path / "validation.jsonl").write_text('{"text": "a"}\n{"text": "b", "label": 1}\n')
    refused("'validation'", "'label'", "row 0")
    (tmp_path / "validation.jsonl").write_text("\n")
    refused("'validation'", "no rows")


def test_a_split_that_is_there_twice_is_refused(tmp_path):
    write(tmp_path, "validation.csv")
    write(tmp_path, "train.csv")
    write(tmp_path, "train-0.csv")
    with pytest.raises(DataError, match="'train'.*train.csv, train-0.csv"):
        read(tmp_path)
    (tmp_path / "train-0.csv").unlink()
    write(tmp_path, "train.parquet")
    with pytest.raises(DataError, match="'train'.*train.parquet, train.csv"):
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
    with pytest.raises(DataError, match=name):
        read(tmp_path)


@pytest.mark.parametrize("value", [12, ["a", "b"]])
def test_texts_are_text(value, tmp_path):
    write(tmp_path, "validation.csv")
    (tmp_path / "train.jsonl").write_text(json.dumps({"text": value, "label": 1}))
    with pytest.raises(DataError, match="'train'.*'text'"):
        read(tmp_path, columns=["label"], texts=["text"])


def test_a_text_a_line(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.txt").write_text("\ufeffone\n\nthree\u2028and more\n", encoding="utf-8")
    assert read(tmp_path, columns=["text"])["train"]["text"][:] == ["one", "", "three\u2028and more"]


@pytest.mark.parametrize("error", [RuntimeError("Dataset scripts are no longer supported"), OSError("offline\nno")])
def test_a_hub_that_gives_no_data_is_one_sentence_with_the_way_out(error, monkeypatch):
    def fail(*names):
        raise error

    monkeypatch.setattr(sources, "load_dataset", fail)
    with pytest.raises(DataError) as caught:
        read_splits("some/data", "part", columns=["text"])
    message = str(caught.value)
    assert all(part in message for part in ("some/data", "part", str(error).splitlines()[0], "--data"))
    assert "\n" not in message


def test_the_hub_is_asked_for_name_and_config(monkeypatch):
    tables = DatasetDict({split: Dataset.from_pandas(TABLE) for split in ("train", "validation", "unwanted")})
    asked = []
    monkeypatch.setattr(sources, "load_dataset", lambda *names: asked.append(names) or tables)
    found, sha256 = read_splits("some/data", "part", columns=["label"])
    assert asked == [("some/data", "part")]
    assert list(found) == ["train", "validation"]
    assert found["train"].column_names == ["label"]
    tables["train"] = Dataset.from_pandas(TABLE[1:])
    assert read_splits("some/data", "part", columns=["label"])[1] != sha256
    with pytest.raises(DataError, match="some/data.*'title'"):
        read_splits("some/data", "part", columns=["title"])
