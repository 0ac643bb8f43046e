"""A run as one plain file: the same loss in every step, with nothing of ours in the process."""

import ast
import contextlib
import importlib.abc
import io
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError
from finetune_tui.core.export.script import script_of
from finetune_tui.core.export.script_values import literal, names
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import write_spec

ROWS = [json.loads(line) for line in demo.TRAIN_FILE.read_text().splitlines()[:40]]
TEMPLATE = (
    "{% for turn in messages %}{{ turn.role[0] }}:{{ turn.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)
SMALL: dict[str, Any] = {
    "preset": None,
    "max_length": 128,
    "max_steps": 10,
    "eval_steps": 4,
    "save_steps": 0,
    "eval_replies": 0,
    "eval_samples": 0,
    "eval_files": [],
    "eval_split": 0.1,
    "per_device_train_batch_size": 3,
    "gradient_accumulation_steps": 2,
    "lora_dropout": 0.1,
    "memory_check": False,
}
LORA = [{"model.layers.{0..3}.self_attn.{q_proj,v_proj}": "lora"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows in every shape, made once; tiny models come when they are asked for."""
    folder = tmp_path_factory.mktemp("script")
    prompts = [{"prompt": row["prompt"], "completion": row["completion"]} for row in ROWS]
    forged = [
        {
            "messages": [
                {"role": "system", "content": "Be <|endoftext|> brief."},
                {"role": "user", "content": row["prompt"][:20]},
                {"role": "assistant", "content": row["completion"][:12]},
                {"role": "user", "content": f"again {number % 7}"},
                {"role": "assistant", "content": row["completion"][12:30]},
            ]
        }
        for number, row in enumerate(ROWS)
    ]
    talks = [
        {
            "conversations": [
                {"from": "human", "value": f"<|im_start|> {row['prompt'][:9]}"},
                {"from": "gpt", "value": row["completion"][2:12]},
            ]
        }
        for row in ROWS
    ]
    tasks = [
        {"instruction": row["prompt"][:30], "input": "JSON", "output": row["completion"]}
        for row in ROWS
    ]
    turns = [{"conversations": [*talk["conversations"], *talk["conversations"]]} for talk in talks]
    shapes = {"prompts": prompts, "forged": forged, "talks": talks, "turns": turns}
    for name, rows in shapes.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text + "not a row\n")
    (folder / "tasks.json").write_text(json.dumps(tasks, indent=1))
    (folder / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts[:7]))
    text = "".join(json.dumps({"text": row["prompt"]}) + "\n" for row in ROWS)
    (folder / "text.jsonl").write_text(text)
    return folder


def model_of(folder: Path, family: str) -> str:
    """The demo's model, or a folder with a tiny one of another family."""
    path = folder / family
    if family != "demo" and not path.exists():
        from tests.core.training.families import make_folder

        settings = make_folder(family, path) / "tokenizer_config.json"
        if family == "qwen2-tied":
            found = {**json.loads(settings.read_text()), "chat_template": TEMPLATE}
            settings.write_text(json.dumps(found))
    return family if family == "demo" else str(path)


def run_of(folder: Path, family: str, data: str, **values: Any) -> RunDirectory:
    settings = {**SMALL, "train_files": [str(folder / data)], **values}
    spec = demo_spec().changed(model_name_or_path=model_of(folder, family), **settings)
    return create_run(folder / "home", write_spec(spec), family)


def trained(run: RunDirectory) -> dict[int, float]:
    """Step → loss of the worker's own code, in this process."""
    from finetune_tui.core.training.reporter import Reporter
    from finetune_tui.core.training.work import work

    work(run, Reporter(run), False)
    return {e["step"]: e["loss"] for e in read_events(run.events_path) if e["kind"] == "step"}


class _NothingOfOurs(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == "finetune_tui":
            raise ImportError(f"the script asked for {name}")


@contextlib.contextmanager
def without_us() -> Iterator[None]:
    """In here finetune_tui cannot be imported, and is not there already."""
    ours = [name for name in sys.modules if name.partition(".")[0] == "finetune_tui"]
    kept = {name: sys.modules.pop(name) for name in ours}
    finder = _NothingOfOurs()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.modules.update(kept)


def reproduced(run: RunDirectory, *words: str) -> dict[int, float]:
    """Step → loss of the script, run in this process without anything of ours."""
    path = run.path / "reproduce.py"
    path.write_text(script_of(run))
    said, before = io.StringIO(), sys.argv
    sys.argv = [str(path), "--out", str(run.path / "again"), *words]
    try:
        with without_us(), contextlib.redirect_stdout(said):
            runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.argv = before
    return losses_in(said.getvalue())


def losses_in(text: str) -> dict[int, float]:
    return {int(m[1]): float(m[2]) for m in re.finditer(r"step (\d+)/\d+ loss (\S+)", text)}


def assert_same_result(run: RunDirectory) -> None:
    """What the script leaves is what the run left, to the last bit."""
    again = run.path / "again"
    for name in ("adapter/adapter_model.safetensors", "trained.safetensors"):
        assert (run.path / name).exists() == (again / name).exists(), name
        if (run.path / name).exists():
            assert (run.path / name).read_bytes() == (again / name).read_bytes(), name


MIXED: dict[str, Any] = {
    "family": "demo",
    "data": "prompts.jsonl",
    "modules": [
        {"model.layers.{0..1}.self_attn.{q_proj,v_proj}": "lora"},
        {"model.layers.2.self_attn.dense": {"mode": "lora", "r": 4, "lora_alpha": 3}},
        {"model.layers.3.mlp.fc2": "full"},
        {"model.layers.0.mlp.fc1": "bias"},
    ],
    "weight_decay": 0.1,
}
MORE: dict[str, dict[str, Any]] = {
    "lora on chats": {"family": "llama", "data": "forged.jsonl", "modules": LORA},
    "bitfit": {
        "family": "phi",
        "data": "prompts.jsonl",
        "preset": "bitfit-top-4",
        "learning_rate": 1e-2,
        "eval_split": 0,
        "eval_files": "held.jsonl",
    },
    "lora on prompts": {"family": "phi", "data": "prompts.jsonl", "preset": "all-linear"},
    "lora on text": {"family": "llama", "data": "text.jsonl", "modules": LORA},
    "lora on tasks, all of them trained": {
        "family": "llama",
        "data": "tasks.json",
        "modules": LORA,
        "completion_only_loss": False,
    },
    "chats with a template": {
        "family": "qwen2-tied",
        "data": "talks.jsonl",
        "preset": "all-linear",
    },
    "a tied embedding in full": {
        "family": "qwen2-tied",
        "data": "talks.jsonl",
        "preset": "new-knowledge",
        "assistant_only_loss": False,
    },
    "the last turn": {
        "family": "qwen2-tied",
        "data": "turns.jsonl",
        "preset": "all-linear",
        "last_turn_only": True,
    },
    "full alone": {"family": "llama", "data": "prompts.jsonl", "preset": "attention-only-top-4"},
    "packed with noise": {
        "family": "llama",
        "data": "prompts.jsonl",
        "preset": "all-linear",
        "packing": True,
        "neftune_noise_alpha": 5,
    },
    "by length, by epochs": {
        "family": "phi",
        "data": "prompts.jsonl",
        "preset": "attention-qv",
        "train_sampling_strategy": "group_by_length",
        "max_steps": -1,
        "num_train_epochs": 1.5,
    },
    "in order, stock loss": {
        "family": "llama",
        "data": "prompts.jsonl",
        "modules": LORA,
        "train_sampling_strategy": "sequential",
        "chunked_loss": False,
    },
    "dora in bfloat16, recomputed": {
        "family": "llama",
        "data": "prompts.jsonl",
        "modules": LORA,
        "use_dora": True,
        "use_rslora": True,
        "gradient_checkpointing": True,
        "dtype": "bfloat16",
    },
    "single tokens": {
        "family": "llama",
        "data": "prompts.jsonl",
        "trainable_token_indices": ["5", "17"],
    },
    "four bits with biases": {
        "family": "phi",
        "data": "prompts.jsonl",
        "modules": [
            {"model.layers.{0..1}.self_attn.q_proj": "lora"},
            {"model.layers.1.mlp.fc1": "bias"},
        ],
        "load_in_4bit": True,
    },
    "eight bits": {
        "family": "phi",
        "data": "prompts.jsonl",
        "modules": LORA,
        "load_in_8bit": True,
        "optim": "adamw_8bit",
    },
    "stopped early": {
        "family": "phi",
        "data": "prompts.jsonl",
        "modules": LORA,
        "learning_rate": 1e-9,
        "eval_steps": 2,
        "early_stopping_patience": 2,
        "early_stopping_threshold": 1,
    },
}


def made(folder: Path, case: dict[str, Any]) -> RunDirectory:
    values = dict(case)
    family, data = values.pop("family"), values.pop("data")
    if "eval_files" in values:
        values["eval_files"] = [str(folder / values["eval_files"])]
    return run_of(folder, family, data, **values)


def test_every_step_has_the_worker_s_loss(folder: Path) -> None:
    """LoRA, full and biases in one run."""
    run = made(folder, MIXED)
    wanted = trained(run)
    assert len(wanted) == 10
    assert reproduced(run) == wanted
    assert_same_result(run)


@pytest.mark.soak
@pytest.mark.parametrize("name", MORE)
def test_so_it_has_for_every_setting(folder: Path, name: str) -> None:
    run = made(folder, MORE[name])
    wanted = trained(run)
    assert reproduced(run) == wanted
    assert_same_result(run)


@pytest.mark.soak
def test_a_start_of_its_own_has_the_same_loss(folder: Path) -> None:
    for start in ("olora", "pissa", "pissa_niter_16"):
        run = run_of(folder, "phi", "prompts.jsonl", modules=LORA, init_lora_weights=start)
        assert reproduced_equals(run), start


def reproduced_equals(run: RunDirectory) -> bool:
    return trained(run) == reproduced(run)


@pytest.mark.soak
def test_a_real_run_and_its_script_in_a_process_of_its_own(folder: Path) -> None:
    """The worker as it is started, and `python reproduce.py` where finetune_tui is not to be found."""
    from tests.core.training.conftest import finish, losses

    run = run_of(folder, "demo", "prompts.jsonl", modules=LORA)
    finish(run)
    script = run.path / "reproduce.py"
    script.write_text(script_of(run))
    blocked = folder / "blocked" / "finetune_tui"
    blocked.mkdir(parents=True, exist_ok=True)
    (blocked / "__init__.py").write_text("raise ImportError('asked for')")
    environment = {**os.environ, "PYTHONPATH": str(blocked.parent), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(script), "--out", str(run.path / "again")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses_in(done.stdout) == losses(run)
    assert_same_result(run)


# The text itself.


def test_it_reads_as_python_and_names_what_it_leaves_out(folder: Path) -> None:
    run = run_of(folder, "demo", "prompts.jsonl", modules=LORA, report_to="tensorboard")
    text = script_of(run)
    compile(text, "reproduce.py", "exec")
    assert "finetune_tui" not in text
    assert text.isascii()
    said = " ".join(text.partition('"""\n\n')[0].split())
    assert "no checkpoints" in said
    assert "had not begun" in said
    assert "Nothing is sent to tensorboard" in said
    assert max(map(len, text.splitlines())) <= 110
    for name in ("hashlib", "functools", "jinja2", "json"):
        assert f"import {name}" in text
    assert "SKIPPED = {" in text
    assert "[41]" in text  # the line that is no row


NASTY = (
    *('a"b', "a'b", "a\\", "x'''\"\"\"", "x\nimport os", "{0..3}", "\u202eevil", "💥"),
    "'+__import__('os').system('true')+'",
)


@pytest.mark.parametrize("nasty", NASTY)
def test_names_are_literals(nasty: str) -> None:
    values = {nasty: [nasty, 1, None, 2.5, True]}
    assert ast.literal_eval(literal(values)) == values
    listed = [f"model.layers.{n}.{nasty}.q" for n in range(3)]
    assert sorted(eval(names(listed), {"__builtins__": {"str": str, "range": range}})) == listed


def test_paths_are_literals_and_words_stay_in_the_docstring(folder: Path) -> None:
    data = folder / "x'''\"\"\"\\+print(1)+{0..3}💥.jsonl"
    data.write_text((folder / "prompts.jsonl").read_text())
    run = run_of(folder, "demo", data.name, modules=LORA, name='"""\nimport os #')
    tree = ast.parse(script_of(run))
    found = [
        ast.literal_eval(one.value)
        for one in tree.body
        if isinstance(one, ast.Assign)
        and isinstance(target := one.targets[0], ast.Name)
        and target.id == "TRAIN_FILES"
    ]
    assert found == [[str(data)]]
    assert not any(isinstance(one, ast.Import) and one.names[0].name == "os" for one in tree.body)


def test_names_fold_into_loops_and_stay_the_same() -> None:
    modules = [f"model.layers.{n}.mlp.{leaf}" for n in range(4) for leaf in ("up", "down")]
    modules += ["lm_head", "model.layers.9.mlp.up"]
    assert sorted(eval(names(modules))) == sorted(modules)
    assert names([]) == "[]"


def test_one_that_travels_names_no_folder(folder: Path) -> None:
    held_out = [str(folder / "held.jsonl")]
    run = run_of(folder, "demo", "prompts.jsonl", modules=LORA, eval_files=held_out)
    text = script_of(run, travels=True)
    assert str(folder) not in text
    assert str(demo.MODEL_FOLDER.parent) not in text
    for line in ('TRAIN_FILES = ["prompts.jsonl"]', 'MODEL = "model"', '"prompts.jsonl": [41]'):
        assert line in text
    assert "beside this script" in " ".join(text.split())


def test_what_no_script_can_do_is_one_line(folder: Path) -> None:
    table = folder / "rows.csv"
    table.write_text("prompt,completion\na,b\n")
    run = run_of(folder, "demo", "prompts.jsonl", modules=LORA)
    for values, says in (
        ({"train_files": [str(table)]}, r"rows\.csv: a script reads JSON lines"),
        ({"train_files": [str(folder / "gone.jsonl")]}, r"gone\.jsonl.*no such file"),
        ({"train_files": []}, "no training data"),
    ):
        run.spec_path.write_text(write_spec(run.spec().changed(**values)))
        with pytest.raises(UserError, match=says) as told:
            script_of(run)
        assert "\n" not in str(told.value)
