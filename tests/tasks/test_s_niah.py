import itertools
import re
from collections import Counter

import numpy as np
import pytest

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.tokens import get_tokenizer
from rlm_eval.core.types import Answer
from rlm_eval.tasks import haystack
from rlm_eval.tasks.base import data, rng
from rlm_eval.tasks.needle.s_niah import SNiah

APPROX = get_tokenizer("approx4")


def _samples(**fields):
    return list(SNiah(**{"n": 12, "length": 4096, "tokenizer": "approx4"} | fields).samples())


def _evidence(sample):
    return [sample.context.text()[start:end] for start, end in sample.evidence]


def test_depths_cover_the_grid_and_are_where_they_say():
    samples = _samples(n=11, length=16384)
    assert {s.meta["depth"] for s in samples} == set(range(0, 101, 10))
    for sample in samples:
        [(start, _)] = sample.evidence
        assert abs(start / sample.context.chars * 100 - sample.meta["depth"]) < 2


def test_the_depth_can_be_fixed():
    for sample in _samples(n=3, depth=50):
        assert abs(sample.evidence[0][0] / sample.context.chars - 0.5) < 0.05


def test_prose_repeats_no_sentence_and_has_a_million_combinations():
    [sample] = _samples(n=1, length=2**18)
    sentences = re.findall(r"[^.\n]+\.", sample.context.text())
    assert len(sentences) > 10_000
    assert len(set(sentences)) == len(sentences)
    words = data("words.json")
    columns = ("openings", "adjectives", "nouns", "verbs", "objects", "tails")
    assert np.prod([float(len(words[c])) for c in columns]) >= 1e6
    assert all(len(set(words[c])) == len(words[c]) for c in columns)


def test_one_regex_for_numbers_or_for_the_keys_words_does_not_find_the_needle():
    for sample in _samples(n=4):
        text = sample.context.text()
        assert len(set(re.findall(r"\b\d{7}\b", text))) > 5
        [key] = re.findall(r"for ([a-z]+-[a-z]+) mentioned", sample.question)
        outside = text.replace(_evidence(sample)[0], "")
        for word in key.split("-"):
            assert re.search(rf"\b{word}\b", outside)
        assert sample.target[0] not in outside


def test_decoys_can_be_left_out():
    [sample] = _samples(n=1, decoys=False)
    assert re.findall(r"\b\d{7}\b", sample.context.text()) == sample.target


def test_a_longer_prose_begins_with_the_shorter():
    prose = haystack.Prose(APPROX, "seed", ((1, "amber"),))
    short, long = prose(500)[0], prose(5000)[0]
    assert long[: len(short)] == short
    plain = haystack.Prose(APPROX, "seed", decoys=False)
    later = [text.strip() for text in plain.take(100, 20)[0]]
    assert later == [text.strip() for text in plain.take(0, 120)[0][100:]]


def test_other_keys_share_a_word_with_the_asked_one():
    for sample in _samples(keys=8):
        keys = re.findall(r"numbers for ([a-z]+-[a-z]+) is", sample.context.text())
        asked = re.search(r"for ([a-z]+-[a-z]+) mentioned", sample.question).group(1)
        others = [set(key.split("-")) for key in keys if key != asked]
        assert len(others) == 7
        assert all(other & set(asked.split("-")) for other in others)
        assert len(set(keys)) == 8


def test_multiquery_and_multivalue_golds_stand_in_the_evidence():
    for fields in ({"keys": 4, "queries": 4}, {"values": 4}):
        for sample in _samples(**fields):
            shown = _evidence(sample)
            assert len(sample.target) == len(shown) == 4
            assert all(any(gold in part for part in shown) for gold in sample.target)
            assert "What are all the special magic numbers for" in sample.question


def test_the_singular_is_rulers():
    [sample] = _samples(n=1)
    first, second = sample.question.split("\n")
    assert first.startswith("A special magic number is hidden within the following text. ")
    assert re.fullmatch(
        r"What is the special magic number for \S+ mentioned in the provided text\?", second
    )
    assert re.fullmatch(r"One of the special magic numbers for \S+ is: \d{7}\.", *_evidence(sample))
    assert sample.output_cap == 128


