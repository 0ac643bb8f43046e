"""The demo, and a run that changed it at random: a base that can answer, and a tuned model that answers
otherwise, without training anything."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from finetune_tui.core import demo
from finetune_tui.core.data.source import open_rows
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.training.replies import answer
from finetune_tui.core.training.tuned import load_tuned
from tests.core.training.trained_runs import as_trained, finished_run, spec_of

QUESTIONS = demo.HELDOUT_FILE.with_name("questions.jsonl")
STRONGER = 15  # so that most answers change, and still are words
ATTENTION = [{"model.layers.{0..3}.self_attn.{q_proj,v_proj}": "lora"}]


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run. rows: its held-out file; `fixed` of them expect what only the tuned model says,
    `regressed` what only the base says, `wrong` what neither says."""

    home: Path
    run: RunDirectory
    rows: Path
    fixed: int
    regressed: int
    wrong: int


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    home = tmp_path_factory.mktemp("evidence")
    rows = home / "rows.jsonl"
    lines = QUESTIONS.read_text().splitlines()[:18]
    rows.write_text("\n".join(lines) + "\n")
    spec = spec_of(
        demo.MODEL_FOLDER, modules=ATTENTION, train_files=[str(QUESTIONS)], eval_files=[str(rows)]
    )
    model = as_trained(spec)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter *= STRONGER
    run = finished_run(home, spec, model)
    tuned = load_tuned(run)
    asked = open_rows([rows])
    with tuned.as_tuned() as model:
        said = [reply.reply for reply in answer(model, tuned.tokenizer, asked, 40)]
    expected = [json.loads(line)["completion"].strip() for line in lines]
    counts = {"fixed": 0, "regressed": 0, "wrong": 0}
    kept = []
    for place, (line, reply, right) in enumerate(zip(lines, said, expected, strict=True)):
        kind = ("fixed", "regressed", "wrong")[place % 3]
        if reply == right or not 0 < len(reply) < 30 or "\ufffd" in reply:
            continue
        counts[kind] += 1
        wanted = {"fixed": f" {reply}", "regressed": f" {right}", "wrong": " neither of them"}[kind]
        kept.append(json.dumps({**json.loads(line), "completion": wanted}))
    rows.write_text("\n".join(kept) + "\n")
    return Trained(home, run, rows, **counts)
