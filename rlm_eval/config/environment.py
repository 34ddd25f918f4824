"""Environment values in configurations: `${oc.env:NAME}` stays in the stored configuration.

A stored configuration (manifest, job) keeps the interpolation where its value is a secret
(`secrets`): the value is written to no file, and a job reads it from its own machine. Literal
secrets in `headers` and `environment` are rejected; other literals there are masked in manifests.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.secrets import SECRETS, looks_secret, redact

MASK = "[not stored]"
"""Placeholder for a header's value in manifests."""
PLACES = ("headers", "environment")
"""Mappings whose values are sent or exported; they may be secrets of any length."""
_NAMES = ("name", "model", "results")
"""Fields that name tables, folders and requests; their values are not masked."""

_IS_KEY = re.compile(r"(?:x[-_])?api[-_]?key|authorization|password|secret|access[-_]?token", re.I)
"""Field names that hold only a key, wherever they occur."""
_ASSIGNED = re.compile(r"(\w+)=(?![\"']?\$)[^\s;]")
"""Variables that a shell line sets to a literal."""

_read: ContextVar[dict[str, str] | None] = ContextVar("_read", default=None)
_stand_in: ContextVar[bool] = ContextVar("_stand_in", default=False)


def _env(key: str, *default: Any) -> Any:
    """`oc.env` that records what it reads. Raises `KeyError` naming the variable to export."""
    try:
        value = oc.env(key, *default)
    except KeyError as error:
        if _stand_in.get():
            return f"[{key}]"
        raise KeyError(f"the environment variable {key} is not set; export {key}=...") from error
    if (read := _read.get()) is not None and key in os.environ:
        read[key] = os.environ[key]
    return value


OmegaConf.register_new_resolver("oc.env", _env, replace=True)


@contextmanager
def _noting() -> Iterator[dict[str, str]]:
    """Record the variables read in this block: name -> value."""
    read: dict[str, str] = {}
    token = _read.set(read)
    try:
        yield read
    finally:
        _read.reset(token)


@contextmanager
def unset_variables_allowed() -> Iterator[None]:
    """Resolve unset `${oc.env:NAME}` to `[NAME]`, for stored cells that are only read."""
    token = _stand_in.set(True)
    try:
        yield
    finally:
        _stand_in.reset(token)


def escaped(text: str) -> str:
    """Escape `${`, and backslashes before it: a question or a prompt may hold them."""
    return re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", text)


def settle(config: DictConfig | ListConfig) -> list[str]:
    """Resolve `config` in place, except where that would insert a secret from the environment.

    Returns the key paths of missing values (`???`). Raises `ConfigError` for an interpolation that
    cannot be resolved and for a literal secret.
    """
    missing: list[str] = []
    try:
        _settle(config, "", OmegaConf.to_container(config, resolve=False), missing)
    except OmegaConfBaseException as error:
        raise ConfigError(" ".join(str(error).split())) from error
    return missing


def _settle(node: DictConfig | ListConfig, path: str, raw: Any, missing: list[str]) -> None:
    """`raw` is the node as plain, unresolved values: most need no access to the node."""
    keys: Sequence[Any] = range(len(raw)) if isinstance(raw, list) else list(raw)
    for key in keys:
        written = raw[key]
        if written is None or not isinstance(written, str | dict | list):
            continue
        where = f"{path}.{key}".lstrip(".")
        if written == "???":
            missing.append(where)
            continue
        declared = path.rpartition(".")[2] in PLACES or key in PLACES
        if isinstance(written, str):
            if "${" not in written:
                _refuse_literal(where, written, declared=declared)
                continue
            if OmegaConf.is_interpolation(node, key):
                with _noting() as read:
                    value = node[key]
                if read and not declared and str(key) in _NAMES:
                    for text in read.values():
                        SECRETS.publish(text)
                elif read and _are_secrets(read, value, declared=declared):
                    continue
                node[key] = escaped(value) if isinstance(value, str) else value
            elif isinstance(plain := node[key], str):
                _refuse_literal(where, plain, declared=declared)
        value = node[key]
        if isinstance(value, DictConfig | ListConfig):
            inner = OmegaConf.to_container(value) if isinstance(written, str) else written
            _settle(value, where, inner, missing)


def copier(config: DictConfig) -> Callable[[], DictConfig]:
    """Return a function that copies `config` as it is now, eight times as fast as a deep copy."""
    written = pickle.dumps(config, pickle.HIGHEST_PROTOCOL)
    return lambda: pickle.loads(written)  # noqa: S301 - written above


def _are_secrets(read: Mapping[str, str], value: Any, *, declared: bool) -> bool:
    """Register the variables read for a value; return true where one of them is a secret."""
    if isinstance(value, int | float) and not declared:
        return False  # too short: redacting it in text would also hide equal numbers
    values = list(read.items())
    # `oc.decode` strips quotes and splits lists and mappings.
    name = next(iter(read))
    values += [(name, t) for t in _texts(value) if not any(one in t for one in read.values())]
    # No short circuit: every part must be registered.
    return sum(SECRETS.add(name, text, declared=declared) for name, text in values) > 0


def _texts(value: Any) -> Iterator[str]:
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _refuse_literal(where: str, value: str, *, declared: bool) -> None:
    part, _, name = where.rpartition(".")
    if part.endswith("headers_env") and value.isidentifier():  # a variable's name
        return
    if part.endswith(".setup"):  # lines of a shell
        found = any(looks_secret(of) for of in _ASSIGNED.findall(value))
    else:
        found = looks_secret(name, value) if declared else _IS_KEY.fullmatch(name) is not None
    if not value or not found:
        return
    way = f"{part}.{name}='${{oc.env:NAME}}'"
    if part.endswith(("headers", "headers_env")):
        way = f"{part.removesuffix('_env')}_env={{{name}: NAME}}"
    elif part.endswith(".setup"):
        way = "a job has the variables of the shell that submits it"
    raise ConfigError(
        f"{where}: looks like a key, and configurations are stored; export it as an environment "
        f"variable and give the variable's name: {way}"
    )


def stored(config: DictConfig) -> dict[str, Any]:
    """Return a settled configuration as JSON; interpolations of secrets stay."""
    container = OmegaConf.to_container(config, resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def masked(config: Any) -> Any:
    """Return a stored configuration for display: header and variable names without their values."""
    if isinstance(config, dict):
        return {
            key: {name: _shown(text) for name, text in value.items()}
            if key == "headers" and isinstance(value, dict)
            else masked(value)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [masked(value) for value in config]
    return _without_user(config) if isinstance(config, str) else config


def _without_user(text: str) -> str:
    return _USER.sub(f"://{MASK}@", text)


def _shown(value: Any) -> Any:
    return value if isinstance(value, str) and "${" in value else MASK


_USER = re.compile(r"://[^/@\s\"']+@")
_HEADERS = re.compile(r"(?:^|[.+~@])headers(?:\.[^=]*)?=")
_VALUE = re.compile(r"""(:\s*)("[^"]*"|'[^']*'|(?:\$\{[^}]*\}|[^,{}])+)""")


def masked_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command line that is safe to write: no header values, URL users or secrets."""
    return [redact(_without_user(_masked_argument(text))) for text in arguments]


def _masked_argument(text: str) -> str:
    found = _HEADERS.search(text.partition("=")[0] + "=")
    if found is None:
        return text
    key, _, value = text.partition("=")
    if value.lstrip().startswith("{"):
        return f"{key}={_VALUE.sub(lambda m: m[1] + _shown(m[2]), value)}"
    return f"{key}={_shown(value)}"
