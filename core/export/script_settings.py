"""The settings at the top of a reproduce script, and the spec in Trainer's words."""

from collections.abc import Iterator
from pathlib import Path

from finetune_tui.core.export.script_facts import Facts
from finetune_tui.core.export.script_values import constant, literal, names
from finetune_tui.core.models.resolve import ModelReference
from finetune_tui.core.tuning.counting import embedding_of
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.spec import Spec

_Constant = tuple[str, str, str]
"""Name, value as Python, what it means."""


def settings(facts: Facts) -> str:
    """Every constant, and the two flags."""
    constants = [*_of_data(facts), *_of_model(facts), *_of_selection(facts)]
    out = literal(f"{facts.run.short_id}-reproduced")
    asked = (
        "\nasked = argparse.ArgumentParser()\n"
        'asked.add_argument("--steps", type=int, help="end after so many steps")\n'
        f'asked.add_argument("--out", default={out}, help="the folder of the result")\n'
        "wanted = asked.parse_args()\n"
    )
    return "".join(constant(*one) for one in constants) + asked


def arguments(facts: Facts) -> str:
    """The call of TrainingArguments. What the script does itself is switched off there."""
    spec = facts.spec
    values = {
        "output_dir": "wanted.out",
        "per_device_train_batch_size": "BATCH",
        "gradient_accumulation_steps": repr(spec.gradient_accumulation_steps),
        "learning_rate": repr(spec.learning_rate),
        "lr_scheduler_type": literal(spec.lr_scheduler_type),
        "warmup_steps": repr(spec.warmup_steps),
        "num_train_epochs": repr(spec.num_train_epochs),
        "max_steps": repr(spec.max_steps),
        "max_grad_norm": repr(spec.max_grad_norm),
        "weight_decay": repr(spec.weight_decay),
        "optim": literal(spec.optim),
        "bf16": "DTYPE is torch.bfloat16",
        "fp16": 'DEVICE != "cpu" and DTYPE is torch.float16',
        "tf32": repr(spec.tf32) if facts.on_gpu else "None",
        "torch_compile": repr(spec.torch_compile),
        "use_liger_kernel": repr(spec.use_liger_kernel),
        "neftune_noise_alpha": repr(spec.neftune_noise_alpha or None),
        "use_cpu": 'DEVICE == "cpu"',
        "eval_strategy": '"no"',
        "save_strategy": '"no"',
        "logging_strategy": '"no"',
        "report_to": '"none"',
        "disable_tqdm": "True",
        "remove_unused_columns": "False",
        "label_names": '["labels"]',
        "seed": "SEED",
        "data_seed": "SEED",
        "dataloader_pin_memory": 'DEVICE != "cpu"',
    }
    lines = "".join(f"    {name}={value},\n" for name, value in values.items())
    return f"\narguments = TrainingArguments(\n{lines})"


def _of_data(facts: Facts) -> Iterator[_Constant]:
    spec = facts.spec
    yield "TRAIN_FILES", literal(facts.files(facts.train)), ""
    if facts.held_out is not None:
        yield "EVAL_FILES", literal(facts.files(facts.held_out)), ""
    if facts.splits:
        yield "EVAL_SPLIT", repr(spec.eval_split), "the share that is held out"
    yield "SKIPPED", literal(facts.skipped), "lines that are no rows"
    yield "MAX_LENGTH", repr(facts.max_length), "tokens of a row; what is longer is cut"
    if facts.is_chat:
        yield "ASSISTANT_ONLY_LOSS", repr(spec.assistant_only_loss), ""
        yield "LAST_TURN_ONLY", repr(spec.last_turn_only), ""
    else:
        yield "COMPLETION_ONLY_LOSS", repr(spec.completion_only_loss), ""
        yield "IS_TEXT", repr(facts.is_text), "rows have no prompt"
    yield "SEED", repr(spec.seed), ""
    yield "BATCH", repr(spec.per_device_train_batch_size), "rows at once"
    step_rows = spec.per_device_train_batch_size * spec.gradient_accumulation_steps
    yield "STEP_ROWS", repr(step_rows), "rows of an optimizer step"
    yield "IGNORED", "-100", "the label that cross-entropy leaves out"
    if facts.judges:
        yield "EVAL_STEPS", f"{spec.eval_steps:.12g}", "steps between two, or a share of all"
        yield "PATIENCE", repr(spec.early_stopping_patience), "0: never stop early"
        yield "THRESHOLD", repr(spec.early_stopping_threshold), "how much better counts as better"
        yield "KEEP_BEST", repr(spec.load_best_model_at_end), "the best step, not the last"


