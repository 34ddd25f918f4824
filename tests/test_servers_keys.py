"""Planted keys: every byte that a run, a submission, an export and the viewer write is searched."""

import asyncio
import base64
import html
import json
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

import pandas as pd
import pytest
from aiohttp import web
from fake_server import FakeServer
from runs import ROOT, cells_of, overrides

from rlm_eval.commands.submit import main as submit
from rlm_eval.config.cell import build_cell
from rlm_eval.config.environment import MASK, masked_arguments
from rlm_eval.config.grid import expand
from rlm_eval.config.trust import stored_cell
from rlm_eval.core.errors import ConfigError, EndpointUnusable, ProviderError, RlmEvalError
from rlm_eval.core.secrets import Secrets
from rlm_eval.core.types import Message
from rlm_eval.models.http.anthropic import AnthropicModel
from rlm_eval.models.http.embedding import EmbeddingModel
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.report.viewer.server import open_server
from rlm_eval.report.viewer.shelf import ViewerData
from rlm_eval.storage.jsonl import dumped
from rlm_eval.suites.plan_file import read_record, write_record
from rlm_eval.suites.schema import load

PLANTED = {
    "PK": "pk-planted7Qx/Zr9Kw2Lm+Tt5&Vb8",  # in headers_env
    "HK": "planted4Jd/Np6Cs3Wf+Yg1",  # in headers, by oc.env
    "AK": "sk-planted2Hv/Mx8Rb5Zk+Qj9",  # in api_key_env
    "TAG": "planted-tag-5Fz/9Xc2Vn",  # in a field of the request, by oc.env
}
FRAGMENTS = [piece for value in PLANTED.values() for piece in re.findall(r"\w{6,}", value)]
USED = [
    "root.api_key_env=AK",
    "root.headers_env={x-portkey-api-key: PK}",
    'root.headers={x-other: "Bearer ${oc.env:HK}", x-title: a-title-of-mine}',
    "root.sampling.extra.user=${oc.env:TAG}",
    "method=long_context",
    "max_samples=1",
    "root.retries=0",
]
ECHOES = {
    "plain": lambda key: key,
    "slash": lambda key: key.replace("/", "\\/"),
    "unicode": lambda key: re.sub("(....)", r"\\u\1", key.encode("utf-16-be").hex()),
    "percent": lambda key: urllib.parse.quote(key, safe=""),
    "base64": lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
    "html": lambda key: html.escape(key),
}


@dataclass
class EchoServer(FakeServer):
    """Answers the first request; the next eight are errors whose bodies echo all keys."""

    seen: list = field(default_factory=list)
    """(path, headers) of every request."""

    async def _models(self, http):
        self.seen.append((http.path, dict(http.headers)))
        return await super()._models(http)

    async def _metrics(self, http):
        self.seen.append((http.path, dict(http.headers)))
        return await super()._metrics(http)

    async def _serve(self, http, shape):
        self.seen.append((http.path, dict(http.headers)))
        number = sum(path == http.path for path, _ in self.seen) - 1
        if number == 0 or number > len(ECHOES) + 2:
            return await super()._serve(http, shape)
        body = await http.json()
        keys = " ".join([*http.headers.values(), str(body.get("user"))])
        return echoed(number - 1, keys, body.get("stream"))


def echoed(number, keys, stream):
    """The error that answers a request: six escapes, an error in a 200, and one in another."""
    if number < len(ECHOES):
        told = "bad key " + list(ECHOES.values())[number](keys)
        if number in (1, 2):  # escapes of the JSON text itself
            body = f'{{"error": {{"message": "{told}", "code": "bad"}}}}'
        else:
            body = json.dumps({"error": {"message": told, "code": "bad"}})
        return web.Response(status=400, text=body, content_type="application/json")
    raw = json.dumps({"error": {"message": json.dumps({"told": f"bad key {keys}"})}})
    error = {"message": "Provider returned error", "code": 502, "metadata": {"raw": raw}}
    if number == len(ECHOES):
        return web.json_response({"error": error}, status=502)
    choice = {"message": {"content": "no"}, "finish_reason": "error", "error": error}
    if stream:
        text = f"data: {json.dumps({'choices': [choice | {'delta': {}}]})}\n\n"
        return web.Response(text=text, content_type="text/event-stream")
    return web.json_response({"choices": [choice]})


