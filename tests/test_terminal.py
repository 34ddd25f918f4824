"""What a model writes does not command the user's terminal."""

import json
import os
import subprocess
import sys

import pytest
from fake_server import FakeProcess
from runs import ROOT

from rlm_eval.cli import main
from rlm_eval.core.terminal import printable
from rlm_eval.runner.progress import Progress

HOSTILE = "\x1b]0;title\x07 \x1b[2J\x9b31m red \rover\u202ereversed\x7f\x00"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünï 😀\twith\ntabs\r\nand lines", "plain, ünï 😀\twith\ntabs\r\nand lines"),
        ("\x1b[31mred\x1b[0m", r"\u001b[31mred\u001b[0m"),
        ("over\rwritten\b\x07", r"over\u000dwritten\u0008\u0007"),
        ("\x9b2J\u2066\u202e", r"\u009b2J\u2066\u202e"),
        ("lone \ud800", r"lone \ud800"),
    ],
)
def test_what_a_terminal_obeys_is_written_out(text, shown):
    assert printable(text) == shown


def test_a_line_of_json_keeps_its_meaning():
    line = json.dumps({"answer": HOSTILE}, ensure_ascii=False)
    assert json.loads(printable(line)) == {"answer": HOSTILE}


def test_notes_of_a_run_are_clean(capsys):
    Progress().note(f"a model said {HOSTILE}")
    assert set(capsys.readouterr().err) & set(HOSTILE) <= set(printable(HOSTILE) + " \n")


def test_an_answer_is_clean(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rules.json").write_text(json.dumps([{"match": "", "reply": HOSTILE}]))
    (tmp_path / "text").write_text("Nothing.")
    with FakeProcess("--reply", str(tmp_path / "rules.json")) as fake:
        code = main([
            "ask", str(tmp_path / "text"), "What?", "method=long_context", "model@root=openai",
            "root.model=fake", f"root.base_url={fake.url}", "tokenizer=approx4",
            f"results={tmp_path}",
        ])  # fmt: skip
    out, err = capsys.readouterr()
    assert code == 0, err
    assert printable(out) == out
    assert printable(err) == err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_name_that_the_locale_lacks_ends_no_command(encoding):
    shown = "print('Qwen\\u2083 \\U0001f642')"
    code = f"from rlm_eval.core.secrets import guard_output\nguard_output()\n{shown}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    known = encoding == "utf-8"
    assert done.stdout.decode().strip() == ("Qwen₃ 🙂" if known else "Qwen\\u2083 \\U0001f642")
