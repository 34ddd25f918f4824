import itertools
import random

import numpy as np
import pytest
from baseline_bench import sample_of
from hypothesis import given
from hypothesis import strategies as st

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import canonical_text
from rlm_eval.methods import retrieval
from rlm_eval.methods.retrieval import Chunks
from rlm_eval.methods.retrieval.bm25 import Bm25, ranking, words_of
from rlm_eval.methods.retrieval.chunking import chunk_spans
from rlm_eval.methods.retrieval.fusion import fuse
from rlm_eval.methods.retrieval.stemming import stem

texts = st.text(alphabet="ab \n", max_size=200)


@given(texts, st.integers(1, 9), st.integers(0, 8), st.sampled_from(["tokens", "lines"]))
def test_chunks_cover_everything_but_white_space(
    text: str, size: int, overlap: int, unit: str
) -> None:
    overlap = min(overlap, size - 1)
    spans = chunk_spans(text, unit, size, overlap, 4.0)
    assert spans == sorted(set(spans))
    assert all(0 <= start < end <= len(text) for start, end in spans)
    covered = {i for start, end in spans for i in range(start, end)}
    assert all(text[i].isspace() for i in range(len(text)) if i not in covered)
    if unit == "tokens":
        assert all(end - start <= size * 4 for start, end in spans)


def test_token_chunks_end_at_words_and_overlap_by_about_as_asked() -> None:
    text = " ".join(f"word{i}" for i in range(500))
    spans = chunk_spans(text, "tokens", 20, 5, 4.0)
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert text[end - 1] == " "
        assert text[start - 1] == " "
        assert 0 < end - start <= 20


def test_line_chunks() -> None:
    text = "a\nb\n\nc\nd"
    chunks = [text[s:e] for s, e in chunk_spans(text, "lines", 2, 1, 4.0)]
    assert chunks == ["a\nb", "b\n", "\nc", "c\nd"]


def test_documents_are_chunks_whole() -> None:
    value = ("first one", "second\n\nwith a gap", "", "third")
    text = canonical_text(value)
    chunks = [text[s:e] for s, e in chunk_spans(value, "documents", 1, 0, 4.0)]
    assert chunks == ["first one", "second\n\nwith a gap", "third"]
    with pytest.raises(ConfigError, match="lines or tokens"):
        chunk_spans("one text", "documents", 1, 0, 4.0)


def test_bm25_finds_by_rare_words_and_breaks_ties_by_position() -> None:
    chunks = ["the cat sat", "the dog sat", "the dog sat", "a bird, the BIRD, flew"]
    index = Bm25(chunks, 1.5, 0.75)
    assert ranking(index.scores("the bird"))[0] == 3
    assert ranking(index.scores("dog"))[:2] == [1, 2]
    assert ranking(index.scores("whale")) == []
    assert ranking(Bm25([], 1.5, 0.75).scores("x")) == []


def test_bm25_agrees_with_the_formula() -> None:
    import math

    rng = random.Random(0)
    docs = [[rng.choice("abcdefgh") * 2 for _ in range(rng.randint(3, 12))] for _ in range(30)]
    scores = Bm25([" ".join(d) for d in docs], 1.2, 0.6).scores("aa cc zz")
    mean = sum(map(len, docs)) / len(docs)
    for doc, score in zip(docs, scores, strict=True):
        expected = 0.0
        for word in ("aa", "cc"):
            n = sum(word in d for d in docs)
            idf = math.log(1 + (len(docs) - n + 0.5) / (n + 0.5))
            f = doc.count(word)
            expected += idf * f / (f + 1.2 * (1 - 0.6 + 0.6 * len(doc) / mean))
        assert score == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("texts", "question", "best"),
    [
        (["港口的仓库里没有货物。", "门的密码是七三九一。", "猫在屋顶上睡觉。"], "密码是多少？", 1),
        (["港口的仓库里没有货物。", "门的密码是七三九一。", "有一只猫。"], "猫在哪里", 2),
        (
            ["雨が降っていた。", "倉庫の暗証番号は7391です。", "猫は寝ていた。"],
            "暗証番号を教えて",
            1,
        ),
        (
            ["비가 내렸다.", "창고의 비밀번호는 7391이다.", "고양이가 잤다."],
            "비밀번호를 알려 줘",
            1,
        ),
        (["ฝนตกทั้งวัน", "รหัสประตูคือ 7391", "แมวนอนหลับ"], "รหัสประตูคืออะไร", 1),
        (["the cat sat", "ｶﾞｰﾄﾞ", "rain"], "ガード", 1),
    ],
    ids=["zh", "zh-single", "ja", "ko", "th", "half-width"],
)
def test_scripts_without_spaces_are_searched(texts, question, best) -> None:
    assert ranking(Bm25(texts, 1.5, 0.75).scores(question))[0] == best


