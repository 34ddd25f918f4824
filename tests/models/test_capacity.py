"""What a running server tells of its cache and slots, and what follows for requests at once."""

import asyncio
import json

import pytest
from fake_server import FakeServer

from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.http import capacity
from rlm_eval.models.http.capacity import Capacity
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.http.rate_limiter import AdaptiveLimiter

BLOCKS = 'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="573"} 1.0\n'
PROPS = json.dumps({"total_slots": 3, "default_generation_settings": {"n_ctx": 4096}})
INFO = {"max_total_num_tokens": 901109, "max_running_requests": 48, "tp_size": 2}


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", None),
        (f"# HELP vllm:x\n{BLOCKS}", 16 * 573),
        (BLOCKS + BLOCKS.replace('"0"', '"1"'), 16 * 573),  # each tells the blocks of both
        (2 * BLOCKS.replace("engine=", 'kv_cache_size_tokens="9000",engine='), 18_000),
        (BLOCKS.replace("573", "None"), None),
        (BLOCKS.replace("engine=", 'kv_cache_size_tokens="9000",engine='), 9000),
        ('sglang:max_total_num_tokens{model_name="m",tp_rank="0"} 471258.0\n', 471258),
        ("".join(f'sglang:max_total_num_tokens{{dp_rank="{d}",tp_rank="{t}"}} 1e5\n'
                 for d in (0, 1) for t in (0, 1)), 200_000),
        ("llamacpp:prompt_tokens_total 3\n", None),
    ],
)  # fmt: skip
def test_tokens_by_metrics(text, tokens):
    assert capacity.of_metrics(text) == tokens


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (PROPS, Capacity(None, 3)),
        (json.dumps(INFO), Capacity(901109, 48)),
        (json.dumps({"version": "1", "internal_states": [INFO]}), Capacity(901109, 48)),
        ("[1]", Capacity()),
        ("<html>", Capacity()),
        ('{"total_slots": "many", "max_total_num_tokens": -1}', Capacity()),
        (None, Capacity()),
    ],
)
def test_pages(page, told):
    assert capacity.of_page(None if page is None else page.encode()) == told


@pytest.mark.parametrize(
    ("pages", "stated", "price", "at_once", "tokens"),
    [
        ({"/metrics": BLOCKS}, None, None, 256, 9168),
        ({"/metrics": BLOCKS}, 4, None, 4, 9168),
        ({"/props": PROPS}, None, None, 3, None),
        ({"/get_server_info": json.dumps(INFO)}, None, None, 48, 901109),
        ({"/props": PROPS}, None, "gpt-5", 32, None),  # an endpoint that bills is not asked more
        ({}, None, None, 32, None),
    ],
)
async def test_requests_at_once_follow_from_what_the_server_tells(
    pages, stated, price, at_once, tokens, capsys
):
    async with FakeServer(pages=pages) as server:
        model = OpenAIModel("m", "m", base_url=server.url, concurrency=stated, price=price)
        async with model.open() as client:
            info = await client.check()
            assert client.gate.ceiling == at_once
            assert info.cache_tokens == tokens
    told = capsys.readouterr().err
    assert (f": {at_once} requests at once at most" in told) == (stated is None and at_once != 32)


async def test_what_the_cache_does_not_hold_waits_here():
    """Five requests of 4,000 tokens on a cache of 9,168: two at once, the others queue."""
    async with FakeServer(pages={"/metrics": BLOCKS}, latency=0.05) as server:
        async with OpenAIModel("m", "m", base_url=server.url).open() as client:
            await client.check()
            ask = [Message("user", "word " * 800)]
            calls = (client.complete(ask, Sampling(max_output_tokens=3000)) for _ in range(5))
            replies = await asyncio.gather(*calls)
        assert server.peak == 2
    assert max(reply.queue_seconds for reply in replies) > 0.05


def test_processes_share_what_the_server_takes():
    gate = AdaptiveLimiter(32)
    gate.capacity = 8000.0
    gate.divide(4)
    gate.set_limit(256)
    assert gate.ceiling == 64
    gate.set_limit(256)  # another client of the same endpoint
    assert gate.ceiling == 64
