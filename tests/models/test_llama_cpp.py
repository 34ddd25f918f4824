"""llama.cpp for real, with the shipped configurations of SmolLM2 and the default model."""

import asyncio
import dataclasses
from pathlib import Path

import fetched
import psutil
import pytest
from omegaconf import OmegaConf

from rlm_eval.config.builder import build
from rlm_eval.core.errors import ContextOverflow, EndpointUnusable, MissingDependency
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.servers.llama_cpp import LlamaCpp, usable_cores
from rlm_eval.models.servers.weights import Weights
from tests.support.processes import command

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
COLD = Sampling(temperature=0.0, max_output_tokens=24)


def shipped(name, window):
    node = OmegaConf.load(CONFIGS / f"{name}.yaml")
    model = build(OmegaConf.merge(node, {"window": window, "retries": 1}), "root")
    fetched.weights(model)
    return model


@pytest.mark.slow
async def test_the_life_of_a_server():
    model = shipped("smollm2", 1024)
    async with model.open() as client, dataclasses.replace(model, name="sub").open() as sub:
        info = await client.check()
        assert info.engine == "llama.cpp"
        assert info.version.startswith("xllamacpp 20")
        assert info.window == 1024
        assert info.revision == f"sha256:{model.engine.weights.sha256}"
        assert len(info.chat_template_hash) == 32
        assert "key" not in str(info.command).lower()
        # A second turn reads the first one's prefix from the cache.
        turn = [Message("user", "Name three colours of the rainbow. " * 8)]
        first = await client.complete(turn, COLD)
        assert first.text
        assert 0 < first.usage.output <= 24
        turn += [Message("assistant", first.text), Message("user", "And a fourth?")]
        second = await sub.complete(turn, COLD)
        assert second.usage.cached >= first.usage.input - 8
        assert second.usage.input > second.usage.cached
        again = await client.complete(turn, COLD)
        assert again.text == second.text
        streamed = dataclasses.replace(model, stream=True)
        async with streamed.open() as streaming:
            reply = await streaming.complete(turn, COLD)
            assert reply.text == second.text
            assert 0 < reply.first_token_seconds <= reply.service_seconds
            assert reply.usage.output == second.usage.output
        with pytest.raises(ContextOverflow, match=r"exceeds the available context size"):
            await client.complete([Message("user", "word " * 2000)], COLD)
        # The server counts a prompt as it will bill it, template included.
        assert await client.count_tokens(turn) == second.usage.input
        # A kill in the middle of a request, a stop in the middle of one, and a second kill.
        long = Sampling(temperature=1.0, max_output_tokens=800)

        async def killed() -> None:
            task = asyncio.create_task(client.complete([Message("user", "Tell a story.")], long))
            await asyncio.sleep(0.7)
            processes = psutil.Process().children(recursive=True)
            next(p for p in processes if "llama_cpp" in "".join(command(p)[2:3])).kill()
            assert (await task).text

        await killed()  # it is started again, once a cell
        task = asyncio.create_task(client.complete([Message("user", "Tell a story.")], long))
        await asyncio.sleep(0.5)
        task.cancel()
        processes = psutil.Process().children(recursive=True)
        with pytest.raises(EndpointUnusable, match="the server of .* is gone again, exit code 137"):
            await killed()
    assert not [p for p in processes if p.is_running()]


@pytest.mark.slow
async def test_the_default_model_answers():
    model = shipped("coder-0.5b", 2048)
    async with model.open() as client:
        ask = [Message("user", "What is 2 + 3? Reply with the number only.")]
        assert "5" in (await client.complete(ask, COLD)).text


def test_the_command_line_holds_no_key_and_slots_share_the_context(monkeypatch, tmp_path):
    file = tmp_path / "a.gguf"
    file.write_bytes(b"x")
    monkeypatch.setattr(LlamaCpp, "version", lambda self: "xllamacpp test")
    engine = LlamaCpp(Weights(file="a.gguf", path=str(file)), slots=4)
    launch = engine.launch("m", 2048, 4711, "secret")
    settings = launch.command[-1]
    assert '"n_ctx": 8192' in settings
    assert '"port": 4711' in settings
    assert "secret" not in " ".join(launch.command)
    cores = usable_cores()
    assert f'"threads": {cores - 1 if cores > 2 else cores}' in settings
    monkeypatch.setattr(LlamaCpp, "version", lambda self: None)
    with pytest.raises(MissingDependency, match=r"-e '\.\[local\]"):
        engine.launch("m", 2048, 4711, "secret")
