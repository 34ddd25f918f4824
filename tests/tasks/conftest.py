"""A cache folder of its own for every test; the ranks of tiktoken from the machine's."""

import fetched
import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def ranks():
    return fetched.ranks()  # before the cache folder is another one


@pytest.fixture
def o200k(ranks, monkeypatch):
    """Name of the default tokenizer."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(ranks.parent))
    return "o200k_base"
