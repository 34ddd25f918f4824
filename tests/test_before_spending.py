"""Before money is spent: the amount is asked for, an endpoint that cannot work is told."""

import io

import pytest
from fake_server import FakeServer
from omegaconf import OmegaConf
from runs import overrides, run_here

import rlm_eval as rl
from rlm_eval.budget.limits import Limits
from rlm_eval.commands.run import main
from rlm_eval.commands.submit import main as submit
from rlm_eval.config.cell import build_cell
from rlm_eval.config.grid import expand
from rlm_eval.core.errors import ConfigError, EndpointUnusable
from rlm_eval.core.types import Outcome
from rlm_eval.runner.execution import confirm, confirmed_above
from rlm_eval.runner.runner import Runner

PRICED = ["model@root=gpt-5", "task=s_niah", "method=long_context", "tokenizer=approx4"]
OWN = ["root.model=mine", "root.base_url=http://127.0.0.1:1/v1"]


async def test_a_wrong_model_name_stops_the_sweep_before_its_first_cell(tmp_path):
    async with FakeServer(models=["other"]) as wrong, FakeServer() as right:
        given = overrides(
            tmp_path,
            right.url,
            "method=long_context,rlm",
            "model@sub=openai",
            "sub.model=typo",
            f"sub.base_url={wrong.url}",
        )
        with pytest.raises(EndpointUnusable, match="typo"):
            await run_here(given)
        assert len(right.log) <= 1  # its own proof; no sample was asked
    assert not list((tmp_path / "test").glob("cells/*/journal.jsonl"))


def test_an_expensive_run_is_refused_where_nobody_can_be_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    run = [*PRICED, "length=128k", "n=500", f"results={tmp_path}"]
    for command in (main, submit):
        with pytest.raises(ConfigError, match=r"\$\d+\.\d\d expected.*--yes"):
            command(run)
        assert not (tmp_path / "scratch" / "cells").exists()
        assert not (tmp_path / "scratch" / "jobs").exists()