def _of_model(facts: Facts) -> Iterator[_Constant]:
    model, revision = _model(facts.reference, facts.travels)
    yield "MODEL", literal(model), ""
    yield "REVISION", literal(revision), ""
    yield "DEVICE", '"cuda"' if facts.on_gpu else '"cpu"', ""
    yield "DTYPE", _dtype(facts), "of the frozen base"
    yield "QUANTISATION", _quantisation(facts.spec), ""
    yield "THREADS", _threads(facts), ""


def _of_selection(facts: Facts) -> Iterator[_Constant]:
    spec, selection, manifest = facts.spec, facts.selection, facts.manifest
    lora, full, bias = (selection.names(mode) for mode in (Mode.LORA, Mode.FULL, Mode.BIAS))
    if lora:
        chosen = {name: selection.choices[name] for name in lora}
        ranks = {name: one.r for name, one in chosen.items() if one.r is not None}
        alphas = {
            name: one.lora_alpha for name, one in chosen.items() if one.lora_alpha is not None
        }
        tied = {name.rpartition(".")[0] for group in manifest.tied for name in group}
        yield "LORA", names(lora), ""
        yield "RANK", repr(spec.lora_r), ""
        yield "ALPHA", repr(spec.lora_alpha), "the update is scaled by alpha / rank"
        yield "RANKS", literal(ranks), "modules with a rank of their own"
        yield "ALPHAS", literal(alphas), ""
        yield "DROPOUT", repr(spec.lora_dropout), ""
        yield "RSLORA", repr(spec.use_rslora), ""
        yield "DORA", repr(spec.use_dora), ""
        yield "INIT", '"gaussian"' if spec.init_lora_weights == "gaussian" else "True", ""
        yield "TIED", repr(bool(tied & set(full))), "a matrix under two names trains in full"
    if lora or full:
        yield "FULL", names(full), ""
    if bias:
        yield "BIAS", names(bias), ""
    if spec.trainable_token_indices:
        embedding = embedding_of(manifest)
        yield "EMBEDDING", literal(embedding.name if embedding else ""), ""
        yield "TRAINED_TOKENS", literal(spec.trainable_token_indices), "ids, or their text"
    if facts.is_directed:
        yield "START", literal(spec.init_lora_weights), ""


def _model(reference: ModelReference, travels: bool) -> tuple[str, str | None]:
    """Name and revision for `from_pretrained`: the very files of the run, where they are told apart."""
    if reference.kind not in ("catalog", "hub"):
        return Path(reference.weights).name if travels else reference.weights, None
    folder = reference.folder
    is_snapshot = folder is not None and folder.parent.name == "snapshots"
    return reference.name, folder.name if folder is not None and is_snapshot else None


def _dtype(facts: Facts) -> str:
    told = str(facts.started.get("dtype") or facts.spec.dtype)
    if told in ("float32", "bfloat16", "float16"):
        return f"torch.{told}"
    if not facts.on_gpu:
        return "torch.float32"
    return "torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16"


def _quantisation(spec: Spec) -> str:
    if spec.load_in_8bit:
        return "BitsAndBytesConfig(load_in_8bit=True)"
    if not spec.load_in_4bit:
        return "None"
    return (
        'BitsAndBytesConfig(\n    load_in_4bit=True,\n    bnb_4bit_quant_type="nf4",\n'
        "    bnb_4bit_use_double_quant=True,\n    bnb_4bit_compute_dtype=DTYPE,\n)"
    )


def _threads(facts: Facts) -> str:
    threads = facts.started.get("threads")
    is_told = isinstance(threads, int) and 0 < threads < 4096
    return repr(threads) if is_told else "torch.get_num_threads()"
