"""The judge: asked again where it cannot be read, and whatever the method left of the limits."""

import pytest
from bench import Answering, sample_of, session_over

from rlm_eval.budget.limits import Limits
from rlm_eval.core.types import Outcome, Reply, Role, Score, Usage
from rlm_eval.methods.long_context import LongContext
from rlm_eval.runner.rollout import run_rollout
from rlm_eval.session.prompt_check import PromptCheck


class Judged:
    """A task of one question whose judge says yes or no."""

    def score(self, sample, answer):
        return (Score("contains", 0.0),)

    def judge_prompt(self, sample, answer):
        return f"JUDGE {answer.text}"

    def judge_score(self, sample, answer, verdict):
        if verdict not in ("yes", "no"):
            raise ValueError("no clear verdict")
        return Score("judge", float(verdict == "yes"))


@pytest.fixture
def verdicts():
    return []


@pytest.fixture
def client(verdicts):
    def answer(messages):
        return verdicts.pop(0) if messages[-1].content.startswith("JUDGE") else "it"

    return Answering(answer)


async def judged(client, folder, limits=None, check=None):
    sample = sample_of("It is.")
    async with session_over(client, folder, sample, limits=limits, check=check) as session:
        trajectory, scores = await run_rollout(Judged(), LongContext(), sample, session)
    asked = [call for call in trajectory.calls if call.role == Role.JUDGE]
    return trajectory.outcome, [score.value for score in scores], len(asked)


async def test_an_unclear_verdict_is_asked_for_once_more(client, verdicts, tmp_path):
    verdicts += ["perhaps", "yes"]
    assert await judged(client, tmp_path) == (Outcome.OK, [1.0, 0.0], 2)


async def test_a_resumed_judge_error_asks_anew(client, verdicts, tmp_path):
    verdicts += ["perhaps", "well"]
    assert await judged(client, tmp_path) == (Outcome.JUDGE_ERROR, [], 2)
    verdicts += ["no"]
    assert await judged(client, tmp_path) == (Outcome.OK, [0.0, 0.0], 3)
    assert sum(not m[-1].content.startswith("JUDGE") for m in client.asked) == 1


async def test_a_judge_whose_prompt_the_server_cut_gives_no_verdict(tmp_path):
    def answer(messages):
        if not messages[-1].content.startswith("JUDGE"):
            return "the answer is " + "very long " * 400
        return Reply("yes", "stop", Usage(input=64, output=1))

    outcome, scores, asked = await judged(
        Answering(answer), tmp_path, check=PromptCheck(None, exact=True)
    )
    assert (outcome, scores, asked) == (Outcome.JUDGE_ERROR, [], 1)


async def test_a_method_that_used_up_the_limits_is_judged_all_the_same(client, verdicts, tmp_path):
    verdicts += ["yes"]
    assert await judged(client, tmp_path, Limits(calls=1)) == (Outcome.OK, [1.0, 0.0], 1)