def plain(data: bytes) -> str:
    """`data` with every escape undone, and what base64 in it says."""
    text = data.decode("utf-8", "replace")
    for _ in range(4):
        text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
        text = html.unescape(urllib.parse.unquote(text)).replace("\\", "")
    found = [text]
    for run in re.findall(r"[A-Za-z0-9+/]{12,}", text):
        for offset in range(4):
            part = run[offset:]
            decoded = base64.b64decode(part[: len(part) // 4 * 4])
            found.append(decoded.decode("latin-1"))
    return "\n".join(found)


def leaks(data: bytes) -> list[str]:
    text = plain(data)
    return [piece for piece in FRAGMENTS if piece in text]


def leaks_under(folder) -> dict:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if path.suffix == ".parquet":
                data += pd.read_parquet(path).to_json(orient="records").encode()
            if told := leaks(data):
                found[str(path)] = told
    return found


def command(*arguments, env=None, code=None):
    line = [sys.executable, *(["-c", code] if code else ["-m", "rlm_eval"]), *arguments]
    return subprocess.run(
        line, env={**os.environ, "PYTHONPATH": str(ROOT), **(PLANTED if env is None else env)},
        capture_output=True, check=False,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def planted(monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)


def test_the_search_for_keys_finds_them():
    for echo in ECHOES.values():
        assert leaks(echo(PLANTED["PK"]).encode())


@pytest.mark.parametrize(
    "stream", [pytest.param(False, marks=pytest.mark.slow), True]
)  # each takes 10 s
async def test_keys_are_sent_with_every_request_to_servers_and_written_nowhere(tmp_path, stream):
    async with EchoServer(metrics=True) as server:
        given = overrides(tmp_path, server.url, *USED, "n=10", f"root.stream={stream}")
        done = await asyncio.to_thread(command, "run", *given)
        again = await asyncio.to_thread(command, "run", *given)
        seen = server.seen
    assert {path for path, _ in seen} >= {"/v1/chat/completions", "/v1/models", "/metrics"}
    for path, headers in seen:
        assert headers["x-portkey-api-key"] == PLANTED["PK"], path
        assert headers["x-other"] == f"Bearer {PLANTED['HK']}", path
        assert headers["Authorization"] == f"Bearer {PLANTED['AK']}", path
        assert headers["x-title"] == "a-title-of-mine", path
    assert server.log[0]["request"]["user"] == PLANTED["TAG"]
    assert b"bad key" in done.stderr + again.stderr, "nothing was echoed: the test shows nothing"

    (manifest,) = (tmp_path / "test").glob("cells/*/manifest.json")
    stored = json.loads(manifest.read_bytes())
    assert stored["config"]["root"]["headers"] == {
        "x-other": "Bearer ${oc.env:HK}",
        "x-title": MASK,
    }
    assert stored["config"]["root"]["headers_env"] == {"x-portkey-api-key": "PK"}
    assert stored["config"]["root"]["sampling"]["extra"] == {"user": "${oc.env:TAG}"}
    assert not any("a-title-of-mine" in word for word in stored["command"])
    journal = (manifest.parent / "journal.jsonl").read_text()
    assert "[PK]" in journal
    assert "[AK]" in journal

    for kind in ("tables", "hub", "chat"):  # another process, which has no key in its environment
        exported = await asyncio.to_thread(
            command, "export", kind, str(tmp_path / "test"), "-o", str(tmp_path / kind), env={}
        )
        assert exported.returncode == 0, exported.stderr
        assert not leaks(exported.stdout + exported.stderr)
    for said in (done, again):
        assert not leaks(said.stdout + said.stderr)
    assert not leaks_under(tmp_path)

    http, address = open_server([tmp_path / "test"])
    first = ViewerData([tmp_path / "test"]).addresses[0]
    with http:
        serving = asyncio.create_task(asyncio.to_thread(http.serve_forever))
        pages = [
            address,
            address.replace("/?", "/list?"),
            address.replace("/?", f"/trajectory?sample={urllib.parse.quote(first, safe='')}&"),
        ]
        for page in pages:
            shown = await asyncio.to_thread(lambda url=page: urllib.request.urlopen(url).read())
            assert not leaks(shown)
        http.shutdown()
        await serving


@pytest.mark.parametrize("kind", [OpenAIModel, AnthropicModel, EmbeddingModel])
async def test_every_address_of_servers_gets_the_secret_headers(kind, monkeypatch):
    monkeypatch.setenv("PK", PLANTED["PK"])
    seen = []

    async def answer(http):
        seen.append((http.path, http.headers.get("x-portkey-api-key")))
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    model = kind("x", "m", url, headers_env={"x-portkey-api-key": "PK"}, retries=0)
    async with model.open() as client:
        with pytest.raises(ProviderError):
            await client.check()
        await client.count_tokens([Message("user", "x")])
        await client.account()
    await runner.cleanup()
    asked = {path for path, _ in seen}
    assert {"/v1/models", "/metrics", "/tokenize", "/v1" + model.dialect.path} <= asked
    assert {value for _, value in seen} == {PLANTED["PK"]}


@pytest.mark.usefixtures("planted")
def test_jobs_hold_names_of_keys_and_run_with_the_values_of_their_machine(
    tmp_path, capsys, monkeypatch
):
    given = overrides(tmp_path, "http://127.0.0.1:9/v1", *USED, "n=1", "cluster=slurm", "--plan")
    assert submit(given) == 0
    shown = capsys.readouterr()
    assert not leaks((shown.out + shown.err).encode())
    assert not leaks_under(tmp_path)
    (config,) = json.loads((tmp_path / "test/jobs/0.json").read_bytes())["configs"]
    assert config["root"]["headers"]["x-other"] == "Bearer ${oc.env:HK}"
    assert config["root"]["headers"]["x-title"] == "a-title-of-mine"  # the job must send it
    monkeypatch.setenv("HK", "another-key-of-the-node")
    monkeypatch.delenv("PK")
    done = command("job", str(tmp_path / "test"), "0", env=dict(os.environ))
    assert done.returncode == 2
    assert b"the environment variable PK is not set; export PK=" in done.stderr
    monkeypatch.delenv("HK")
    done = command("job", str(tmp_path / "test"), "0", env=dict(os.environ))
    assert b"the environment variable HK is not set; export HK=" in done.stderr
    monkeypatch.setenv("HK", PLANTED["HK"])
    monkeypatch.setenv("TAG", "another-tag-than-at-submit")  # not run-time: another cell
    done = command("job", str(tmp_path / "test"), "0", env=dict(os.environ))
    assert done.returncode == 2
    assert b"differs, or an environment variable that its configuration reads" in done.stderr


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('cluster.setup=["export AK=${oc.env:AK}"]', r"export AK=\[AK\]"),
        ('cluster.slurm={export: "ALL,AK=${oc.env:AK}"}', r"--export=ALL,AK=\[AK\]"),
        ('cluster.slurm={teardown: ["X=${oc.env:AK} tell"]}', r"X=\[AK\] tell"),
    ],
)
def test_a_script_of_the_cluster_gets_no_key(tmp_path, monkeypatch, line, told):
    squeue = tmp_path / "bin" / "squeue"  # a machine without Slurm is refused before the scripts
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent), prepend=os.pathsep)
    given = overrides(tmp_path, "http://127.0.0.1:9/v1", "n=1", "cluster=slurm", line)
    with pytest.raises(ConfigError, match=f"{told}: a secret would be written"):
        submit(given)
    assert not leaks_under(tmp_path)


