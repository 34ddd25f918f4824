"""Wordings that providers use and that no request of ours to the fake server brings out."""

import email.utils
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_eval.core.errors import (
    BadRequest,
    ContextOverflow,
    EndpointUnusable,
    ModelError,
    ProviderError,
    Refused,
)
from rlm_eval.models.http.http_errors import TransientError, error_from_response, seconds_until


def fault(status, message, code=None, headers=None):
    body = json.dumps({"error": {"message": message, "code": code, "type": None}}).encode()
    return error_from_response(status, body, headers or {}, where="m at url", key_env="KEY")


@pytest.mark.parametrize(
    ("status", "message", "code", "error"),
    [
        (500, "Context size has been exceeded.", None, ContextOverflow),
        (400, "input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000", None,
         ContextOverflow),
        (413, "Request exceeds the maximum size", "request_too_large", ContextOverflow),
        (400, "The decoder prompt (length 9001) is longer than the maximum model length of 8192.",
         None, ContextOverflow),
        (400, "The input token count (1200293) exceeds the maximum number of tokens allowed "
         "(1048576).", None, ContextOverflow),
        (400, "The input (9001 tokens) is longer than the model's context length (8192 tokens).",
         None, ContextOverflow),
        (400, "This model's maximum prompt length is 131072 but the request contains 200000 "
         "tokens.", None, ContextOverflow),
        (400, "Invalid request: Your request exceeded model token limit: 131072", None,
         ContextOverflow),
        (400, "Input is too long for requested model.", None, ContextOverflow),
        (400, "max_tokens=5000 cannot be greater than max_model_len=4096.", None, BadRequest),
        (400, "Unsupported value: temperature", "unsupported_value", BadRequest),
        (400, "The response was filtered due to the prompt triggering Azure's content management "
         "policy", "content_filter", Refused),
        (403, "Your input was flagged by moderation", None, Refused),
        (403, "Forbidden", None, EndpointUnusable),
        (429, "You exceeded your current quota", "insufficient_quota", EndpointUnusable),
        (400, "Your credit balance is too low to access the API", None, EndpointUnusable),
        (400, "gpt-55 is not a valid model ID", None, EndpointUnusable),
        (429, "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 50000",
         "rate_limit_exceeded", ProviderError),
        (429, "Rate limit reached: too many tokens per minute", None, TransientError),
        (529, "Overloaded", "overloaded_error", TransientError),
        (501, "Not implemented", None, ProviderError),
        *((status, "", None, TransientError) for status in (418, 430, 440, 444, 460, 498, 499)),
        *((status, "", None, BadRequest) for status in (400, 405, 411, 415, 422)),
        *((status, "", None, EndpointUnusable) for status in (404, 407, 410, 421, 451)),
    ],
)  # fmt: skip
def test_each_wording_means_its_own_error(status, message, code, error):
    assert type(fault(status, message, code)) is error


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Bad gateway</html>",
        b'[{"error": {"message": "Bad gateway"}}]',
        b'{"detail": "Bad gateway"}',
        b'"Bad gateway"',
        b"\xff\xfe",
        b"",
    ],
)
def test_a_body_of_any_form_is_quoted_and_never_breaks(body):
    found = error_from_response(400, body, {}, where="m at url", key_env=None)
    assert type(found) is BadRequest
    assert str(found).startswith("m at url: HTTP 400")
    assert "Bad gateway" in str(found) or len(body) < 3


def test_only_too_many_and_overloaded_slow_the_endpoint_down():
    assert fault(429, "slow down").throttled
    assert fault(503, "overloaded").throttled
    assert not fault(500, "oops").throttled


def test_retry_after_in_its_three_forms():
    assert seconds_until({"Retry-After": "2.5"}) == 2.5
    assert seconds_until({"retry-after-ms": "250", "Retry-After": "1"}) == 0.25
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 55 < seconds_until({"Retry-After": date}) <= 60
    assert seconds_until({"Retry-After": "soon"}) is None
    assert seconds_until({"Retry-After": "-3"}) == 0
    assert seconds_until({}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "code", "type", "param", "metadata", "raw", "detail"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(body=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
       status=st.integers(201, 599))  # fmt: skip
def test_any_error_body_is_a_typed_error_that_says_where(body, status):
    found = error_from_response(status, body, {}, where="m at url", key_env="KEY")
    assert isinstance(found, ModelError | TransientError)
    assert str(found).startswith("m at url: ")
