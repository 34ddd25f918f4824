import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from rlm_eval.config import build
from rlm_eval.errors import ConfigError
from rlm_eval.tasks.custom import Custom
from rlm_eval.tasks.rows import file_rows, matching_groups
from rlm_eval.tasks.validate import passed, validate
from rlm_eval.types import Answer

ROWS = [
    {"context": "The cat is grey.", "question": "Colour of the cat?", "answer": "grey", "id": "a"},
    {
        "context": ["Doc one.", "Ann lives in Ulm."],
        "question": "Where?",
        "answer": ["Ulm", "Ulm/D"],
    },
]


def _jsonl(tmp_path, rows, name="rows.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_rows_become_samples(tmp_path):
    task = Custom(path=_jsonl(tmp_path, ROWS), tokenizer="approx4")
    one, two = task.samples()
    assert one.context.value() == "The cat is grey."
    assert two.context.value() == ("Doc one.", "Ann lives in Ulm.")
    assert (one.item, two.item) == ("a", "2")
    assert task.score(one, Answer(" Grey. "))[0].value == 1.0
    assert task.score(two, Answer("ulm d"))[0].value == 1.0
    assert task.score(two, Answer(None))[0].value == 0.0
    assert passed(validate(task))


def test_a_cluster_is_a_context(tmp_path):
    texts = ["It is red.", "It is tan.", "It is red."]
    asked = ["Colour?", "Colour?", "Which colour?"]
    rows = [
        {"context": text, "question": ask, "answer": text[6:9]}
        for text, ask in zip(texts, asked, strict=True)
    ]
    first, second, third = Custom(path=_jsonl(tmp_path, rows), tokenizer="approx4").samples()
    assert first.cluster == third.cluster != second.cluster


def test_parquet_and_own_column_names(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["It rains."], "ask": ["Weather?"], "gold": ["rain"]}), path)
    task = Custom(
        path=str(path), context="text", question="ask", answer="gold", metric="contains",
        tokenizer="approx4",
    )  # fmt: skip
    [sample] = task.samples()
    assert task.score(sample, Answer("I think rain."))[0].value == 1.0


def test_one_yaml_is_enough(tmp_path):
    path = _jsonl(tmp_path, ROWS)
    config = OmegaConf.load("configs/task/custom.yaml")
    config.path, config.tokenizer = path, "approx4"
    assert len(list(build(config, "task").samples())) == 2


def test_a_scorer_by_name_reads_the_rows_columns(tmp_path):
    row = {"context": "c", "question": "q", "answer": "PREFIXtext", "prefix": "PREFIX"}
    task = Custom(path=_jsonl(tmp_path, [row]), metric="mrcr_openai", tokenizer="approx4")
    [sample] = task.samples()
    assert task.score(sample, Answer("PREFIXtext"))[0].value == 1.0
    assert task.score(sample, Answer("text"))[0].value == 0.0
    bare = _jsonl(tmp_path, [{k: row[k] for k in ("context", "question", "answer")}], "b.jsonl")
    task = Custom(path=bare, metric="mrcr_openai", tokenizer="approx4")
    [sample] = task.samples()
    with pytest.raises(ConfigError, match="needs the column 'prefix'"):
        task.score(sample, Answer("x"))


def test_errors_name_the_place(tmp_path):
    with pytest.raises(ValueError, match="path"):
        Custom()
    with pytest.raises(ValueError, match="metric=rouge"):
        Custom(path="x.jsonl", metric="rouge")
    missing = _jsonl(tmp_path, [{"context": "c", "query": "q", "answer": "a"}], "m.jsonl")
    with pytest.raises(ConfigError, match="row 1: no question; the row has context, query, answer"):
        list(Custom(path=missing, tokenizer="approx4").samples())
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"context": "c"}\n{oops\n')
    with pytest.raises(ConfigError, match="line 2"):
        list(file_rows(str(broken)))
    with pytest.raises(ConfigError, match="no such file"):
        list(file_rows(str(tmp_path / "none.jsonl")))
    with pytest.raises(ConfigError, match="must end in"):
        list(file_rows(str(tmp_path / "rows.txt")))


def test_rows_can_be_filtered(tmp_path):
    path = _jsonl(tmp_path, [{"a": i, "b": i % 2} for i in range(6)])
    assert [r["a"] for r in file_rows(path, [("b", "==", 1)])] == [1, 3, 5]
    assert [r["a"] for r in file_rows(path, [("a", "in", [0, 5])])] == [0, 5]
    assert [r["a"] for r in file_rows(path, [("a", ">=", 2.5), ("a", "<=", 4)])] == [3, 4]
    with pytest.raises(ConfigError, match="no column 'c'"):
        list(file_rows(path, [("c", "==", 1)]))


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json"])
def test_columns_and_conditions_of_every_kind_of_file(kind, tmp_path):
    rows = [{"a": i, "b": "xy"[i % 2], "heavy": '{"[' * 9} for i in range(40)]
    file = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=10)
    elif kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        file.write_text(json.dumps(rows, indent=1))
    wanted = [("a", "<=", 25), ("b", "in", ("x",)), ("heavy", "chars<=", 27)]
    found = list(file_rows(file, wanted, ["a", "b"]))
    assert found == [{"a": i, "b": "x"} for i in range(0, 26, 2)]
    assert list(file_rows(file, [("heavy", "chars<=", 26)])) == []
    assert list(file_rows(file)) == rows
    if kind == "json":
        file.write_bytes(file.read_bytes()[:-3])
        with pytest.raises(ConfigError, match="a part of a file"):
            list(file_rows(file))


def test_row_groups_that_cannot_match_are_not_read(tmp_path):
    rows = [{"n": i, "name": f"s{i // 10}"} for i in range(40)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=10)
    metadata = pq.read_metadata(tmp_path / "x.parquet")
    for where, groups in (
        ([("n", "==", 15)], [1]),
        ([("n", ">=", 25), ("n", "<=", 31)], [2, 3]),
        ([("name", "in", ("s0", "s3"))], [0, 1, 2, 3]),
        ([("name", "in", ("s3",)), ("other", "==", 1)], [3]),
        ([], [0, 1, 2, 3]),
    ):
        assert matching_groups(metadata, where) == groups
