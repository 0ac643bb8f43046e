"""Random settings on the catalog's models: what the estimate says of each, and what a simulation finds.

Models are cut to a few of their blocks: widths, vocabularies and everything else are their own, and what the
estimate may get wrong is then a larger share of the whole, not a smaller one.
"""

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass

from finetune_tui.core.errors import UserError
from finetune_tui.core.memory.allocator import replay
from finetune_tui.core.memory.cards import CARDS, smallest_card
from finetune_tui.core.memory.estimate import CUDA_CONTEXT, Estimate, estimate
from finetune_tui.core.memory.weights import Precision
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.inspection import inspect_config
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.training.simulate import config_of, simulate
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.presets import PRESETS, resolve_preset
from finetune_tui.core.tuning.refusals import Machine, refuse_impossible
from finetune_tui.core.tuning.selection import Selection, refusal
from finetune_tui.core.tuning.spec import OPTIMIZERS, Spec

SEED = 20261121
_ANYWHERE = Machine(on_gpu=True, has_package=lambda _: True)
TOKENS = tuple(map(str, range(40, 60)))
_LENGTHS = (128, 200, 512, 777, 1024, 2048, 4096)
_NAMED = (
    "gradient_checkpointing",
    "use_dora",
    "packing",
    "chunked_loss",
    "trainable_token_indices",
    "neftune_noise_alpha",
)
_QUANTISED = (Precision.INT8, Precision.NF4)


@dataclass(frozen=True, slots=True)
class Setting:
    model: str
    blocks: int
    precision: Precision
    selection: str
    spec: Spec

    def __str__(self) -> str:
        spec = self.spec
        words = [
            f"{self.model} ({self.blocks} blocks), {self.precision}, {self.selection}",
            f"{spec.per_device_train_batch_size} × {spec.max_length}, r {spec.lora_r}, {spec.optim}",
        ]
        words += [name for name in _NAMED if getattr(spec, name)]
        if spec.init_lora_weights != "default":
            words.append(spec.init_lora_weights)
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Compared:
    """Bytes. parameters: of the model as cut. card: bytes of the smallest that would do, None: none."""

    setting: Setting
    estimate: Estimate
    allocated: int
    reserved: int
    parameters: int
    card: int | None

    @property
    def error(self) -> float:
        return self.estimate.allocated / self.allocated - 1


def random_settings(count: int, seed: int = SEED) -> Iterator[Setting]:
    """So many that mean something; the same for the same seed."""
    draw = random.Random(seed)
    models = list(catalog())
    made = 0
    while made < count:
        precision = draw.choice(list(Precision))
        setting = Setting(
            model=draw.choice(models),
            blocks=draw.randint(2, 6),
            precision=precision,
            selection=draw.choice([*PRESETS, "bitfit-top-1", "attention-only-top-1", "mixed"]),
            spec=Spec(
                lora_r=draw.choice([4, 8, 16, 32, 64, 128]),
                per_device_train_batch_size=draw.randint(1, 8),
                max_length=draw.choice(_LENGTHS),
                gradient_accumulation_steps=draw.choice([1, 4]),
                gradient_checkpointing=draw.random() < 0.5,
                lora_dropout=draw.choice([0.0, 0.05]),
                use_dora=draw.random() < 0.15,
                packing=draw.random() < 0.15,
                chunked_loss=draw.random() < 0.75,
                optim=draw.choice(OPTIMIZERS),
                init_lora_weights=draw.choice(["default"] * 8 + ["olora", "pissa"]),
                trainable_token_indices=draw.choice([()] * 7 + [TOKENS]),
                neftune_noise_alpha=draw.choice([0.0] * 7 + [5.0]),
                load_in_4bit=precision is Precision.NF4,
                load_in_8bit=precision is Precision.INT8,
                dtype="float32" if precision is Precision.FP32 else "auto",
            ),
        )
        if is_possible(setting):
            made += 1
            yield setting


def compare(setting: Setting) -> Compared:
    """Some seconds: two steps of the real modules on the meta device."""
    manifest, config, selection = _of(setting)
    trace = simulate(config, manifest, selection, setting.spec, setting.precision)
    return Compared(
        setting,
        estimate(manifest, selection, setting.spec, setting.precision),
        trace.peak().bytes,
        replay(trace).reserved,
        manifest.parameters,
        CARDS[card] if (card := smallest_card(trace, CUDA_CONTEXT)) else None,
    )


def is_possible(setting: Setting) -> bool:
    manifest, _, _ = _cut(setting)
    if setting.spec.max_length > (manifest.config.context or setting.spec.max_length):
        return False
    # Plain attention in float32 holds every pair of tokens: nobody's card does at this size.
    pairs = setting.spec.per_device_train_batch_size * setting.spec.max_length**2
    if setting.precision is Precision.FP32 and pairs > 2**25:
        return False
    if setting.precision is Precision.FP32 and manifest.config.experts:
        return False  # the grouped product takes 16 bits only
    try:
        selection = _selection(manifest, setting)
        refuse_impossible(setting.spec, manifest, selection, _ANYWHERE)
    except UserError:
        return False
    in_full = any(
        choice.mode is Mode.FULL and manifest.module(name).is_quantisable
        for name, choice in selection.choices.items()
    )
    return not (in_full and setting.precision in _QUANTISED)


def _of(setting: Setting) -> tuple[Manifest, object, Selection]:
    manifest, config, _ = _cut(setting)
    return manifest, config, _selection(manifest, setting)


def _cut(setting: Setting) -> tuple[Manifest, object, int]:
    whole = config_of(find_model(setting.model))
    config = copy.deepcopy(whole.get_text_config())
    config.num_hidden_layers = min(setting.blocks, config.num_hidden_layers)
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: config.num_hidden_layers]
    return inspect_config(config, setting.model), config, config.num_hidden_layers


def _selection(manifest: Manifest, setting: Setting) -> Selection:
    """A preset's, or every mode somewhere, different from block to block."""
    if setting.selection != "mixed":
        return resolve_preset(setting.selection, manifest).selection
    draw = random.Random(setting.spec.max_length * setting.blocks)
    choices = {}
    for module in manifest.modules:
        mode = draw.choice([Mode.FROZEN, Mode.LORA, Mode.LORA, Mode.FULL, Mode.BIAS])
        if setting.precision in _QUANTISED and mode is Mode.FULL:
            mode = Mode.LORA
        inside = manifest.block_index(module.name) is not None
        if inside and mode is not Mode.FROZEN and refusal(manifest, module.name, mode) is None:
            choices[module.name] = Choice(mode)
    if not choices:
        raise UserError("nothing can train here")
    return Selection(choices)
