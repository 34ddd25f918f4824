"""Before money is spent: the amount is asked for, an endpoint that cannot work is told."""

import io

import pytest
from fake_server import FakeServer
from runs import overrides, run_here

from rlm_eval.commands.run import main
from rlm_eval.commands.submit import main as submit
from rlm_eval.errors import ConfigError, EndpointUnusable

PRICED = ["model@root=gpt-5", "task=s_niah", "method=long_context", "tokenizer=approx4"]


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
