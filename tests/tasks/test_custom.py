import datetime
import json
import shlex
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from test_docs import ROOT, commands_of, shown_files

from rlm_eval.cli import main
from rlm_eval.config.builder import build
from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Answer
from rlm_eval.tasks.custom import Custom
from rlm_eval.tasks.rows import file_rows, matching_groups
from rlm_eval.tasks.validate import passed, validate

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


@pytest.mark.parametrize("first", [0, 1])
def test_names_of_rows_may_begin_at_zero(tmp_path, first):
    rows = [
        {"context": f"It is {n}.", "question": "What?", "answer": str(n), "id": n + first,
         "cluster": n // 2 + first}
        for n in range(4)
    ]  # fmt: skip
    made = list(Custom(path=_jsonl(tmp_path, rows), tokenizer="approx4").samples())
    assert [sample.item for sample in made] == [str(n + first) for n in range(4)]
    assert len({sample.cluster for sample in made}) == 2


def test_two_rows_of_one_name_are_refused_with_both_numbers(tmp_path):
    path = _jsonl(tmp_path, [ROWS[0], ROWS[1], ROWS[0]])
    with pytest.raises(ConfigError, match=r"row 3: its id, a, is that of row 1; give each row"):
        list(Custom(path=path, tokenizer="approx4").samples())


@pytest.mark.parametrize(
    ("gold", "reply", "value"),
    [
        ("2024-01-03", "The date is 2024-01-03.", 1.0),
        ("2024-01-03 10:30", "It began at 2024-01-03 10:30.", 1.0),
        ("2024-01-03 10:30", "It began at 2024-01-03T10:30:00.", 1.0),
        ("2024-01-03 10:30", "It began on 2024-01-03.", 0.0),
    ],
)
def test_dates_of_data_frames_are_scored_alike_in_every_kind_of_file(tmp_path, gold, reply, value):
    frame = pd.DataFrame(ROWS[:1]).assign(answer=pd.to_datetime([gold]))
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_csv(tmp_path / "x.csv", index=False)  # a time of a day is a text there, as written
    for name in ("x.parquet", "x.csv")[: 2 if len(gold) == 10 else 1]:
        task = Custom(path=str(tmp_path / name), tokenizer="approx4")
        (sample,) = task.samples()
        assert task.score(sample, Answer(reply))[0].value == value, name


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
    with pytest.raises(ConfigError, match="needs the column 'prefix'"):  # before a call is paid
        list(Custom(path=bare, metric="mrcr_openai", tokenizer="approx4").samples())


NUMERIC, LABEL = "ANSWER_TYPE.NUMERIC", "ANSWER_TYPE.LABEL"


def _of_metric(tmp_path, metric, gold, kind=LABEL):
    row = {"context": "c", "question": "q", "answer": gold, "answer_type": kind, "prefix": "P"}
    return Custom(path=_jsonl(tmp_path, [row]), metric=metric, tokenizer="approx4")


@pytest.mark.parametrize(
    ("metric", "gold", "told"),
    [
        ("ruler_part", "", "empty gold answer"),
        ("ruler_part", ["", "x"], "empty gold answer"),
        ("longbench_v2", 1, "the gold 1 scores 0, not 1.*one of the letters A to D"),
        ("longbench_v2", "b", "one of the letters A to D"),
        ("longbench_v2", "(B)", "one of the letters A to D"),
        ("longbench_v2", ["B"], "one of the letters A to D"),
        ("longbench_v2", " ", "is null or blank"),
        ("oolong_official", "spam", r"a list in brackets, such as \[7\]"),
        ("oolong_fixed", 7, r"a list in brackets, such as \[7\]"),
        ("oolong_real", "", "is null or blank"),
        ("mrcr_v2", "short", "12 random characters"),
        ("mrcr_openai", "without", "the text of the column `prefix`"),
        ("pairs_f1", "x", "no pair where the scorer reads pairs"),
        ("pairs_f1", ["x"], "no pair where the scorer reads pairs"),
        ("set_f1", ["a", ""], "empty gold answer"),
        ("set_f1", "", "empty gold answer"),
    ],
)
def test_a_gold_that_the_metric_cannot_read_is_refused_before_a_call(tmp_path, metric, gold, told):
    with pytest.raises(ConfigError, match=f"(row|sample) 1.*{told}"):
        list(_of_metric(tmp_path, metric, gold).samples())


def test_a_type_of_answer_of_another_form_is_refused(tmp_path):
    """By `NUMERIC` a count that is off by one would score 0."""
    with pytest.raises(ConfigError, match="'NUMERIC': its form is that of ANSWER_TYPE.NUMERIC"):
        list(_of_metric(tmp_path, "oolong_official", "[7]", "NUMERIC").samples())


@pytest.mark.parametrize(
    ("metric", "gold", "kind", "reply"),
    [
        ("longbench_v2", "B", LABEL, "The correct answer is (B)"),
        ("oolong_official", "[7]", NUMERIC, "Answer: 7"),
        ("oolong_official", ["spam"], LABEL, "Label: spam"),
        ("oolong_lenient", "spam", LABEL, "It is spam."),  # the reference reads plain golds too
        ("oolong_real", 7, LABEL, "\\boxed{7}"),
        ("oolong_real", 7.0, LABEL, "\\boxed{7}"),  # tables with holes write 7 so
        ("mrcr_openai", "Ptext", LABEL, "Ptext"),
        ("mrcr_v2", "abcdefghijkltext", LABEL, "abcdefghijkltext"),
        ("pairs_f1", [[1, 2], [3, 4]], LABEL, "(1, 2), (3, 4)"),
        ("pairs_f1", "(1, 2), (3, 4)", LABEL, "(1, 2), (3, 4)"),
        ("pairs_f1", {"a": [1, 2], "b": [3]}, LABEL, "(1, 3), (2, 3)"),
        ("pairs_f1", [], LABEL, "[]"),  # nothing is to be named
        ("pairs_f1", {"a": [1], "b": []}, LABEL, "[]"),
        ("set_f1", [], LABEL, ""),
        ("set_f1", {"text": ["Ann", "Bo"]}, LABEL, "Bo, Ann"),
        ("ruler_all", {"text": ["Ann", "Bo"]}, LABEL, "Bo, Ann"),
        ("ruler_part", 7.0, LABEL, "7"),
    ],
)
def test_a_gold_in_the_metrics_form_scores_one(tmp_path, metric, gold, kind, reply):
    task = _of_metric(tmp_path, metric, gold, kind)
    (sample,) = task.samples()
    for answer in (task.gold_answer(sample), Answer(reply)):
        assert task.score(sample, answer)[0].value == 1.0


def test_the_reply_of_a_judge_is_no_answer():
    with pytest.raises(ValueError, match="metric=browsecomp_judge: one of contains, exact"):
        Custom(path="x.jsonl", metric="browsecomp_judge")


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


def _scored(tmp_path, gold, reply, metric="contains"):
    row = {"context": "c", "question": "q", "answer": gold}
    task = Custom(path=_jsonl(tmp_path, [row]), metric=metric, tokenizer="approx4")
    [sample] = task.samples()
    assert task.score(sample, task.gold_answer(sample))[0].value == 1.0
    assert task.score(sample, Answer(None))[0].value == 0.0
    return task.score(sample, Answer(reply))[0].value


@pytest.mark.parametrize(
    ("gold", "reply", "value"),
    [
        ("grey", "The colour is grey.", 1.0),  # a chatty right answer
        ("grey", "The colour is greyish.", 0.0),
        (["Ulm", "Ulm/D"], "She lives in Ulm, I think", 1.0),
        ({"text": ["grey", "gray"], "answer_start": [0, 0]}, "gray", 1.0),
        ({"value": "Ulm", "aliases": ["Ulm/D"]}, "it is ulm d", 1.0),
        (1200, "It was 1,200 euros.", 1.0),
        (1200, "It was 1,200,000 euros.", 0.0),
        (5, "It was 5,000.", 0.0),
        (12.0, "12", 1.0),
        ("12", "They were 12.", 1.0),
        (-3, "minus: -3", 1.0),
        ("007", "It was 7.", 0.0),
        (True, "Yes, it does.", 1.0),
        (True, "No, it does not.", 0.0),
        (True, "It is not true.", 0.0),
        (False, "That is false.", 1.0),
        (False, "I have no idea.", 0.0),
        (True, "There is no doubt about it: yes.", 1.0),
        ("no", "Yes, there is no doubt.", 0.0),  # booleans as words, as in a CSV
        ("True", "Yes, it did.", 1.0),
        ("no", "No, it did not.", 1.0),
        (0.5, "It is .5", 1.0),
        (-3, "It is \N{MINUS SIGN}3.", 1.0),
        ("東京", "答えは東京です", 1.0),  # a script without spaces
        ([{"text": "grey", "answer_start": 3}, {"text": "gray"}], "gray", 1.0),  # SQuAD's own files
        ("12%", "It rose by 12.5%.", 0.0),  # a percent sign does not make a number a text
        ("12 %", "It rose by 12 percent.", 1.0),
        ("$1,200", "The price is $1200.", 1.0),
        ("A", "The answer is a B.", 0.0),  # an article is no choice
        ("A", "A dog did it, so it is B.", 0.0),
        ("I", "I think it is II.", 0.0),
        ("A", "The answer is (A).", 1.0),
        ("A", "A is right.", 1.0),
        ("A", "a", 1.0),
        (["A", "grey"], "The colour is grey.", 1.0),
        ("5 million euros", "It cost 2.5 million euros.", 0.0),  # a number is found whole
        ("5 million euros", "It cost 5 million euros.", 1.0),
        ("500 dollars", "It cost 1,500 dollars.", 0.0),
        ("1,500 dollars", "It cost 1500 dollars.", 1.0),
        ("5 km", "It is 2,5 km away.", 0.0),
        ("5 km", "It is .5 km away.", 0.0),
        ("5 km", "<b>5 km</b>, not 2.5 km", 1.0),
        ("2 cups", "Add 1/2 cups.", 0.0),
        ("2024/01/03", "2024-01-03", 1.0),
        ("5公里", "走了2.5公里。", 0.0),
        ("5公里", "走了5公里。", 1.0),
        ("<5", "It is >5.", 0.0),
        ("<5", "It is < 5.", 1.0),
        ("<= 5", "It is \N{LESS-THAN OR EQUAL TO}5.", 1.0),
        ("12", "It is 1,2.", 0.0),
        (12, "They are 1, 12 and 3.", 1.0),
        (100000, "It was 1,00,000 rupees.", 1.0),
        ("yes", "That isn't true.", 0.0),
        ("yes", "That isn\N{RIGHT SINGLE QUOTATION MARK}t really true.", 0.0),
        ("no", "That can't be true.", 1.0),
        ("no", "That cannot be true.", 1.0),
        (1234567890123456789, "It is 1234567890123456788.", 0.0),  # equal as floats
        ("1234567890123456789", "It is 1234567890123456788.", 0.0),
        ("12e4567", "commit 99e9999", 0.0),  # both infinite as floats
        ("3.10", "Python 3.1", 0.0),
        ("3.10", "Python 3.10.", 1.0),
        ("12.0", "It is 12.", 1.0),  # as data frames write integers
        (200, "1 200 Euro", 0.0),
        (200, "1'200", 0.0),
        (200, "$1{,}200$", 0.0),
        (1200, "1 200 Euro", 1.0),
        (1200, "1\u202f200", 1.0),
        (1200, "$1{,}200$", 1.0),
        ("020 123 456", "020-123-456", 1.0),
        (19, "COVID-19", 0.0),
        (5, "The answer is:5", 1.0),
        (5, "5: see above", 1.0),
        (5, '{"answer":5}', 1.0),
        (5, "_5_", 1.0),
        (5, "[1,2,5]", 1.0),
        (5, "at 10:5", 0.0),
        ("foo_bar", "`foo_bar_baz`", 0.0),
        ("foo", "foo_bar", 0.0),
        ("foo_bar", r"It is _foo\_bar_.", 1.0),
    ],
)
def test_golds_of_every_type_are_read_from_chatty_replies(tmp_path, gold, reply, value):
    assert _scored(tmp_path, gold, reply) == value


def test_a_set_of_names_with_marks_of_a_list(tmp_path):
    golds = ["Trinidad and Tobago", "Washington, D.C.", "Acme (UK)"]
    assert _scored(tmp_path, golds, "Acme (UK)", "set_f1") == 0.5
    assert _scored(tmp_path, "Trinidad and Tobago", "Trinidad, Tobago", "set_f1") == 0.0


def test_exact_wants_the_answer_alone_and_stands_beside(tmp_path):
    assert _scored(tmp_path, 12, "It is 12.", "exact") == 0.0
    assert _scored(tmp_path, 12, "12.", "exact") == 1.0
    assert _scored(tmp_path, 0.5, ".5", "exact") == 1.0
    assert _scored(tmp_path, 12, "3 + 9.\nExact Answer: **12**", "exact") == 1.0
    assert _scored(tmp_path, "12", "It is 12.\nExact Answer: 13", "exact") == 0.0
    assert _scored(tmp_path, True, "No doubt.\nExact Answer: yes", "exact") == 1.0
    task = Custom(path=_jsonl(tmp_path, ROWS), tokenizer="approx4")
    one = next(task.samples())
    assert [s.scorer for s in task.score(one, Answer("grey"))] == ["contains", "exact"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"start": 3}, r"row 1, answer: a dictionary with start; give a text"),
        ([], "row 1, answer: no accepted answer; drop the row"),
        ([["a"], ["b"]], r"\['a'\] is not a text, number or boolean"),
        (["a", " "], "empty gold answer"),
        (None, "row 1: no answer; the row has"),
    ],
)
def test_an_answer_that_cannot_be_scored_is_an_error_with_its_row(tmp_path, answer, message):
    rows = [{"context": "c", "question": "q", "answer": answer}]
    with pytest.raises(ConfigError, match=message):
        list(Custom(path=_jsonl(tmp_path, rows), tokenizer="approx4").samples())


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"", "the file has no rows"),
        ("a.json", b" ", "the file has no rows"),
        ("a.csv", b"a,b\n", "the file has no rows"),
        ("a.jsonl", b"[1, 2]\n", "row 1: a row must be an object with named columns, not a list"),
        ("a.jsonl", b'[\n{"a": 1}\n]', "rename it to .json"),
        ("a.json", b'{"a": 1}\n{"a": 2}', "rename it to .jsonl"),
        ("a.json", b'{"a": 1, "b": 2}', "an object with a, b, not a list of rows"),
        ("a.json", b"[3]", "row 1: a row must be an object"),
        ("a.json", '{"a": "é"}'.encode("latin-1"), r"byte 0xe9 at 7.*iconv -f WINDOWS-1252"),
        ("a.csv", "a,b\né,1".encode("cp1252"), "byte 0xe9 at 4.*iconv -f WINDOWS-1252"),
        ("a.csv", "a,b\nc,1".encode("utf-16"), "looks like UTF-16.*iconv -f UTF-16"),
        ("a.csv", "a,b\nc,1".encode("utf-32"), "looks like UTF-32.*iconv -f UTF-32 "),
        ("a.json", '[{"a": 1}]'.encode("utf-32-be"), "looks like UTF-32BE"),
        ("a.json", b'[{"a": 1}, 3, {"a": 2}]', r"byte 9: b', 3, .* is not the next row"),
        ("a.json", b'[{"a": 1}, null]', "is not the next row of the list"),
        ("a.json", b'[{"a": 1} "x", {"a": 2}]', "is not the next row of the list"),
        ("a.json", b'[{"a": 1}][{"a": 2}]', "is not the next row of the list"),
        ("a.jsonl", b"PAR1xx", "rename it to .parquet"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16-le"), "looks like UTF-16LE.*iconv -f UTF-16LE"),
        ("a.csv", b"PK\x03\x04xx", "a spreadsheet: unpack it, or save the sheet as CSV in UTF-8$"),
        ("a.csv", b"a;b\n1;2\n", "separated by semicolons, where .csv has commas"),
        ("a.tsv", b"a,b\n1,2\n", "separated by commas.*or rename it to .csv"),
        ("a.csv", b"a,b,a\n1,2,3\n", "two columns named a; rename one"),
        ("a.parquet", b"no", "not a Parquet file"),
        ("a.csv", b"a,b\n1,2,3\n", "row 1: more cells than the header"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        list(file_rows(str(tmp_path / name)))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", b'\xef\xbb\xbf{"a": "x"}\n\n{"a": "y"}\n'),
        ("a.json", b'\xef\xbb\xbf[{"a": "x"}, {"a": "y"}]'),
        ("a.json", b'{"version": 1, "data": [{"a": "x"}, {"a": "y"}]}'),
        ("a.csv", b'\xef\xbb\xbfa\nx\n"y"\n'),
        ("A.TSV", b"a\tb\nx\t\ny\t\n"),
    ],
)
def test_byte_order_marks_wrapped_lists_and_tables_are_read(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert [row["a"] for row in file_rows(str(tmp_path / name))] == ["x", "y"]


def test_the_cells_of_a_table_may_hold_lists_and_columns_dates(tmp_path):
    lists = '"[""one"", ""two""]",q,"[""a"", ""b""]"'
    rows = f"context , question,answer\n{lists}\n[1] Ada,r,\"['c', 3]\"\n"
    (tmp_path / "a.csv").write_text(rows)
    one, two = Custom(path=str(tmp_path / "a.csv"), tokenizer="approx4").samples()
    assert (one.context.value(), one.target) == (("one", "two"), ["a", "b"])
    assert (two.context.value(), two.target) == ("[1] Ada", ["c", 3])
    # A data frame's arrays, as `to_csv` prints them: the golds were one joined string, and a text.
    squad = "{'text': array(['Ada'], dtype=object), 'answer_start': array([5], dtype=int32)}"
    printed = f"context,question,answer\nc,q,\"['a' 'b']\"\nc,r,\"{squad}\"\n"
    (tmp_path / "b.csv").write_text(printed)
    one, two = Custom(path=str(tmp_path / "b.csv"), tokenizer="approx4").samples()
    assert (one.target, two.target) == (["a", "b"], ["Ada"])
    kept = {"context": ["c", "d"], "question": ["q", "r"]}
    for answers, golds in (
        ([datetime.date(2024, 1, 3)] * 2, ["2024-01-03"] * 2),
        ([Decimal("1.50"), Decimal(2)], [1.5, 2.0]),
    ):
        pd.DataFrame(kept | {"answer": answers}).to_parquet(tmp_path / "a.parquet")
        found = Custom(path=str(tmp_path / "a.parquet"), tokenizer="approx4").samples()
        assert [sample.target for sample in found] == golds


def test_the_shown_example_is_run_as_it_is_shown(tmp_path, monkeypatch, capsys):
    shown = shown_files(ROOT / "docs" / "custom_data.md")
    monkeypatch.chdir(tmp_path)
    exec(compile(shown["make_questions.py"], "make_questions.py", "exec"), {})
    line = next(c for c in commands_of(ROOT / "docs" / "custom_data.md") if "validate" in c)
    assert main(shlex.split(line)[1:]) == 0
    out = capsys.readouterr().out
    assert "custom: ok   gold scores 1: 5 samples" in out
    assert "sample 3: one text" in out
    assert "in a sentence:  'The answer is: Ada Byron.' -> contains 1.00" in out
    assert out.count("empty:          '' -> contains 0.00") == 3