def test_words_of_other_scripts_are_what_they_were() -> None:
    assert words_of("The B-52's no. 7, naïve Ünder_score") == [
        "the", "b", "52", "s", "no", "7", "naïve", "ünder_score",
    ]  # fmt: skip
    assert words_of("GPU版 v2") == ["gpu", "版", "v2"]
    assert words_of("門の鍵") == ["門", "の", "鍵", "門の", "の鍵"]


def test_vowel_signs_belong_to_their_words() -> None:
    assert words_of("बिल्ली कहाँ है") == ["बिल्ली", "कहाँ", "है"]
    assert words_of("हिन्दी 世界 ไท x") == ["हिन्दी", "世", "界", "世界", "ไ", "ท", "ไท", "x"]
    assert words_of("\u2764\ufe0f cafe\u0301 x\u0331y") == ["café", "x\u0331y"]


# The paper's examples, and words that more than one step changes.
STEMS = {
    "caresses": "caress", "ponies": "poni", "ties": "ti", "cats": "cat", "feed": "feed",
    "agreed": "agre", "plastered": "plaster", "motoring": "motor", "sing": "sing",
    "conflated": "conflat", "troubled": "troubl", "sized": "size", "hopping": "hop",
    "falling": "fall", "hissing": "hiss", "fizzed": "fizz", "failing": "fail", "filing": "file",
    "happy": "happi", "sky": "sky", "relational": "relat", "conditional": "condit",
    "rational": "ration", "valenci": "valenc", "digitizer": "digit", "operator": "oper",
    "feudalism": "feudal", "decisiveness": "decis", "hopefulness": "hope", "formaliti": "formal",
    "triplicate": "triplic", "formative": "form", "electrical": "electr", "goodness": "good",
    "revival": "reviv", "allowance": "allow", "inference": "infer", "airliner": "airlin",
    "adjustable": "adjust", "irritant": "irrit", "replacement": "replac", "adoption": "adopt",
    "homologous": "homolog", "effective": "effect", "bowdlerize": "bowdler", "probate": "probat",
    "rate": "rate", "cease": "ceas", "controll": "control", "roll": "roll",
    "connections": "connect", "generalizations": "gener", "is": "is", "y": "y", "a1b2s": "a1b2s",
}  # fmt: skip


def test_porters_stems() -> None:
    assert {word: stem(word) for word in STEMS} == STEMS


async def test_stemming_is_an_option() -> None:
    sample = sample_of("The gate was painted.\nNobody connects the pumps.\nRain fell.")
    settings = {"chunk_by": "lines", "chunk_size": 1}
    plain = await Chunks(**settings).passages(sample)
    stemmed = await Chunks(**settings, stemmer="porter").passages(sample)
    assert plain.search("pump connections") == []
    assert stemmed.search("pump connections") == [1]
    with pytest.raises(ValueError, match="porter or null"):
        Chunks(stemmer="snowball")


def test_fusion_prefers_what_both_found() -> None:
    assert fuse([[1, 2, 3], [4, 3, 2]])[:2] == [2, 3]
    assert fuse([[5], []]) == [5]


async def test_an_index_is_built_once_per_content(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    built: list[int] = []
    real = retrieval.Bm25

    def counting(*args: object) -> Bm25:
        built.append(1)
        return real(*args)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(retrieval, "Bm25", counting)
    sample = sample_of("some words that no other test has\n" * 50)
    found = await asyncio.gather(*(Chunks().passages(sample) for _ in range(8)))
    assert len(built) == 1
    assert all(passages is found[0] for passages in found)
    await Chunks(chunk_size=100).passages(sample)
    assert len(built) == 2


async def test_the_cache_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_KEPT_CHARS", 100)
    first = sample_of("x y z " * 10)
    kept = await Chunks().passages(first)
    await Chunks().passages(sample_of("u v w " * 10))
    assert await Chunks().passages(first) is not kept
    assert len(retrieval.CACHE.entries) == 1


def test_refused_settings() -> None:
    with pytest.raises(ValueError, match="tokens, lines, documents"):
        Chunks(chunk_by="pages")
    with pytest.raises(ValueError, match="chunk_overlap"):
        Chunks(chunk_overlap=200)
    with pytest.raises(ValueError, match="k1"):
        Chunks(b=2)


@given(st.lists(st.integers(-1, 3), max_size=30), st.integers(1, 30), st.sampled_from([0.0, None]))
def test_the_best_few_are_the_head_of_the_whole_ranking(
    values: list[int], most: int, threshold: float | None
) -> None:
    scores = np.array(values, dtype=np.float32)
    expected = sorted(range(len(values)), key=lambda n: (-values[n], n))
    expected = [n for n in expected if threshold is None or values[n] > threshold]
    assert ranking(scores, threshold) == expected
    assert ranking(scores, threshold, most) == expected[:most]
