"""What servers say of a prompt that is too long, and what they say of other faults.

`wordings.json`: source (project and issue, or documentation; `unseen` and `other fault` are made up
after the rule was written), status, code, parameter, the few words that matter with numbers of our
own, and the error that it means (`another` = any but `ContextOverflow`).
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from rlm_eval.models.http.http_errors import error_from_response, fault_in
from rlm_eval.models.http.window import says_too_long

ROWS = json.loads((Path(__file__).parent / "wordings.json").read_text())


def body_of(row):
    """The row as an OpenAI-like error; a code of digits is a number, as servers send both."""
    code = int(row["code"]) if row["code"].isdigit() else row["code"] or None
    told = {"message": row["message"], "code": code, "param": row["param"] or None}
    return {"error": {**told, "type": None}}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['source']}-{row['message'][:40]}")
def test_each_wording_means_its_own_error(row):
    body = json.dumps(body_of(row)).encode()
    if row["source"] in ("nginx", "bare 413"):
        body = row["message"].encode()
    found = type(
        error_from_response(row["status"], body, {}, where="m at url", key_env="KEY")
    ).__name__
    assert (found == row["means"]) if row["means"] != "another" else found != "ContextOverflow"


SOURCED = [row for row in ROWS if row["source"] not in ("unseen", "other fault")]
LATER = [row for row in SOURCED if row["status"] in (400, 422) and row["message"]]


@pytest.mark.parametrize("row", LATER, ids=lambda row: row["message"][:50])
@pytest.mark.parametrize("shape", ["plain", "string", "raw", "detail", "list", "choice"])
def test_a_200_with_the_same_words_means_the_same(row, shape):
    error = body_of(row)["error"]
    body = {
        "plain": {"error": error},
        "string": {"error": row["message"]},
        "raw": {"error": {"message": "Provider returned error", "code": 400,
                          "metadata": {"raw": json.dumps({"error": error})}}},
        "detail": {"detail": [{"loc": ["body", row["param"]], "msg": row["message"]}]},
        "list": [{"error": error}],
        "choice": {"choices": [{"message": {"content": None}, "error": error}]},
    }[shape]  # fmt: skip
    if shape in ("string", "detail") and (row["code"] or row["param"]):
        return  # its words alone do not say it
    found = fault_in(body, {}, where="m at url", key_env="KEY")
    assert (type(found).__name__ == "ContextOverflow") == (row["means"] == "ContextOverflow")


def test_the_table_is_large_and_has_both_kinds():
    kinds = Counter(row["means"] for row in ROWS)
    assert kinds["ContextOverflow"] > 250
    assert len(ROWS) - kinds["ContextOverflow"] > 200
    assert len({row["source"].split("#")[0] for row in ROWS}) > 60


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_status_of_another_fault_is_never_a_window(status):
    assert not says_too_long(status, "prompt is too long: 9000 tokens > 8000", [], "")


def test_a_page_of_html_or_a_novel_is_read_in_time():
    words = "input tokens exceed the max tokens of -" * 20_000
    found = error_from_response(500, words.encode(), {}, where="m at url", key_env=None)
    assert str(found).startswith("m at url: HTTP 500")
