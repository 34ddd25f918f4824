"""Rules that answer `codeqa_gen` without a model: follow the imports, or run the package.

Both begin at the module that the question names. A reader who follows names reads one group of
files, whatever the length; a program with the host's `setting`, as the README describes it, runs
the group. The task is a control for methods that search and execute.
"""

from __future__ import annotations

import ast
import re

from rlm_eval.core.types import Sample
from rlm_eval.scoring.choice import LETTERS
from rlm_eval.tasks.codeqa.riddles import execute
from rlm_eval.tasks.codeqa.rules import choices_of, files
from rlm_eval.tasks.rules import Span

_HEAD = re.compile(r"=== file: (\w+)/(?:settings/)?(\w+)\.(py|toml) ===\n")
_CALL = re.compile(r"`(\w+)\.(\w+)\.(\w+)\((.+)\)`")


def group_of(sample: Sample) -> list[Span]:
    """Spans of the files that the named module reaches by names, in both directions."""
    text, call = sample.context.text(), _CALL.search(sample.question)
    heads = [(_HEAD.match(text, a), a, b) for a, b in files(text)]
    named = [(head[2], set(re.findall(r"\w+", text[a:b])), (a, b)) for head, a, b in heads if head]
    modules = {name for name, _, _ in named}
    reached = {call[2]} if call else set[str]()
    while True:
        of_the_group = [row for row in named if row[0] in reached or row[1] & reached]
        more = {name for own, words, _ in of_the_group for name in {own} | (words & modules)}
        if more <= reached:
            return [span for _, _, span in of_the_group]
        reached |= more


def run(sample: Sample) -> str:
    """The letter of the choice that the call returns; "" where it is none of them or fails."""
    text, call = sample.context.text(), _CALL.search(sample.question)
    if call is None:
        return ""
    package, entry, function, argument = call.groups()
    modules, settings = dict[str, str](), dict[str, str]()
    for a, b in files(text):
        if head := _HEAD.match(text, a):
            found = modules if head[3] == "py" else settings
            found[head[2]] = text[head.end() : b]
    try:
        given = ast.literal_eval(argument)
        told = str(execute(package, modules, settings, (entry, function, given)))
    except Exception:  # noqa: BLE001 - whatever the run of a text raises, it has no answer
        return ""
    choices = choices_of(sample)
    return LETTERS[choices.index(told)] if told in choices else ""