def test_a_traceback_holds_no_key():
    code = (
        "from rlm_eval.cli import guard_output; "
        "from rlm_eval.models.http.keys import from_environment; "
        "guard_output(); key = from_environment('PK', 'x', 'y'); import threading; "
        "t = threading.Thread(target=lambda: {}[key]); t.start(); t.join(); "
        "raise RuntimeError(f'it was {key!r}')"
    )
    done = command(code=code)
    assert done.returncode == 1
    assert b"RuntimeError: it was '[PK]'" in done.stderr
    assert b"KeyError: '[PK]'" in done.stderr
    assert not leaks(done.stdout + done.stderr)


# -- what is refused


@pytest.mark.parametrize(
    "url",
    [
        "http://planted7Qx:planted4Jd@127.0.0.1:9/v1",
        "http://planted7Qx@127.0.0.1:9/v1",
        "planted7Qx:planted4Jd@127.0.0.1:9/v1",
        "http://127.0.0.1:9/v1?api_key=planted7Qx",
        "http://127.0.0.1:9/v1?api-version=1&subscription-key=planted7Qx",
        "http://127.0.0.1:9/v1?key=planted7Qx",
        "http://127.0.0.1:9/v1?x=sk-planted7Qxplanted4Jd",
        "http://127.0.0.1:9/sk-planted7Qxplanted4Jd/v1",
    ],
)
@pytest.mark.parametrize("of", ["literal", pytest.param("variable", marks=pytest.mark.slow)])
def test_keys_in_an_address_are_refused_with_the_way_out(tmp_path, url, of):
    given = f'"{url}"' if of == "literal" else "${oc.env:THE_URL}"
    more = overrides(tmp_path, "http://x/v1", f"root.base_url={given}")
    done = command("run", *more, env={"THE_URL": url})
    assert done.returncode == 2
    assert b"headers_env=" in done.stderr
    assert not leaks(done.stdout + done.stderr)
    assert not (tmp_path / "test").exists()


