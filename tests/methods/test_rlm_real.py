"""The default model, for real, through the RLM on a 4k needle among look-alikes. Minutes."""

import fetched
import pytest
from omegaconf import OmegaConf
from rlm_bench import rlm_bench

from rlm_eval.config.builder import build
from rlm_eval.config.grid import CONFIG_DIR
from rlm_eval.models import Sampling
from rlm_eval.repl import ReplConfig, open_pool

pytestmark = pytest.mark.slow


def load(group, name, **values):
    return build(
        OmegaConf.merge(OmegaConf.load(CONFIG_DIR / group / f"{name}.yaml"), values), group
    )


async def test_it_writes_code_that_finds_the_needle(tmp_path):
    model = load("model", "coder-0.5b", window=8192)
    fetched.weights(model)
    method = load("method", "rlm", max_turns=6)
    task = load("task", "s_niah_multikey", length=4096, n=3, seed=515151, tokenizer="approx4")
    values = []
    async with model.open() as client, open_pool(ReplConfig(isolation="best")) as pool:
        for sample in task.samples():
            folder = tmp_path / sample.id
            folder.mkdir()
            sampling = Sampling(temperature=0.0, max_output_tokens=512)
            async with rlm_bench(
                folder, client, client, sample=sample, sampling=sampling, pool=pool
            ) as bench:
                answer = await method.solve(sample, bench.session)
            values.append(task.score(sample, answer)[0].value)
            assert bench.session.steps
            assert bench.session.steps[0].stdout_chars > 0
            second = [c for c in bench.session.calls if c.turn == 1]
            assert second[0].usage.cached
    assert sum(values) >= 2, values
