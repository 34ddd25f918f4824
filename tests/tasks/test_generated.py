"""What holds for every generated task of this half: proofs, exact lengths, nested items."""

import dataclasses

import pytest

from rlm_eval.core.types import Answer
from rlm_eval.tasks.codeqa.gen import CodeQAGen
from rlm_eval.tasks.contract_clauses import ContractClauses
from rlm_eval.tasks.graphwalks_gen import GraphWalksGen
from rlm_eval.tasks.ledger import Ledger
from rlm_eval.tasks.mrcr import MrcrV2Gen
from rlm_eval.tasks.needle.paraphrase import Paraphrase
from rlm_eval.tasks.needle.ruler import CloseWords, FrequentWords, VariableTracking
from rlm_eval.tasks.needle.ruler_cwe import CommonWords
from rlm_eval.tasks.needle.ruler_qa import RulerQA
from rlm_eval.tasks.needle.s_niah import SNiah
from rlm_eval.tasks.server_log import ServerLogIncident
from rlm_eval.tasks.validate import lines, passed, validate

TASKS = {
    "single": SNiah(),
    "noise": SNiah(haystack="noise"),
    "needle_uuids": SNiah(haystack="needle", key_type="uuids", value_type="uuids"),
    "needle_words": SNiah(haystack="needle", value_type="words"),
    "mixed": SNiah(haystack="mixed", keys=4),
    "multikey": SNiah(keys=8),
    "multiquery": SNiah(keys=4, queries=4),
    "multivalue": SNiah(values=4),
    "phrases": SNiah(value_type="mix"),
    "frames": SNiah(style="frames", keys=8),
    "paraphrase": Paraphrase(),
    "vt": VariableTracking(chains=2),
    "vt_prose": VariableTracking(haystack="prose"),
    "fwe": FrequentWords(),
    "fwe_close": CloseWords(),
    "cwe": CommonWords(),
    "qa": RulerQA(),
    "graph": GraphWalksGen(),
    "clauses": ContractClauses(),
    "incident": ServerLogIncident(),
    "ledger": Ledger(),
    "server_log": Ledger(style="server_log"),
    "contract": Ledger(style="contract"),
    "mrcr": MrcrV2Gen(needles=4),
    "codeqa": CodeQAGen(),
    "codeqa_rlm": CodeQAGen(surface="rlm"),
}


def _task(name, **fields):
    return dataclasses.replace(TASKS[name], **{"n": 8, "tokenizer": "approx4"} | fields)


@pytest.mark.parametrize("name", TASKS)
def test_the_proofs_hold(name):
    task = _task(name, length=3000)
    proofs = validate(task)
    assert passed(proofs), "\n".join(lines(task.name, proofs))
    assert any(proof.name == "baseline skimmer" for proof in proofs)
    assert "length" in [proof.name for proof in proofs]


@pytest.mark.parametrize("name", TASKS)
def test_lengths_are_exact_under_the_default_tokenizer(name, o200k):
    lengths = (2048, 4096) if name in ("mrcr", "qa") else (1024, 4096)
    for length in lengths:
        task = _task(name, n=4, length=length, tokenizer=o200k)
        for sample in task.samples():
            measured = task.counter.count(sample.context.text())
            assert measured == sample.context.tokens
            used = measured + task.counter.count(sample.question) + task.ANSWER_BUDGET
            assert length * 0.995 - 1 <= used <= length


@pytest.mark.parametrize("name", TASKS)
def test_the_item_stays_the_same_while_the_filler_grows(name):
    short = list(_task(name, n=4, length=2048).samples())
    long = list(_task(name, n=4, length=8192).samples())
    for a, b in zip(short, long, strict=True):
        assert a.item == b.item
        assert a.question == b.question
        assert a.id != b.id
        if not name.startswith(
            ("ledger", "server_log", "contract", "incident")
        ):  # depends on every line
            assert a.target == b.target
    assert len({s.item for s in short}) == len(short)


def test_another_seed_gives_other_samples():
    for name in TASKS:
        first = {s.id for s in _task(name, n=3, length=2048).samples()}
        other = {s.id for s in _task(name, n=3, length=2048, seed=1).samples()}
        assert not first & other


@pytest.mark.parametrize("length", [256, 300, 511])
def test_frequent_words_name_their_least_length(length):
    with pytest.raises(ValueError, match=f"length={length} must be 512 or more"):
        FrequentWords(length=length)


def test_the_shortest_frequent_words_have_clear_counts(o200k):
    task = FrequentWords(n=20, length=FrequentWords.SHORTEST, tokenizer=o200k)
    assert all(s.meta["gold_count"] > s.meta["next_count"] for s in task.samples())


@pytest.mark.parametrize(
    ("name", "index"), [("single", 728), ("multikey", 452), ("paraphrase", 215), ("fwe_close", 0)]
)
def test_no_sample_of_a_thousand_is_impossible_to_fill(name, index):
    """Where one-sentence paragraphs met, no three spare units filled the length."""
    task = _task(name, length=1024)
    assert task.draft(index).tokens <= 1024


@pytest.mark.parametrize(
    ("task", "length"), [(CommonWords, 600), (RulerQA, 1024), (ContractClauses, 512)]
)
def test_a_length_without_room_is_refused(task, length):
    with pytest.raises(ValueError, match=f"length={length} must be {task.SHORTEST} or more"):
        task(length=length)


def test_ten_million_tokens():
    [sample] = SNiah(n=1, length=10 * 2**20, tokenizer="approx4").samples()
    assert abs(sample.context.tokens - 10 * 2**20) < 10 * 2**20 * 0.005
    assert sample.target[0] in sample.context.text()


def test_validate_finds_a_scorer_that_tells_nothing_apart():
    class Generous(SNiah):
        def score(self, sample, answer):
            return super().score(sample, Answer(str(sample.target)))

    failed = {p.name for p in validate(Generous(n=4, tokenizer="approx4")) if p.passed is False}
    assert failed == {"no answer scores 0", "empty answer scores 0", "shuffled golds"}


def test_validate_finds_wrong_evidence_and_wrong_lengths():
    class Off(SNiah):
        def draft(self, index):
            draft = super().draft(index)
            return dataclasses.replace(draft, evidence=((0, 4),), context=draft.context * 2)

    failed = {p.name for p in validate(Off(n=3, tokenizer="approx4")) if p.passed is False}
    assert failed == {"evidence spans hold", "length"}
