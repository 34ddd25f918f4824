from pathlib import Path

import pytest
from baseline_bench import Request, open_bench, sample_of

from rlm_eval.core.errors import ConfigError, ContextOverflow
from rlm_eval.core.types import Role
from rlm_eval.methods.context_window import FRAME
from rlm_eval.methods.long_context import LongContext
from rlm_eval.models import Sampling
from rlm_eval.models.scripted import ScriptedModel

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
    """However far off the estimate is, it decides no outcome: a last try sends very little."""
    sample = sample_of(TEXT)

    def script(request: Request) -> str:
        if len(request[0][1]) > 60:
            raise ContextOverflow("too long")
        return "r"

    async with open_bench(tmp_path, sample, windows={"root": 500}, root=script) as bench:
        answer = await LongContext(over_window="head", reserve_tokens=50).solve(
            sample, bench.session
        )
        lengths = [len(request[0][1]) for request in bench.requests()]
    assert lengths == sorted(set(lengths), reverse=True)
    assert answer.call == len(lengths) - 1
    assert lengths[-1] <= 60 < lengths[-2]
    assert bench.session.notes["tokens_by"] == "estimate"


def own_tokens(text: str) -> int:
    """A tokenizer that takes every digit alone and five letters together."""
    digits = sum(c.isdigit() for c in text)
    return digits + -(-(len(text) - digits) // 5)


NUMBERS = "".join(f"{i * 7919:09d} " * 3 + "of one account and another one\n" for i in range(300))


@pytest.mark.parametrize("policy", ["head", "tail", "middle"])
@pytest.mark.parametrize("text", [TEXT, NUMBERS, TEXT + NUMBERS])
async def test_a_cut_is_exact_under_the_models_own_tokenizer(
    tmp_path: Path, policy: str, text: str
) -> None:
    sample = sample_of(text, evidence=(NEEDLE,))
    method = LongContext(over_window=policy, reserve_tokens=50)
    windows = {"root": 700}
    async with open_bench(
        tmp_path, sample, windows=windows, counts=own_tokens, root=["r"]
    ) as bench:
        await method.solve(sample, bench.session)
        (((_, content),),) = bench.requests()
    most = 700 - 50 - FRAME
    assert most - 10 <= own_tokens(content) <= most
    notes = bench.session.notes
    bare = own_tokens(content.replace(content.removesuffix("\n\nWhat is the code?"), ""))
    marker = own_tokens("\n[...]\n") if policy == "middle" else 0
    assert abs(notes["kept_tokens"] - (own_tokens(content) - bare - marker)) <= 2
    assert abs(notes["total_tokens"] - own_tokens(text)) <= 2
    assert notes["tokens_by"] == "server"


async def test_a_reply_may_take_more_than_the_reserve(tmp_path: Path) -> None:
    sample = sample_of(TEXT)
    method = LongContext(over_window="tail", reserve_tokens=0)
    windows = {"root": 700}
    async with open_bench(
        tmp_path, sample, windows=windows, counts=own_tokens, cap=300, root=["r"]
    ) as bench:
        await method.solve(sample, bench.session)
        (((_, content),),) = bench.requests()
    assert own_tokens(content) <= 700 - 300 - FRAME


@pytest.mark.parametrize(("window", "fits"), [(1000, True), (950, False)])
async def test_whether_the_whole_fits_is_the_models_own_count(
    tmp_path: Path, window: int, fits: bool
) -> None:
    sample = sample_of("words and words " * 300)  # 1200 tokens by the task's count, 960 by its own
    async with open_bench(
        tmp_path, sample, windows={"root": window}, counts=own_tokens, root=["r"]
    ) as bench:
        if fits:
            await LongContext().solve(sample, bench.session)
        else:
            with pytest.raises(ContextOverflow, match="takes 964 tokens, the window of root"):
                await LongContext().solve(sample, bench.session)
        assert len(bench.requests()) == fits


async def test_where_nobody_counts_the_server_decides(tmp_path: Path) -> None:
    sample = sample_of(TEXT)  # an estimate of 1250 tokens
    async with open_bench(tmp_path, sample, windows={"root": 900}, root=["r"]) as bench:
        await LongContext().solve(sample, bench.session)
        assert len(bench.requests()) == 1


@pytest.mark.parametrize(("countable", "by"), [(4000, "server"), (1500, "estimate")])
async def test_a_count_that_is_refused_is_unknown_and_not_none(
    tmp_path: Path, countable: int, by: str
) -> None:
    """A server may refuse to count what is too long for it (413), and an empty message."""
    sample = sample_of(TEXT)
    assert len(TEXT) > 4000

    def counts(text: str) -> int | None:
        return own_tokens(text) if 0 < len(text) <= countable else None

    method = LongContext(over_window="tail", reserve_tokens=50)
    async with open_bench(
        tmp_path, sample, windows={"root": 700}, counts=counts, root=["r"]
    ) as bench:
        await method.solve(sample, bench.session)
        (((_, content),),) = bench.requests()
    notes = bench.session.notes
    assert own_tokens(content) <= 700 - 50 - FRAME
    assert notes["tokens_by"] == by
    assert 0 < notes["kept_tokens"] < 700
    assert notes["total_tokens"] == (None if by == "server" else sample.context.tokens)


async def test_the_journal_keeps_the_counts_so_that_a_replay_cuts_alike(tmp_path: Path) -> None:
    sample, windows = sample_of(NUMBERS), {"root": 700}
    method = LongContext(over_window="tail", reserve_tokens=50)
    for counts in (own_tokens, None):  # the second time nobody is there to count
        async with open_bench(
            tmp_path, sample, windows=windows, counts=counts, root=["r"]
        ) as bench:
            await method.solve(sample, bench.session)
            (call,) = bench.session.calls
            assert call.replayed == (counts is None)


async def test_the_question_alone_is_never_sent(tmp_path: Path) -> None:
    """It would be a closed-book answer under this method's name."""
    sample = sample_of(TEXT)

    def script(request: Request) -> str:
        if "report" in request[0][1] or len(request[0][1]) > len(sample.question) + 2:
            raise ContextOverflow("too long")
        return "r"

    async with open_bench(tmp_path, sample, windows={"root": 500}, root=script) as bench:
        method = LongContext(over_window="head", reserve_tokens=50)
        with pytest.raises(ContextOverflow, match="too long"):
            await method.solve(sample, bench.session)
        assert all(len(request[0][1]) > 19 for request in bench.requests())


@pytest.mark.parametrize("counts", [own_tokens, None])
@pytest.mark.parametrize("policy", ["head", "tail", "middle"])
async def test_without_room_for_any_context_nothing_is_sent(tmp_path, policy, counts) -> None:
    sample, windows = sample_of(TEXT), {"root": 1000}
    method = LongContext(over_window=policy)
    async with open_bench(tmp_path, sample, windows=windows, counts=counts, root=["r"]) as bench:
        with pytest.raises(ContextOverflow, match="no room for any context"):
            await method.solve(sample, bench.session)
        assert bench.requests() == []


@pytest.mark.parametrize(
    ("window", "cap", "question", "refused"),
    [
        (8192, 8192, "Q?", True),
        (8192, 4096, "Q?", False),
        (1000, None, "Q?", True),
        (1200, None, "Q?", False),
        (1200, None, "Q?" * 1000, True),
        (None, 8192, "Q?", False),
    ],
)
def test_a_window_without_room_is_refused_before_any_call(window, cap, question, refused) -> None:
    sample = sample_of(TEXT, question)
    root = ScriptedModel(window=window, sampling=Sampling(max_output_tokens=cap))
    LongContext().check_fit(sample, {"root": root})  # without truncation the server decides
    method = LongContext(over_window="tail")
    if not refused:
        method.check_fit(sample, {"root": root})
        return
    with pytest.raises(ConfigError) as told:
        method.check_fit(sample, {"root": root})
    for setting in ("root.window=", "root.sampling.max_output_tokens=", "method.reserve_tokens="):
        assert setting in str(told.value)


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
