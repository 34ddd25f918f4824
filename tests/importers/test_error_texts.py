"""Answers that are error texts of a client or a server: missing, not wrong, and an alarm."""

import pytest
from test_made_artefacts import MAP, findings, table
from test_rows_together import imported

from rlm_eval.importers.faults import is_fault
from rlm_eval.report.referee.evidence import Evidence
from rlm_eval.report.referee.page import referee

LIMIT = "Error code: 429 - {'error': {'message': 'Rate limit reached for m', 'type': 'tokens'}}"


@pytest.mark.parametrize(
    "text",
    [
        LIMIT,
        f"ERROR: {LIMIT}",
        "[ERROR] Connection error.",
        "Connection error.",
        "Request timed out.",
        "HTTP 503 Service Unavailable",
        "HTTPError: 502 Server Error: Bad Gateway for url: http://x/v1",
        "503 Server Error: Service Unavailable for url: http://x/v1",
        "openai.RateLimitError: Error code: 429",
        "litellm.exceptions.InternalServerError: upstream",
        "RateLimitError('quota')",
        '{"error": {"message": "overloaded", "type": "overloaded_error"}}',
        "Traceback (most recent call last):\n  File 'x'\nopenai.APIConnectionError: no route",
    ],
)
def test_error_texts_of_clients_are_known(text):
    assert is_fault(text)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "429",
        "HTTP 429 is not the code in the log; it is 500",
        "The server answered with Error code: 429",
        "Connection errors were the cause.",
        "Request timed out because the pool was empty",
        "error: the third one",
        "A RateLimitError was raised",
        "Traceback (most recent call last):\n  File 'x'\nKeyError: 'a'",
        "Error code: 400 - {'error': {'message': 'maximum context length is 8192 tokens'}}",
    ],
)
def test_answers_about_errors_and_results_of_a_method_are_no_error_texts(text):
    assert not is_fault(text)


def said(arm, i):
    return LIMIT if arm == "direct" and i % 2 else f"gold{i:05d}"


def right(arm, i):
    return float(said(arm, i) != LIMIT)


def test_an_error_text_in_the_place_of_an_answer_is_missing_and_an_alarm(tmp_path, capsys):
    records = imported(tmp_path, table(said=said, ok=right), MAP)
    direct = records[records["method"] == "direct"]
    assert direct["outcome"].value_counts().to_dict() == {"ok": 5, "provider_error": 5}
    assert direct["score"].mean() == 1.0  # it was 0.5
    assert set(direct["note_their_score"].dropna()) == {0.0}
    assert "5 of 20 answers are the error text of a client or a server" in capsys.readouterr().out
    page = referee(Evidence.of([tmp_path / "run"]))
    (alarm,) = findings(page, "errors as answers")
    assert "direct on t: 5 of 10 answers" in alarm
    assert "5 of them count as missing" in alarm


def test_a_map_says_which_outcome_an_error_text_is(tmp_path):
    mapped = MAP + "errors: {'Rate limit': 'cancelled'}\n"
    records = imported(tmp_path, table(said=said, ok=right), mapped)
    assert (records["outcome"] == "cancelled").sum() == 5


def test_an_error_text_that_is_right_is_an_answer(tmp_path):
    judged = imported(tmp_path, table(said=said, ok=lambda *_: 1.0), MAP)
    assert set(judged["outcome"]) == {"ok"}
    (tmp_path / "gold").mkdir()
    asked = table(said=said, gold=lambda *_: LIMIT, ok=lambda *_: None)
    records = imported(tmp_path / "gold", asked)
    assert set(records["outcome"]) == {"ok"}
