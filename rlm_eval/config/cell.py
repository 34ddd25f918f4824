"""One cell of a sweep: task x length x method x root x sub x seed, as typed objects.

The identity of a cell is the hash of the settings that determine its results (see `identity`); the
number of samples is excluded.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from omegaconf import DictConfig, OmegaConf

from rlm_eval.budget.limits import Limits
from rlm_eval.budget.prices import price_of, why_unknown
from rlm_eval.config.builder import build, build_method, locate, parse_length
from rlm_eval.config.environment import copier, settle, stored
from rlm_eval.config.identity import hashed, identity, settings, versions_in
from rlm_eval.core.errors import ConfigError
from rlm_eval.core.secrets import SECRETS
from rlm_eval.core.types import Density, Sample
from rlm_eval.methods.matched import MatchedProgram
from rlm_eval.protocols import JudgedTask, Method, Model, Task, missing
from rlm_eval.repl import ReplConfig
from rlm_eval.storage.plan import is_planned
from rlm_eval.storage.shards import Shard, parse_shard
from rlm_eval.tasks import default_n, has_own_length

_SHARED = ("n", "seed", "length", "tokenizer")  # run-level values that a task's fields inherit


@dataclass(frozen=True)
class Cell:
    """Everything one cell needs, built and checked."""

    task: Task
    method: Method
    models: Mapping[str, Model]
    """Models by slot: those that the method calls, and `judge` where the task needs one."""
    length: int
    """Nominal context length, tokens."""
    n: int
    """Samples."""
    seed: int
    epochs: int
    """Repetitions of each sample."""
    max_samples: int
    """Samples run concurrently."""
    limits: Limits
    """Limits of one sample."""
    budget: Limits
    """Budget of the whole cell or of this shard, earlier processes included."""
    repl: ReplConfig
    resolved: dict[str, Any]
    """The composed configuration, for jobs and the manifest; see `config.environment.stored`."""
    shard: Shard | None = None
    """The shard of the samples that this process runs; `None` = all."""
    origin: Mapping[str, Any] | None = None
    """For a counterfactual: the cell that it replays (`replay.shared`); `None` = an ordinary
    run."""
    in_former_folder: bool = False
    """True where the run stores it in a folder named by its method's `former_name` (`in_run`)."""

    @property
    def length_name(self) -> str:
        """The nominal length; `own` where the samples keep their natural length."""
        return "own" if has_own_length(self.task) else str(self.length)

    @property
    def folder(self) -> Path:
        """Its directory, relative to the run's."""
        return Path("shards" if self.shard else "cells") / self.plan_id

    @property
    def plan_id(self) -> str:
        """Identifier in a plan; for a shard it includes the shard."""
        return f"{self.id}/{self.shard.folder}" if self.shard else self.id

    def share(self, samples: list[Sample]) -> list[Sample]:
        """Select the samples that this process runs."""
        return samples if self.shard is None else self.shard.of_samples(samples)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Slots with billed calls whose price is unknown."""
        # Scripted models and servers that this process starts have no list price and no bill.
        return tuple(
            slot
            for slot, model in self.models.items()
            if getattr(model, "server", None) == "attach" and price_of(model.price) is None
        )

    def earlier_ids(self) -> list[str]:
        """Ids under lower `VERSION`s of its classes: cells whose results do not count for it."""
        names = dict.fromkeys((self.method.name, self._former_name))
        return [self._id(one, name) for one in self.earlier_identities() for name in names]

    def earlier_identities(self) -> list[str]:
        """Identities under lower `VERSION`s of its classes."""
        raised = {name: version for name, version in self.versions.items() if version > 1}
        counts = itertools.product(*(range(1, version + 1) for version in raised.values()))
        under = (dict(zip(raised, numbers, strict=True)) for numbers in counts)
        return [self.identity_under(v) for v in under if v != raised]

    @property
    def id(self) -> str:
        """Readable name and identity hash; the name of the cell's directory."""
        name = self._former_name if self.in_former_folder else self.method.name
        return self._id(self.identity, name)

    def in_run(self, run: Path) -> Cell:
        """Return the cell with the folder that this run directory uses for it.

        The identity is the same; the folder's name contains the method's table name of that
        release.
        """
        if self.in_former_folder or self._former_name == self.method.name:
            return self
        former = dataclasses.replace(self, in_former_folder=True)
        if is_planned(run, self.plan_id) or not run.exists():
            return self
        begun = any((run / kind / former.id).exists() for kind in ("cells", "shards"))
        return former if begun or is_planned(run, former.plan_id) else self

    @property
    def _former_name(self) -> str:
        return str(getattr(self.method, "former_name", self.method.name))

    def _id(self, identity: str, method: str) -> str:
        parts = [self.task.name, self.length_name, method]
        parts += dict.fromkeys(self.models[slot].name for slot in self.method.slots)
        name = re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(parts))
        return f"{name[:96]}-{identity[:12]}"

    @functools.cached_property  # a run asks for it at every step; its objects are frozen
    def identity(self) -> str:
        """Hash of all settings that determine the cell's results."""
        return self.identity_under({})

    def identity_under(self, versions: Mapping[str, int]) -> str:
        """The identity under these `VERSION`s of its classes."""
        facts = self._without_n(identity(self._parts, versions))
        if self.origin is not None:  # not independent: never the same cell
            facts["counterfactual"] = {"of": self.origin["of"], "change": self.origin["change"]}
        return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting that is not a run-time setting, defaults included, without secrets.

        Texts are hashed where the task's texts must not be stored on disk.
        """
        found: dict[str, Any] = SECRETS.tree(self._without_n(settings(self._parts)))
        if self.task.protected:
            found = hashed(found)
        return found

    @functools.cached_property
    def versions(self) -> dict[str, int]:
        """`VERSION` of each class in the cell."""
        return versions_in(self._parts)

    @staticmethod
    def _without_n(facts: dict[str, Any]) -> dict[str, Any]:
        facts["task"].pop("n", None)  # more samples do not change the cell
        return facts

    @property
    def _parts(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "method": self.method,
            "prompt": self.method.prompt_id,
            "models": dict(self.models),
            "limits": self.limits,
            "repl": self.repl,
        }


def build_cell(config: DictConfig, given: Mapping[str, Any] = MappingProxyType({})) -> Cell:
    """Build and check a composed configuration. Raises `ConfigError`; makes no model call.

    `given` holds objects for nodes of `config` (`task`, `method`, model slots): they are used
    directly, and their nodes serve only as a description.
    """
    config = copier(config)()
    if missing := sorted(settle(config)):
        raise ConfigError(f"{missing[0]} has no value; add {missing[0]}=...")
    task: Task = given["task"] if "task" in given else build_task(config)
    if "task" in given:
        _check_members(task, "task", Task, *([JudgedTask] if _has_judge(task) else []))
    method: Method = build_method(config, given)
    _check_members(method, "method", Method)
    if isinstance(method, MatchedProgram):
        method = method.matched_to(getattr(task, "operation", None), task.name)
    if task.protected and getattr(method, "writes_plain_text", False):
        raise ConfigError(
            f"method={method.name} writes its own files in plain text, and {task.name} is "
            "protected: its text must not be stored on disk. Use a method that runs in the harness "
            "(for the official package: method=rlm_official_latest), or another task"
        )
    if getattr(method, "one_model", False):
        _check_one_model(config, method.name)
    judged = ["judge"] if isinstance(task, JudgedTask) else []
    limits = _limits(config, "limits")
    budget = _budget(config, "cell_budget")
    origin = config.get("counterfactual")
    shard = parse_shard(config.get("shard"))
    if shard is not None:  # shards have no view of each other's usage
        try:
            budget = budget.part(shard.of)
        except ValueError as error:
            raise ConfigError(f"cell_budget: too little for {shard.of} shards: {error}") from error
    cell = Cell(
        task=task,
        method=method,
        models=_models(config, [*method.slots, *judged], given),
        length=parse_length(config.length),
        n=_positive(config, "n"),
        seed=int(config.seed),
        epochs=_positive(config, "epochs"),
        max_samples=_positive(config, "max_samples"),
        limits=limits,
        budget=budget,
        repl=build(config.repl, "repl"),
        resolved=stored(config),
        shard=shard,
        origin=None if origin is None else OmegaConf.to_container(origin),  # type: ignore[arg-type]
    )
    _check_limits(cell, (limits, budget, sweep_budget(config)))
    cell = cell.in_run(_run_folder(config))
    for name in (cell.id, str(config.name), *(model.name for model in cell.models.values())):
        SECRETS.publish(name)  # these are names of folders, which must stay readable
    return cell


def build_task(config: DictConfig) -> Task:
    """Build the task; without `n`, set one that shows a large difference, also in `config`.

    Raises `ConfigError`.
    """
    shared = {name: config[name] for name in _SHARED} | {"length": parse_length(config.length)}
    given = shared | ({"n": 1} if config.n is None else {})
    task: Task = build(_with_shared(config.task, given), "task")
    _check_members(task, "task", Task, *([JudgedTask] if _has_judge(task) else []))
    if config.n is not None:
        return task
    config.n = default_n(task)
    again: Task = build(_with_shared(config.task, shared | {"n": config.n}), "task")
    return again


def _check_limits(cell: Cell, limits: Sequence[Limits]) -> None:
    """Check that the maximum cost of a call is known before it is made. Raises `ConfigError`."""
    # By the slot that configures each: a slot that reuses the root model has no fields.
    models = {_source(cell.resolved, slot): model for slot, model in cell.models.items()}
    capless = [slot for slot, m in models.items() if m.sampling.max_output_tokens is None]
    if capless and any(of.needs_output_cap for of in limits):
        fields = ", ".join(f"{slot}.sampling.max_output_tokens" for slot in capless)
        raise ConfigError(
            f"limits: a token or cost limit needs {fields}: "
            "the largest cost of a call must be known before it is sent"
        )
    unpriced = dict.fromkeys(_source(cell.resolved, slot) for slot in cell.unpriced)
    if unpriced and any(of.cost is not None for of in limits):
        why = (why_unknown(models[slot].name, models[slot].price, slot) for slot in unpriced)
        raise ConfigError(
            f"{', '.join(unpriced)}: a cost limit has no effect without a price: {'; '.join(why)}; "
            "or limit tokens instead (limits.tokens, cell_budget.tokens, budget.tokens)"
        )


def _models(config: DictConfig, slots: Sequence[str], given: Mapping[str, Any]) -> dict[str, Model]:
    """Build the models in these slots; `same` reuses the root model's object."""
    built: dict[str, Model] = {}
    for slot in slots:
        node = config.get(slot)
        if node is None:
            raise ConfigError(
                f"model@{slot}: {config.method['_target_'].rpartition('.')[2]} needs a model here; "
                f"add model@{slot}=NAME"
            )
        source = _source(config, slot)
        if source in given:
            built[slot] = given[source]
        else:
            built[slot] = built.get(source) or build(config[source], source)
        _check_members(built[slot], source, Model)
    return built


