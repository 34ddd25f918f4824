"""Contexts of stored samples, regenerated from their tasks; run directories do not store them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlm_eval.config.trust import stored_cell
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.hub_client import closed
from rlm_eval.core.types import Sample
from rlm_eval.storage.imported import context_text

_LOG = logging.getLogger(__name__)


class ContextSource:
    """Regenerates the contexts of stored samples from their tasks.

    Makes no network request. Missing data are logged once per data set, and their text is not
    shown.
    """

    def __init__(
        self, *, trust: bool = False, known: Collection[str] = (), runs: Sequence[Path] = ()
    ) -> None:
        """`trust`, `known` as in `config.trust.stored_cell`; `runs` may hold imported contexts."""
        self._trust = trust
        self._runs = runs
        self._known = known
        self._cell: str | None = None
        self._told: set[str] = set()
        self._samples: dict[str, Sample] = {}

    def __call__(self, manifest: Mapping[str, Any], sample: str) -> str | None:
        """Canonical text of a sample's context; `None` where the task cannot regenerate it.

        Also `None` where the run would have to be trusted, and for protected tasks.
        """
        if manifest["facts"].get("protected"):
            return None
        if manifest["facts"].get("imported"):
            texts = (context_text(run, manifest["cell_id"], sample) for run in self._runs)
            return next((text for text in texts if text is not None), None)
        if manifest["cell_id"] != self._cell:
            self._samples, self._cell = {}, manifest["cell_id"]
            try:
                task = stored_cell(manifest, trust=self._trust, known=self._known).task
                with closed("a report does not ask the hub"):
                    self._samples = {s.id: s for s in task.samples()}
            except (RlmEvalError, OSError) as error:
                self._tell(str(error))
                return None
        found = self._samples.get(sample)
        try:
            return None if found is None else found.context.text()
        except (RlmEvalError, OSError) as error:
            self._tell(str(error))
            return None

    def _tell(self, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            _LOG.warning("contexts are not shown: %s", why)
