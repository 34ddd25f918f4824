"""Files that tests need beyond the packages: fetched as a run would fetch them, or skipped."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from rlm_eval.core.errors import MissingDependency
from rlm_eval.core.tokens import DEFAULT, locate_ranks
from rlm_eval.models import Model
from rlm_eval.models.servers.weights import WeightsUnavailableError


def ranks(name: str = DEFAULT) -> Path:
    """The verified ranks of a tiktoken encoding."""
    try:
        return locate_ranks(name)
    except MissingDependency as error:
        pytest.skip(str(error))


def weights(*models: Model) -> None:
    """Has the weights of these models, which llama.cpp serves, in the cache."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    try:
        for model in models:
            model.engine.weights.locate()
    except WeightsUnavailableError as error:
        pytest.skip(str(error))
