"""Golden transcripts: scripted replies in, the exact requests and the exact answer out.

A golden file holds the script and what must come of it. To write it anew after a change that is
meant: `RLM_EVAL_WRITE_GOLDEN=1 pytest tests/methods/test_rlm_golden.py`, then read the diff.
The official dialects run on the words of `rlm_golden/words.md`; that their real words arrive is
`test_rlm_wheels.py`, and that all of it equals the official package is `test_rlm_parity.py`.
"""

import json
import os
from pathlib import Path

import pytest
from rlm_bench import rlm_bench, sample_of

from rlm_eval.config.builder import build

FOLDER = Path(__file__).parent / "rlm_golden"
CONTEXT = "Holm ferry, log.\nEntry 7: took 77 (of 80) passengers.\nEntry 8: did not sail.\n"
DOCUMENTS = ("Entry 7: took 77 passengers.", "Entry 8: did not sail.")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
async def test_transcript(path, tmp_path):
    golden = json.loads(path.read_text())
    config = golden["config"]
    if "prompt_file" in config["protocol"]:
        config["protocol"]["prompt_file"] = str(FOLDER / "words.md")
    method = build(config, "method")
    script = iter(golden["replies"])
    value = DOCUMENTS if golden.get("documents") else CONTEXT
    sample = sample_of(value, "How many on entry 7?")
    async with rlm_bench(tmp_path, lambda _: next(script), sample=sample) as bench:
        answer = await method.solve(sample, bench.session)
        seen = {
            "requests": [[[m.role, m.content] for m in request] for request in bench.root.asked],
            "sub_requests": [[[m.role, m.content] for m in r] for r in bench.sub.asked],
            "answer": [answer.text, answer.value, answer.provenance,
                       answer.outcome and answer.outcome.value],
            "notes": bench.session.notes,
        }  # fmt: skip
    if os.environ.get("RLM_EVAL_WRITE_GOLDEN"):
        if "prompt_file" in config["protocol"]:
            config["protocol"]["prompt_file"] = ""
        path.write_text(json.dumps(golden | seen, indent=1) + "\n")
    assert next(script, None) is None, "the loop ended before the script"
    assert seen == {key: golden.get(key) for key in seen}
