"""RULER's counting tasks and GraphWalks' shape: golds by another path, true density, scorers."""

import importlib
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Answer, Density
from rlm_eval.scoring.amount import amount
from rlm_eval.scoring.nodes import node_scores
from rlm_eval.tasks.graphwalks_gen import GraphWalksGen
from rlm_eval.tasks.mrcr import MrcrV2Gen
from rlm_eval.tasks.needle.ruler import CloseWords, FrequentWords
from rlm_eval.tasks.needle.ruler_cwe import CommonWords

CONFIGS = Path(__file__).parents[2] / "configs" / "task"


def recall(task, share):
    found = 0.0
    for index in range(task.n):
        draft = task.draft(index)
        words = re.findall(r"[a-z]{4,}", draft.context)
        counted = Counter(words[: int(len(words) * share)])
        best = {word for word, _ in counted.most_common(len(draft.target))}
        found += len(best & set(draft.target)) / len(draft.target)
    return found / task.n


def test_a_part_of_the_text_suffices_for_zipf_counts_only():
    given = {"n": 12, "tokenizer": "approx4", "length": 8192}
    assert FrequentWords().density is Density.CONSTANT
    assert recall(FrequentWords(**given), 0.1) > 0.9
    close = CloseWords(**given)
    assert close.density is Density.LINEAR
    assert recall(close, 1.0) == 1.0
    assert recall(close, 0.25) < 0.45  # chance 0.15


def test_common_words_are_rulers_counts():
    for length, counts in ((2048, (6, 1)), (8192, (30, 3))):
        draft = CommonWords(n=1, length=length, tokenizer="approx4").draft(0)
        rows = draft.context.splitlines()
        assert [row.split(". ")[0] for row in rows] == [str(n + 1) for n in range(len(rows))]
        counted = Counter(row.split(". ")[1] for row in rows)
        assert {counted[word] for word in draft.target} == {counts[0]}
        assert max(n for word, n in counted.items() if word not in draft.target) == counts[1]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_graph_gives_the_nodes_at_exactly_the_distance(depth):
    task = GraphWalksGen(ask="bfs", depth=depth, length=4096, tokenizer="approx4")
    for index in range(8):
        draft = task.draft(index)
        edges = [line.split(" -> ") for line in draft.context.splitlines()]
        assert len(set(map(tuple, edges))) == len(edges)
        start = re.search(r"node ([0-9a-f]+)", draft.question)[1]
        distance, changed = {start: 0}, True
        while changed:  # relaxation, not the search that the generator uses
            changed = False
            for a, b in edges:
                if a in distance and distance.get(b, 99) > distance[a] + 1:
                    distance[b], changed = distance[a] + 1, True
        assert {n for n, d in distance.items() if d == depth} == set(draft.target) != set()


@pytest.mark.parametrize(
    ("text", "f1", "exact"),
    [
        ("Final Answer: [aaaaaaaa, bbbbbbbb]", 1.0, 1.0),
        ("aaaaaaaa and bbbbbbbb", 1.0, 1.0),
        ("cccccccc first. Final Answer: [aaaaaaaa]", 2 / 3, 0.0),
        ("**Final Answer:** [bbbbbbbb, aaaaaaaa, cccccccc]", 0.8, 0.0),
        ("Final Answer: []", 0.0, 0.0),
        ("", 0.0, 0.0),
        (None, 0.0, 0.0),
    ],
)
def test_sets_of_nodes(text, f1, exact):
    scores = node_scores(["aaaaaaaa", "bbbbbbbb"], text)
    assert [score.value for score in scores] == [pytest.approx(f1), exact]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("14", 1.0),
        ("The term is **14 days** (clause 31).", 1.0),
        ("14-day term", 1.0),
        ("First 9 days, then 14 days.", 1.0),
        ("14 days, not 9 days", 0.0),
        ("fourteen", 0.0),
        ("12:14", 0.0),
        ("0.14", 0.0),
        ("140 days", 0.0),
        (None, 0.0),
    ],
)
def test_amounts(text, value):
    assert amount(14, "days", text).value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2,154", 1.0),
        ("2,154 minutes", 1.0),
        ("2 154", 1.0),
        ("2\u202f154 minutes", 1.0),
        ("$2{,}154$", 1.0),
        (r"\boxed{2\,154}", 1.0),
        ("2'154", 1.0),
        ("2,154.00 minutes", 1.0),
        ('{"minutes":2154}', 1.0),
        ("2154 (5 incidents)", 1.0),
        ("2154 minutes, i.e. 35 h 54 minutes", 1.0),
        ("35 hours and 54 minutes (2154 minutes)", 1.0),
        ("12,154 minutes", 0.0),
        ("2,1540", 0.0),
        ("2154.5 minutes", 0.0),
    ],
)
def test_amounts_of_four_digits_in_every_notation(text, value):
    assert amount(2154, "minutes", text).value == value


def test_a_search_or_a_program_solves_what_says_so():
    kinds = ("s_niah", "niah_gen", "ledger", "ruler_", "graphwalks_gen", "contract", "server_log")
    found = {}
    for path in CONFIGS.glob("*.yaml"):
        if path.stem.startswith(kinds):
            fields = OmegaConf.to_container(OmegaConf.load(path))
            module, _, name = fields.pop("_target_").rpartition(".")
            made = getattr(importlib.import_module(module), name)(**fields)
            found[path.stem] = made.solved_by_code
    assert found.pop("s_niah_paraphrase") is False  # asked, linked and written in other words
    assert {"contract_clauses", "server_log_incident"} < found.keys()
    assert all(found.values()), found  # `test_shortcuts` has the rule that solves each of the last


def test_mrcr_names_its_least_length_and_writes_english():
    with pytest.raises(ConfigError, match="length=1024 leaves no room for 8 answers"):
        MrcrV2Gen(length=1024, tokenizer="approx4").draft(0)
    for index in random.Random(0).sample(range(1000), 5):
        text = MrcrV2Gen(length=8192, tokenizer="approx4").draft(index).context
        assert not re.search(r"\b[Aa] [aeiou]", text)


def test_the_graph_is_scored_by_its_gold():
    task = GraphWalksGen(n=2, length=2048, tokenizer="approx4")
    for sample in task.samples():
        assert [s.value for s in task.score(sample, task.gold_answer(sample))] == [1.0, 1.0]
        assert task.score(sample, Answer("none"))[0].value == 0.0
