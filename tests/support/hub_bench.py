"""Fixtures of tests that need a hub: its files, and one on loopback that this process asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import made_hub
import pytest
from fake_hub import FakeHub
from huggingface_hub import constants


@pytest.fixture(scope="session")
def files() -> Mapping[str, Mapping[str, bytes]]:
    """Contents by repository and path."""
    return made_hub.repositories()


@pytest.fixture
def hub(
    files: Mapping[str, Mapping[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeHub]:
    """The hub of this test, with caches of its own; the environment has it for children too."""
    monkeypatch.setenv("BROWSECOMP_PLUS_CANARY", made_hub.CANARY)
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    with FakeHub(files, made_hub.COMMITS, made_hub.CARDS) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        address = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        yield hub


@pytest.fixture
def corpus_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the library that reads the corpus, which takes seconds to import."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf" / "datasets")
