"""A cell that was run with a larger n than its last one: all its results are replayed."""

import asyncio

from runs import overrides, run_here, server_process

from rlm_eval.cli import main


def test_a_replay_holds_the_samples_of_a_larger_n(tmp_path, capsys):
    with server_process(tmp_path) as server:
        for n in (3, 2):
            given = overrides(tmp_path, server.url, "method=long_context", f"n={n}")
            assert asyncio.run(run_here(given)).finished
    capsys.readouterr()
    assert main(["replay", str(tmp_path / "test"), "--accept"]) == 0
    assert capsys.readouterr().out.endswith("3 of 3 came to the stored result\n")
    assert main(["replay", str(tmp_path / "test"), "--sample", "zzz"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "--sample zzz: no finished sample has an id that begins with this" in told.err
