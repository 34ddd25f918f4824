"""OOLONG's windows over a user's labelled lines: files of all kinds, and clear errors."""

import csv
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Answer
from rlm_eval.tasks.oolong.rows import OolongRows
from rlm_eval.tasks.oolong.window import parse

WORDS = ["apple", "stone", "river", "cloud", "green", "seven", "under", "paper", "light", "wheel"]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def lines(n=120, labels=("spam", "ham")):
    """(label, text) rows of different texts; one has quotes and a tab character's neighbour."""
    source = random.Random("rows")
    made = {" ".join(source.choices(WORDS, k=source.randint(4, 12))) for _ in range(3 * n)}
    texts = sorted(made)[: n * len(labels)]
    texts[0] = 'He said "no|| Label: x'
    return [(labels[i % len(labels)], text) for i, text in enumerate(texts)]


def write(path, rows, header=("label", "text")):
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(header, r, strict=True))) for r in rows))
        return path
    with path.open("w", newline="") as file:
        if path.suffix == ".tsv":
            listed = [*([header] if header else []), *rows]
            file.write("".join(f"{label}\t{text}\n" for label, text in listed))
        else:
            csv.writer(file).writerows([header, *rows])
    return path


def task(path, **fields):
    given = {"path": path and str(path), "n": 5, "length": 1024, "tokenizer": "approx4"} | fields
    return OolongRows(**given)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv"])
def test_windows_of_a_file_are_exact_and_golds_score_one(tmp_path, suffix):
    rows = lines()
    made = task(write(tmp_path / f"lines.{suffix}", rows), rename={"spam": "ad", "ham": "friend"})
    known = {text: {"spam": "ad", "ham": "friend"}[label] for label, text in rows}
    samples = list(made.samples())
    assert [s.id for s in samples] == [s.id for s in made.samples()]
    for sample in samples:
        text = sample.context.text()
        assert text.startswith("The following lines contain ")
        assert "'ad'" in text.split("\n")[0]
        shown = parse(text)
        assert len({row.text for row in shown}) == len(shown)
        assert {row.text for row in made.labelled(sample)} <= known.keys()
        assert all(known[row.text] == row.label for row in made.labelled(sample))
        total = sample.context.tokens + made.counter.count(sample.question) + made.ANSWER_BUDGET
        assert 1024 * 0.995 <= total <= 1024
        assert made.score(sample, made.gold_answer(sample))[0].value == 1.0
        assert made.score(sample, Answer(""))[0].value == 0.0


def test_a_file_without_a_header_and_a_changed_file(tmp_path):
    path = write(tmp_path / "plain.tsv", lines(), header=None)
    made = task(path, columns=["label", "text"])
    first = [s.id for s in made.samples()]
    assert made.source().labels == ("ham", "spam")
    write(path, lines(130), header=None)
    assert [s.id for s in made.samples()] != first


ONE = [("spam", f"text {i}") for i in range(40)]


@pytest.mark.parametrize(
    ("rows", "fields", "told"),
    [
        (lines(), {"text_column": "body"}, "row 1: no body; the row has label, text"),
        ([], {}, "no lines"),
        (ONE, {}, "one label only"),
        ([*ONE, ("ham", "hello")], {}, "fewer than 20 different lines of ham"),
        (lines(), {"rename": {"junk": "ad"}}, "task.rename gives ad to no line; found none"),
        (lines(), {"length": 16384}, "needs more lines of label"),
        ([(f"l{i}", f"t{i}") for i in range(40)], {}, "40 labels; use at most 30"),
        ([("spam", " "), *ONE], {}, "row 1: an empty text or label"),
        (lines(labels=("a: b", "ham")), {}, "cannot read the label 'a: b'.*task.rename"),
        (lines(labels=("Ham", "ham")), {}, "Ham, ham are one label in different letter cases"),
    ],
)
def test_what_is_wrong_with_the_lines_is_told(tmp_path, rows, fields, told):
    path = write(tmp_path / "lines.csv", rows)
    with pytest.raises(ConfigError, match=told):
        next(task(path, **fields).samples())


