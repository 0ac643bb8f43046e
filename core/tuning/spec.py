"""The spec: one piece of work as a flat YAML file, validated before anything is loaded."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import DEMO
from finetune_tui.core.models.data_set_name import anchored
from finetune_tui.core.text import did_you_mean, plain
from finetune_tui.core.tuning.aliases import ALIASES, translated
from finetune_tui.core.tuning.choices import Modules, read_modules
from finetune_tui.core.tuning.fields import Field, fields_of, key
from finetune_tui.core.tuning.presets import find_preset
from finetune_tui.core.tuning.reasons import REASONS

# Those that were trained with, on CPU and on a GPU.
OPTIMIZERS = (
    *("adamw_torch_fused", "adamw_torch", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"),
    *("lion_8bit", "paged_lion_8bit", "adafactor", "sgd"),
)


@dataclass(frozen=True, slots=True)
class Spec:
    """What was asked, under the names of Transformers, PEFT and (for data) TRL."""

    model_name_or_path: str = key("text", "catalog id, `demo` or a folder", "")
    task: str = key("choice", "the piece of work", "train", choices=("train",))
    name: str | None = key("text", "a name for the run")
    note: str | None = key("text", "a line about it, for yourself")
    tags: tuple[str, ...] = key("names", "words to find it by", ())
    preset: str | None = key("text", "which parts to train, by task")
    modules: Modules = key("modules", "which parts to train, by name", ())  # noqa: RUF009
    train_files: tuple[str, ...] = key("files", "files, a folder or a Hub data set", ())
    eval_files: tuple[str, ...] = key("files", "empty: a share of the data", ())
    eval_split: float = key("number", "held-out share of the data", 0.05, minimum=0, maximum=0.9)
    strict: bool = key("yes/no", "stop at the first bad row", False)
    max_length: int = key(
        "whole", "tokens a row may have; more are cut", 1024, minimum=8, maximum=2**20
    )
    completion_only_loss: bool = key("yes/no", "train the completion, not the prompt", True)
    assistant_only_loss: bool = key("yes/no", "in chats the assistant's turns only", True)
    last_turn_only: bool = key("yes/no", "in chats train the last answer only", False)
    packing: bool = key("yes/no", "rows share a sequence; same loss", False)
    train_sampling_strategy: str = key(
        "choice",
        "group_by_length pads less",
        "random",
        choices=("random", "group_by_length", "sequential"),
    )
    load_in_4bit: bool = key("yes/no", "NF4 base: a quarter of the memory", False)
    load_in_8bit: bool = key("yes/no", "8-bit base: half the memory", False)
    dtype: str = key(
        "choice",
        "auto: bfloat16 on GPU, float32 on CPU",
        "auto",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    use_cpu: bool = key("yes/no", "train without a GPU: slow for real models", False)
    gpus: tuple[str, ...] = key("names", "UUIDs; empty: what is visible", ())
    memory_check: bool = key("yes/no", "refuse to start when too little is free", True)
    lora_r: int = key("whole", "start at 8, double while it helps", 8, minimum=1, maximum=4096)
    lora_alpha: float = key(
        "number", "2 × rank; the update is scaled by alpha / rank", 16, minimum=0, maximum=1e6
    )
    lora_dropout: float = key(
        "number", "inputs dropped; regularises", 0.05, minimum=0, maximum=0.99
    )
    use_rslora: bool = key("yes/no", "scale by alpha / √rank instead", False)
    use_dora: bool = key("yes/no", "better at low ranks; slower", False)
    init_lora_weights: str = key(
        "choice",
        "pissa, olora: the weights' own ways",
        "default",
        choices=("default", "gaussian", "olora", "pissa", "pissa_niter_16"),
    )
    trainable_token_indices: tuple[str, ...] = key(
        "names", "tokens that train: ids or their text", ()
    )
    per_device_train_batch_size: int = key(
        "whole", "rows at once; memory grows with it", 2, minimum=1, maximum=4096
    )
    gradient_accumulation_steps: int = key(
        "whole", "batches per step; costs time, not memory", 8, minimum=1, maximum=65536
    )
    learning_rate: float = key("number", "LoRA likes 1e-4 to 5e-4", 2e-4, minimum=0, maximum=10)
    lr_scheduler_type: str = key(
        "choice",
        "how the rate falls",
        "cosine",
        choices=("cosine", "linear", "constant", "constant_with_warmup"),
    )
    warmup_steps: float = key(
        "number", "below 1: a share of all steps", 0.03, minimum=0, maximum=1e9
    )
    num_train_epochs: float = key("number", "passes over the data", 3.0, minimum=0.001, maximum=1e5)
    max_steps: int = key("whole", "so many steps; -1: by epochs", -1, minimum=-1, maximum=10**9)
    max_grad_norm: float = key("number", "clips longer gradients", 1.0, minimum=0, maximum=1e6)
    weight_decay: float = key("number", "pulls to zero; regularises", 0.0, minimum=0, maximum=10)
    optim: str = key(
        "choice",
        "8-bit and paged ones save memory",
        "adamw_torch_fused",
        choices=OPTIMIZERS,
    )
    gradient_checkpointing: bool = key("yes/no", "far less memory for a third more time", False)
    tf32: bool = key("yes/no", "float32 products, Ampere and newer", True)
    chunked_loss: bool = key("yes/no", "logits in pieces; same loss", True)
    use_liger_kernel: bool = key("yes/no", "Liger's fused kernels, where installed", False)
    torch_compile: bool = key("yes/no", "minutes to warm up, then faster", False)
    neftune_noise_alpha: float = key(
        "number",
        "noise on embeddings; 5 is usual",
        0,
        minimum=0,
        maximum=100,
    )
    eval_steps: float = key(
        "number",
        "held-out loss every n; < 1: a share",
        0.1,
        minimum=0,
        maximum=1e9,
    )
    eval_replies: int = key("whole", "rows answered before and after", 0, minimum=0, maximum=10**5)
    eval_samples: int = key("whole", "rows answered at each evaluation", 3, minimum=0, maximum=100)
    early_stopping_patience: int = key(
        "whole",
        "evaluations without progress; 0: never",
        3,
        minimum=0,
        maximum=10**6,
    )
    early_stopping_threshold: float = key(
        "number", "how much better counts as better", 0, minimum=0, maximum=1e3
    )
    load_best_model_at_end: bool = key("yes/no", "keep the best, not the last", True)
    save_steps: float = key(
        "number", "a checkpoint every n; < 1: a share", 0.1, minimum=0, maximum=1e9
    )
    save_total_limit: int = key(
        "whole", "checkpoints kept, beside best and last", 2, minimum=1, maximum=1000
    )
    report_to: str = key(
        "choice", "also write elsewhere", "none", choices=("none", "tensorboard", "wandb")
    )
    seed: int = key("whole", "the same seed, the same run", 42, minimum=0, maximum=2**31 - 1)

    def changed(self, **values: Any) -> "Spec":
        """With these keys set; text is read as its field reads it. Raises UserError."""
        read = _canonical(values)
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
            train_files=tuple(anchored(source, folder) for source in self.train_files),
            eval_files=tuple(anchored(source, folder) for source in self.eval_files),
        )


FIELDS: dict[str, Field] = fields_of(Spec, REASONS)


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


def _canonical(values: dict[str, Any]) -> dict[str, Any]:
    """The same under the spec's own names. Raises UserError for a key that is unknown or set twice."""
    found: dict[str, Any] = {}
    by: dict[str, str] = {}
    for name, value in values.items():
        for own, meant in translated(name, value).items():
            if own not in FIELDS:
                hint = did_you_mean(name, FIELDS) or did_you_mean(name, ALIASES)
                hint = hint or "see README.md for the keys"
                raise UserError("unknown key", where=plain(name, 60), hint=hint)
            if own in found and found[own] != meant:
                raise UserError(f"{by[own]} and {name} both set it", where=own, hint="keep one")
            found[own], by[own] = meant, name
    return found


def _read(name: str, value: Any) -> Any:
    if name == "modules":
        return read_modules(value, FIELDS["lora_r"], FIELDS["lora_alpha"])
    if name == "preset" and value is not None:
        return find_preset(str(value)).id
    return FIELDS[name].read(value)


def _checked(spec: Spec) -> Spec:
    if spec.load_in_4bit and spec.load_in_8bit:
        raise UserError(
            "both load_in_4bit and load_in_8bit are set", where="load_in_4bit", hint="keep one"
        )
    if spec.max_steps == 0:
        raise UserError("0 steps train nothing", where="max_steps", hint="-1 means: by epochs")
    if math.isclose(spec.learning_rate, 0):
        raise UserError("a learning rate of 0 trains nothing", where="learning_rate")
    for name in ("eval_steps", "save_steps", "warmup_steps"):
        steps = getattr(spec, name)
        if steps > 1 and not float(steps).is_integer():
            raise UserError(
                f"{steps:g} is neither a share of all steps nor a number of steps",
                where=name,
                hint=f"{int(steps)} for so many steps, or a share below 1",
            )
    return spec
