from pathlib import Path

import pytest
from baseline_bench import open_bench, sample_of

from rlm_eval.errors import ConfigError, ContextOverflow
from rlm_eval.methods.long_context import LongContext
from rlm_eval.types import Role

TEXT = "".join(f"line {i:04d} of the report\n" for i in range(200))
NEEDLE = (0, 9)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("context_first", "CTX\n\nQ?"),
        ("question_first", "Q?\n\nCTX"),
        ("both", "Q?\n\nCTX\n\nQ?"),
    ],
)
async def test_one_message_in_each_order(tmp_path: Path, order: str, expected: str) -> None:
    sample = sample_of("CTX", "Q?")
    async with open_bench(tmp_path, sample, root=["the reply"]) as bench:
        answer = await LongContext(order=order).solve(sample, bench.session)
        assert bench.requests() == [[("user", expected)]]
    assert answer.text == "the reply"
    assert answer.call == 0
    assert bench.session.calls[0].role is Role.ROOT


async def test_framed_prompt(tmp_path: Path) -> None:
    sample = sample_of("a {question} in braces", "Q?")
    method = LongContext(prompt="long_context/framed")
    async with open_bench(tmp_path, sample, root=["r"]) as bench:
        await method.solve(sample, bench.session)
        (((role, content),),) = bench.requests()
    assert role == "user"
    assert content.startswith("<text>\na {question} in braces\n</text>\n\n")
    assert content.endswith("\n\nQ?")
    assert method.prompt_id != LongContext().prompt_id


async def test_over_the_window_nothing_is_sent_by_default(tmp_path: Path) -> None:
    sample = sample_of(TEXT)
    async with open_bench(tmp_path, sample, windows={"root": 500}, root=["r"]) as bench:
        with pytest.raises(ContextOverflow, match="window of root has 500"):
            await LongContext().solve(sample, bench.session)
        assert bench.requests() == []


async def test_an_unknown_window_is_left_to_the_server(tmp_path: Path) -> None:
    sample = sample_of(TEXT)
    async with open_bench(tmp_path, sample, root=[ContextOverflow("too long")]) as bench:
        with pytest.raises(ContextOverflow):
            await LongContext(over_window="tail").solve(sample, bench.session)
        assert len(bench.requests()) == 1


@pytest.mark.parametrize(
    ("policy", "has_first", "has_last", "survives"),
    [("head", True, False, 1.0), ("tail", False, True, 0.0), ("middle", True, True, 1.0)],
)
async def test_cutting(
    tmp_path: Path, policy: str, has_first: bool, has_last: bool, survives: float
) -> None:
    sample = sample_of(TEXT, evidence=(NEEDLE,))
    method = LongContext(over_window=policy, reserve_tokens=50)
    async with open_bench(tmp_path, sample, windows={"root": 500}, root=["r"]) as bench:
        await method.solve(sample, bench.session)
        (((_, content),),) = bench.requests()
    assert (TEXT[:9] in content, "line 0199" in content) == (has_first, has_last)
    notes = bench.session.notes
    assert notes["evidence_kept"] == survives
    assert notes["total_tokens"] == sample.context.tokens
    assert notes["kept_tokens"] < 500 - 50
    assert len(content) / 4 < 500 - 50


async def test_a_server_that_counts_more_tokens_gets_less(tmp_path: Path) -> None:
    sample = sample_of(TEXT)
    script = [ContextOverflow("too long"), ContextOverflow("too long"), "r"]
    async with open_bench(tmp_path, sample, windows={"root": 500}, root=script) as bench:
        answer = await LongContext(over_window="head", reserve_tokens=50).solve(
            sample, bench.session
        )
        lengths = [len(request[0][1]) for request in bench.requests()]
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) == 3
    assert answer.call == 2


def test_refused_settings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="context_first"):
        LongContext(order="sideways")
    with pytest.raises(ValueError, match="fail, head, tail, middle"):
        LongContext(over_window="drop")
    prompt = tmp_path / "mine.md"
    prompt.write_text("=== question\nMine: {question}")
    assert LongContext(prompt_file=str(prompt)).prompt_id.startswith("mine@")
    with pytest.raises(ConfigError, match="long_context/plain"):
        LongContext(prompt="long_context/none")
