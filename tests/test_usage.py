"""Usage and error lines of the commands: each names the argument that is wrong."""

import re

import pytest

from rlm_eval.cli import commands, main
from rlm_eval.commands import export
from rlm_eval.report.exports import files


def told(capsys, *given):
    """Exit code and messages of a command line."""
    try:
        code = main(given)
    except SystemExit as error:
        code = error.code
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.parametrize("name", commands())
def test_help_names_each_argument_once_and_in_capitals(name, capsys):
    code, text = told(capsys, name, "--help")
    assert code == 0
    usage = " ".join(text.partition("\n\n")[0].split())
    positional = re.sub(r"\[-[^]]*\]|--?[\w-]+ \S+", "", usage.partition(name)[2])
    words = re.findall(r"[A-Za-z][\w.|=]*", positional)
    assert words == [word for word in words if word[:2].isupper()]
    repeated = re.sub(r"(\S+) \[\1 \.\.\.\]", r"\1", positional)
    names = re.findall(r"[A-Z][\w.|=]*", repeated)
    assert len(names) == len(set(names)), usage


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("ask",), "required: FILE, QUESTION"),
        (("ask", "a.txt"), "required: QUESTION"),
        (("ask", "a.txt", "method=rlm"), "name at least one file, then the question"),
        (("export", "results/runs/a"), "argument KIND: invalid choice: 'results/runs/a'"),
        (("export", "results/runs/a", "-o", "out"), "argument KIND: invalid choice"),
        (("export", "tables"), "required: RUN, -o/--out"),
        (("import", "logs/a.json"), "no kind 'logs/a.json'; near: "),
        (("import", "logs/a.json", "logs/b.json", "-o", "out"), "no kind 'logs/a.json'"),
        (("import",), "required: KIND\n"),
        (("import", "wang"), "give the log files, and a new run directory with -o RUN"),
        (("estimate", "s_niah"), "override 's_niah': write key=value, as task=s_niah"),
        (("report",), "required: RUN"),
        (("view",), "required: RUN"),
        (("status",), "required: RUN"),
        (("job", "results/runs/a"), "required: NUMBER"),
        (("verify",), "required: BUNDLE"),
        (("seal",), "required: FOLDER"),
        (("compare", "rlm", "rag"), "required: --run"),
        (("score-answers", "--scorer", "mrcr"), "IN.jsonl is missing"),
        *(
            (("compare", "rlm", "rag", "--run", "a", f"--margin={margin}"), "0.05 is 5 points")
            for margin in ("5", "1", "0", "-0.05", "nan", "inf")
        ),
        (("compare", "--run", "a", "--margin", "0.05"), "--margin needs A and B"),
        *(
            (("power", f"--difference={given}"), "give more than 0 and at most 1")
            for given in ("0", "nan", "inf", "2", "-0.1")
        ),
        *(
            (("export", "chat", "a", "-o", "b", f"--min-score={given}"), "between 0 and 1")
            for given in ("nan", "5", "-1")
        ),
    ],
)
def test_an_error_names_the_argument(given, words, capsys):
    code, text = told(capsys, *given)
    assert code == 2
    assert words in text


def test_export_offers_every_format():
    assert tuple(files.KINDS) == export.KINDS


def test_a_difference_of_more_than_all_is_none(capsys):
    code, text = told(capsys, "power", "--n", "1")
    assert code == 0
    assert "without pairing, around 50 %: nothing" in text
