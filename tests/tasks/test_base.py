import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.tokens import Tokenizer, get_tokenizer
from rlm_eval.core.types import DOCUMENT_SEPARATOR
from rlm_eval.tasks.base import Draft, GeneratedTask, fit, make_context, rng, top_up
from rlm_eval.tasks.needle.s_niah import SNiah

APPROX = get_tokenizer("approx4")
_CALLS = []


@dataclass(frozen=True)
class Counting(GeneratedTask):
    """A task that notes which samples were generated."""

    tokenizer: str = "approx4"
    documents: bool = False
    same: bool = False

    def draft(self, index):
        _CALLS.append(index)
        text = f"context {0 if self.same else index}"
        context = (text, "second", text) if self.documents else text
        return Draft("question?", context, ["gold"], "c", f"i{index}", evidence=((0, 3),))

    def score(self, sample, answer):
        raise NotImplementedError

    def floors(self):
        return {}


@pytest.fixture(autouse=True)
def _reset():
    _CALLS.clear()


def test_a_longer_run_generates_only_what_is_new():
    first = list(Counting(n=3).samples())
    again = list(Counting(n=5).samples())
    assert _CALLS == [0, 1, 2, 3, 4]
    assert again[:3] == first
    assert [s.context.text() for s in again] == [f"context {i}" for i in range(5)]
    assert list(Counting(n=2).samples()) == first[:2]
    assert [s.id for s in Counting(n=5, name="other").samples()] == [s.id for s in again]
    assert len(_CALLS) == 5


def test_another_configuration_is_another_cache_entry():
    list(Counting(n=1).samples())
    list(Counting(n=1, seed=1).samples())
    list(Counting(n=1, length=512).samples())
    assert _CALLS == [0, 0, 0]


def test_a_lost_context_is_made_again(cache):
    sample = next(Counting(n=1).samples())
    for path in (cache / "contexts").rglob("*.txt"):
        path.unlink()
    assert next(Counting(n=1).samples()).context.text() == sample.context.text()


def test_a_changed_context_is_an_error(cache):
    [sample] = Counting(n=1).samples()
    for path in (cache / "contexts").rglob("*.txt"):
        path.write_text("something else")
    with pytest.raises(RlmEvalError, match="was changed"):
        sample.context.text()


def test_documents_come_back_as_documents_and_are_stored_once(cache):
    [sample] = Counting(n=1, documents=True).samples()
    [restored] = Counting(n=1, documents=True).samples()
    assert restored.context.value() == ("context 0", "second", "context 0")
    assert restored.context.text() == DOCUMENT_SEPARATOR.join(restored.context.value())
    assert restored == sample
    assert len(list((cache / "contexts").rglob("*.txt"))) == 2


def test_equal_samples_are_an_error():
    with pytest.raises(ConfigError, match="samples 0 and 1"):
        list(Counting(n=2, same=True).samples())


def test_contexts_are_measured_under_the_named_tokenizer():
    context = make_context("x" * 10, APPROX)
    assert (context.chars, context.tokens, context.tokenizer) == (10, 3, "approx4")


def test_two_processes_may_generate_at_once(cache):
    code = (
        "from rlm_eval.tasks.needle.s_niah import SNiah; "
        "print([s.id for s in SNiah(n=6, length=1024, tokenizer='approx4').samples()])"
    )
    command = [sys.executable, "-c", code]
    jobs = []
    for seed in ("1", "2"):  # the hash seed must not matter
        env = {**os.environ, "PYTHONHASHSEED": seed}
        jobs.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    outputs = [job.communicate()[0] for job in jobs]
    assert outputs[0] == outputs[1] != ""
    ids = [s.id for s in SNiah(n=6, length=1024, tokenizer="approx4").samples()]
    assert str(ids) == outputs[0].strip()


@pytest.mark.parametrize("remaining", [17, 18, 25, 40, 61])
def test_top_up_fills_within_the_slack(remaining):
    costs = [float(c) for c in rng("costs").choices(range(8, 30), k=60)]
    places = top_up(costs, remaining, 1)
    assert remaining - 1 <= sum(costs[i] for i in places) <= remaining
    assert len(set(places)) == len(places) <= 3


def test_top_up_uses_a_unit_once():
    assert top_up([5.0, 7.0], 10, 0) == []
    assert sorted(top_up([5.0, 5.0], 10, 0)) == [0, 1]


def test_fit_corrects_a_tokenizer_that_is_not_additive():
    skewed = Tokenizer("skewed", lambda text: int(len(text) * 0.3))

    def make(budget, slack):
        return "x" * int(budget * 4)  # believes in four characters a token

    text, tokens = fit(make, 4000, 4096, skewed)
    assert tokens == skewed.count(text)
    assert 0 <= 4000 - tokens <= 20


def test_fit_takes_a_text_within_the_tolerance_where_none_is_within_its_margin():
    """The text is made last: what `make` keeps beside it belongs to the text that is returned."""
    made = []

    def make(budget, slack):
        made.append("x" * 4 * (828 if budget < 836 else 840))  # lines too coarse for 829 to 833
        return made[-1]

    text, tokens = fit(make, 833, 1024, APPROX)
    assert (tokens, text) == (828, made[-1])


def test_fit_gives_up_with_a_message():
    with pytest.raises(RlmEvalError, match="cannot fill 300 tokens"):
        fit(lambda *_: "x" * 400, 300, 400, APPROX)


def test_a_length_without_room_is_an_error():
    with pytest.raises(ValueError, match="256"):
        SNiah(length=100)
    with pytest.raises(ConfigError, match="no room"):
        SNiah(length=256, tokenizer="approx4").room("q" * 800)
