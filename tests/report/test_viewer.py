"""The viewer's door: nothing but the key of this start opens it."""

import socket
import threading
import urllib.error
import urllib.request

import made_runs as runs
import pytest

from rlm_eval.report.viewer.server import open_server


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
