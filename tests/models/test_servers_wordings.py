"""What servers say of a prompt that is too long, and what they say of other faults.

`wordings.json`: source (project and issue, or documentation; `unseen` and `other fault` are made up
after the rule was written), status, code, parameter, the few words that matter with numbers of our
own, and the error that it means (`another` = any but `ContextOverflow`).
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from rlm_eval.core.errors import BadRequest, ContextOverflow, EndpointUnusable, Refused
from rlm_eval.models.http.http_errors import TransientError, error_from_response, fault_in
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


# -- faults of filters, and behind gateways

DOWN = [
    "content moderation service is temporarily unavailable, please retry later",
    "Guardrail service timed out", "Internal moderation service timed out, please retry",
    "content filter service unavailable", "guardrail 'pii' failed to respond: ReadTimeout",
    "The content safety system is currently unavailable", "Sensitive content check timed out",
]  # fmt: skip
BEHIND = [
    "Model has unloaded or crashed.", "Model unloaded.", "upstream connect error or disconnect",
    "The model has crashed without additional information. (Exit code: 18446744072635812000)",
    "Unable to process the request: upstream provider overloaded", "Upstream request failed",
    "Request timed out while waiting for the model", "Failed to get response from provider",
    "No deployments available for selected model, Try again in 60 seconds.",
    "Response content longer than Content-Length",
]  # fmt: skip


@pytest.mark.parametrize("status", [200, 400, 403, 422, 500, 503])
@pytest.mark.parametrize("message", DOWN)
def test_a_filter_that_fails_refuses_nothing(status, message):
    assert type(_found(status, {"error": {"message": message}})) is TransientError


@pytest.mark.parametrize("status", [200, 400, 422, 500])
@pytest.mark.parametrize("message", BEHIND)
def test_a_fault_behind_a_gateway_may_pass_whatever_the_status(status, message):
    assert type(_found(status, {"error": {"message": message}})) is TransientError


@pytest.mark.parametrize(
    ("code", "message", "error"),
    [(500, "oops", TransientError), (502, "oops", TransientError), (503, "oops", TransientError),
     (529, "oops", TransientError), (429, "oops", TransientError), (400, "oops", BadRequest),
     (500, "prompt is too long: 9000 tokens > 8192 maximum", ContextOverflow)],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 400])
def test_the_innermost_code_of_a_gateway_s_error_counts(status, code, message, error):
    raw = json.dumps({"error": {"message": message, "code": code}})
    body = {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}
    assert type(_found(status, {"error": body})) is error


GLM_S = [
    (400, {"code": "1002", "message": "Authentication Token非法"}, EndpointUnusable),
    (200, {"code": 1003, "message": "Authentication Token has expired"}, EndpointUnusable),
    (400, {"code": "1113", "message": "您的账户已欠费，请充值后重试"}, EndpointUnusable),
    (400, {"code": "1302", "message": "并发数过高"}, TransientError),
]  # fmt: skip
OTHERS = [
    (500, {"code": "1000", "type": "internal_server_error", "message": "Service unavailable."}),
    (200, {"code": "1000", "type": "internal_server_error", "message": "Service unavailable."}),
    *((status, {"code": code, "message": "an error"})
      for status in (500, 503) for code in ("1000", 1003, 1110, 1113, 1211)),
    (200, {"code": 1000, "message": "an error"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "error", "means"), [*GLM_S, *((*other, TransientError) for other in OTHERS)]
)
def test_a_vendors_own_number_means_nothing_under_another_vendors_fault(status, error, means):
    """GLM's numbers: Mistral, Cloudflare and others use the same ones."""
    assert type(_found(status, {"error": error})) is means
    assert type(_found(status, {"errors": [error]})) is means


@pytest.mark.parametrize(
    "message",
    [
        "Your prompt was filtered by the content management policy. Please modify it and retry.",
        "Your request was blocked by the content filter, please try again with another prompt",
        "content blocked by guardrail", "Guardrail intervened", "Your input was flagged",
    ],
)  # fmt: skip
def test_a_filter_that_works_refuses(message):
    for status in (200, 400, 403):
        assert type(_found(status, {"error": {"message": message}})) is Refused


def _found(status, body):
    if status == 200:
        return fault_in(body, {}, where="m at url", key_env="KEY")
    return error_from_response(status, json.dumps(body).encode(), {}, where="m", key_env="KEY")
