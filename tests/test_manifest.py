"""What a manifest says of the machine."""

import subprocess

import pytest

from rlm_eval.core.git import git_state
from rlm_eval.runner.manifest import processor


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model name\t: One\nflags\t: sse2 avx2 avx512f avx512_bf16\n", "One with avx512_bf16"),
        ("model name\t: Two\nflags\t: sse2 avx2\n", "Two with avx2"),
        ("model name\t: Old\nflags\t: sse2\n", "Old with no vector units known"),
    ],
)  # fmt: skip
def test_a_processor_is_told_with_its_widest_vector_units(tmp_path, text, told):
    (tmp_path / "cpuinfo").write_text(text)
    assert processor(tmp_path / "cpuinfo") == told


def test_the_revision_of_the_code_is_read_once_in_a_process(monkeypatch):
    asked = []
    run = subprocess.run

    def counted(command, **options):
        asked.append(command)
        return run(command, **options)

    git_state.cache_clear()
    monkeypatch.setattr(subprocess, "run", counted)
    first = git_state()
    processes = len(asked)
    assert git_state() == first
    assert len(asked) == processes
