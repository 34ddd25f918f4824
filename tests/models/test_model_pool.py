"""Several addresses of one model: who gets which call, one that dies, limits together."""

import asyncio

import pytest
from fake_server import FakeServer
from omegaconf import OmegaConf

from rlm_eval.config.builder import build
from rlm_eval.core.errors import ConfigError, EndpointGone, EndpointUnusable
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.http import endpoint_pool
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.http.rate_limiter import CALLER

ASK = [Message("user", "hello")]


def model(*servers, **fields):
    urls = [server.url for server in servers]
    return OpenAIModel("m", "m", urls, retries=0, backoff_s=0.01, **fields)


async def test_a_sample_stays_with_one_server_and_new_ones_go_to_the_least_loaded():
    async with FakeServer(latency=0.05) as one, FakeServer(latency=0.05) as two:
        async with model(one, two, preflight=False).open() as client:

            async def sample(name):
                CALLER.set(name)
                for _ in range(3):
                    await client.complete(ASK, Sampling())

            await asyncio.gather(*(sample(f"s{n}") for n in range(6)))
        assert (len(one.log), len(two.log)) == (9, 9)


async def test_a_server_that_dies_is_left_out_and_reported(capsys, monkeypatch):
    monkeypatch.setattr(endpoint_pool, "PATIENCE_S", 0.05)
    monkeypatch.setattr(endpoint_pool, "_PAUSE_S", 0.01)
    async with FakeServer() as one, FakeServer() as two:  # noqa: SIM117 - the servers end first
        async with model(one, two, patience_s=0.3).open() as client:
            await client.check()
            CALLER.set("a")
            assert (await client.complete(ASK, Sampling())).text
            asked = len(two.log)
            await one.__aexit__()
            for _ in range(3):
                assert (await client.complete(ASK, Sampling())).text
            assert len(two.log) == asked + 3
            assert capsys.readouterr().err.count(f"{one.url} is left out, 1 left") == 1
            await two.__aexit__()
            with pytest.raises(EndpointGone):
                await client.complete(ASK, Sampling())


async def test_one_that_does_not_work_is_left_out_at_the_start(capsys):
    async with (
        FakeServer() as one,
        FakeServer(models=["other"]) as two,
        model(one, two).open() as client,
    ):
        assert (await client.check()).model == "m-fake-1"
        assert f"{two.url} is left out" in capsys.readouterr().err
    async with model(one, two).open() as client:
        with pytest.raises(EndpointUnusable):  # none is left
            await client.check()


@pytest.mark.parametrize(("total", "of", "found"), [(32, 3, [11, 11, 10]), (1, 2, [1, 1])])
def test_the_limit_is_one_for_all_addresses(total, of, found):
    assert endpoint_pool.parts(total, of) == found


def test_a_list_is_taken_from_a_configuration_and_wrong_ones_are_refused():
    target = {"_target_": "rlm_eval.models.http.model.OpenAIModel", "name": "m", "model": "m"}
    node = OmegaConf.create({**target, "base_url": ["http://a:1/v1", "http://b:1/v1"]})
    assert build(node, "root").addresses == ("http://a:1/v1", "http://b:1/v1")
    for wrong in (["http://a:1/v1", "http://a:1/v1"], [""], [1]):
        with pytest.raises(ConfigError, match="base_url="):
            build(OmegaConf.create({**target, "base_url": wrong}), "root")
