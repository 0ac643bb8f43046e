"""What is exported says what the run's model says, to whoever loads it with plain Transformers and PEFT."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.export import merge, merging
from finetune_tui.core.export.merging import merge_in_place, write_model
from finetune_tui.core.export.push import PushResult
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.runs.requests import drop_request
from finetune_tui.core.training.replies import in_its_precision
from finetune_tui.core.training.reporter import StopRequested
from finetune_tui.core.tuning.spec import Spec
from tests.core.training.chats import make_chat_folder, write_chats
from tests.core.training.families import FAMILIES, make_folder, make_model
from tests.core.training.test_load import TEXT, VISION
from tests.core.training.trained_runs import as_trained, finished_run, spec_of, stopped_run

from .exporting import IDS, do_work, export, export_run, plainly

# Largest distance of a logit; these of tiny models lie between -3 and 3. In 16 bits: of the base with
# its adapter from the merged weights, both in that dtype.
FLOAT32, BFLOAT16, FLOAT16 = 1e-5, 0.06, 0.01

FAMILY_NAMES = ("phi", "phi3", "qwen2-tied", "llama", "gemma2-tied", "gemma3-tied", "qwen3-moe")
BIASED = ("phi", "qwen2-tied")
TIED = tuple(
    name for name in FAMILY_NAMES if FAMILIES[name].get("tie_word_embeddings") or "gemma" in name
)


def kinds_of(family: str) -> dict[str, dict[str, Any]]:
    """Specs of every way to train that this family knows."""
    attention = "qkv_proj" if family == "phi3" else "{q_proj,v_proj}"
    norm = "input_layernorm"
    lora: list[dict[str, Any]] = [{f"model.layers.{{0..4}}.self_attn.{attention}": "lora"}]
    ends = "model.embed_tokens" if family in TIED else "lm_head"
    full = [{f"model.layers.{{0..4}}.{norm}": "full"}, {ends: "full"}]
    kinds: dict[str, dict[str, Any]] = {
        "lora": {"modules": lora},
        "mixed": {"modules": [*lora, *full]},
        "full": {"modules": full},
        "dora": {"modules": lora, "use_dora": True},
        "pissa": {"modules": lora, "init_lora_weights": "pissa"},
        "olora, rslora": {"modules": lora, "init_lora_weights": "olora", "use_rslora": True},
        "tokens": {"modules": lora, "trainable_token_indices": ["5", "9"]},
    }
    if family not in TIED:
        kinds["head"] = {"modules": [*lora, {"lm_head": "lora"}, {"model.embed_tokens": "lora"}]}
    if family in BIASED:
        biases = [{f"model.layers.{{0..4}}.self_attn.{attention}": "bias"}]
        kinds["bias"] = {"modules": biases}
        mlp = "{fc1,fc2}" if family == "phi" else None
        other = (
            f"model.layers.{{0..4}}.mlp.{mlp}" if mlp else "model.layers.{0..4}.self_attn.k_proj"
        )
        kinds["lora, full, bias"] = {"modules": [*lora, *full, {other: "bias"}]}
    return kinds


def app_logits(model: Any) -> torch.Tensor:
    with torch.no_grad(), in_its_precision(model):
        found: torch.Tensor = model(input_ids=IDS).logits
    return found.float()


def make_run(folder: Path, home: Path, **keys: Any) -> tuple[Any, torch.Tensor]:
    """A finished run, and the logits its own model has."""
    spec: Spec = spec_of(folder, **keys)
    model = as_trained(spec)
    return finished_run(home, spec, model), app_logits(model)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = make_folder(family, tmp_path_factory.mktemp(family) / family)
        return made[family]

    return folder


def test_each_part_lands_where_it_should(
    folder_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapter, what trained in place, and merged; loaded here as anybody would."""
    base = folder_of("phi")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n')
    keys = {**kinds_of("phi")["lora, full, bias"], "train_files": [str(rows)]}
    run, logits = make_run(base, tmp_path / "home", **keys)
    export(run, tmp_path / "adapter")
    exported = export(run, tmp_path / "merged", merge=True)
    assert exported.dtype == "float32"
    assert exported.difference is not None
    assert exported.difference <= (exported.tolerance or 0)
    assert (exported.moved or 0) > 0.1
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.dtype == torch.float32
    assert _far(app_logits(merged.eval()), logits) <= FLOAT32
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        *("adapter_config.json", "adapter_model.safetensors", "trained.safetensors", "README.md"),
        *("tokenizer.json", "tokenizer_config.json", "reproduce.py", "export.json"),
    }
    assert {path.name for path in (tmp_path / "merged").iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors", "README.md", "Modelfile"),
        *("tokenizer.json", "tokenizer_config.json", "reproduce.py", "export.json"),
    }
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["use_cache"] is True
    assert "quantization_config" not in config
    assert sum(path.stat().st_size for path in (tmp_path / "merged").iterdir()) == (
        exported.bytes + (tmp_path / "merged" / "export.json").stat().st_size
    )
    # Somebody else's machine stays unknown.
    for path in (*(tmp_path / "merged").iterdir(), *(tmp_path / "adapter").iterdir()):
        assert str(tmp_path).encode() not in path.read_bytes(), path
    # What the card says loads it, from its own folder and with the base where it says.
    for folder in (tmp_path / "adapter", tmp_path / "merged"):
        (folder / base.name).symlink_to(base)
        monkeypatch.chdir(folder)
        names: dict[str, Any] = {}
        card = (folder / "README.md").read_text()
        lines = card.partition("```python\n")[2].partition("\n```")[0]
        exec(lines.replace("max_new_tokens=50", "max_new_tokens=2"), names)
        assert _far(app_logits(names["model"]), logits) <= FLOAT32


