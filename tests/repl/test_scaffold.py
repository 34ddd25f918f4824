"""The namespace of the official package's REPL, without a worker: rules, release by release."""

import pytest

from rlm_eval.repl.channel import Interrupted
from rlm_eval.repl.scaffold import NAMES, NONE, RELEASES, Scaffold

FUNCTIONS = ["llm_query", "llm_query_batched"]
CONTEXT = "one\r\ntwo"
TEXTS = {"unknown_variable": "no {variable_name} in {available}"}


def scaffold(release="0.1.3", context=CONTEXT, call=lambda name, args, _: f"{name} {args}"):
    return Scaffold({"release": release, "texts": TEXTS}, FUNCTIONS, [context], call)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the context lies there as a file


def run(space, *blocks):
    """The answer of the last block; a block that raises leaves its error's type name."""
    error = None
    for block in blocks:
        space.final, error = None, None
        try:
            space.run(block, Interrupted)
        except Exception as raised:  # noqa: BLE001 - the code's own
            error = type(raised).__name__
    return space.take() or error


CHILD = "Error: Child RLM completion failed - "
PLAIN = "Error: LM query failed at max depth - "
FOR_CHILDREN = {
    "tuple": ("('a',)", f"{CHILD}Invalid prompt type: <class 'tuple'>",
              f"{PLAIN}Invalid prompt type: <class 'tuple'>"),
    "number": ("5", "Error: RLM query failed - object of type 'int' has no len()",
               f"{PLAIN}Invalid prompt type: <class 'int'>"),
    "bytes": ("b'x'", f"{CHILD}Object of type bytes is not JSON serializable",
              f"{PLAIN}Invalid prompt type: <class 'bytes'>"),
    "dict": ("{1: 'a'}", "rlm_query [{'1': 'a'}, None]",
             f"{PLAIN}Invalid prompt type: <class 'dict'>"),
    "chat": ("[{'role': 'user'}]", *["rlm_query [[{'role': 'user'}], None]"] * 2),
    "text": ("'a'", *["rlm_query ['a', None]"] * 2),
}  # fmt: skip


@pytest.mark.parametrize(("prompt", "loops", "calls"), FOR_CHILDREN.values(), ids=FOR_CHILDREN)
def test_prompts_of_children_are_refused_as_in_the_package(prompt, loops, calls):
    for children, expected in (("loops", loops), ("calls", calls)):
        space = with_children("0.1.3", children)
        assert run(space, f"answer = {{'content': rlm_query({prompt}), 'ready': 1}}") == expected


BATCHES = {
    "values": ("{1: 'a', 2: 'b'}.values()", ["a", "b"], ["a", "b"]),
    "set": ("{'a'}", ["a"], ["a"]),
    "generator": ("(p for p in 'ab')", "TypeError", ["a", "b"]),
    "none": ("None", "TypeError", "TypeError"),
    "odd": ("('a', 5, 'b')", *[["a", FOR_CHILDREN["number"][1], "b"]] * 2),
    "all_odd": ("[5]", *[[FOR_CHILDREN["number"][1]]] * 2),
}


@pytest.mark.parametrize(("batch", "latest", "former"), BATCHES.values(), ids=BATCHES)
def test_batches_of_children_are_read_as_in_the_package(batch, latest, former):
    for release, expected in (("0.1.3", latest), ("0.1.1", former)):
        space = with_children(release, "loops", lambda name, args, _: list(args[0]))
        run(space, f"z = rlm_query_batched({batch})")
        assert space.locals.get("z", "TypeError") == expected


def with_children(release, children, call=lambda name, args, _: f"{name} {args}"):
    rules = {"release": release, "texts": TEXTS, "children": children}
    return Scaffold(rules, ["rlm_query", "rlm_query_batched"], [CONTEXT], call)


ANSWERS = {
    "by_key": (["answer['content'] = [1]\nanswer['ready'] = True"], "[1]"),
    "rebound_before": (["answer = 'x'", "answer['content'] = 2\nanswer['ready'] = 1"], "2"),
    "loop_variable": (["for answer in 'ab':\n    pass", "answer['content'] = 'k'\n"
                       "answer['ready'] = True"], "k"),
    "updated": (["answer.update(content='x', ready=True)"], None),
    "plain_dict": (["answer = {'content': 3, 'ready': 'yes'}"], "3"),
    "plain_dict_and_raises": (["answer = {'content': 3, 'ready': True}\n1 / 0"],
                              "ZeroDivisionError"),
    "late_content": (["answer['content'] = 'a'\nanswer['ready'] = True\nanswer['content'] = 'b'"],
                     "a"),
    "raises_behind": (["answer['content'] = 'a'\nanswer['ready'] = True\n1 / 0"], "a"),
    "deleted": (["del answer", "answer['content'] = 'a'\nanswer['ready'] = True"], "a"),
}  # fmt: skip


