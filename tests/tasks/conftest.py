"""A cache folder of its own for every test; the ranks of tiktoken where this machine has them."""

import pytest

from rlm_eval.tokens import find_ranks

_RANKS = find_ranks("o200k_base")  # before the cache folder is another one


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def o200k(monkeypatch):
    """Name of the default tokenizer; skips where its ranks would have to be fetched."""
    if _RANKS is None:
        pytest.skip("no verified o200k_base ranks on this machine; any run fetches them once")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(_RANKS.parent))
    return "o200k_base"