def test_other_encodings_missing_files_and_sources(tmp_path):
    path = tmp_path / "latin.tsv"
    path.write_bytes("label\ttext\nspam\tcafé\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8 text .byte 0xe9 at .*iconv"):
        next(task(path).samples())
    with pytest.raises(ConfigError, match="no such file"):
        next(task(tmp_path / "none.csv").samples())
    marked = tmp_path / "bom.csv"
    write(marked, lines())
    marked.write_bytes(b"\xef\xbb\xbf" + marked.read_bytes())
    assert next(task(marked).samples()).question
    where = r"task\.path=null task\.repository=OWNER/NAME.*"
    for wrong, told in (
        ({"path": None}, f"{where}neither"),
        ({"repository": "a/b"}, f"{where}both"),
        ({"task": "no labels"}, "must name the labels"),
    ):
        with pytest.raises(ValueError, match=told):
            OolongRows(**{"path": str(marked)} | wrong)


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        # The text after the comma was dropped, without a word.
        ("a.csv", b"label,text\nham,one, two\n", "row 1: more cells than the header"),
        ("a.csv", b'label,text\nham,"one\nspam,two\n', "quote cells"),
        ("a.csv", "label,text\nham,one\n".encode("utf-16"), "looks like UTF-16"),
        ("a.csv", b"label;text\nham;one\n", "separated by semicolons"),
        ("a.tsv", b"label\ttext\tlabel\nham\tone\tx\n", "two columns named label"),
        ("a.jsonl", b'{"label": ["ham"], "text": "one"}\n', "row 1: label is a list"),
        ("a.jsonl", b'{"label": "ham", "text": {"en": "one"}}\n', "row 1: text is a dict"),
        ("a.parquet", b"no", "not a Parquet file"),
        ("none.parquet", None, "no such file"),
    ],
)
def test_a_file_of_lines_that_cannot_be_read_is_one_clear_error(tmp_path, name, data, told):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=told):
        next(task(tmp_path / name).samples())


def test_names_of_columns_are_only_for_tables(tmp_path):
    path = write(tmp_path / "lines.jsonl", lines())
    with pytest.raises(ConfigError, match="task.columns names those of a CSV or TSV file"):
        next(task(path, columns=["label", "text"]).samples())


CLASS = {"names": ["ham", "spam"], "_type": "ClassLabel"}


def _parquet(path, numbers, feature, features=None):
    """Lines with the class numbers, and metadata as `datasets` and others write it."""
    texts = [text for _, text in lines()][: len(numbers)]
    named = {"info": {"features": {"label": feature}}} if features is None else features
    table = pa.table({"text": texts, "label": numbers})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(named)}), path)
    return path


NUMBERS = [i % 2 for i in range(80)]


def test_a_row_without_a_label_is_left_out_and_counted(tmp_path, capsys):
    """SNLI and its like have the class number -1 there: it was read as the last class."""
    numbers = [-1 if i % 8 == 0 else n for i, n in enumerate(NUMBERS)]
    made = task(_parquet(tmp_path / "a.parquet", numbers, CLASS))
    texts = [text for _, text in lines()]
    left_out = {text for text, number in zip(texts, numbers, strict=False) if number == -1}
    pool = made.source().pool
    assert {label: len(of) for label, of in pool.items()} == {"ham": 30, "spam": 40}
    assert not left_out & {text for of in pool.values() for text in of}
    assert "10 rows without a label (class number -1) are left out" in capsys.readouterr().err
    without = [n for n in numbers if n != -1]
    kept = [text for text, n in zip(texts, numbers, strict=False) if n != -1]
    table = pa.table({"text": kept, "label": [CLASS["names"][n] for n in without]})
    pq.write_table(table, tmp_path / "b.parquet")
    assert task(tmp_path / "b.parquet").source().pool == pool


def test_class_numbers_of_a_table_with_holes_are_read(tmp_path):
    whole = task(_parquet(tmp_path / "a.parquet", NUMBERS, CLASS)).source().pool
    floats = _parquet(tmp_path / "b.parquet", [float(n) for n in NUMBERS], CLASS)
    assert task(floats).source().pool == whole


@pytest.mark.parametrize(
    ("numbers", "feature", "features", "told"),
    [
        ([2, *NUMBERS], CLASS, None, "row 1: label is 2, and its 2 classes are numbered from 0"),
        ([0.5, *NUMBERS], CLASS, None, "row 1: label is 0.5"),
        ([-2, *NUMBERS], CLASS, None, "row 1: label is -2"),
        ([[0], [1]], [CLASS], None, "row 1: label is a list"),  # several labels a row
        ([[0], [1]], {"feature": CLASS, "_type": "Sequence"}, None, "row 1: label is a list"),
        ([0, 1], None, {"fingerprint": "x"}, "fewer than 20 different lines of 0, 1"),
        ([0, 1], None, {"info": {"features": None}}, "fewer than 20 different lines of 0, 1"),
        ([0, 1], None, [], "fewer than 20 different lines of 0, 1"),
    ],
)
def test_labels_of_other_shapes_are_one_clear_error(tmp_path, numbers, feature, features, told):
    with pytest.raises(ConfigError, match=told):
        task(_parquet(tmp_path / "a.parquet", numbers, feature, features)).source()


@pytest.mark.slow  # the import of datasets
def test_the_names_of_class_numbers_are_read_from_parquet(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    features = datasets.Features(
        {"sms": datasets.Value("string"), "label": datasets.ClassLabel(names=["ham", "spam"])}
    )
    rows = [{"sms": text, "label": ("ham", "spam").index(label)} for label, text in lines()]
    folder = tmp_path / "set"
    folder.mkdir()
    datasets.Dataset.from_list(rows, features=features).to_parquet(folder / "train.parquet")
    made = task(folder / "train.parquet", text_column="sms")
    assert made.source().labels == ("ham", "spam")
    assert next(made.samples()).target
