"""The worked example of our dialect: code that runs on the context that the model is given."""

import contextlib
import io
import re

import pytest

from rlm_eval.methods.rlm.own import Own
from rlm_eval.methods.rlm.protocol import View, lengths_of

SENTENCES = {
    "rlm/own": "At the supper of the rowing club Ottilie Brand chose baked trout, her brother "
    "the lentil pie",
    "rlm/survey": "94. In 1896 the mill took on a second shift, and its lamps burned through the "
    "night for the first time.",
}


@pytest.mark.parametrize("prompt", SENTENCES)
@pytest.mark.parametrize("kind", ["str", "list", "dict"])
def test_the_worked_example_runs_on_the_context_it_is_shown_for(prompt, kind):
    texts = ["Chronicle of the parish.", SENTENCES[prompt], "Nothing more is known. The end"]
    context = {
        "str": "\n\n".join(texts),
        "list": texts,
        "dict": dict(zip("abc", texts, strict=True)),
    }[kind]
    found, lengths = lengths_of(context)
    view = View("Who came?", found, lengths, 0, 1, 5)

    _, example, code, output, _, opening = Own(prompt=prompt).opening(view)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(re.search(r"```python\n(.*?)```", code.content, re.S)[1], {"context": context})

    assert SENTENCES[prompt] in printed.getvalue()
    assert SENTENCES[prompt] in output.content
    for told in (example.content, opening.content):
        assert (f"is a {kind} of" in told) == (kind != "str")
    assert str(sum(lengths)) in opening.content
    assert kind == "str" or "3 texts" in opening.content


@pytest.mark.parametrize("prompt", SENTENCES)
def test_a_task_that_lies_in_the_parts_is_asked_for_without_a_question(prompt):
    opening = Own(prompt=prompt, example=False).opening(View(None, "list", (5, 6), 1, 2, 5))[-1]
    assert "2 texts" in opening.content
    assert "{" not in opening.content