def _check_one_model(config: DictConfig, method: str) -> None:
    """Raise `ConfigError` where a sub-model is configured that the method never calls."""
    sub = config.get("sub")
    if (
        sub is None
        or sub.get("same")
        or identity(build(sub, "sub")) == identity(build(config.root, "root"))
    ):
        return
    raise ConfigError(
        f"model@sub: {method} makes all its calls to one model, and {sub.get('name')} is another "
        "than the root; set model@sub=same, or leave this method out"
    )


def _has_judge(task: object) -> bool:
    return hasattr(task, "judge_prompt") or hasattr(task, "judge_score")


def _check_members(plug_in: object, path: str, *contracts: type) -> None:
    """Raise `ConfigError` listing each contract member that a class lacks."""
    if lines := [line for contract in contracts for line in missing(plug_in, contract)]:
        raise ConfigError(f"{path}: {'; '.join(lines)}; see rlm_eval/protocols.py")
    for member, kind, wanted in _VALUES:
        if any(hasattr(contract, member) for contract in contracts):
            value = getattr(plug_in, member)
            if not isinstance(value, kind):
                cls = type(plug_in)
                raise ConfigError(
                    f"{path}: {cls.__module__}.{cls.__qualname__}.{member} is {value!r}; "
                    f"make it {wanted}"
                )