def test_the_end_of_the_input_is_a_no(tmp_path, monkeypatch):
    """Ctrl-D at the question whether to go on."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setattr("sys.stdin", terminal)
    with pytest.raises(ConfigError, match="no model was called"):
        main([*PRICED, "length=128k", "n=500", f"results={tmp_path}"])


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (["method=long_context_tail", "root.window=1000"], "method.reserve_tokens=1024"),
        (
            [
                "method=long_context_tail",
                "root.window=8192",
                "root.sampling={max_output_tokens: 8192}",
            ],
            "root.sampling.max_output_tokens=8192",
        ),
        (["method=react_bm25"], "method.chunk_by=lines or tokens"),
        (["method=codeact_bm25"], "method.chunk_by=lines or tokens"),
        (["method=rag", "method.chunk_by=documents"], "method.chunk_by=lines or tokens"),
        (["method=summary_agent"], "set method.piece_tokens"),
        (["method=summary_agent", "root.window=9000"], "window of 9000 tokens leaves no room"),
        (["method=lambda_rlm", "root.window=2000"], "method.reserve_tokens=2048 leaves nothing"),
    ],
)
async def test_a_method_that_suits_no_sample_is_refused_before_any_call(tmp_path, method, told):
    """A cell that works stands before it in the grid: it would have spent money."""
    async with FakeServer() as server:
        fine = overrides(tmp_path, server.url, "method=long_context")
        wrong = [*overrides(tmp_path, server.url), *method]
        configs = [*expand(fine), *expand(wrong)]
        cells = [build_cell(config) for config in configs]
        with pytest.raises(ConfigError, match=told) as refused:
            await Runner(tmp_path / "test", cells, Limits()).run()
        assert server.log == []
    assert cells[1].id in str(refused.value)
    assert not (tmp_path / "test").exists()


def test_a_wrong_configuration_is_not_said_to_resume(tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "What?", "context": "", "answer": "x"}')
    wrong = ["task=custom", f"task.path={rows}", "method=rag", "model@root=scripted"]
    run = ["tokenizer=approx4", "n=1", f"results={tmp_path}", "--no-report"]
    assert main([*wrong, *run]) == 1
    told = capsys.readouterr().err
    assert "the context is empty" in told
    assert "1 of 1 cells unfinished; fix the error above" in told
    assert "resumes" not in told


@pytest.mark.parametrize("given", [None, "ten", float("nan"), "nan"])
async def test_a_limit_that_is_no_number_is_one_line(given, tmp_path, monkeypatch):
    """NaN above all: no cost is over it, so nobody would be asked."""
    told = f"confirm_above={given}: give US dollars"
    with pytest.raises(ConfigError, match=told):
        confirmed_above(OmegaConf.create({"confirm_above": given}))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    settings = {"length": 1024, "n": 2, "confirm_above": given}
    with pytest.raises(ConfigError, match=told):
        await rl.evaluate("s_niah", ["long_context"], root="gpt-5", folder=tmp_path, **settings)
    assert not list(tmp_path.iterdir())
    written = "null" if given is None else given
    with pytest.raises(ConfigError, match=told):
        submit([*PRICED, f"results={tmp_path}", f"confirm_above={written}"])
    assert not list(tmp_path.iterdir())


def test_an_unknown_price_does_not_hide_the_known_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    sub = ["model@sub=openai", "sub.model=mine", "sub.base_url=http://127.0.0.1:1/v1"]
    run = [
        "model@root=gpt-5",
        "task=s_niah",
        "tokenizer=approx4",
        "length=4k",
        f"results={tmp_path}",
    ]
    told = r"at least \$\d+\.\d\d expected; the price of sub is unknown.*over \$0\.01.*--yes"
    with pytest.raises(ConfigError, match=told):
        main([*run, *sub, "method=rlm", "confirm_above=0.01"])
    # Nobody sends a bill for a server of ours: the sum is all that is spent.
    with pytest.raises(ConfigError, match=r"about \$\d+\.\d\d expected \("):
        main([*run, "model@sub=coder-0.5b", "method=rlm", "confirm_above=0.01"])

    (cell,) = [build_cell(config) for config in expand([*run, *sub, "method=rlm"])]
    capsys.readouterr()
    confirm(tmp_path, [cell], 1000.0, yes=False)
    assert "the price of sub is unknown" in capsys.readouterr().err
    (own,) = [build_cell(config) for config in expand([*run, "model@root=openai", *sub, *OWN])]
    confirm(tmp_path, [own], 0.0, yes=False)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("limit", ["limits.cost=0.1", "cell_budget.cost=1", "budget.cost=9"])
def test_a_cost_limit_without_a_price_is_refused(tmp_path, limit, monkeypatch):
    monkeypatch.delenv("RLM_EVAL_PRICES", raising=False)
    url = "root.base_url=http://127.0.0.1:1/v1"
    root = ["model@root=openai", "root.model=mine", url, "root.sampling.max_output_tokens=99"]
    given = [*root, "task=s_niah", "method=long_context", f"results={tmp_path}", limit]
    for price in ([], ["root.price=gpt5"]):
        with pytest.raises(ConfigError, match=r"root: a cost limit.*root\.price=KEY.*limit tokens"):
            main([*given, *price])
    (cell,) = [build_cell(config) for config in expand([*given, "root.price=gpt-5"])]
    assert cell.models["root"].price == "gpt-5"
    # What nobody sends a bill for needs no price.
    assert build_cell(expand([*given[3:], "debug=scripted"])[0])
    assert build_cell(expand([*given[3:], "model@root=coder-0.5b"])[0])


def test_all_missing_output_caps_are_named_at_once():
    models = ["model@root=gpt-5", "model@sub=gpt-5-mini", "model@summary=gpt-5-nano"]
    summary = ["method=summary_agent", "method.summariser=summary"]
    given = [*models, *summary, "task=s_niah", "budget.cost=200"]
    fields = [f"{slot}.sampling.max_output_tokens" for slot in ("root", "summary")]
    with pytest.raises(ConfigError, match=", ".join(fields) + ":"):
        build_cell(expand(given)[0])
    assert build_cell(expand([*given, *(f"{field}=16384" for field in fields)])[0])


def test_a_slot_that_is_the_root_model_again_is_told_where_its_fields_are(monkeypatch):
    monkeypatch.delenv("RLM_EVAL_PRICES", raising=False)
    root = ["model@root=openai", *OWN, "model@sub=same"]
    given = [*root, "method=program_map", "task=s_niah", "limits.cost=1"]
    with pytest.raises(ConfigError, match=r"needs root\.sampling\.max_output_tokens:"):
        build_cell(expand(given)[0])
    with pytest.raises(ConfigError, match=r"^root: a cost limit.*root\.price=KEY"):
        build_cell(expand([*given, "root.sampling.max_output_tokens=99"])[0])


def test_a_design_that_shows_nothing_is_told_before_the_first_call(tmp_path, capsys):
    given = [*PRICED[1:], "model@root=openai", *OWN, "task=oolong_gen"]
    cells = [build_cell(config) for config in expand([*given, "n=20"])]
    confirm(tmp_path, cells, 0.0, yes=True)
    told = capsys.readouterr().err
    assert "oolong_gen at 4,096: 20 samples in 4 contexts can show no difference" in told
    assert "set n=" in told
    assert "task.questions_per_window=1" in told
    (tmp_path / cells[0].folder).mkdir(parents=True)
    (tmp_path / cells[0].folder / "DONE").write_text('{"samples": 20, "epochs": 1, "n": 20}')
    confirm(tmp_path, cells, 0.0, yes=True)
    assert not capsys.readouterr().err, "nothing is left to be called"
    (default,) = [build_cell(config) for config in expand(given)]
    confirm(tmp_path, [default], 0.0, yes=True)
    script = [build_cell(config) for config in expand(["debug=scripted", "n=2"])]
    confirm(tmp_path, script, 0.0, yes=True)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "redo"),
    [(["n=200"], []), (["epochs=9"], []), ([], [Outcome.TRUNCATED])],
)
def test_what_a_finished_cell_still_needs_is_asked_about(tmp_path, monkeypatch, more, redo):
    """A trial of a few samples must not open the way to thousands."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def asked(given, redo=()):
        cells = [build_cell(config) for config in expand([*PRICED, "n=20", *given])]
        (tmp_path / cells[0].folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / cells[0].folder / "DONE").write_text('{"samples": 20, "epochs": 1, "n": 20}')
        confirm(tmp_path, cells, 0.001, yes=False, redo=redo)

    asked([])
    asked(["n=5"])
    with pytest.raises(ConfigError, match=r"expected .*over \$0\.001.*--yes"):
        asked(more, redo)


def test_the_flagship_pair_is_asked_about(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    run = ["model@root=gpt-5", "model@sub=gpt-5-mini", "method=rlm", "task=oolong_gen", "n=50"]
    with pytest.raises(ConfigError, match=r"about \$2[12]\.\d\d expected \(up to \$4\d\.\d\d\)"):
        main([*run, "length=128k", "tokenizer=approx4", f"results={tmp_path}"])