def test_every_line_of_the_needle_haystack_is_a_needle_of_another_key():
    for sample in _samples(n=3, haystack="needle"):
        rows = [r for r in sample.context.text().splitlines() if "magic" in r]
        keys = re.findall(r"for (\S+) is: \d{7}\.$", "\n".join(rows), re.MULTILINE)
        asked = re.search(r"for (\S+) mentioned", sample.question).group(1)
        assert len(keys) == len(rows) > 20
        assert keys.count(asked) == 1


def test_noise_is_rulers_line():
    [sample] = _samples(n=1, haystack="noise")
    counts = Counter(sample.context.text().splitlines())
    line = (
        "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
    )
    assert counts.most_common(1)[0][0] == line


def test_mixed_has_logs_code_chat_and_prose():
    [sample] = _samples(n=1, haystack="mixed", length=8192)
    text = sample.context.text()
    for pattern in (r"^2026-.* (INFO|WARN)", r"^def \w+\(", r"^\[\d\d:", r"^[A-Z][a-z ,]+\.$"):
        assert re.search(pattern, text, re.MULTILINE)
    rows = text.splitlines()
    assert len(set(rows)) > 0.97 * len(rows)  # a few short lines make up the exact length


def test_paraphrased_needles_share_no_content_word_with_their_questions():
    common = (
        "|a|an|the|of|to|in|on|by|is|has|been|and|or|for|with|who|which|person|whose|never|every|"
        "only|at|all|each|"
    )
    for needle, question in data("needles.json")["paraphrase"]:
        stem = [
            {word[:5] for word in re.findall(r"[a-z]+", text.lower()) if f"|{word}|" not in common}
            for text in (needle.replace("{name}", ""), question)
        ]
        assert not stem[0] & stem[1], (needle, question)


def test_frames_differ_between_samples():
    shapes = {
        re.sub(r"\S+-\S+|\d{7}", "_", _evidence(s)[0]) for s in _samples(style="frames", n=12)
    }
    assert len(shapes) >= 5


def test_strict_scoring_counts_other_numbers():
    task = SNiah(n=1, tokenizer="approx4", length=1024)
    [sample] = task.samples()
    gold = sample.target[0]
    scores = {s.scorer: s.value for s in task.score(sample, Answer(f"{gold} or 1234568"))}
    assert scores == {"official": 1.0, "strict": 0.5}
    assert task.score(sample, Answer(f"9{gold}9"))[1].value == 0.0


def test_a_text_of_the_user(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("".join(f"This is sentence number {i} of a book.\n" for i in range(2000)))
    [sample] = _samples(n=1, haystack="file", file=str(path))
    assert "sentence number 3 of a book" in sample.context.text()
    before = sample.id
    path.write_text("".join(f"Another sentence {i} of a book.\n" for i in range(2000)))
    assert _samples(n=1, haystack="file", file=str(path))[0].id != before
    with pytest.raises(ConfigError, match="longer file"):
        _samples(n=1, haystack="file", file=str(path), length=65536)
    with pytest.raises(ConfigError, match="cannot be read"):
        _samples(n=1, haystack="file", file=str(tmp_path / "none.txt"))


@pytest.mark.parametrize(
    "fields",
    [
        {"haystack": "hay"},
        {"haystack": "file"},
        {"file": "x.txt"},
        {"style": "poem"},
        {"depth": 101},
        {"queries": 2},
        {"style": "paraphrase", "values": 2},
        {"value_type": "floats"},
    ],
)
def test_wrong_values_are_refused(fields):
    with pytest.raises(ValueError, match=r".+"):
        SNiah(**fields)


def test_the_permutation_is_one():
    for size in (7, 1000, 4097):
        order = haystack.Permutation(size, rng("p", size))
        assert sorted(order(np.arange(size, dtype=np.uint64)).tolist()) == list(range(size))
    big = haystack.Permutation(10**12, rng("p"))(np.arange(5000, dtype=np.uint64))
    counts = Counter((big % np.uint64(50)).tolist())
    chi2 = sum((counts[i] - 100) ** 2 / 100 for i in range(50))
    assert chi2 < 90  # 49 degrees of freedom: 0.0003 by chance
    assert len(set(itertools.pairwise(big.tolist()))) == 4999
