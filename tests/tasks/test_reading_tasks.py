"""Contract clauses, the server log and RULER's qa: only their meaning leads to the answer."""

import itertools
import re

import pytest

from rlm_eval.core.types import Answer
from rlm_eval.tasks.base import data
from rlm_eval.tasks.baselines import Kind
from rlm_eval.tasks.contract_clauses import ContractClauses
from rlm_eval.tasks.needle.ruler_qa import RulerQA
from rlm_eval.tasks.server_log import ServerLogIncident

TASKS = {"clauses": ContractClauses, "incident": ServerLogIncident, "qa": RulerQA}
_TEXT = """
a an the of to in on by is has been and or for with who which person whose at all each it its as
are was were be so no not that this what where did do does when into from over out up off one two
three nine ten eleven have had his her their there they them any some nobody somebody days day
within must how many more most than can whoever every once other another after before still last
left right may ask asked asks give given gives shop town name
"""
COMMON = frozenset(_TEXT.split())


def _stems(texts):
    words = re.findall(r"[a-z]+", " ".join(texts).lower())
    return {word[:5] for word in words if word not in COMMON and len(word) > 2}


def _pairs():
    """(what it is about, words of the context, words of the question)."""
    clauses, log, people = (data(f"{n}.json") for n in ("clauses", "incidents", "people"))
    for name, (context, question) in (
        *(("event", row) for row in clauses["events"]),
        *(("site", row) for row in clauses["sites"]),
        *(("duty", (row["rules"] + row["terms"], row["questions"])) for row in clauses["duties"]),
        *(("role", row) for row in log["roles"]),
        *(("fault", (itertools.chain(*ways), said)) for ways, said in log["faults"]),
        *(("relation", row) for row in people["relations"]),
        *(("place", row) for row in people["places"]),
    ):
        bare = [re.sub(r"\{\w+\}|Contractor|Client|parties|party", "", text) for text in context]
        yield name, bare, [re.sub(r"\{\w+\}", "", text) for text in question]


@pytest.mark.parametrize(("name", "context", "question"), list(_pairs()))
def test_question_and_context_share_no_content_word(name, context, question):
    assert not _stems(context) & _stems(question)


def _draws(name, n, length, seed=5):
    task = TASKS[name](n=n, length=length, seed=seed, tokenizer="approx4")
    return task, list(task.samples())


def _solved_clauses(sample):
    """By the generator's own tables, from the text alone."""
    texts = data("clauses.json")
    event = next(e for e in texts["events"] if any(s in sample.question for s in e[1]))
    site = next(s for s in texts["sites"] if any(x in sample.question for x in s[1]))
    duty = next(d for d in texts["duties"] if any(q in sample.question for q in d["questions"]))
    lines = [line.partition(". ")[2] for line in sample.context.text().splitlines()]
    frames = [re.escape(d).replace(r"\{event\}", "(.+)") for d in texts["definitions"]]
    frames = [frame.replace(r"\{label\}", r"a (Class \S+) event") for frame in frames]
    labels = []
    for line, frame in itertools.product(lines, frames):
        match = re.fullmatch(frame, line, re.IGNORECASE)
        named = match and sorted(match.groups(), key=lambda g: not g.startswith("Class"))
        if named and any(named[1].startswith(text) for text in event[0]):
            labels.append(named[0])
    (label,) = labels
    own = [line for line in lines if label in line]
    special = [
        line for line in own
        if any(text in line for text in site[0]) and any(t in line for t in duty["terms"])
    ]  # fmt: skip
    rules = [re.escape(rule) for rule in duty["rules"]]
    rules = [rule.replace(r"\{label\}", ".+").replace(r"\{n\}", r"\d+") for rule in rules]
    general = [o for o in own if any(re.fullmatch(rule, o, re.IGNORECASE) for rule in rules)]
    (line,) = special or general
    return re.search(r"(\d+) days", line)[1]


def _solved_incident(sample):
    texts = data("incidents.json")
    roles = next(
        r for r, q in texts["roles"] if any(f"shop that {x} " in sample.question for x in q)
    )
    ways = next(w for w, q in texts["faults"] if any(f" {x}?" in sample.question for x in q))
    lines = [re.fullmatch(r"(\d\d):(\d\d) (\S+): (.*)", r).groups()
             for r in sample.context.text().splitlines()]  # fmt: skip
    services = {name for _, _, name, said in lines if said in roles}
    starts, ends = ({way[place] for way in ways} for place in (0, 1))
    (service,) = {name for _, _, name, said in lines if name in services and said in starts}
    start, end = [
        int(hour) * 60 + int(minute)
        for hour, minute, name, said in lines
        if name == service and said in starts | ends
    ]
    return str(end - start)