async def test_servers_that_refuse_a_secret_header_name_its_variable(monkeypatch):
    monkeypatch.setenv("PK", PLANTED["PK"])
    async with FakeServer(api_key="another") as server:
        model = OpenAIModel("x", "m", server.url, headers_env={"x-api-key": "PK"})
        async with model.open() as client:
            with pytest.raises(EndpointUnusable, match="check the key in PK"):
                await client.check()


@pytest.mark.parametrize("query", ["api-version=2024-10-21", "max_tokens=5", "deployment=gpt"])
def test_other_parameters_of_an_address_are_no_keys(query):
    OpenAIModel("x", "m", base_url=f"http://127.0.0.1:9/v1?{query}")


@pytest.mark.parametrize(
    "given",
    [
        'root.headers={Authorization: "Bearer sk-planted7QxZr9Kw2Lm"}',
        "root.headers.x-portkey-api-key=planted7Qx",
        "root.headers={X-Auth-Token: planted7Qx}",
        "root.headers={x-anything: sk-planted7QxZr9Kw2Lm}",
        "root.headers_env={Authorization: sk-planted7QxZr9Kw2Lm}",
        "root.api_key_env=sk-planted7QxZr9Kw2Lm",
        "root.api_key_env=hf_planted7QxZr9Kw2LmTt5Vb8Nq",  # could be a name, by its characters
        "root.headers_env={x-api-key: planted7QxZr9Kw2LmTt5Vb8}",
    ],
)
def test_literal_keys_in_headers_are_refused_before_anything_is_written(tmp_path, given):
    done = command("run", *overrides(tmp_path, "http://127.0.0.1:9/v1", given))
    assert done.returncode == 2
    assert b"NAME" in done.stderr
    assert not leaks(done.stdout + done.stderr)
    assert not (tmp_path / "test").exists()


