"""Prompts as slices: decoding is exact, runs are found where they stand."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_eval.core.types import Slice
from rlm_eval.storage import prompt_slices
from rlm_eval.storage.prompt_slices import MIN_RUN, SourceIndex, decode


def words(seed: int, count: int) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(count))


CONTEXT = words(1, 3000)
INDEX = SourceIndex("ctx", CONTEXT)


def slices(text: str) -> list[Slice]:
    return [part for part in INDEX.encode(text) if isinstance(part, Slice)]


PROMPTS = st.lists(
    st.one_of(
        st.text(max_size=80),
        st.tuples(st.integers(0, 20_000), st.integers(1, 400)),
    ),
    max_size=8,
).map(lambda made: "".join(p if isinstance(p, str) else CONTEXT[p[0] :][: p[1]] for p in made))


@given(PROMPTS)
@settings(max_examples=200, deadline=None)
def test_decoding_gives_the_text_back(text):
    assert decode(INDEX.encode(text), CONTEXT) == text


@given(PROMPTS)
@settings(max_examples=100, deadline=None)
def test_windows_hashed_ahead_change_no_part(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt_slices, "_AHEAD", 0)
        batch_by_batch = INDEX.encode(text)
    assert INDEX.encode(text) == batch_by_batch


def test_a_short_prompt_is_hashed_once(monkeypatch):
    hashed = []
    hash_windows = prompt_slices._window_hashes

    def counted(text):
        hashed.append(len(text))
        return hash_windows(text)

    monkeypatch.setattr(prompt_slices, "_window_hashes", counted)
    prompt = f"{words(2, 40)} {CONTEXT[700:1200]} {words(3, 20)}"
    assert slices(prompt)
    assert hashed == [len(prompt)]


@pytest.mark.parametrize("start", [0, 1, 7, 15, 16, 17, 999, 20_000])
def test_a_run_of_the_least_length_is_found_at_any_alignment(start):
    run = CONTEXT[start : start + MIN_RUN]
    assert slices(f"<<{run}>>") == [Slice("ctx", start, start + MIN_RUN)]


def test_a_shorter_run_stays_literal():
    assert slices("<<" + CONTEXT[500 : 500 + MIN_RUN - 1] + ">>") == []


def test_a_chunk_with_instructions_is_one_slice():
    prompt = "Find the number:\n" + CONTEXT[3000:9000] + "\nAnswer:"
    assert slices(prompt) == [Slice("ctx", 3000, 9000)]


@given(st.integers(0, len(CONTEXT) - MIN_RUN), st.integers(MIN_RUN, 6000))
@settings(max_examples=100, deadline=None)
def test_a_piece_of_the_context_is_one_slice(start, length):
    piece = CONTEXT[start : start + length]
    assert slices(piece) == [Slice("ctx", start, start + len(piece))]


def test_quoted_lines_go_on_where_the_line_before_ended():
    lines = [words(seed, 12) for seed in range(10, 30)]
    source = "\n".join([*lines, *lines])
    parts = SourceIndex("s", source).encode("\n".join(f"> {line}" for line in lines))
    found = [part for part in parts if isinstance(part, Slice)]
    assert len(found) == len(lines)
    assert found[0].start == 0
    assert all(one.end == two.start for one, two in itertools.pairwise(found))


def test_the_whole_context_is_one_slice():
    assert slices(CONTEXT + "\n\nWhat is it?") == [Slice("ctx", 0, len(CONTEXT))]


def test_an_ambiguous_run_goes_behind_the_previous_one():
    line = words(2, 10)
    source = f"{words(3, 20)} {line} {words(4, 20)} {line} {words(5, 20)}"
    index = SourceIndex("s", source)
    first = source.index(line)
    second = source.index(line, first + 1)
    middle = words(4, 20)
    parts = index.encode(f"{middle} | {line}")
    found = [part for part in parts if isinstance(part, Slice)]
    assert second - 1 <= found[-1].start <= second  # the space before it repeats too
    alone = [part for part in index.encode(line) if isinstance(part, Slice)]
    assert alone[0].start == first


def test_characters_outside_the_basic_plane():
    source = "😀 naïve café " * 30
    index = SourceIndex("s", source)
    text = "x" + source[10:200] + "\ud800y"
    assert decode(index.encode(text), source) == text


def test_empty_texts():
    assert SourceIndex("s", "").encode("anything that is long enough to be looked up") != ()
    assert INDEX.encode("") == ()
