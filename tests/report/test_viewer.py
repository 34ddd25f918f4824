"""The viewer's door: nothing but the key of this start opens it."""

import socket
import threading
import urllib.error
import urllib.request

import made_runs as runs
import pytest

from rlm_eval.report.viewer.server import open_server
from rlm_eval.report.viewer.shelf import ViewerData
from rlm_eval.storage.search import samples_with


@pytest.mark.parametrize("key", ["%C3%A9", "%ff", "x", "", "%ED%A0%80"])
def test_the_viewer_refuses_any_wrong_key(tmp_path, key):
    folder = tmp_path / "demo"
    folder.mkdir()
    server, address = open_server([runs.write(folder)])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{address.partition('?')[0]}?key={key}", timeout=10)
        assert caught.value.code == 403
        with urllib.request.urlopen(address, timeout=10) as page:
            assert page.status == 200
        host = server.server_address[:2]
        with socket.create_connection(host, timeout=10) as raw:
            raw.sendall(b"GET http://[ HTTP/1.0\r\n\r\n")
            assert b" 400 " in raw.makefile("rb").readline()  # no traceback
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_search_finds_questions_replies_code_and_golds(tmp_path):
    run = runs.write(tmp_path, lengths=(1024,), n=3)
    shelf = ViewerData([run])
    for words, count in (
        ("key of the RED door", 6), ("LLM_QUERY", 3), ("7001", 2), ("onerror=\"document", 6),
        ("no such words", 0), ("s1-1024", 2),
    ):  # fmt: skip
        assert len(shelf.search({"words": words})["found"]) == count, words
    folder = run / "cells" / "rlm-1024"
    fast = samples_with(folder, "llm_query")
    (folder / "writers").mkdir()
    for name in "ab":
        (folder / "writers" / f"{name}.json").write_text("{}")
    assert samples_with(folder, "llm_query") == fast == {"s0-1024", "s1-1024", "s2-1024"}


def test_runs_of_one_cell_keep_their_own_trajectories(tmp_path):
    """Rows of the second run are repeats, numbered anew; each opens what its run stored."""
    folders = []
    for name, reply in (("one", runs.HOSTILE), ("two", "another reply")):
        (tmp_path / name).mkdir()
        folders.append(runs.write(tmp_path / name, lengths=(1024,), n=1, reply=reply))
    shelf = ViewerData(folders)
    replies = {}
    for row in shelf.rows:
        if row["method"] == "long_context":
            address = f"{row['run']}/{row['cell']}/{row['sample']}/{row['epoch']}"
            found = shelf.trajectory({"sample": address})
            replies[row["run"], row["epoch"]] = found["texts"][found["item"]["calls"][0]["reply"]]
    assert replies == {("one", 0): runs.HOSTILE, ("two", 1): "another reply"}