@pytest.mark.parametrize(
    "given",
    [
        "root.sampling.extra.api_key=planted7Qx",
        "root.sampling.extra={litellm: {password: planted7Qx}}",
        "++root.engine.environment.HF_TOKEN=planted7Qx",
        'cluster.setup=["module load x", "export OPENAI_API_KEY=planted7Qx"]',
    ],
)
def test_literal_keys_in_other_places_are_refused(given):
    with pytest.raises(ConfigError, match="looks like a key") as caught:
        expand(["task=s_niah", "method=rlm", "model@root=openai", "root.model=x", given])
    assert not leaks(str(caught.value).encode())


@pytest.mark.parametrize(
    "given",
    [
        'cluster.setup=["export HF_TOKEN=$HF_TOKEN OMP_NUM_THREADS=4"]',
        "root.sampling.extra.stop_token=x",
        "root.headers={anthropic-beta: prompt-caching-2024-07-31, x-title: ours}",
        "root.max_tokens_field=max_completion_tokens",
        "root.headers_env={Authorization: LOGIN, api-key: AZURE_OPENAI_API_KEY_2, x-api-key: K}",
        "root.headers_env.api-key=AZURE_KEY",
    ],
)
def test_other_literals_are_taken(given):
    expand(["task=s_niah", "method=rlm", "model@root=openai", "root.model=x", given])


async def test_a_missing_variable_ends_the_run_before_any_servers_request(tmp_path):
    async with EchoServer() as server:
        given = overrides(
            tmp_path, server.url, "model@sub=openai", "sub.model=other", "method=rlm",
            f"sub.base_url={server.url}", "sub.headers_env={x-key: NOT_SET_HERE}",
        )  # fmt: skip
        done = await asyncio.to_thread(command, "run", *given)
    assert done.returncode == 2
    assert b"the environment variable NOT_SET_HERE is not set; export NOT_SET_HERE=" in done.stderr
    assert not server.seen


def test_a_variable_of_oc_env_that_is_missing_is_named():
    with pytest.raises(ConfigError, match="NOT_SET_HERE is not set; export NOT_SET_HERE="):
        expand(["task=s_niah", "method=rlm", "root.headers={a: '${oc.env:NOT_SET_HERE}'}"])


def test_a_key_with_white_space_at_its_ends_is_trimmed_and_one_inside_refused(monkeypatch):
    monkeypatch.setenv("EDGE", " planted-edge-key\n")
    model = OpenAIModel("x", "m", base_url="http://127.0.0.1:9/v1", headers_env={"x-k": "EDGE"})
    assert model.secret_headers() == {"x-k": "planted-edge-key"}
    monkeypatch.setenv("EDGE", "planted-edge\nkey")
    with pytest.raises(ConfigError, match="EDGE .* line break or another character inside"):
        model.secret_headers()


def test_a_header_is_given_once():
    with pytest.raises(ValueError, match="x-key is given twice"):
        OpenAIModel("x", "m", "http://x/v1", headers={"X-Key": "a"}, headers_env={"x-key": "B"})


# -- what a stored configuration holds


