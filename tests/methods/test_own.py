"""The worked example of our dialect: code that runs on the context that the model is given."""

import contextlib
import io
import re

import pytest
from rlm_bench import block, rlm_bench, sample_of, turns
from test_rlm_official import WORDS

from rlm_eval.budget.limits import Limits
from rlm_eval.config.identity import identity
from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Outcome
from rlm_eval.methods.prompts import load_prompt
from rlm_eval.methods.rlm import RLM
from rlm_eval.methods.rlm.official import PaperV1
from rlm_eval.methods.rlm.own import Own
from rlm_eval.methods.rlm.protocol import PromptVars, lengths_of

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
    view = PromptVars("Who came?", found, lengths, 0, 1, 5)

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
    opening = Own(prompt=prompt, example=False).opening(PromptVars(None, "list", (5, 6), 1, 2, 5))[
        -1
    ]
    assert "2 texts" in opening.content
    assert "{" not in opening.content


def test_the_prompt_of_the_first_release_has_two_names_and_one_identity():
    assert Own(prompt="rlm/search") == Own()
    assert identity(Own(prompt="rlm/search")) == identity(Own())
    assert Own().prompt_id == "rlm/own@70111017", "published cells hold it"
    with pytest.raises(ConfigError, match="rlm/search, rlm/survey"):
        load_prompt("rlm/none")


HINTS = (
    ("answer = '42'", '`answer["content"]` is now what you assigned'),
    ("for i, answer in enumerate(['a']):\n    pass", "`answer` is a dict and is kept"),
    ("answer = [1]\nprint('p')", "p\n(`answer` is a dict"),
    ("context = context[:10]\nllm_query = 1", "(`context` belongs to the session"),
    ("print(len(context), llm_query('x'))", "Output:\n14555 X\n\n"),
    ("del context, answer", "(`context` belongs to the session"),
    ("x = 1", "(nothing was printed: print what you want to see)\n\n"),
    ("if 'zzz' in context:\n    print(1)", "(nothing was printed: search for fewer words)\n\n"),
    ("def f():\n    return 42\nf()", "the last line has a value, print it"),
    ("return 42", "There is no function to return from"),
    ("FINAL(42)", "FINAL is not read here"),
    ("x = 1\nFINAL_VAR('x')", "FINAL is not read here"),
    ("FINAL = 42", "FINAL is not read here"),
    ("answer.content = 42", "`answer` is a dict and is kept: write"),
    ("if len(context) == 3:\n    print(1)", "(nothing was printed: print what you want to see)"),
    ("answer['content'] = 'draft'", "(nothing was printed: print"),
)


async def test_documents_that_code_takes_out_are_put_back(tmp_path):
    blocks = ("context.clear()", "context.pop(0)\ncontext.append('mine')", "print(context)")
    replies = iter([*map(block, blocks), block("Final = len(context)")])
    sample = sample_of(("one", "two"))
    async with rlm_bench(tmp_path, lambda _: next(replies), sample=sample) as bench:
        answer = await RLM(protocol=Own(example=False)).solve(sample, bench.session)
    assert answer.value == 2
    for n, words in (
        (1, "(`context` belongs to"),
        (2, "(`context` belongs to"),
        (3, "['one', 'two']"),
    ):
        assert words in bench.contents(n)[-1][1]


async def test_a_misunderstanding_gets_one_precise_hint(tmp_path):
    replies = iter([*(block(code) for code, _ in HINTS), "FINAL(42)", block("Final = [42]")])
    async with rlm_bench(tmp_path, lambda _: next(replies)) as bench:
        answer = await RLM(protocol=Own(example=False)).solve(bench.session.sample, bench.session)
    said = [bench.contents(n)[-1][1] for n in range(1, len(HINTS) + 2)]
    for (code, expected), output in zip(HINTS, said, strict=False):
        assert expected in output, code
        assert "fewer words" not in output or "fewer words" in expected
    assert "FINAL is not read here" in said[-1]
    assert answer.value == [42]
    notes = bench.session.notes
    assert notes["parser_name_restored"] == 7
    assert notes["parser_final_in_answer_mode"] == 1


@pytest.mark.parametrize(
    ("said", "text", "value", "provenance"),
    [
        ("FINAL(44)", "44", None, "root_text"),
        ("I am done.\nFINAL(forty-four)", "forty-four", None, "root_text"),
        ("FINAL_VAR(x)", "5", 5, "variable"),
        ("FINAL_VAR(unknown)", "FINAL_VAR(unknown)", None, "fallback"),
        ("It is 44.", "It is 44.", None, "fallback"),
    ],
)
async def test_a_tag_is_read_after_the_last_turn(said, text, value, provenance, tmp_path):
    method = RLM(protocol=Own(answer_mode="final_tags"), max_turns=1)
    async with rlm_bench(tmp_path, turns(block("x = 5"), said)) as bench:
        answer = await method.solve(bench.session.sample, bench.session)
    assert (answer.text, answer.value, answer.provenance) == (text, value, provenance)
    assert answer.outcome is Outcome.LIMIT_TURNS


async def test_a_tag_is_read_in_the_turn_that_a_limit_leaves(tmp_path):
    method = RLM(protocol=Own(answer_mode="final_tags"), on_limit="last_turn")
    root = turns(block("x = 5"), "FINAL_VAR(x)")
    async with rlm_bench(tmp_path, root, limits=Limits(calls=1)) as bench:
        answer = await method.solve(bench.session.sample, bench.session)
    assert (answer.text, answer.outcome) == ("5", Outcome.LIMIT_CALLS)


@pytest.mark.parametrize("protocol", [Own(), PaperV1(prompt_file=WORDS)], ids=["own", "paper_v1"])
async def test_no_tag_is_read_there_by_other_dialects(protocol, tmp_path):
    code = block("x = 5", "python" if protocol.answer_dict else "repl")
    async with rlm_bench(tmp_path, turns(code, "FINAL(44)")) as bench:
        method = RLM(protocol=protocol, max_turns=1)
        answer = await method.solve(bench.session.sample, bench.session)
    assert (answer.text, answer.provenance) == ("FINAL(44)", "fallback")


@pytest.mark.parametrize("mode", ["answer_dict", "final_variable"])
@pytest.mark.parametrize(
    "code",
    ["from typing import *", "from typing import Final\nn: Final = 7", "import typing as Final",
     "def Final(x):\n    return x", "class Final:\n    pass"],
)  # fmt: skip
async def test_an_imported_or_defined_final_is_no_answer(code, mode, tmp_path):
    root = turns(block(f"{code}\nprint(1)"), block("print(2)"), block("Final = 42"))
    async with rlm_bench(tmp_path, root) as bench:
        method = RLM(protocol=Own(answer_mode=mode))
        answer = await method.solve(bench.session.sample, bench.session)
    assert (answer.text, answer.value, len(bench.root.asked)) == ("42", 42, 3)
