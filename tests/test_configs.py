"""Every YAML composes and builds; a grid expands as told; what is unknown is named with its kin."""

import itertools
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rlm_eval.commands.run import main as run
from rlm_eval.config.cell import build_cell
from rlm_eval.config.grid import CONFIG_DIR, expand, product
from rlm_eval.core.errors import ConfigError

PLACEHOLDERS = {
    "openai": ["root.base_url=http://127.0.0.1:1/v1", "root.model=some/model"],
    "embedding": ["root.model=some/model"],
    "vllm": ["root.model=some/model"],
    "transformers": ["root.model=some/model"],
    "custom": ["task.path=questions.jsonl"],
    "oolong_rows": ["task.path=lines.csv"],
    "mrcr_v2": ["task.path=mrcr_v2.csv"],
    "mrcr_openai": ["task.path=mrcr.parquet"],
    "external": ["method.engine=mine", f"method.runner={__file__}"],
}
"""Entries that are meant to be completed on the command line."""


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


def built(*overrides: str):
    return [build_cell(config) for config in expand(overrides)]


@pytest.mark.parametrize("name", names("task"))
def test_every_task_builds_and_names_its_class(name):
    own = PLACEHOLDERS.get(name, [])
    (cell,) = built(f"task={name}", *own, "model@root=scripted", "length=2k", "seed=3", "n=5")
    assert cell.resolved["task"]["_target_"].endswith(type(cell.task).__name__)
    assert cell.task.name


@pytest.mark.parametrize("name", names("method"))
def test_every_method_builds(name):
    embed = ["model@embed=embedding", "embed.model=some/model"]  # rag_dense, rag_hybrid need one
    own = PLACEHOLDERS.get(name, [])
    (cell,) = built("task=ledger", f"method={name}", *own, "model@root=scripted", *embed)
    assert cell.resolved["method"]["_target_"].endswith(type(cell.method).__name__)
    assert cell.method.name
    assert isinstance(cell.method.runs_code, bool)


@pytest.mark.parametrize("name", sorted(set(names("model")) - {"same"}))
def test_every_model_builds_as_root_and_as_sub(name):
    own = PLACEHOLDERS.get(name, [])
    (cell,) = built("method=rlm", f"model@root={name}", *own)
    assert cell.models["sub"] is cell.models["root"]
    assert cell.resolved["root"]["_target_"].endswith(type(cell.models["root"]).__name__)
    other = [text.replace("root.", "sub.") for text in own]
    (cell,) = built("method=rlm", "model@root=scripted", f"model@sub={name}", *other)
    assert cell.models["sub"] is not cell.models["root"]


@pytest.mark.parametrize("group", ["experiment", "debug"])
def test_every_overlay_builds_all_its_cells(group):
    for name in names(group):
        cells = built(f"{group}={name}")
        assert len({cell.id for cell in cells}) == len(cells)


def test_no_configuration_is_left_untried():
    """Sites: tests/cluster/test_submit.py; the other entry: test_hydra_app.py."""
    tried = {"task", "method", "model", "experiment", "debug", "cluster"}
    folders = {
        path.parent.relative_to(CONFIG_DIR).as_posix() for path in CONFIG_DIR.rglob("*.yaml")
    }
    assert folders - {"local", "."} == tried
    assert set(names(".")) == {"run", "hydra_app"}


def test_the_help_of_run_has_a_line_for_every_group(capsys):
    with pytest.raises(SystemExit):
        run(["--help"])
    _, _, told = capsys.readouterr().out.partition("config groups")
    lines = {line.split()[0]: line for line in told.splitlines()[1:]}
    assert set(lines) == {"task", "method", "model", "experiment", "debug", "cluster"}
    for group, line in lines.items():
        about, _, listed = line.partition(": ")
        assert len(about.split()) > 2
        assert listed.split(", ") == names(group)


def test_dense_retrieval_has_an_embedder_that_was_trained_to_embed():
    dense, other = built("method=rag_dense,rag", "model@root=scripted")
    assert dense.models["embed"].query_prefix == "search_query: "
    assert set(other.models) == {"root"}, "nobody else starts it"


def test_a_grid_is_the_product_of_its_lists():
    cells = built("debug=scripted", "method=long_context,rag", "length=1k,2k,4k")
    assert [(c.length, c.method.name) for c in cells] == [
        (length, method) for method in ("long_context", "rag") for length in (1024, 2048, 4096)
    ]


def test_lists_of_one_part_of_the_configuration_are_a_product_too():
    cells = built("model@root=coder-0.5b,qwen3-8b", "length=1k,2k", "root.sampling.temperature=0,1")
    assert [
        (c.models["root"].name, c.length, c.models["root"].sampling.temperature) for c in cells
    ] == [
        (name, length, temperature)
        for name in ("coder-0.5b", "qwen3-8b")
        for length in (1024, 2048)
        for temperature in (0, 1)
    ]


