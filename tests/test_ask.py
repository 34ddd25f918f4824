"""`rlm-eval ask`: the answer on stdout, an ordinary run directory behind it, errors that help."""

import pytest

from rlm_eval.cli import main
from rlm_eval.core.types import Outcome
from rlm_eval.runner.ask import ask

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


@pytest.mark.parametrize("method", ["rlm", "long_context"])
def test_the_command_answers_over_a_file(method, results, tmp_path, capsys):
    file = tmp_path / "log.txt"
    file.write_text(LOG)
    code = main(["ask", str(file), QUESTION, f"method={method}", *results])
    out, err = capsys.readouterr()
    assert (code, out) == (0, "4815162\n")
    assert "[ok; " in err
    assert "cost unknown" in err
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "records.parquet").is_file()


def test_in_python_over_files_and_texts_and_again_from_the_journal(results, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("Nothing here.")
    first = ask(QUESTION, [file], "method=rlm", *results, texts=[LOG])
    again = ask(QUESTION, [file], "method=rlm", *results, texts=[LOG])
    assert (first.text, first.outcome) == ("4815162", Outcome.OK)
    assert first.calls >= 2
    assert again == first


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
