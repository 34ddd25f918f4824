"""`rlm-eval prefetch`: sizes first, everything once, and afterwards no request."""

import made_hub
import pytest
from huggingface_hub import constants

from rlm_eval.cli import main
from rlm_eval.config.cell import build_cell
from rlm_eval.config.grid import expand
from rlm_eval.runner.planning.prefetch import resources

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


def test_a_local_file_that_is_missing_is_not_at_hand(tmp_path, capsys):
    there = tmp_path / "lines.csv"
    there.write_text("text,label")
    given = ["prefetch", "debug=scripted", "method=long_context"]
    assert main([*given, "task=oolong_rows", f"task.path={there}"]) == 0
    assert f"at hand  file {there}" in capsys.readouterr().out
    for asked in (
        ["task=custom", "task.path=none.jsonl"],
        ["task=oolong_rows", "task.path=none.jsonl"],
        ["task=browsecomp_plus", f"task.path={there}", "task.corpus_path=none.jsonl"],
    ):
        assert main([*given, *asked]) == 1
        told = capsys.readouterr().out
        assert "cannot be had  file none.jsonl: no such file" in told
        assert "everything is at hand" not in told


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


def test_every_length_and_file_of_a_split_is_told_once(model, capsys):
    """Cells that read other files of one split add to its size; those of the same file do not."""
    given = ["prefetch", "--dry-run", "method=closed_book", "tokenizer=approx4"]
    given.append("model@root=scripted")
    names = [f"data/validation-0000{part}-of-00002.parquet" for part in (0, 1)]
    sizes = [len(model.repositories[made_hub.SYNTH][name]) for name in names]
    lengths = f"length={made_hub.LENGTH},{2 * made_hub.LENGTH},{4 * made_hub.LENGTH}"
    asked = [resource.measure() for resource in resources(_built("task=oolong_synth", lengths))]
    assert sum(asked) == sum(sizes)
    asked = resources(_built("task=mrcr_openai", "task.needles=2,8", "length=8k"))
    parts = model.repositories[made_hub.MRCR].values()
    assert sum(resource.measure() for resource in asked) == sum(map(len, parts))
    assert main([*given, "task=mrcr_openai", "task.needles=2,8", "length=8k"]) == 0
    assert capsys.readouterr().out.count("openai/mrcr") == 1


def _built(*given):
    shared = ["method=closed_book", "tokenizer=approx4", "model@root=scripted"]
    return [build_cell(config) for config in expand([*given, *shared])]
