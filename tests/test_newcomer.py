"""What a newcomer's plug-in does wrong is told in one line that says what to write."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from rlm_eval import evaluate
from rlm_eval.config.grid import expand
from rlm_eval.core.errors import ConfigError
from rlm_eval.models import EndpointInfo, Sampling


class Client:
    async def complete(self, messages, sampling):
        return "forty-two"

    async def check(self):
        return EndpointInfo("m")

    async def account(self):
        return None


@dataclass(frozen=True)
class Model:
    name: str = "m"
    window: int | None = None
    price: str | None = None
    sampling: Sampling = field(default_factory=Sampling)

    @asynccontextmanager
    async def open(self):
        yield Client()


async def test_a_client_that_returns_text_is_told(tmp_path):
    settings = {"tokenizer": "approx4", "length": "1k", "n": 1, "folder": tmp_path / "run"}
    run = await evaluate("s_niah", "long_context", root=Model(), **settings)
    (why,) = run.unfinished.values()
    assert f"{__name__}.Client.complete returned 'forty-two', not a `Reply`" in why


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("top_k=8", "method.top_k"),
        ("haystack=essays", "task.haystack"),
        ("calls=3", "limits.calls"),
    ],
)
def test_a_field_without_its_place_is_told_where_it_is(override, place):
    with pytest.raises(ConfigError, match=f"you may mean .*{place}"):
        expand(["task=s_niah", "method=rag", "model@root=scripted", override])
