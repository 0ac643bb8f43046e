"""The spec: one piece of work as a flat YAML file, validated before anything is loaded."""

import dataclasses
import math
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import DEMO
from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.text import did_you_mean, plain
from finetune_tui.core.tuning.fields import Field, Kind
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.patterns import expand, fold
from finetune_tui.core.tuning.presets import find_preset, resolve_preset
from finetune_tui.core.tuning.selection import Selection, refusal

Modules = tuple[tuple[str, Choice], ...]

_LARGEST_SPEC = 2**20


def _key(kind: Kind, help: str, default: Any = None, **more: Any) -> Any:
    details = {"kind": kind, "help": help, "optional": default is None, **more}
    return dataclasses.field(default=default, metadata=details)


@dataclass(frozen=True, slots=True)
class Spec:
    """What was asked, under the names of Transformers, PEFT and (for data) TRL."""

    model_name_or_path: str = _key("text", "catalog id, `demo` or a folder", "")
    task: str = _key("choice", "the piece of work", "train", choices=("train",))
    name: str | None = _key("text", "a name for the run")
    preset: str | None = _key("text", "which parts to train, by task")
    modules: Modules = _key("modules", "which parts to train, by name", ())  # noqa: RUF009
    train_files: tuple[str, ...] = _key(
        "files", "JSONL with text, prompt/completion or messages", ()
    )
    eval_files: tuple[str, ...] = _key("files", "held-out rows; empty: a share of the data", ())
    eval_split: float = _key("number", "held-out share of the data", 0.05, minimum=0, maximum=0.9)
    strict: bool = _key("yes/no", "stop at the first bad row", False)
    max_length: int = _key(
        "whole", "tokens a row may have; longer ones are cut", 1024, minimum=8, maximum=2**20
    )
    completion_only_loss: bool = _key("yes/no", "train the completion, not the prompt", True)
    assistant_only_loss: bool = _key("yes/no", "in chats train the assistant's turns only", True)
    last_turn_only: bool = _key("yes/no", "in chats train the last answer only", False)
    packing: bool = _key("yes/no", "several rows in one sequence: no padding, same loss", False)
    train_sampling_strategy: str = _key(
        "choice",
        "group_by_length pads less; the longest batch always comes first",
        "random",
        choices=("random", "group_by_length", "sequential"),
    )
    load_in_4bit: bool = _key("yes/no", "NF4 base: a quarter of the memory", False)
    load_in_8bit: bool = _key("yes/no", "8-bit base: half the memory", False)
    dtype: str = _key(
        "choice",
        "auto: bfloat16 where the GPU has it, float32 on CPU",
        "auto",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    use_cpu: bool = _key("yes/no", "train without a GPU: slow for real models", False)
    gpus: tuple[str, ...] = _key("names", "UUIDs; empty: what is visible", ())
    lora_r: int = _key(
        "whole", "start at 8, double until it stops helping", 16, minimum=1, maximum=4096
    )
    lora_alpha: float = _key(
        "number", "2 × rank; the update is scaled by alpha / rank", 32, minimum=0, maximum=1e6
    )
    lora_dropout: float = _key("number", "regularises", 0.05, minimum=0, maximum=0.99)
    use_rslora: bool = _key("yes/no", "scale by alpha / √rank instead", False)
    use_dora: bool = _key("yes/no", "direction and size apart: better at low rank, slower", False)
    init_lora_weights: str = _key(
        "choice",
        "how LoRA starts; pissa and olora from the weights' own directions",
        "default",
        choices=("default", "gaussian", "olora", "pissa", "pissa_niter_16"),
    )
    per_device_train_batch_size: int = _key(
        "whole", "rows at once; memory grows with it", 2, minimum=1, maximum=4096
    )
    gradient_accumulation_steps: int = _key(
        "whole", "batches per step; costs time, not memory", 8, minimum=1, maximum=65536
    )
    learning_rate: float = _key("number", "LoRA likes 1e-4 to 5e-4", 2e-4, minimum=0, maximum=10)
    lr_scheduler_type: str = _key(
        "choice",
        "how the rate falls",
        "cosine",
        choices=("cosine", "linear", "constant", "constant_with_warmup"),
    )
    warmup_steps: float = _key(
        "number", "below 1: a share of all steps", 0.03, minimum=0, maximum=1e9
    )
    num_train_epochs: float = _key(
        "number", "passes over the data", 3.0, minimum=0.001, maximum=1e5
    )
    max_steps: int = _key(
        "whole", "stop after so many steps; -1: by epochs", -1, minimum=-1, maximum=10**9
    )
    max_grad_norm: float = _key("number", "clips gradients", 1.0, minimum=0, maximum=1e6)
    weight_decay: float = _key("number", "regularises", 0.0, minimum=0, maximum=10)
    optim: str = _key(
        "choice",
        "8-bit and paged ones save memory",
        "adamw_torch_fused",
        choices=("adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit"),
    )
    gradient_checkpointing: bool = _key("yes/no", "far less memory for a third more time", False)
    chunked_loss: bool = _key("yes/no", "logits in pieces, masked tokens skipped: same loss", True)
    use_liger_kernel: bool = _key("yes/no", "Liger's fused kernels, where installed", False)
    torch_compile: bool = _key("yes/no", "minutes to warm up, then faster", False)
    neftune_noise_alpha: float = _key(
        "number",
        "noise on embeddings, augments small chat sets; 5 is usual",
        0,
        minimum=0,
        maximum=100,
    )
    eval_steps: float = _key(
        "number",
        "held-out loss every n steps; below 1: a share of all",
        0.1,
        minimum=0,
        maximum=1e9,
    )
    eval_replies: int = _key(
        "whole", "held-out rows answered before and after; 0: none", 0, minimum=0, maximum=10**5
    )
    eval_samples: int = _key(
        "whole", "held-out rows answered at each evaluation", 3, minimum=0, maximum=100
    )
    early_stopping_patience: int = _key(
        "whole",
        "stop after so many evaluations without a better loss; 0: never",
        3,
        minimum=0,
        maximum=10**6,
    )
    early_stopping_threshold: float = _key(
        "number", "how much better counts as better", 0, minimum=0, maximum=1e3
    )
    load_best_model_at_end: bool = _key(
        "yes/no", "keep the best evaluation, not the last step", True
    )
    save_steps: float = _key(
        "number", "checkpoint every n steps; below 1: a share of all", 0.1, minimum=0, maximum=1e9
    )
    save_total_limit: int = _key(
        "whole", "checkpoints kept; the best and the last always are", 2, minimum=1, maximum=1000
    )
    report_to: str = _key(
        "choice", "also write elsewhere", "none", choices=("none", "tensorboard", "wandb")
    )
    seed: int = _key("whole", "the same seed, the same run", 42, minimum=0, maximum=2**31 - 1)

    def changed(self, **values: Any) -> "Spec":
        """With these keys set; text is read as its field reads it. Raises UserError."""
        read = {_canonical(name): value for name, value in values.items()}
        return _checked(
            dataclasses.replace(self, **{name: _read(name, value) for name, value in read.items()})
        )

    def anchored(self, folder: Path) -> "Spec":
        """With every path made absolute, relative ones taken from `folder`."""
        model = self.model_name_or_path
        if model.startswith((".", "~")) or (folder / model / "config.json").is_file():
            model = str((folder / Path(model).expanduser()).resolve())
        return dataclasses.replace(
            self,
            model_name_or_path=model,
            train_files=_absolute(self.train_files, folder),
            eval_files=_absolute(self.eval_files, folder),
        )


FIELDS: dict[str, Field] = {
    item.name: Field(name=item.name, default=item.default, **item.metadata)
    for item in dataclasses.fields(Spec)
}

# What axolotl, LLaMA-Factory, Unsloth, TRL and older Transformers call the same setting.
ALIASES: dict[str, str] = {
    "base_model": "model_name_or_path",
    "model": "model_name_or_path",
    "model_name": "model_name_or_path",
    "micro_batch_size": "per_device_train_batch_size",
    "sequence_len": "max_length",
    "cutoff_len": "max_length",
    "max_seq_length": "max_length",
    "lora_rank": "lora_r",
    "val_set_size": "eval_split",
    "val_size": "eval_split",
    "warmup_ratio": "warmup_steps",
    "torch_dtype": "dtype",
    "num_epochs": "num_train_epochs",
    "optimizer": "optim",
    "lr_scheduler": "lr_scheduler_type",
    "lr": "learning_rate",
    "sample_packing": "packing",
    "mask_history": "last_turn_only",
    "neftune_alpha": "neftune_noise_alpha",
    "patience": "early_stopping_patience",
}


def demo_spec(preset: str = "structured-output") -> Spec:
    """The built-in demo: sentence → JSON record, with a budget under which presets end apart."""
    return Spec(
        model_name_or_path=DEMO,
        preset=find_preset(preset).id,
        train_files=(str(demo.TRAIN_FILE),),
        eval_files=(str(demo.HELDOUT_FILE),),
        max_length=256,
        use_cpu=True,
        lora_r=32,
        lora_alpha=64,
        lora_dropout=0.0,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=1,
        learning_rate=5e-3,
        lr_scheduler_type="linear",
        warmup_steps=20,
        max_steps=300,
        eval_steps=50,
        save_steps=100,
        eval_replies=240,
        early_stopping_patience=0,
    )


def read_spec(path: Path) -> Spec:
    """The spec in a YAML file, its paths taken from the file's folder. Raises UserError."""
    try:
        if path.stat().st_size > _LARGEST_SPEC:
            raise UserError("larger than a spec can be", where=str(path))
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", where=str(path)) from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=str(path)) from error
    return parse_spec(text, where=str(path)).anchored(path.absolute().parent)


def parse_spec(text: str, where: str = "spec") -> Spec:
    """Raises UserError naming file, key, value and the nearest valid one."""
    try:
        data = yaml.load(text, Loader=_SpecLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"not YAML ({error.problem})", where=f"{where}:{line}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"not YAML ({plain(str(error), 80)})", where=where) from None
    if not isinstance(data, dict):
        raise UserError("a spec is a list of `key: value` lines", where=where)
    try:
        return Spec().changed(**{str(key): value for key, value in data.items()})
    except UserError as error:
        place = f"{where}: {error.where}" if error.where else where
        raise UserError(error.message, where=place, hint=error.hint) from None


def write_spec(spec: Spec) -> str:
    """YAML that `parse_spec` reads back to the same spec; keys at their default are left out."""
    values: dict[str, Any] = {}
    for name, entry in FIELDS.items():
        value = getattr(spec, name)
        if name == "modules":
            value = [{pattern: _choice_yaml(choice)} for pattern, choice in spec.modules]
        elif isinstance(value, tuple):
            value = list(value)
        if getattr(spec, name) != entry.default or name == "task":
            values[name] = value
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def selection_of(spec: Spec, manifest: Manifest) -> Selection:
    """The selection the spec means on this model; every name checked.

    Raises UserError for a pattern that names nothing, a mode that cannot be, an empty selection.
    """
    if not spec.modules:
        if spec.preset is None:
            raise UserError(
                "nothing is selected to train", where="modules", hint="name a preset or modules"
            )
        resolved = resolve_preset(spec.preset, manifest).selection
        for name, choice in resolved.choices.items():
            _refuse_full_on_quantised(spec, manifest.module(name), choice)
        return resolved
    choices: dict[str, Choice] = {}
    for pattern, choice in spec.modules:
        names = expand(pattern)
        missing = next((name for name in names if name not in manifest.by_name), None)
        if missing is not None:
            raise UserError(
                f"'{pattern}' names '{missing}', which {manifest.model} does not have",
                where="modules",
                hint=did_you_mean(missing, manifest.by_name),
            )
        for name in names:
            reason = refusal(manifest, name, choice.mode)
            if reason:
                raise UserError(f"'{name}' cannot be {choice.mode}: {reason}", where="modules")
            _refuse_full_on_quantised(spec, manifest.module(name), choice)
            choices.setdefault(name, choice)  # first matching line wins
    trained = {name: choice for name, choice in choices.items() if choice.mode is not Mode.FROZEN}
    if not trained:
        raise UserError("every module named is frozen: nothing would train", where="modules")
    if spec.preset and not trained.keys() & resolve_preset(spec.preset, manifest).selection.choices:
        raise UserError(
            f"'{spec.preset}' names none of the modules listed",
            where="preset",
            hint="take one of the two out; beside `modules`, a preset only says where they came from",
        )
    return Selection(trained)


def _refuse_full_on_quantised(spec: Spec, module: Module, choice: Choice) -> None:
    quantised = spec.load_in_4bit or spec.load_in_8bit
    if quantised and choice.mode is Mode.FULL and module.is_quantisable:
        raise UserError(
            f"'{module.name}' cannot be full: its weights are quantised and cannot be trained",
            where="modules",
            hint="lora there, or a base that is not quantised",
        )


def with_selection(spec: Spec, selection: Selection, manifest: Manifest) -> Spec:
    """The spec that means exactly this selection: the preset alone when that says it all."""
    if spec.preset and _preset_says(spec.preset, selection, manifest):
        return dataclasses.replace(spec, modules=())
    modules: list[tuple[str, Choice]] = []
    for choice in dict.fromkeys(selection.choices.values()):
        named = [name for name in manifest.by_name if selection.choices.get(name) == choice]
        modules += [(pattern, choice) for pattern in fold(named)]
    return dataclasses.replace(spec, modules=tuple(modules))


def _preset_says(preset: str, selection: Selection, manifest: Manifest) -> bool:
    try:
        return dict(resolve_preset(preset, manifest).selection.choices) == dict(selection.choices)
    except UserError:
        return False


def _canonical(name: str) -> str:
    canonical = ALIASES.get(name, name)
    if canonical not in FIELDS:
        raise UserError(
            f"unknown key '{plain(name, 60)}'",
            hint=did_you_mean(name, FIELDS)
            or did_you_mean(name, ALIASES)
            or "see README.md for the keys",
        )
    return canonical


def _read(name: str, value: Any) -> Any:
    if name == "modules":
        return _read_modules(value)
    if name == "preset" and value is not None:
        return find_preset(str(value)).id
    return FIELDS[name].read(value)


def _read_modules(value: Any) -> Modules:
    if isinstance(value, tuple):
        return value
    if not isinstance(value, list):
        raise UserError("a list of `- pattern: mode` lines", where="modules")
    modules = []
    for line in value:
        if not isinstance(line, dict) or len(line) != 1:
            raise UserError(
                f"{plain(repr(line), 60)} is not `pattern: mode`",
                where="modules",
                hint='quote a pattern that starts with "{"',
            )
        ((pattern, choice),) = line.items()
        expand(str(pattern))  # raises when the braces make no sense
        modules.append((str(pattern), _read_choice(str(pattern), choice)))
    return tuple(modules)


def _read_choice(pattern: str, value: Any) -> Choice:
    details = value if isinstance(value, dict) else {"mode": value}
    unknown = [key for key in details if key not in ("mode", "r", "lora_alpha")]
    if unknown:
        meant = did_you_mean(str(unknown[0]), ("mode", "r", "lora_alpha"))
        raise UserError(f"unknown key '{unknown[0]}'", where=f"modules: {pattern}", hint=meant)
    word = str(details.get("mode"))
    if word not in [mode.value for mode in Mode]:
        meant = did_you_mean(word, [mode.value for mode in Mode])
        modes = ", ".join(Mode)
        raise UserError(
            f"{plain(repr(word), 40)} is no mode ({modes})", where=f"modules: {pattern}", hint=meant
        )
    r, alpha = details.get("r"), details.get("lora_alpha")
    if word != Mode.LORA and (r is not None or alpha is not None):
        raise UserError("rank and alpha are LoRA's alone", where=f"modules: {pattern}")
    return Choice(
        Mode(word),
        None if r is None else FIELDS["lora_r"].read(r),
        None if alpha is None else FIELDS["lora_alpha"].read(alpha),
    )


def _choice_yaml(choice: Choice) -> Any:
    if choice.r is None and choice.lora_alpha is None:
        return choice.mode.value
    details: dict[str, Any] = {"mode": choice.mode.value}
    if choice.r is not None:
        details["r"] = choice.r
    if choice.lora_alpha is not None:
        details["lora_alpha"] = choice.lora_alpha
    return details


def _checked(spec: Spec) -> Spec:
    if spec.load_in_4bit and spec.load_in_8bit:
        raise UserError(
            "both load_in_4bit and load_in_8bit are set", where="load_in_4bit", hint="keep one"
        )
    if spec.max_steps == 0:
        raise UserError("0 steps train nothing", where="max_steps", hint="-1 means: by epochs")
    if math.isclose(spec.learning_rate, 0):
        raise UserError("a learning rate of 0 trains nothing", where="learning_rate")
    return spec


def _absolute(files: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    return tuple(str((folder / Path(file).expanduser()).absolute()) for file in files)


class _SpecLoader(yaml.SafeLoader):
    """Safe YAML in which a key written twice is an error: one of the two would silently lose."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"'{plain(str(key), 40)}' is written twice",
                    problem_mark=key_node.start_mark,
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
