"""`rlm-eval prefetch`: sizes first, everything once, and afterwards no request."""

import made_hub
import pytest
from huggingface_hub import constants

from rlm_eval.cli import main

pytest_plugins = ("hub_bench",)

MODEL, COMMIT = "Qwen/Qwen3-8B", "b968826d9c46dd6066d109eabc6255188de91218"
GIVEN = ["task=oolong_synth", f"length={made_hub.LENGTH}", "n=2", "method=closed_book"]
GIVEN += ["tokenizer=approx4", "model@root=qwen3-8b"]


@pytest.fixture
def model(hub, files):
    """Its weights twice on the hub: a server reads one form."""
    own = {"config.json": b"{}", "model.safetensors": b"s" * 3000, "pytorch_model.bin": b"b" * 9000}
    hub.repositories = {**files, MODEL: own}
    hub.commits[MODEL] = COMMIT
    return hub


def test_sizes_are_told_before_anything_is_fetched(model, capsys):
    assert main(["prefetch", "--dry-run", *GIVEN]) == 0
    told = capsys.readouterr().out
    assert not model.downloads
    size = len(model.repositories[made_hub.SYNTH]["data/validation-00000-of-00002.parquet"])
    assert f"to fetch: {(size + 3002) / 1e6:.1f} MB" in told
    assert "oolongbench/oolong-synth@f0d59eaf0feb (validation)" in told
    assert f"model {MODEL}@{COMMIT[:12]}" in told


def test_what_was_fetched_is_used_offline(model, capsys, monkeypatch, tmp_path):
    assert main(["prefetch", *GIVEN]) == 0
    assert "everything is at hand" in capsys.readouterr().out
    downloaded = [asked.path for asked in model.downloads]
    assert len(downloaded) == len(set(downloaded)) == 3
    assert not any("pytorch_model.bin" in path for path in downloaded)
    asked = len(model.log)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(["prefetch", *GIVEN]) == 0
    assert "to fetch: 0.0 MB" in capsys.readouterr().out
    scripted = [*GIVEN[:-1], "model@root=scripted", f"results={tmp_path}", "name=run"]
    assert main(["run", "--no-report", *scripted]) == 0
    assert len(model.log) == asked


def test_what_cannot_be_had_is_named_and_the_rest_is_fetched(model, capsys):
    model.repositories = {**model.repositories, made_hub.SYNTH: {"README.md": b""}}
    assert main(["prefetch", *GIVEN]) == 1
    told = capsys.readouterr()
    assert "no file of split validation" in told.out
    assert any("safetensors" in asked.path for asked in model.downloads)
    model.refuse = "gated"
    assert main(["prefetch", "task=codeqa", *GIVEN[2:-1], "model@root=scripted"]) == 1
    assert "HF_TOKEN" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("corpus_cache")
def test_a_whole_suite(model, capsys):
    given = ["task=codeqa,browsecomp_1k", "method=rlm_own", "models=gpt-5", "tokenizer=approx4"]
    assert main(["prefetch", "--suite", "rlm_paper_table1", *given]) == 0
    told = capsys.readouterr().out
    assert "zai-org/LongBench-v2@2b48e49" in told
    assert "Tevatron/browsecomp-plus-corpus@b27b02b" in told
    paths = [asked.path for asked in model.downloads]
    assert len(paths) == len(set(paths)) == 3
