"""Budgets: reserved before, settled after, shared with siblings and parents."""

import pytest

from rlm_eval.budget.limits import Budget, Limits
from rlm_eval.core.errors import LimitReached
from rlm_eval.core.types import Outcome


def test_in_flight_reservations_count():
    budget = Budget(Limits(tokens=100))
    held = budget.reserve(60, None)
    with pytest.raises(LimitReached) as caught:
        budget.reserve(60, None)
    assert caught.value.outcome is Outcome.LIMIT_TOKENS
    budget.settle(held, 10, None)
    budget.reserve(60, None)
    assert budget.tokens == 70


def test_a_refused_reservation_holds_nothing():
    sweep = Budget(Limits(cost=1.0), name="sweep")
    sample = Budget(Limits(tokens=10), sweep)
    with pytest.raises(LimitReached):
        sample.reserve(11, 0.5)
    assert (sweep.cost, sample.tokens, sweep.calls) == (0.0, 0, 0)


def test_the_parents_limit_names_its_scope():
    sweep = Budget(Limits(calls=1), name="sweep")
    Budget(Limits(), sweep).reserve(1, None)
    with pytest.raises(LimitReached) as caught:
        Budget(Limits(), sweep).reserve(1, None)
    assert (caught.value.scope, caught.value.outcome) == ("sweep", Outcome.LIMIT_CALLS)


def test_an_unknown_bill_leaves_the_estimate():
    budget = Budget(Limits(cost=1.0))
    budget.settle(budget.reserve(5, 0.4), None, None)
    assert (budget.tokens, budget.cost) == (5, 0.4)


def test_time():
    budget = Budget(Limits(seconds=2))
    budget.check_seconds(1.9)
    with pytest.raises(LimitReached, match="2 s are over"):
        budget.check_seconds(2.0)


@pytest.mark.parametrize("name", ["tokens", "cost", "calls", "seconds"])
def test_a_limit_is_positive(name):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})


def test_a_closing_call_passes_over_its_own_limit_alone():
    sweep = Budget(Limits(calls=2), name="sweep")
    sample = Budget(Limits(calls=1), sweep)
    sample.reserve(1, None)
    sample.reserve(1, None, closing=True)
    assert (sample.calls, sweep.calls) == (2, 2)
    with pytest.raises(LimitReached) as caught:
        sample.reserve(1, None, closing=True)
    assert caught.value.scope == "sweep"
