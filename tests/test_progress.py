"""The line of a cell: what it has done, what it cost so far, what it will have cost."""

from runs import cells_of

from rlm_eval.progress import Progress
from rlm_eval.store import Attempt, CellStore
from rlm_eval.types import Answer, Call, Outcome, Prompt, Role, Score, Times, Trajectory, Usage


def finished(sample: str, outcome: Outcome, value: float) -> Attempt:
    usage = Usage(input=100_000, cached=0, output=1_000)
    call = Call(0, None, 0, Role.ROOT, 0, "t0", "root", "gpt-5", Prompt(()), "7", "", "stop",
                usage, Times(0, 0, None, 1), 1)  # fmt: skip
    trajectory = Trajectory(sample, 0, Answer("7"), outcome, (call,), (), 1.0)
    return Attempt(0, trajectory, (Score("official", value),), 0, 0)


def test_a_line_counts_outcomes_accuracy_tokens_and_money(tmp_path, capsys):
    (cell,) = cells_of(
        ["model@root=gpt-5", "task=s_niah", "method=long_context", "tokenizer=approx4", "n=4"]
    )
    samples = list(cell.task.samples())
    todo = [(sample, 0) for sample in samples]
    line = Progress().cell(cell, CellStore(tmp_path), samples, todo)
    line.finished(finished("a", Outcome.OK, 1.0))
    line.finished(finished("b", Outcome.TRUNCATED, 0.0))
    assert "2/4" in line.text()
    assert "ok:1 truncated:1" in line.text()
    assert "acc 50% [9%, 91%]" in line.text()
    assert "202,000 tok" in line.text()
    assert "$0.27 of about $0.54" in line.text()  # 100k in at 1.25, 1k out at 10 dollars a million
    line.finished(finished("c", Outcome.PROVIDER_ERROR, 0.0))
    assert "provider_error" in capsys.readouterr().err
