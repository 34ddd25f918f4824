"""A cell that was run with a larger n than its last one, or whose data changed since."""

import asyncio
import json

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


def test_results_whose_samples_are_not_drawn_any_more_are_named(tmp_path, capsys):
    rows = [
        {"context": f"The colour of lamp {i} is grey.", "question": f"Lamp {i}?", "answer": "grey"}
        for i in range(4)
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    custom = ["task=custom", f"task.path={data}", "method=long_context", "n=4"]
    with server_process(tmp_path) as server:
        given = overrides(tmp_path, server.url, *custom)
        assert asyncio.run(run_here(given)).finished
    assert main(["replay", str(tmp_path / "test")]) == 0
    assert capsys.readouterr().out.endswith("4 of 4 came to the stored result\n")
    rows[0]["question"] = "Which lamp?"  # one is edited, one deleted
    data.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    assert main(["replay", str(tmp_path / "test")]) == 1
    told = capsys.readouterr().out
    assert told.endswith("2 of 4 came to the stored result\n")
    assert told.count("not drawn any more: the data or the task changed") == 2
    assert main(["replay", str(tmp_path / "test"), "--accept"]) == 1
    assert "not recorded: 2 of 4 results came out the same" in capsys.readouterr().out
