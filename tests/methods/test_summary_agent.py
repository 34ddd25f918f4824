from pathlib import Path

import pytest
from baseline_bench import Request, Script, open_bench, sample_of

from rlm_eval.core.errors import ConfigError, ContextOverflow, ProviderError
from rlm_eval.core.types import Reply, Role, Usage
from rlm_eval.methods.agent_text import directive, load_parts
from rlm_eval.methods.summary_agent import SummaryAgent

PIECES = [
    f"{name} piece. " + f"{name} filler goes on. " * 4 + "\n" for name in ("red", "blue", "tan")
]
SIZE = max(map(len, PIECES)) // 4 + 1
NEEDLE = "The code is 7391."
AT = len(PIECES[0])
TEXT = PIECES[0] + NEEDLE + PIECES[1][len(NEEDLE) :] + PIECES[2]
EVIDENCE = ((AT, AT + len(NEEDLE)),)


def method(**settings: object) -> SummaryAgent:
    return SummaryAgent(piece_tokens=SIZE, summary_tokens=50, **settings)  # type: ignore[arg-type]


async def test_iterative_requests(tmp_path: Path) -> None:
    sample = sample_of(TEXT, "What is the code?", evidence=EVIDENCE)
    async with open_bench(
        tmp_path, sample, sub=["notes one", "the code is 7391"], root=["7391"]
    ) as bench:
        answer = await method().solve(sample, bench.session)
        first, second = (request[0][1] for request in bench.requests("sub"))
        (((role, last),),) = bench.requests("root")
    assert answer.text == "7391"
    assert (role, [len(r) for r in bench.requests("sub")]) == ("user", [1, 1])
    assert "red piece" in first
    assert "NEEDLE" not in first
    assert "(none yet)" in first
    assert NEEDLE in second
    assert "notes one" in second
    assert "red piece" not in second
    for request in (first, second):
        assert "What is the code?" in request
        assert "At most 35 words" in request
    assert "<notes>\nthe code is 7391\n</notes>" in last
    assert "tan filler" in last
    assert last.endswith("What is the code?")
    roles = [call.role for call in bench.session.calls]
    assert roles == [Role.SUMMARY, Role.SUMMARY, Role.ROOT]
    notes = bench.session.notes
    assert notes["summaries"] == 2
    assert notes["evidence_by_summary"] == "- 1"
    assert notes["evidence_kept"] == 1.0


async def test_evidence_lost_in_a_summary_is_noted(tmp_path: Path) -> None:
    sample = sample_of(TEXT, evidence=EVIDENCE)
    script = ["one", "7391 is the code", "it all faded"]
    async with open_bench(tmp_path, sample, sub=script, root=["?"]) as bench:
        await method(keep_tail=False, prompt="summary/extract").solve(sample, bench.session)
        assert "Last part" not in bench.requests("root")[0][0][1]
    assert bench.session.notes["evidence_by_summary"] == "- 1 0"
    assert bench.session.notes["evidence_kept"] == 0.0


async def test_a_context_that_fits_is_not_summarised(tmp_path: Path) -> None:
    sample = sample_of(TEXT, evidence=EVIDENCE)
    windows = {"root": 4000, "sub": 2000}
    agent = SummaryAgent(reserve_tokens=500, summary_tokens=50)
    async with open_bench(tmp_path, sample, windows=windows, sub=[], root=["r"]) as bench:
        await agent.solve(sample, bench.session)
        assert TEXT.strip() in bench.requests("root")[0][0][1]
    assert bench.session.notes["summaries"] == 0
    assert bench.session.notes["evidence_kept"] == 1.0


async def test_map_reduce_merges_until_one_is_left(tmp_path: Path) -> None:
    def summarise(request: Request) -> str:
        text = request[0][1]
        if "neighbouring" in text:
            return "merged: " + " ".join(w for w in ("red", "7391", "tan") if w in text)
        return next(w for w in ("red", "7391", "tan") if w in text)

    sample = sample_of(TEXT, evidence=EVIDENCE)
    async with open_bench(tmp_path, sample, sub=summarise, root=["7391"]) as bench:
        await method(mode="map_reduce").solve(sample, bench.session)
        (((_, last),),) = bench.requests("root")
    positions = sorted(call.position for call in bench.session.calls)
    assert positions == ["answer", "m0.p0", "m0.p1", "m0.p2", "m1.p0"]
    assert "merged: red 7391 tan" in last


async def test_a_failure_in_one_piece_is_the_samples_failure(tmp_path: Path) -> None:
    def fail(request: Request) -> str:
        raise ProviderError("down")

    sample = sample_of(TEXT)
    async with open_bench(tmp_path, sample, sub=fail, root=[]) as bench:
        with pytest.raises(ProviderError):
            await method(mode="map_reduce").solve(sample, bench.session)


