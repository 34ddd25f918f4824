"""The rule of `reasoning`: what is a thought, what is an answer, in both directions."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_eval.core.reasoning import (
    Final,
    ends_foreign_thought,
    split,
    template_opens_thought,
    without_thoughts,
)

HARMONY = (
    "<|channel|>analysis<|message|>maybe NEEDLE<|end|>"
    "<|start|>assistant<|channel|>final<|message|>I do not know."
)
THOUGHTS = {
    "think": "<think>maybe NEEDLE</think>I do not know.",
    "upper case": "<THINK>maybe NEEDLE</Think>\n\nI do not know.",
    "thinking": "<thinking>maybe NEEDLE</thinking>I do not know.",
    "thought": "<thought>\nmaybe NEEDLE\n</thought>\nI do not know.",
    "thoughts": "<thoughts>maybe NEEDLE</thoughts>I do not know.",
    "reasoning": "<Reasoning>maybe NEEDLE</Reasoning> I do not know.",
    "an attribute": '<think effort="high">maybe NEEDLE</think>I do not know.',
    "another name closes": "<thinking>maybe NEEDLE</think>I do not know.",
    "Magistral": "[THINK]maybe NEEDLE[/THINK]I do not know.",
    "Magistral in lower case": "[think]maybe NEEDLE[/think]I do not know.",
    "Seed-OSS": "<seed:think>maybe NEEDLE</seed:think>I do not know.",
    "MiniMax": "<mm:think>maybe NEEDLE</mm:think>I do not know.",
    "LongCat": "<longcat_think>maybe NEEDLE</longcat_think>I do not know.",
    "Kimi": "◁think▷maybe NEEDLE◁/think▷I do not know.",
    "Gemma 4": "<|channel>thought\nmaybe NEEDLE<channel|>I do not know.",
    "bars": "<|think|>maybe NEEDLE<|/think|>I do not know.",
    "Cohere": "<|START_THINKING|>maybe NEEDLE<|END_THINKING|>"
    "<|START_RESPONSE|>I do not know.<|END_RESPONSE|>",
    "OpenThoughts": "<|begin_of_thought|>maybe NEEDLE<|end_of_thought|>\n\n"
    "<|begin_of_solution|>I do not know.<|end_of_solution|>",
    "Apertus": "<|inner_prefix|>maybe NEEDLE<|inner_suffix|>I do not know.",
    "gpt-oss": HARMONY,
    "gpt-oss, ended": HARMONY + "<|return|>",
    "gpt-oss, with its role": "<|start|>assistant" + HARMONY,
    "gpt-oss, first token dropped": HARMONY.removeprefix("<|channel|>"),
    "gpt-oss, a comment": "<|channel|>commentary to=functions.x <|constrain|>json<|message|>"
    '{"n": "NEEDLE"}<|call|>' + HARMONY,
    "gpt-oss, tokens dropped": "analysisMaybe NEEDLE.assistantfinalI do not know.",
    "nested": "<think>a <think>b</think> NEEDLE</think>I do not know.",
    "an opening tag within": "<think>I use <think> here: NEEDLE</think>I do not know.",
    "thought on": "<think>a</think>Maybe NEEDLE.</think>\nI do not know.",
    "a closing tag quoted within": "<think>I end with `</think>`. NEEDLE.</think>I do not know.",
    "an open fence within": "<think>```python\nNEEDLE\n</think>I do not know.",
    "open quotes within": "<think>it's \"the `NEEDLE</think>I do not know.",
    "a sentence behind it in quotes": '<think>NEEDLE "</think>I do not know.',
}
"""Replies that say `I do not know.` alone."""
MORE = [
    ("<think>maybe NEEDLE", "", "maybe NEEDLE"),
    ("  <think>\nmaybe NEEDLE", "", "maybe NEEDLE"),
    ("[THINK]maybe NEEDLE", "", "maybe NEEDLE"),
    ("◁think▷maybe", "", "maybe"),
    ("<|channel|>analysis<|message|>maybe NEEDLE", "", "maybe NEEDLE"),
    ("<|channel>thought\nmaybe", "", "maybe"),
    ("said <thinking>cut off", "said", "cut off"),
    ("Let me see. <think>maybe NEEDLE", "Let me see.", "maybe NEEDLE"),
    ("<THINK>a</THINK>b<reasoning>c</reasoning>d", "bd", "a\nc"),
    ("Look.\n<think>hm</think>\nThe answer is 5.", "Look.\n\nThe answer is 5.", "hm"),
    ("<think>a</think>one\n<think>b</think>two", "one\ntwo", "a\nb"),
    ("<think>a</think>one\n<think>b", "one", "a\nb"),
    ("<think></think>\n\n42", "42", ""),
    ("<thi<think>x</think>nk>NEEDLE", "", "x\nNEEDLE"),
    ('It is "x". <think>is it "y"?</think> No.', 'It is "x".  No.', 'is it "y"?'),
    ("A 5\" pipe. <think>say</think>So.", 'A 5" pipe. So.', "say"),
    ("Hmm <think> maybe NEEDLE </think> I do not know.", "Hmm  I do not know.", "maybe NEEDLE"),
    ("don't. <think>won't</think>So.", "don't. So.", "won't"),
]  # fmt: skip
KEPT = [
    "",
    "42",
    "a < b, [1] and <b>bold</b>",
    "The tag `<think>` opens a thought.",
    "The tag `<think>` opens a thought and `</think>` closes it.",
    "``<think>`` opens it.",
    "`<think>x</think>` is a whole thought.",
    'It begins with "<think>" and ends with "</think>".',
    "It begins with '<think>'.",
    "It begins with “<think>”.",
    '{"answer": "<think>x</think>y"}',
    'He said "put <think> first" to me.',
    "```repl\ns = '''<think>'''\nprint(s)\n```",
    "```repl\nprint(context.split(</think>))\n```\nDone.",
    "```python\ntext = x.replace(<think>, y)\n",
    "Look. ```repl\nx = <think>\n``` and more",
    "~~~\n<think>\n~~~",
    "````md\n```\n<think>\n```\n````",
    "<code><think></code>",
    "He wrote:\n> <think>x</think>\n> y",
    r"Write \<think> to open it.",
    "Models put their reasoning between <think> and </think> tags.",
    "DeepSeek uses <think> to open a thought.",
    "Use <think>...</think> for your reasoning.",
    "Write a <think> tag and a closing </think> tag.",
    "The tags (<think>, <thinking>) are common.",
    "Its name is <think>",
    "- <think>: opens a thought",
    "opened by the template</think> yes",
    "a lone </think> is text",
    "[reasoning](https://example.org) is a link",
    "[REASONING]\nA heading.\n[ANSWER]\n42",
    "[thinking] a stage direction",
    "<thinker>x</thinker>",
    "analysis of the text: assistantfinal",
    "The header `<|channel|>analysis<|message|>` opens it.",
]


@pytest.mark.parametrize("reply", THOUGHTS.values(), ids=THOUGHTS)
def test_a_thought_is_no_answer(reply):
    text, reasoning = split(reply)
    assert text == "I do not know."
    assert reasoning


@pytest.mark.parametrize(("reply", "text", "reasoning"), MORE)
def test_what_is_said_and_what_is_thought(reply, text, reasoning):
    assert split(reply) == (text, reasoning)


@pytest.mark.parametrize("reply", KEPT)
def test_what_is_no_thought_stays(reply):
    assert split(reply) == (reply, "")


@pytest.mark.parametrize("reply", [*THOUGHTS.values(), *(row[0] for row in MORE)])
def test_where_the_server_set_reasoning_apart_nothing_is_cut(reply):
    assert split(reply, "hm\n") == (reply.lstrip(), "hm")


def test_a_reply_that_broke_off_broke_off_in_its_thought():
    reply = "Hmm <think> maybe NEEDLE"
    assert split(reply, cut=True) == ("Hmm", "maybe NEEDLE")
    assert split(reply) == (reply, ""), "a sentence may end with the tag's name"
    assert split("The tag `<think>` is", cut=True) == ("The tag `<think>` is", "")


def test_only_thoughts_are_cut_around_code():
    code = "```repl\ns = '<think>' + \"</think>\"\n```"
    assert split(f"<think>I write\n{code}</think>\n{code}")[0] == code
    assert split(f"{code}\n<think>now?</think>\nFINAL(s)")[0] == f"{code}\n\nFINAL(s)"


@pytest.mark.parametrize(
    ("reply", "cut", "text"),
    [
        ("hm</think>\n\n42", False, "42"),
        ("I use <think> here</think>42", False, "42"),
        ("`</think>` ends it.</think>42", False, "42"),
        ("```python\nx = 1\n</think>42", False, "42"),
        ("hm</think>Maybe.</think>42", False, "Maybe.</think>42"),
        ("<think>hm</think>42", False, "42"),
        ("hm[/THINK]42", False, "42"),
        ("hm", True, ""),
        ("42", False, "42"),
        ("`</think>` ends it.", False, "`</think>` ends it."),
    ],
)
def test_a_thought_that_the_template_opened(reply, cut, text):
    assert split(reply, opened=True, cut=cut)[0] == text
    if "<think>" not in reply:
        assert split(reply, cut=cut) == (reply, "")


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("hm</think>42", True),
        ("hm\n</think>\n\n42", True),
        ("the `</think>` tag", False),
        ("both <think> and </think> are tags", False),
        ("42", False),
    ],
)
def test_a_foreign_thought_is_noticed(text, foreign):
    assert ends_foreign_thought(text) is foreign


GENERATION = "{% for m in messages %}{{ m }}{% endfor %}{% if add_generation_prompt %}"


@pytest.mark.parametrize(
    ("template", "opens"),
    [
        (GENERATION + "{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}", True),
        (GENERATION + "<|im_start|>assistant\n<think>\n{% endif %}", True),
        (GENERATION + "{{ '[THINK]' }}{% endif %}", True),
        (GENERATION + "{{ '<|im_start|>assistant\\n' }}{% endif %}", False),
        (GENERATION + "{{ 'a\\n<think>\\n\\n</think>\\n\\n' }}{% endif %}", False),
        (GENERATION + "a{% if enable_thinking is false %}<think>\n\n</think>{% endif %}", None),
        (GENERATION + "{%- if thinking %}<think>{% else %}</think>{% endif %}{% endif %}", None),
        ("{% if m.content %}</think>{% endif %}" + GENERATION + "a{% endif %}", False),
        ("{{ messages }}<think>", None),
        ("", None),
    ],
)
def test_the_chat_template_tells_whether_it_opens_a_thought(template, opens):
    assert template_opens_thought(template) is opens


PIECES = (
    "<think>", "</think>", "<thinking>", "</THINKING>", "[THINK]", "[/THINK]", "◁think▷",
    "◁/think▷", "<|channel>thought", "<channel|>", "<|channel|>analysis<|message|>", "<|end|>",
    "<|start|>assistant", "<|channel|>final<|message|>", "analysis", "assistantfinal", "`", "```",
    "```repl\n", "\n", " ", "x", ",", ".", '"', "'", "“", "”", "<code>", "</code>", "\\", "<thi",
    "nk>", "\ud800", "~~~", "<|START_THINKING|>", "<|END_THINKING|>",
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=14).map("".join))


@settings(max_examples=500, deadline=None)
@given(TEXTS, st.booleans(), st.booleans())
def test_the_rule_never_raises_and_is_idempotent(text, opened, cut):
    said, _ = split(text, opened=opened, cut=cut)
    assert split(said) == (said, "")
    assert without_thoughts(said) == said
    ends_foreign_thought(text)
    template_opens_thought(text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(blacklist_characters="<[◁a")), st.booleans())
def test_a_text_without_tags_is_unchanged(text, opened):
    assert split(text, opened=opened) == (text, "")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab \n.`\"'(<[", max_size=30))
def test_a_thought_at_the_start_is_cut_whatever_it_holds(thought):
    assert split(f"<think>{thought}</think>42")[0] == "42"


def test_a_final_text_is_left_as_it_is():
    assert without_thoughts(Final("<think>x</think>y")) == "<think>x</think>y"


@pytest.mark.parametrize(
    "hostile",
    [
        "<think>" * 50_000, "</think>" * 50_000, "<think>a</think>" * 30_000,
        "<think><think>a</think>" * 20_000, "`" * 300_000, "` " * 100_000, ' "a' * 100_000,
        "<code>" * 30_000 + "<think>", "```a\n" * 50_000 + "<think>", "analysis" * 40_000,
        "<|channel|>analysis<|message|>" * 10_000, "“" * 100_000 + "<think>",
    ],
    ids=range(12),
)  # fmt: skip
def test_hostile_texts_take_no_time(hostile):
    before = time.process_time()
    split(hostile)
    ends_foreign_thought(hostile)
    split(hostile, opened=True)
    assert time.process_time() - before < 5.0
