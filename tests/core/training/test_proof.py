"""The proof that data, mask, template, end token and saving are right, all at once.

A tiny model of each family learns eight chats by heart; a script that knows nothing of this package
loads what was saved, asks, and must hear all sixteen answers, each ended by the model itself.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.training.work import work
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import write_spec

from .chats import CHAT_FAMILIES, CHATS, make_chat_folder, write_chats

# What a person without this package writes. For a model without a template: the documented plain format.
SCRIPT = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

def plain(messages, end):
    words = {"user": ("Instruct: ", ""), "assistant": ("Output: ", end)}
    turns = [m["content"].join(words[m["role"]]) for m in messages]
    return "\\n\\n".join(turns) + "\\n\\nOutput:"

jobs, chats = json.load(sys.stdin)
said = {}
for family, base, adapter in jobs:
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter).eval()
    said[family] = []
    for chat in chats:
        for turn in range(1, len(chat), 2):
            if tokenizer.chat_template:
                prompt = tokenizer.apply_chat_template(
                    chat[:turn], tokenize=False, add_generation_prompt=True)
            else:
                prompt = plain(chat[:turn], tokenizer.eos_token)
            ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids),
                                 do_sample=False, max_new_tokens=60)[0, ids.shape[1]:]
            text = tokenizer.decode(out, skip_special_tokens=True).strip()
            said[family].append([text, len(out) < 60])
assert not [name for name in sys.modules if name.startswith("finetune_tui")]
json.dump(said, sys.stdout)
"""


@pytest.mark.training
def test_eight_chats_learnt_by_heart_are_said_again_by_plain_transformers(tmp_path: Path) -> None:
    jobs = []
    for family in CHAT_FAMILIES:
        folder = make_chat_folder(family, tmp_path / family)
        run = _learn(folder, write_chats(tmp_path / "chats.jsonl"), tmp_path / "home")
        jobs.append([family, str(folder), str(run.adapter)])
    wanted = [[chat[turn]["content"], True] for chat in CHATS for turn in range(1, len(chat), 2)]
    assert _said(jobs) == dict.fromkeys(CHAT_FAMILIES, wanted)


def _learn(folder: Path, chats: Path, home: Path) -> RunDirectory:
    spec = Spec().changed(
        model_name_or_path=str(folder),
        preset="new-knowledge",
        train_files=[str(chats)],
        eval_split=0,
        use_cpu=True,
        max_length=256,
        lora_r=32,
        lora_alpha=64,
        lora_dropout=0,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        learning_rate=5e-3,
        lr_scheduler_type="cosine",
        warmup_steps=10,
        max_steps=250,
        save_steps=0,
        eval_steps=0,
    )
    run = create_run(home, write_spec(spec), folder.name)
    reporter = Reporter(run)
    reporter.start()
    try:
        work(run, reporter, resume=False)
    finally:
        reporter.end()
    return run


def _said(jobs: list[list[str]]) -> dict[str, list[list[object]]]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([jobs, CHATS]),
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, list[list[object]]] = json.loads(done.stdout)
    return said