def _solved_qa(sample):
    texts = data("people.json")
    question = sample.question.partition("town alone. ")[2]
    name = re.search(r"[A-Z]\w+ [A-Z]\w+ [A-Z]\w+", question)[0]
    relation = next(
        r for r, q in texts["relations"] if any(x.format(name=name) in question for x in q)
    )
    documents = [d.partition("\n")[2] for d in sample.context.text().strip().split("\n\n")]

    def said(person, forms, field):
        (text,) = [d for d in documents if re.match(rf"[^.]*?{person}", d)]
        for form in forms:
            pattern = re.escape(form).replace(r"\{who\}", r"\w+")
            if match := re.search(
                pattern.replace(rf"\{{{field}\}}", r"([A-Z]\w+(?: \w+ \w+)?)"), text
            ):
                return match[1]
        return None

    other = said(name, relation, "other")
    for ways, questions in texts["places"]:
        for form in questions:
            before, after = form.split("{person}")
            if question.startswith(before) and question.endswith(after):
                return said(other, ways, "town")
    return None


SOLVERS = {"clauses": _solved_clauses, "incident": _solved_incident, "qa": _solved_qa}


@pytest.mark.parametrize("name", TASKS)
def test_the_text_alone_gives_the_answer_once(name):
    """Another path to the gold: the tables of phrases applied to the rendered text."""
    task, samples = _draws(name, 10, 3000)
    for sample in samples:
        assert task.score(sample, Answer(SOLVERS[name](sample)))[0].value == 1.0


@pytest.mark.parametrize("name", TASKS)
def test_evidence_is_more_than_one_place_and_lies_apart(name):
    _, samples = _draws(name, 6, 4096)
    for sample in samples:
        assert len(sample.evidence) >= 2
        assert sample.evidence[-1][1] - sample.evidence[0][0] > 0.01 * sample.context.chars


def _exceeds(name, n, length):
    task, samples = _draws(name, n, length, seed=6)
    means = {
        rule.name: sum(task.score(s, Answer(rule.answer(s).text))[0].value for s in samples) / n
        for rule in task.baselines()
        if rule.kind is not Kind.PRIOR
    }
    return {rule: mean for rule, mean in means.items() if mean > 0.18}  # priors: 0.01 to 0.03


@pytest.mark.slow
@pytest.mark.parametrize("length", [2048, 8192])
@pytest.mark.parametrize("name", TASKS)
def test_rules_of_its_own_stay_near_the_prior(name, length):
    assert not _exceeds(name, 300, length)


def test_times_of_the_log_never_go_back_and_are_irregular():
    _, samples = _draws("incident", 5, 4096)
    for sample in samples:
        rows = sample.context.text().splitlines()
        minutes = [int(row[:2]) * 60 + int(row[3:5]) for row in rows]
        assert minutes == sorted(minutes)
        assert len({b - a for a, b in itertools.pairwise(minutes)}) > 8


def test_every_class_of_the_contract_has_as_many_clauses():
    """Else the asked one could be told by a count."""
    _, samples = _draws("clauses", 5, 4096)
    for sample in samples:
        named = re.findall(r"Class \S+", sample.context.text())
        counts = sorted(named.count(label) for label in set(named))
        assert counts[0] >= counts[-1] - 2  # a class may lose the last lines to the length
        assert counts.count(8) > len(counts) - 3


def test_a_long_log_and_a_long_contract_have_many_candidates_that_stand_once():
    """Counting alone, without a word understood, leaves as many candidates at any length."""
    (log,) = _draws("incident", 1, 65_536)[1]
    roles = {line: role for role, (lines, _) in enumerate(data("incidents.json")["roles"])
             for line in lines}  # fmt: skip
    ways = {start for start, _ in data("incidents.json")["faults"][log.meta["fault"]][0]}
    said = {}
    for row in log.context.text().splitlines():
        name, _, what = row[6:].partition(": ")
        said.setdefault(name, set()).add(what)
    has = [(roles[purpose], bool(lines & ways)) for lines in said.values()
           for purpose in lines & set(roles)]  # fmt: skip
    faulty = [role for role, with_fault in has if with_fault]
    assert sum(faulty.count(role) == 1 for role in set(roles.values())) == 8
    assert faulty.count(log.meta["role"]) == 1
    times = [sum(role == own for own, _ in has) for role in set(roles.values())]
    assert max(times) - min(times) <= 2
    (contract,) = _draws("clauses", 1, 65_536)[1]
    events = [e for e, _ in data("clauses.json")["events"]]
    defined = []
    for row in contract.context.text().splitlines():
        places = [(row.find(words), e) for e, ways in enumerate(events) for words in ways]
        if found := [place for place in places if place[0] > 0]:
            defined.append(min(found)[1])
    once = [e for e in range(len(events)) if defined.count(e) == 1]
    assert contract.meta["event"] in once
    assert len(once) >= 8