def test_tied_stays_tied_and_apart_is_said(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    base = folder_of("qwen2-tied")
    run, _ = make_run(base, tmp_path / "home", **kinds_of("qwen2-tied")["mixed"])
    export(run, tmp_path / "tied", merge=True)
    config = json.loads((tmp_path / "tied" / "config.json").read_text())
    assert config["tie_word_embeddings"] is True
    assert "lm_head.weight" not in load_file(tmp_path / "tied" / "model.safetensors")

    model = make_model("qwen2-tied")
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight * 2)
    wanted = app_logits(model.eval())
    model = merge_in_place(model, torch.float32, ["lm_head"], lambda done, total: None)
    write_model(model, tmp_path / "apart", lambda done, total: None)
    apart = AutoModelForCausalLM.from_pretrained(tmp_path / "apart")
    assert apart.config.tie_word_embeddings is False
    assert _far(app_logits(apart.eval()), wanted) <= FLOAT32


@pytest.mark.soak
def test_of_a_multimodal_base_the_text_part_is_exported(tmp_path: Path) -> None:
    base = tmp_path / "gemma"
    text = {**TEXT, "vocab_size": 700, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = Gemma3Config(text_config=text, vision_config=VISION)
    Gemma3ForConditionalGeneration(config).save_pretrained(base)
    for file in demo.MODEL_FOLDER.glob("tokenizer*"):
        shutil.copy(file, base)
    modules = [{"model.layers.{0..1}.self_attn.{q_proj,v_proj}": "lora"}]
    run, logits = make_run(base, tmp_path / "home", modules=modules)
    export(run, tmp_path / "merged", merge=True)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert merged.config.model_type == "gemma3_text"
    assert _far(app_logits(merged), logits) <= FLOAT32
    assert (
        "of the multimodal base the text part alone"
        in (tmp_path / "merged" / "README.md").read_text()
    )


def test_an_adapter_that_learnt_chats_can_go_to_ollama(tmp_path: Path) -> None:
    base = make_chat_folder("llama", tmp_path / "llama")
    chats = write_chats(tmp_path / "chats.jsonl")
    run, _ = make_run(base, tmp_path / "home", preset="attention-qv", train_files=[str(chats)])
    export(run, tmp_path / "adapter")
    text = (tmp_path / "adapter" / "Modelfile").read_text()
    assert "FROM BASE\nADAPTER .\n" in text
    assert '{{ if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>\n\n' in text
    assert 'PARAMETER stop "<|eot_id|>"' in text


@pytest.mark.soak
def test_a_checkpoint_stands_for_a_result(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """PiSSA's start is still beside the weights there: neither export may forget it."""
    spec = spec_of(folder_of("phi"), **kinds_of("phi")["pissa"])
    model = as_trained(spec)
    run = stopped_run(tmp_path / "home", spec, model, step=20)
    export(run, tmp_path / "merged", merge=True)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert _far(app_logits(merged), app_logits(model)) <= FLOAT32
    export(run, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(folder_of("phi"))
    adapted = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert _far(app_logits(adapted), app_logits(model)) <= FLOAT32
    for name in ("merged", "adapter"):
        assert (
            "its best whole checkpoint is exported" in (tmp_path / name / "README.md").read_text()
        )


def test_what_is_not_what_was_trained_is_not_left_behind(
    folder_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = make_run(folder_of("phi"), tmp_path / "home", **kinds_of("phi")["lora"])
    whole = merging._merge_layer

    def merge_too_much(layer: Any, dtype: torch.dtype) -> None:
        whole(layer, dtype)
        layer.get_base_layer().weight.data *= 1.001

    monkeypatch.setattr(merging, "_merge_layer", merge_too_much)
    with pytest.raises(WorkFailed, match="does not say what the run's does"):
        export(run, tmp_path / "out" / "merged", merge=True)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.soak
def test_numbers_too_large_for_the_dtype(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    run, _ = make_run(folder_of("phi"), tmp_path / "home", **kinds_of("phi")["lora"])
    file = run.adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor * 1e4 for name, tensor in tensors.items()}, file)
    with pytest.raises(WorkFailed, match="not finite"):
        export(run, tmp_path / "out" / "merged", merge=True, dtype="float16")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("merges", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_no_numbers_are_not_passed_on(
    merges: bool, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    run, _ = make_run(folder_of("phi"), tmp_path / "home", **kinds_of("phi")["lora"])
    file = run.adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values()))[0, 0] = math.nan
    save_file(tensors, file)
    with pytest.raises(UserError, match="NaN"):
        export(run, tmp_path / "out" / "model", merge=merges)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_stop_leaves_nothing_and_the_next_attempt_does_it(
    folder_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = make_run(folder_of("phi"), tmp_path / "home", **kinds_of("phi")["lora"])
    out = tmp_path / "out" / "merged"
    made = export_run(run, out, merge=True)

    def stop(*_: Any) -> None:
        drop_request(made, "stop")

    with monkeypatch.context() as patched:
        patched.setattr(merging, "_tie", stop)
        with pytest.raises(StopRequested):
            do_work(made)
    assert list(out.parent.iterdir()) == []
    do_work(made)
    written = (out / "model.safetensors").stat()
    do_work(made)  # what is there already is not made again
    assert (out / "model.safetensors").stat().st_mtime_ns == written.st_mtime_ns
    with pytest.raises(UserError, match="not empty"):  # by another export it is left alone
        export(run, out, merge=True)


def test_a_push_that_breaks_off_is_only_the_push_again(
    folder_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = make_run(folder_of("phi"), tmp_path / "home", **kinds_of("phi")["lora"])
    made = export_run(run, tmp_path / "out", push_to="ann/orders")
    monkeypatch.setattr(merge, "plan_push", lambda *_: None)
    sent: list[tuple[Any, ...]] = []

    def cut(*arguments: Any) -> PushResult:
        sent.append(arguments)
        if len(sent) == 1:
            raise WorkFailed("the network is gone", where="ann/orders")
        return PushResult("ann/orders", "https://hub/ann/orders", "0" * 40, 8, 10, True)

    monkeypatch.setattr(merge, "push", cut)
    with pytest.raises(WorkFailed, match="network"):
        do_work(made)
    written = (tmp_path / "out" / "README.md").stat().st_mtime_ns
    do_work(made)
    assert (tmp_path / "out" / "README.md").stat().st_mtime_ns == written
    assert [one[:3] for one in sent] == [(tmp_path / "out", "ann/orders", True)] * 2
    finished = list(read_events(made.events_path))[-1]
    assert finished["kind"] == "finished"
    assert finished["pushed"]["url"] == "https://hub/ann/orders"


def test_a_published_quantised_base_is_not_merged_into(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    base = tmp_path / "quantised"
    shutil.copytree(folder_of("phi"), base)
    run, _ = make_run(base, tmp_path / "home", **kinds_of("phi")["lora"])
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="the base itself is quantised"):
        export(run, tmp_path / "out", merge=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.training
def test_a_process_without_this_package_loads_them(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    jobs, wanted = {}, {}
    for family, kind in (("qwen2-tied", "lora, full, bias"), ("gemma2-tied", "dora")):
        run, logits = make_run(folder_of(family), tmp_path / "home", **kinds_of(family)[kind])
        for merges in (False, True):
            name = f"{family} {merges}"
            export(run, tmp_path / name, merge=merges)
            base = None if merges else str(folder_of(family))
            jobs[name] = {"folder": str(tmp_path / name), "base": base, "dtype": "float32"}
            wanted[name] = logits
    far = {name: _far(found, wanted[name]) for name, found in plainly(jobs, tmp_path).items()}
    assert {name: value for name, value in far.items() if not value <= FLOAT32} == {}
    assert far.keys() == jobs.keys()


@pytest.mark.soak
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_kind_of_every_family(
    family: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    base = folder_of(family)
    wanted, jobs = {}, {}
    for kind, keys in kinds_of(family).items():
        run, logits = make_run(base, tmp_path / "home", **keys)
        for merges in (False, True):
            name = f"{kind}{', merged' if merges else ''}"
            exported = export(run, tmp_path / name, merge=merges)
            assert exported.merged is merges
            wanted[name] = logits
            where = {"folder": str(tmp_path / name), "base": None if merges else str(base)}
            jobs[name] = {**where, "dtype": "float32"}
    far = {name: _far(found, wanted[name]) for name, found in plainly(jobs, tmp_path).items()}
    print(family, {name: f"{value:.1e}" for name, value in far.items()})
    assert far.keys() == jobs.keys()
    assert {name: value for name, value in far.items() if not value <= FLOAT32} == {}


@pytest.mark.soak
@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize(("dtype", "allowed"), [("bfloat16", BFLOAT16), ("float16", FLOAT16)])
def test_sixteen_bits(
    family: str, dtype: str, allowed: float, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Merged from a run in that dtype, and from one whose base was in NF4: always into the 16-bit base."""
    base = folder_of(family)
    wanted: dict[str, torch.Tensor] = {}
    jobs: dict[str, dict[str, Any]] = {}
    for kind in ("lora", "dora", "mixed"):
        run, logits = make_run(base, tmp_path / "home", dtype=dtype, **kinds_of(family)[kind])
        export(run, tmp_path / kind, merge=True)
        wanted[kind] = logits
        jobs[kind] = {"folder": str(tmp_path / kind), "base": None, "dtype": dtype}
    lora = kinds_of(family)["lora"]
    run, logits = make_run(base, tmp_path / "home", dtype=dtype, load_in_4bit=True, **lora)
    export(run, tmp_path / "nf4 merged", merge=True)
    export(run, tmp_path / "nf4 adapter")
    merged, adapter = str(tmp_path / "nf4 merged"), str(tmp_path / "nf4 adapter")
    jobs["nf4 merged"] = {"folder": merged, "base": None, "dtype": dtype}
    jobs["16 bits"] = {"folder": adapter, "base": str(base), "dtype": dtype}
    jobs["nf4"] = {"folder": adapter, "base": str(base), "dtype": dtype, "bits": 4}
    found = plainly(jobs, tmp_path)
    far = {name: _far(found[name], logits) for name, logits in wanted.items()}
    far["nf4 merged"] = _far(found["nf4 merged"], found["16 bits"])
    far["nf4 adapter on nf4"] = _far(found["nf4"], logits)
    print(family, dtype, {name: f"{value:.1e}" for name, value in far.items()})
    print("  merged from the NF4 run's own:", f"{_far(found['nf4 merged'], logits):.1e}")
    assert {name: value for name, value in far.items() if not value <= allowed} == {}


def _far(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())
