"""`rlm-eval ask`: the answer on stdout, an ordinary run directory behind it, errors that help."""

import asyncio
import json

import pytest

import rlm_eval as rl
from rlm_eval.cli import main

SCRIPTED = ["model@root=scripted", "repl.isolation=best", "tokenizer=approx4"]
LOG = (
    "Quiet.\n" * 40
    + "One of the special magic numbers for brave-otter is: 4815162.\n"
    + "So.\n" * 40
)
QUESTION = "What is the special magic number for brave-otter mentioned in the text?"


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    return [*SCRIPTED, f"results={tmp_path / 'runs'}"]


def own(tmp_path, **more):
    """Settings of `rl.ask` for a script in place of a model."""
    given = {"root": "scripted", "tokenizer": "approx4", "method": "long_context"}
    return {**given, "folder": tmp_path / "runs" / "own", **more}


@pytest.mark.parametrize("method", ["rlm", "long_context"])
def test_the_command_answers_over_a_file(method, results, tmp_path, capsys):
    file = tmp_path / "log.txt"
    file.write_text(LOG)
    code = main(["ask", str(file), QUESTION, f"method={method}", *results])
    out, err = capsys.readouterr()
    assert (code, out) == (0, "4815162\n")
    assert "[ok; " in err
    assert "nothing billed" in err, "a script sends no bill"
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "records.parquet").is_file()


def test_an_edited_file_is_another_question(results, tmp_path, capsys):
    file = tmp_path / "log.txt"
    given = ["ask", str(file), QUESTION, "method=long_context", "name=mine", *results]
    answers = []
    for text in (LOG, LOG, LOG.replace("4815162", "1111111")):
        file.write_text(text)
        assert main(given) == 0
        answers.append(capsys.readouterr())
    assert [out for out, _ in answers] == ["4815162\n", "4815162\n", "1111111\n"]
    again = ["from the journal, nothing paid now" in err for _, err in answers]
    assert again == [False, True, False]
    assert len(list((tmp_path / "runs" / "mine" / "cells").iterdir())) == 2


async def test_in_python_over_files_and_texts_and_again_from_the_journal(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "a.txt"
    file.write_text("Nothing here.")
    first = await rl.ask(QUESTION, [file], texts=[LOG], **own(tmp_path))
    again = await rl.ask(QUESTION, [file], texts=[LOG], **own(tmp_path))
    assert (first.text, first.outcome) == ("4815162", rl.Outcome.OK)
    assert first.is_new
    assert not again.is_new
    assert (again.text, again.calls, again.paid) == (
        first.text, first.calls, f"{first.paid}; from the journal, nothing paid now",
    )  # fmt: skip
    twice = await rl.ask(QUESTION, [file], texts=[LOG], **own(tmp_path, epochs=2))
    assert twice.texts == ("4815162", "4815162")
    assert twice.calls == 2 * first.calls


def test_a_price_that_is_not_known_is_said_to_be(tmp_path, monkeypatch, capsys):
    from fake_server import FakeServer

    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))

    async def paid(**model: str) -> str:
        async with FakeServer() as server:
            root = rl.model("openai", model="fake", base_url=server.url, **model)
            done = await rl.ask("What?", texts=[LOG], **own(tmp_path, root=root))
            return done.paid

    assert "; price unknown" in asyncio.run(paid())
    assert "; $0.0" in asyncio.run(paid(price="gpt-5", name="priced"))


def test_bad_input_is_one_clear_error(results, tmp_path, capsys):
    assert main(["ask", str(tmp_path / "absent.txt"), "What?", "method=rlm", *results]) == 2
    assert "absent.txt: cannot be read" in capsys.readouterr().err
    binary = tmp_path / "b.bin"
    binary.write_bytes(b"\xff\xfe\x00")
    assert main(["ask", str(binary), "What?", "method=rlm", *results]) == 2
    assert "not UTF-8" in capsys.readouterr().err
    assert main(["ask", str(binary), "What?", "method=rlm,rag", *results]) == 2
    assert "2 cells" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["ask", "only words", "method=rlm"])
    with pytest.raises(rl.RlmEvalError, match="name at least one file"):
        rl.ask_sync("What?", root="scripted")


@pytest.mark.parametrize("question", ["What is ${x}?", "Is \\\\${y} $z or ${oc.env:HOME}?"])
def test_a_question_may_hold_what_looks_like_an_interpolation(question, results, tmp_path):
    (tmp_path / "a.txt").write_text("The number for a-b is: ${n}.")
    assert main(["ask", str(tmp_path / "a.txt"), question, "method=long_context", *results]) == 0
    answer = rl.ask_sync(question, files=[tmp_path / "a.txt"], **own(tmp_path))
    assert answer.calls == 1
    stored = [
        json.loads(line)["question"]
        for path in (tmp_path / "runs").glob("*/cells/*/samples.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert stored == [question, question]
