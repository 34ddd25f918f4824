"""Which replies of earlier attempts a sample that is run again takes."""

from types import SimpleNamespace

import pytest

from rlm_eval.core.types import Outcome
from rlm_eval.runner.resume import first_that_counts

WHO = ("sample", 0)


def store(outcome, since=0):
    attempt = SimpleNamespace(number=3, trajectory=SimpleNamespace(outcome=outcome))
    return SimpleNamespace(attempts={WHO: attempt}, since={WHO: since} if since else {})


@pytest.mark.parametrize(
    ("outcome", "since", "first"),
    [
        (Outcome.PROVIDER_ERROR, 0, 0),
        (Outcome.SERVER_CUT, 0, 4),  # earlier turns may have been cut by less
        (Outcome.OK, 4, 4),
        (Outcome.SERVER_CUT, 9, 9),
    ],
)
def test_a_sample_whose_prompt_was_cut_takes_no_old_reply(outcome, since, first):
    assert first_that_counts(store(outcome, since), WHO) == first


def test_a_sample_that_never_ended_takes_them_all():
    assert first_that_counts(SimpleNamespace(attempts={}, since={}), WHO) == 0