def test_only_secrets_of_the_environment_stay_names(tmp_path, monkeypatch):
    monkeypatch.setenv("SMALL", "3")
    monkeypatch.setenv("MODEL_NAME", "a-model-of-mine")
    monkeypatch.setenv("PLACE", str(tmp_path))
    monkeypatch.setenv("NUMBER", "16384000")
    monkeypatch.setenv("LISTED", "['one-secret-text', 'b']")
    monkeypatch.setenv("SHORT", "abc")
    given = [
        "task=s_niah", "method=long_context", "model@root=openai", "length=1k", "name=test",
        "root.base_url=http://127.0.0.1:9/v1", "tokenizer=approx4", "results=${oc.env:PLACE}",
        'n="${oc.decode:${oc.env:SMALL}}"', "root.model=${oc.env:MODEL_NAME}",
        'root.tpm="${oc.decode:${oc.env:NUMBER}}"',
        'root.remark="${oc.env:NONE,a default of ours}"',
        'root.sampling.extra.stop="${oc.decode:${oc.env:LISTED}}"',
        "root.headers.x-short=${oc.env:SHORT}",
        "model@sub=openai", "sub.headers=${root.headers}", "sub.base_url=http://127.0.0.1:9/v1",
        "sub.model=b",
    ]  # fmt: skip
    (cell,) = cells_of(given)
    root = cell.resolved["root"]
    assert (cell.resolved["n"], root["model"], root["name"]) == (3, *["a-model-of-mine"] * 2)
    assert (cell.resolved["results"], root["tpm"]) == (str(tmp_path), 16384000)
    assert root["remark"] == "a default of ours"
    assert root["sampling"]["extra"]["stop"] == "${oc.decode:${oc.env:LISTED}}"
    assert root["headers"] == cell.resolved["sub"]["headers"] == {"x-short": "${oc.env:SHORT}"}
    model = cell.models["root"]
    assert (model.headers, model.tpm) == ({"x-short": "abc"}, 16384000)
    assert model.sampling.extra["stop"] == ["one-secret-text", "b"]
    line = json.loads(dumped({"a": "of one-secret-text", "n": 16384000, "m": "a-model-of-mine"}))
    assert line == {"a": "of [LISTED]", "n": 16384000, "m": "a-model-of-mine"}
    assert stored_cell({"config": cell.resolved}).id == cell.id


def test_headers_that_come_from_one_variable_stay_its_name(monkeypatch):
    monkeypatch.setenv("GIVEN", "{x-api-key: 'planted7QxZr9', x-title: ours}")
    (config,) = expand(
        ["task=s_niah", "method=rlm", "model@root=openai", "root.model=x",
         'root.headers="${oc.decode:${oc.env:GIVEN}}"']
    )  # fmt: skip
    cell = build_cell(config)
    assert cell.models["root"].headers == {"x-api-key": "planted7QxZr9", "x-title": "ours"}
    assert cell.resolved["root"]["headers"] == "${oc.decode:${oc.env:GIVEN}}"
    assert json.loads(dumped({"a": "planted7QxZr9 is ours"})) == {"a": "[GIVEN] is ours"}


def test_the_plan_of_a_suite_holds_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("PK", PLANTED["PK"])
    OpenAIModel("x", "m", "http://x/v1", headers_env={"a": "PK"}).check_keys()
    given = ["root.headers={a: literal, b: '${oc.env:PK}'}", f"root.remark={PLANTED['PK']}"]
    write_record(tmp_path, load("smoke"), given, [])
    assert not leaks_under(tmp_path)
    assert read_record(tmp_path).overrides == [
        f"root.headers={{a: {MASK}, b: '${{oc.env:PK}}'}}",
        "root.remark=[PK]",
    ]


def test_a_stored_cell_is_read_where_its_variables_are_not_set(tmp_path, monkeypatch):
    monkeypatch.setenv("HK", PLANTED["HK"])
    (cell,) = cells_of(overrides(tmp_path, "http://127.0.0.1:9/v1", USED[2]))
    monkeypatch.delenv("HK")
    assert stored_cell({"config": cell.resolved}).id == cell.id
    with pytest.raises(ConfigError, match="HK is not set"):
        cells_of(overrides(tmp_path, "http://127.0.0.1:9/v1", USED[2]))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("root.headers={a: b, 'c-d': \"x, y\"}", "root.headers={a: M, 'c-d': M}"),
        ("++root.headers.a=b", "++root.headers.a=M"),
        ('headers={a: "${oc.env:P}", b: ${oc.env:B}}',) * 2,
        ("root.headers_env={a: B}", "root.headers_env={a: B}"),
        ("root.base_url=http://u:p@host/v1", "root.base_url=http://M@host/v1"),
        ("length=1k,2k", "length=1k,2k"),
    ],
)  # fmt: skip
def test_a_command_is_written_without_values_of_headers(given, shown):
    assert masked_arguments([given]) == [shown.replace("M", MASK)]