def test_an_override_replaces_an_overlays_sweep():
    cells = built("debug=scripted", "method=rag", "length=4k")
    assert [(c.length, c.method.name) for c in cells] == [(4096, "rag")]


def test_knobs_of_the_run_do_not_change_a_cells_identity():
    (one,) = built("model@root=openai", *PLACEHOLDERS["openai"], "n=5")
    (two,) = built(
        "model@root=openai",
        "root.base_url=http://127.0.0.1:2/v1",
        "root.model=some/model",
        "root.concurrency=3",
        "n=9",
        "max_samples=1",
        "name=other",
    )
    (three,) = built("model@root=openai", *PLACEHOLDERS["openai"], "root.sampling.temperature=0.1")
    assert one.identity == two.identity
    assert one.identity != three.identity


def test_a_generator_that_was_changed_makes_another_cell(monkeypatch):
    """The samples of both would else lie, and count, in one directory."""
    given = ("task=s_niah", "model@root=openai", *PLACEHOLDERS["openai"])
    (before,) = built(*given)
    assert built(*given)[0].identity == before.identity
    monkeypatch.setattr(type(before.task), "VERSION", 7)
    (after,) = built(*given)
    assert after.identity != before.identity


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=s_nia"], "task=s_nia: no such task; near: s_niah"),
        (["method=rlmm"], "no such method; near: rlm"),
        (["lenght=4k"], "lenght: unknown key; near: length"),
        (["+lenght=4k"], "lenght: unknown key; near: length"),
        (["root.concurency=3"], "root.concurency: unknown key of OpenAIModel; near: concurrency"),
        (["model@root=smolm2"], "no such model; near: smollm2"),
        (["~method"], "method: nothing is selected; add method=NAME"),
        (["method.topk=3", "method=rag"], "method.*top_?k"),
        (["length=4q"], "give tokens as"),
        (["n=0"], "n=0"),
        (["n=a,b,"], "override"),
        (["name=../x"], "name="),
        (["limits.tokens=1000", "model@root=scripted"], "max_output_tokens"),
        (["limits.tokens=-1"], "limits: tokens=-1"),
        (["cell_budget.seconds=60"], "cell_budget.seconds: only a sample has a time limit"),
        (["budget.seconds=60"], "budget.seconds: only a sample has a time limit"),
        (["task=custom"], "task.path has no value"),
        (["method=rag_dense", "~model@embed"], "model@embed: Rag needs a model here"),
        (["task=codeqa_gen", "method=program_matched"], "codeqa_gen states no operation"),
        (["model@embed=null"], "to choose none write ~model@embed"),
    ],
)
def test_bad_input_is_one_clear_error(overrides, message):
    from rlm_eval.config.cell import run_folder

    def check() -> None:
        for config in expand(overrides):
            run_folder(config)
            build_cell(config)

    with pytest.raises(ConfigError, match=message):
        check()


def test_composing_leaves_the_configs_alone():
    before = {p: p.read_bytes() for p in Path(CONFIG_DIR).rglob("*.yaml")}
    OmegaConf.to_yaml(expand(["debug=scripted"])[0])
    assert before == {p: p.read_bytes() for p in Path(CONFIG_DIR).rglob("*.yaml")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "swept",
    [
        ["task=s_niah,ledger", "method=rlm,rag", "model@root=scripted,gpt-5-mini"],
        ["model@root=gpt-5-mini,claude-haiku", "root.window=4096,8192", "method.depth=0,2"],
        ["length=1k,2k", "task=s_niah,oolong_gen", "seed=1,2", "limits.tokens=null,1000"],
        ["model@root=gpt-5,gpt-5-mini", "root.sampling.temperature=0,1", "root.sampling.seed=1,2"],
    ],
    ids=lambda swept: " ".join(swept),
)
def test_a_grid_equals_the_naive_composition_of_every_cell(swept):
    fixed = ["n=2", *(["method=rlm"] if "method.depth=0,2" in swept else [])]
    axes = [
        [f"{o.partition('=')[0]}={value}" for value in o.partition("=")[2].split(",")]
        for o in swept
    ]
    naive = [product([*fixed, *cell], [])[0] for cell in itertools.product(*axes)]
    found = expand([*fixed, *swept])
    assert [plain(config) for config in found] == [plain(config) for config in naive]


def plain(config):
    return OmegaConf.to_container(config, resolve=False)


def test_the_way_out_of_a_sweep_under_hydras_own_launchers_works():
    from hydra import compose, initialize_config_dir

    from rlm_eval.runner import hydra_app

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        with pytest.raises(ConfigError, match=r"set sweep=null and give"):
            hydra_app.main(compose("hydra_app", ["debug=scripted"]))
        assert not compose("hydra_app", ["debug=scripted", "sweep=null"]).sweep