_VALUES: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
    ("name", str, "a text"),
    ("density", Density, "a `Density`, such as `Density.CONSTANT`"),
    ("slots", (tuple, list), 'a tuple of names, such as `("root",)`'),
)
"""Members whose values the manifest and the plan use."""


def _source(config: Mapping[Any, Any] | DictConfig, slot: str) -> str:
    """The slot that configures the model in `slot`: `root` where it reuses the root model."""
    return "root" if config[slot].get("same") else slot


def merged(config: DictConfig, over: dict[str, Any]) -> DictConfig:
    """Copy `config` with top-level values replaced."""
    result = config.copy()
    result.update(over)
    return result


def sweep_budget(config: DictConfig) -> Limits:
    """Budget of the whole sweep."""
    return _budget(config, "budget")


def run_folder(config: DictConfig) -> Path:
    """The run directory of a composed configuration."""
    name = str(config.name)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ConfigError(f"name={name!r}: letters, digits, '.', '_' and '-' only")
    return _run_folder(config)


def _run_folder(config: DictConfig) -> Path:
    return Path(config.results) / str(config.name)


def _with_shared(node: DictConfig, shared: dict[str, Any]) -> dict[str, Any]:
    """Add to the task's node the run-level values that its class has and its YAML leaves unset."""
    if "_target_" not in node:
        raise ConfigError("task: has no _target_; choose one: task=s_niah")
    names = {f.name for f in dataclasses.fields(locate(str(node["_target_"]), "task"))}
    own = {str(key): value for key, value in node.items()}
    return {key: value for key, value in shared.items() if key in names} | own


def _budget(config: DictConfig, key: str) -> Limits:
    found = _limits(config, key)
    if found.seconds is not None:  # no code enforces a time budget of a sweep
        raise ConfigError(f"{key}.seconds: only a sample has a time limit; set limits.seconds")
    return found


def _limits(config: DictConfig, key: str) -> Limits:
    target = {"_target_": f"{Limits.__module__}.{Limits.__qualname__}"}
    node = config.get(key) or {}
    built: Limits = build({**target, **{str(k): v for k, v in node.items()}}, key)
    return built


def _positive(config: DictConfig, key: str) -> int:
    value = config[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key}={value}: give a whole number of 1 or more")
    return value