# -- redaction


def secrets(value, **more):
    found = Secrets()
    assert found.add("NAME", value, **more)
    return found


@pytest.mark.parametrize("value", [*PLANTED.values(), "kéy-ünd-\U0001f511-9Zt", 'quo"te\\s/9Zt'])
@pytest.mark.parametrize("depth", range(4))
def test_every_form_of_a_key_is_redacted_also_as_json_inside_json(value, depth):
    found = secrets(value, declared=True)
    for echo in [*ECHOES.values(), repr, json.dumps]:
        text = echo(value)
        for _ in range(depth):
            text = json.dumps({"raw": text}).replace("/", "\\/")
        shown = found.text(f"before {text} after")
        assert "[NAME]" in shown, text
        assert shown.startswith("before ")
        assert shown.endswith(" after")
        assert not [w for w in re.findall(r"\w{6,}", value) if w in plain(shown.encode())]


def test_a_key_that_a_server_cut_is_redacted():
    found = secrets("sk-planted2HvMx8Rb5ZkQj9", declared=True)
    assert (
        found.text("Incorrect API key: sk-planted2HvMx... Try") == "Incorrect API key: [NAME] Try"
    )


def test_basic_credentials_are_known_encoded_and_decoded():
    value = "Basic " + base64.b64encode(b"user:planted7QxZr9Kw2Lm").decode()
    found = secrets(value, declared=True)
    for text in (value, value[6:], "user:planted7QxZr9Kw2Lm", "planted7QxZr9Kw2Lm"):
        assert "planted" not in plain(found.text(text).encode())


def test_short_values_and_paths_are_secrets_only_where_declared(tmp_path):
    found = Secrets()
    assert not found.add("A", "prod")
    assert not found.add("B", str(tmp_path))
    assert not found.add("C", "  ")
    assert found.text(f"prod in {tmp_path}") == f"prod in {tmp_path}"
    assert found.add("A", "prod", declared=True)
    assert found.data(b"key prod, product") == b"key [A], product"
    assert found.text("prod") == "prod"
    assert found.json(b'"prod"') == b'"prod"'


def test_numbers_of_a_line_stay_numbers():
    found = secrets("12345678", declared=True)
    assert json.loads(found.json(b'{"n": 12345678, "t": "12345678"}')) == {
        "n": 12345678,
        "t": "[NAME]",
    }


def test_a_part_of_a_published_name_is_a_secret_only_where_declared():
    found = secrets("long_context")
    found.publish("s_niah-1024-long_context-0a1b")
    assert found.text("long_context") == "long_context"
    assert not found.add("NAME", "long_context")
    assert json.loads(found.json(b'{"a": "long_context"}')) == {"a": "long_context"}
    assert found.add("KEY", "long_context", declared=True)
    assert found.text("long_context") == "[KEY]"


def test_names_of_fields_stay_and_other_keys_of_mappings_are_redacted():
    found = secrets("finish_reason")
    line = {"finish_reason": "finish_reason", "a finish_reason": 1}
    assert found.tree(line) == {"finish_reason": "[NAME]", "a [NAME]": 1}


def test_error_texts_hold_no_key(monkeypatch):
    monkeypatch.setenv("PK", PLANTED["PK"])
    OpenAIModel("x", "m", "http://x/v1", headers_env={"a": "PK"}).check_keys()
    for echo in ECHOES.values():
        assert not leaks(str(ProviderError(echo(PLANTED["PK"]))).encode())
        assert not leaks(str(RlmEvalError(echo(PLANTED["PK"]))).encode())