@pytest.mark.parametrize(("blocks", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_the_answer_is_taken_when_it_is_ready(blocks, expected):
    assert run(scaffold(), *blocks) == expected


@pytest.mark.parametrize("release", RELEASES)
def test_what_lasts_from_block_to_block(release):
    space = scaffold(release)
    assert space.locals["context"] == "one\ntwo", "as a text file is read"
    run(space, "context = 'mine'\nllm_query = None\nx = 1\n_y = 2\ndef f():\n    return x")
    assert space.locals["context"] == ("mine" if release == "0.1.0" else "one\ntwo")
    run(space, "del x", "x += 1\nz = f()\nq = llm_query('p')")
    assert (space.locals["x"], space.locals["z"]) == (2, 1), (
        "a function keeps its own block's names"
    )
    assert space.locals["q"] == "llm_query ['p', None]"
    assert "_y" not in space.locals
    assert run(space, "lost = 1\nint('x')") == "ValueError"
    assert "lost" not in space.locals
    listed = (["answer"] if release == "0.1.3" else []) + ["context_0", "context", "x", "z", "q"]
    assert list(space.variables()) == listed


@pytest.mark.parametrize(("release", "expected"), [("0.1.0", None), ("0.1.1", "7")])
def test_final_var_ends_from_code_in_one_release_only(release, expected):
    assert run(scaffold(release), "v = 7", "FINAL_VAR('v')") == expected
    space = scaffold(release)
    run(space, "v = 7\ntext = FINAL_VAR(\"'no'\")")
    assert space.locals["text"] == "no no in ['f', 'context_0', 'context']"
    assert run(space, "FINAL_VAR(5)") == ("5" if expected else "AttributeError")
    assert run(scaffold("0.1.3"), "FINAL_VAR('v')") == "NameError"


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ("class A: pass", "NameError"), ("eval('1')", "TypeError"), ("input()", "TypeError"),
        ("frozenset()", "NameError"), ("await f", "SyntaxError"), ("llm_query()", "TypeError"),
        ("llm_query_batched(x for x in 'a')", "TypeError"), ("vars()[1] = 2", "AttributeError"),
    ],
)  # fmt: skip
def test_what_the_package_does_not_have(block, error):
    assert run(scaffold(), block) == error
    assert not set(NAMES.split()) & set(NONE)


def test_what_cannot_be_sent_is_a_text():
    space = scaffold(call=lambda name, args, _: args[0])
    run(space, "a = llm_query((1, 2))\nb = llm_query({3})\nc = llm_query_batched('xy')")
    assert space.locals["a"] == [1, 2]
    assert space.locals["b"].startswith("Error: Request failed: Object of type set")
    assert space.locals["c"] == ["xy", "xy"], "what the host says once holds for each prompt"


def test_an_interrupt_keeps_what_the_block_made():
    def stop():
        raise Interrupted

    space = scaffold()
    space.globals["stop"] = stop
    with pytest.raises(Interrupted):
        space.run("x = 1\nstop()", Interrupted)
    assert space.locals["x"] == 1


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("context", "listed", "read"),
    [
        (CONTEXT, ["context_0.txt"], CONTEXT),
        (["a", "é"], ["context_0.json"], '["a", "\\u00e9"]'),
        ("lone \ud800", [], None),
    ],
)
def test_the_context_is_a_file_as_well(release, context, listed, read, tmp_path):
    space = scaffold(release, context)
    run(space, "import os\nfound = os.listdir('.')")
    assert space.locals["found"] == listed
    assert read is None or (tmp_path / listed[0]).read_bytes().decode() == read


def test_errors_about_the_scaffold_name_the_packages_class():
    space = scaffold("0.1.1")
    with pytest.raises(TypeError, match=r"LocalREPL\._final_var\(\) missing"):
        space.run("FINAL_VAR()", Interrupted)
    with pytest.raises(TypeError, match=r"LocalREPL\._show_vars\(\) takes 1"):
        space.run("SHOW_VARS('x')", Interrupted)
    with pytest.raises(TypeError, match="cannot pickle '_thread.lock' object"):
        scaffold().run("import copy\ncopy.deepcopy(answer)", Interrupted)