async def test_long_summaries_are_cut_and_counted(tmp_path: Path) -> None:
    sample = sample_of(TEXT)
    long = Reply("word " * 500, "stop", Usage())
    async with open_bench(tmp_path, sample, sub=lambda r: long, root=["r"]) as bench:
        await method().solve(sample, bench.session)
        assert len(bench.requests("root")[0][0][1]) < 50 * 4 + 1000
    assert bench.session.notes["clipped_summaries"] == 2
    assert bench.session.notes["evidence_by_summary"] is None


async def test_needs_a_size(tmp_path: Path) -> None:
    sample = sample_of(TEXT)
    async with open_bench(tmp_path, sample, sub=[], root=[]) as bench:
        with pytest.raises(ConfigError, match=r"method\.piece_tokens"):
            await SummaryAgent().solve(sample, bench.session)
    async with open_bench(tmp_path, sample, windows={"root": 4096}, sub=[], root=[]) as bench:
        with pytest.raises(ConfigError, match="leaves no room"):
            await SummaryAgent().solve(sample, bench.session)


def test_prompts_in_parts(tmp_path: Path) -> None:
    own = tmp_path / "own.md"
    own.write_text("You are a careful reader.")
    prompt, parts = load_parts("react/plain", str(own), ("system", "last"), "system")
    assert parts["system"] == "You are a careful reader."
    assert parts["last"] == load_parts("react/plain", None, ("last",))[1]["last"]
    assert prompt.id.startswith("own@")
    with pytest.raises(ValueError, match="=== zzz"):
        load_parts("react/plain", None, ("zzz",))


def test_directives() -> None:
    words = ("SEARCH", "ANSWER")
    assert directive("I think\n**Search:** red door\nmore", words) == ("SEARCH", "red door")
    assert directive("ANSWER: a\nb\n", words) == ("ANSWER", "a\nb")
    assert directive("the answer: no line begins so", words) is None
    assert directive("SEARCH: x\nANSWER: y", words) == ("SEARCH", "x")


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("**ANSWER: 42**", "42"),
        ("* **ANSWER: 42**", "42"),
        ("__ANSWER: a_b__\nmore", "a_b\nmore"),
        ("***Answer: a\nb***", "a\nb"),
        ("ANSWER:**42**", "42"),
        ("**ANSWER:** **42**", "**42**"),
        ("**ANSWER**: 2 ** 3", "2 ** 3"),
        ("ANSWER: a_b_", "a_b_"),
        ("* ANSWER: 4*", "4*"),
    ],
)
def test_emphasis_around_a_line_ends_with_it(reply: str, text: str) -> None:
    assert directive(reply, ("ANSWER",)) == ("ANSWER", text)


def refusing(most: int, reply: str) -> Script:
    """A model whose window holds `most` characters."""

    def answer(request: Request) -> str:
        if len(request[0][1]) > most:
            raise ContextOverflow("too long")
        return reply

    return answer


LINES = "".join(f"line {n:03d} goes on and on\n" for n in range(200))


@pytest.mark.parametrize("mode", ["iterative", "map_reduce"])
async def test_a_piece_that_is_refused_is_halved(tmp_path: Path, mode: str) -> None:
    """The estimate allows 3,200 characters a piece, the model reads 1,500 a prompt."""
    sample = sample_of(LINES)
    agent = SummaryAgent(mode=mode, piece_tokens=800, summary_tokens=20)
    script = refusing(1500, "brief")
    async with open_bench(tmp_path, sample, sub=script, root=refusing(1500, "7391")) as bench:
        answer = await agent.solve(sample, bench.session)
        asked = [r[0][1] for slot in ("sub", "root") for r in bench.requests(slot)]
        assert bench.session.notes["split_pieces"] >= 3
        good = [c for c in bench.session.calls if c.role is Role.SUMMARY and c.error is None]
        assert bench.session.notes["summaries"] == len(good)
    assert answer.text == "7391"
    read = [text for text in asked if len(text) <= 1500]
    for n in range(200):  # every line was read whole, by one prompt
        assert sum(f"line {n:03d} goes on and on" in text for text in read) == 1


@pytest.mark.parametrize("mode", ["iterative", "map_reduce"])
async def test_where_the_question_alone_is_too_long_the_window_is_the_reason(
    tmp_path: Path, mode: str
) -> None:
    sample = sample_of(LINES)
    agent = SummaryAgent(mode=mode, piece_tokens=800, summary_tokens=20)
    async with open_bench(tmp_path, sample, sub=refusing(50, ""), root=["x"]) as bench:
        with pytest.raises(ContextOverflow):
            await agent.solve(sample, bench.session)
        assert len(bench.requests("sub")) < 30


async def test_many_summaries_too_long_together_are_merged_by_fewer(tmp_path: Path) -> None:
    sample = sample_of(LINES)
    agent = SummaryAgent(mode="map_reduce", piece_tokens=200, summary_tokens=100)
    script = refusing(1300, "w" * 400)
    async with open_bench(tmp_path, sample, sub=script, root=["7391"]) as bench:
        assert (await agent.solve(sample, bench.session)).text == "7391"
        refused = [c for c in bench.session.calls if c.error]
        assert refused
        assert all(c.position.startswith("m1.") for c in refused)  # merges; no piece is too long
