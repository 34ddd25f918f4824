"""Cell identities: those of published results and of composed configurations never change."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from fake_server import FakeServer
from omegaconf import OmegaConf
from runs import cell_folder, overrides, run_here

from rlm_eval.config.cell import build_cell
from rlm_eval.config.grid import expand
from rlm_eval.config.identity import changed_defaults, identity, settings, versions_in
from rlm_eval.core.errors import MissingDependency
from rlm_eval.methods.rlm.own import Own

ROOT = Path(__file__).parent.parent
_SCRIPTED = ("model@root=scripted", "task=s_niah", "method=rlm")
_TAGS = "method.protocol.answer_mode=final_tags"
GOLDEN = json.loads((ROOT / "tests" / "golden" / "cell_ids.json").read_text())


def identity_then(cell):
    """The identity under the versions of the first release."""
    return cell.identity_under({**dict.fromkeys(cell.versions, 1), **GOLDEN["versions"]})


def published(suite):
    manifest = json.loads((ROOT / "results/published" / suite / "manifest.json").read_text())
    common = manifest["of every cell"]
    return {
        name: {**common, **own, "config": {**common.get("config", {}), **own.get("config", {})}}
        for name, own in manifest["cells"].items()
    }


@pytest.mark.parametrize("suite", GOLDEN["published"])
def test_published_cells_keep_their_identity(suite):
    cells = published(suite)
    assert {name: cell["identity"] for name, cell in cells.items()} == GOLDEN["published"][suite]
    for name, cell in cells.items():
        then = identity_then(build_cell(OmegaConf.create(cell["config"])))
        assert then == GOLDEN["published"][suite][name], name


@pytest.mark.parametrize("row", GOLDEN["composed"], ids=lambda row: " ".join(row["overrides"][:2]))
def test_composed_configurations_keep_their_identity(row):
    (config,) = expand(row["overrides"])
    try:
        then = identity_then(build_cell(config))
    except MissingDependency as missing:
        pytest.skip(f"the prompt of another package: {missing}")
    assert then == row["identity"]


def test_a_cell_computes_its_identity_once(monkeypatch, tmp_path):
    (config,) = expand(overrides(tmp_path, "http://localhost:1/v1"))
    cell = build_cell(config)
    computed = []

    def counted(value, versions):
        computed.append(versions)
        return identity(value, versions)

    monkeypatch.setattr("rlm_eval.config.cell.identity", counted)
    again = dataclasses.replace(cell)  # a copy with nothing computed yet
    assert (again.identity, again.id, again.folder) == (cell.identity, cell.id, cell.folder)
    assert computed == [{}]


def model(name="Model", fields=(), version=1, first=("name",)):
    """A class as a later release may have it."""
    made = dataclasses.make_dataclass(
        name, [(f, str) for f in first] + list(fields), frozen=True, namespace={"VERSION": version}
    )
    return made(*first)


def test_a_field_added_later_enters_only_with_another_value():
    plain = model()
    added = [("preflight", bool, field(default=True)), ("tags", list, field(default_factory=list))]
    assert identity(model(fields=added)) == identity(plain)
    assert identity(dataclasses.replace(model(fields=added), preflight=False)) != identity(plain)


def test_a_field_of_the_first_release_enters_with_any_value():
    one = model("LongContext", [("order", str, "a")], first=())
    other = model("LongContext", [("order", str, "b")], first=())
    assert identity(one) != identity(other), "a changed default is another configuration"


def test_what_a_class_does_is_its_version():
    assert identity(model(version=2)) != identity(model())
    assert identity(model(version=2), {"Model": 1}) == identity(model())
    assert versions_in({"a": [model(version=3)]}) == {"Model": 3}


def test_the_version_of_one_mode_makes_no_cell_of_another_mode_new():
    """Version 7 of `Own` concerns FINAL tags alone: published cells of the default mode stay."""
    assert "mode_version" not in settings(Own())
    assert (identity(Own())["version"], versions_in(Own())) == (5, {"Own": 5})
    tags = Own(answer_mode="final_tags")
    assert (identity(tags)["version"], versions_in(tags)) == (7, {"Own": 7})
    (cell,) = [build_cell(config) for config in expand([*_SCRIPTED, _TAGS])]
    assert cell.identity_under({**cell.versions, "Own": 5}) in cell.earlier_identities()


def test_a_field_named_version_does_not_hide_the_class_version():
    """As of a plug-in that reads version 1 or 2 of its data set."""

    def made(code, data):
        shown = dataclasses.field(default="1")
        return dataclasses.replace(model("Mine", [("version", str, shown)], code), version=data)

    every = [(code, data) for code in (1, 2) for data in ("1", "2", 2)]
    told = [json.dumps(identity(made(*one))) for one in every]
    assert len(set(told)) == len(every)
    assert identity(made(2, "2"), {"Mine": 1}) == identity(made(1, "2"))
    # As before for a class without a version of its own, so that no result of it is lost.
    assert identity(made(1, "2")) == {"class": "Mine", "name": "name", "version": "2"}
    assert [settings(made(code, "2"))["VERSION"] for code in (1, 2)] == [1, 2]


def test_a_nested_configuration_follows_the_same_rule():
    @dataclass(frozen=True)
    class Inner:
        RUNTIME: ClassVar[frozenset[str]] = frozenset({"address"})
        depth: int = 1
        address: str = "here"

    @dataclass(frozen=True)
    class Outer:
        inner: Inner

    assert identity(Outer(Inner())) == {"class": "Outer", "inner": {"class": "Inner"}}
    assert identity(Outer(Inner(2, "there")))["inner"] == {"class": "Inner", "depth": 2}
    assert settings(Outer(Inner())) == {"class": "Outer", "inner": {"class": "Inner", "depth": 1}}


def test_a_changed_default_is_named_with_its_place():
    before, now = settings(model(fields=[("k", int, 1)])), settings(model(fields=[("k", int, 2)]))
    assert changed_defaults({"method": before}, {"method": now}) == ["method.k: 1, now 2"]
    assert changed_defaults(before, {**before, "newer": 3}) == []


async def test_a_cell_is_not_continued_under_another_default(tmp_path):
    async with FakeServer() as server:
        given = overrides(tmp_path, server.url, "n=1", "method=long_context")
        assert (await run_here(given)).finished
        path = cell_folder(tmp_path) / "manifest.json"
        manifest = json.loads(path.read_text())
        assert manifest["versions"]["LongContext"] == 1
        manifest["settings"]["method"]["over_window"] = "tail"
        path.write_text(json.dumps(manifest))
        asked = len(server.log)
        (why,) = (await run_here(given)).unfinished.values()
    assert "method.over_window: 'tail', now 'fail'" in why
    assert "VERSION" in why
    assert len(server.log) == asked
