"""models, inspect, presets: what is known about a model before anything is loaded."""

import argparse
from typing import Any

from finetune_tui.core.calls.client import inspect_folder
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import CatalogEntry, catalog
from finetune_tui.core.models.difference import difference, difference_report
from finetune_tui.core.models.manifest import Manifest, Module, inspect_answer
from finetune_tui.core.models.report import report
from finetune_tui.core.models.resolve import find_model, load_manifest
from finetune_tui.core.text import count, percent
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.patterns import fold
from finetune_tui.core.tuning.presets import PRESETS, find_preset, resolve_preset
from finetune_tui.core.tuning.selection import Selection, trainable_parameters
from finetune_tui.core.tuning.spec import FIELDS
from finetune_tui.tui.output import say, say_json, say_table


def models(options: argparse.Namespace) -> int:
    """The catalog."""
    entries = list(catalog().values())
    if options.json:
        say_json({"models": [_model_json(entry) for entry in entries]})
        return 0
    say_table(
        ("MODEL", "KIND", "PARAMETERS", "BLOCKS", "CONTEXT", "LICENCE", "FOR"),
        (
            (
                entry.id,
                entry.kind,
                count(entry.parameters),
                str(entry.blocks),
                str(entry.context or "?"),
                entry.licence,
                entry.advice,
            )
            for entry in entries
        ),
        right=frozenset({2, 3, 4}),
    )
    say("\nA folder with config.json and *.safetensors works wherever a model is asked for.")
    return 0


def inspect(options: argparse.Namespace) -> int:
    """The module tree, identical blocks shown once; its report; or what differs in another model."""
    manifest = open_manifest(options.model)
    if options.against:
        found = difference(manifest, open_manifest(options.against))
        if options.json:
            say_json(found.to_json())
        else:
            say(difference_report(found).rstrip())
        return 0
    if options.json:
        written = {"report": report(manifest)} if options.report else {}
        say_json(inspect_answer(manifest) | written)
        return 0
    if options.report:
        say(report(manifest).rstrip())
        return 0
    say(
        f"{manifest.model}: {manifest.architecture}, {count(manifest.parameters)} parameters "
        f"({manifest.parameters:,}), {manifest.blocks} blocks, {_modules_words(manifest)}\n"
    )
    say_table(
        ("MODULE", "CLASS", "ROLE", "PARAMETERS", "SHAPE"),
        (_tree_row(manifest, module) for module in _folded(manifest)),
        right=frozenset({3}),
    )
    return 0


def presets(options: argparse.Namespace) -> int:
    """The guide table, resolved on a model (Phi-2, for which it was written, when none is named)."""
    manifest = open_manifest(options.model or "microsoft/phi-2")
    lora_r = FIELDS["lora_r"].default
    asked = [find_preset(name).id for name in options.preset or PRESETS]
    answers = [_preset_json(manifest, preset, lora_r) for preset in asked]
    if options.json:
        say_json({"model": manifest.model, "presets": answers})
        return 0
    say(
        f"On {manifest.model}, LoRA rank {lora_r}{', roles guessed' if manifest.guessed else ''}. "
        "The guide's advice is folk wisdom: test it on your data.\n"
    )
    say_table(
        ("PRESET", "GOAL", "TRAINS", "SHARE", "MODULES"),
        (
            (
                answer["id"],
                find_preset(answer["id"]).goal,
                count(answer["trainable_parameters"]),
                percent(answer["trainable_parameters"], manifest.parameters),
                _trained_words(answer),
            )
            for answer in answers
        ),
        right=frozenset({2, 3}),
    )
    return 0


def open_manifest(model: str) -> Manifest:
    """The manifest of what a person typed. Raises UserError."""
    return load_manifest(find_model(model), inspect_folder)


def pairs(texts: list[str]) -> dict[str, str]:
    """`key=value` words as a mapping. Raises UserError."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"'{text}' is not KEY=VALUE", where="--set")
        found[key.strip()] = value
    return found


def _model_json(entry: CatalogEntry) -> dict[str, Any]:
    keys = (
        "id",
        "title",
        "kind",
        "licence",
        "advice",
        "parameters",
        "blocks",
        "context",
        "tokens_seen",
    )
    return {key: getattr(entry, key) for key in keys} | {"sources": list(entry.sources)}


def _preset_json(manifest: Manifest, preset: str, lora_r: int) -> dict[str, Any]:
    try:
        resolved = resolve_preset(preset, manifest)
    except UserError as error:
        selection, notes = Selection(), [error.message]
    else:
        selection, notes = resolved.selection, list(resolved.notes)
    return {
        "id": preset,
        "title": find_preset(preset).title,
        "modules": {name: choice.mode.value for name, choice in selection.choices.items()},
        "trainable_parameters": trainable_parameters(manifest, selection, lora_r),
        "notes": notes,
    }


def _trained_words(answer: dict[str, Any]) -> str:
    """The folded names, the mode before those that are not LoRA; or why there are none."""
    by_mode: dict[str, list[str]] = {}
    for name, mode in answer["modules"].items():
        by_mode.setdefault(mode, []).append(name)
    words = [
        "  ".join(fold(names)) if mode == Mode.LORA else f"{mode}: {'  '.join(fold(names))}"
        for mode, names in by_mode.items()
    ]
    return "  ".join(words) or "; ".join(answer["notes"])


def _folded(manifest: Manifest) -> list[Module]:
    """Every module outside the blocks, and those of the first block for all."""
    return [m for m in manifest.modules if manifest.block_index(m.name) in (None, 0)]


def _modules_words(manifest: Manifest) -> str:
    packed = sum(1 for module in manifest.modules if module.is_packed)
    words = f"{len(manifest.modules) - packed} modules"
    words += f" and {packed} packed parameters" if packed else ""
    return words + (", roles guessed from the structure" if manifest.guessed else "")


def _tree_row(manifest: Manifest, module: Module) -> tuple[str, str, str, str, str]:
    in_block = manifest.block_index(module.name) is not None
    first = f"{manifest.blocks_at}.0"
    every = f"{manifest.blocks_at}.{{0..{manifest.blocks - 1}}}"
    name = module.name.replace(first, every, 1) if in_block and manifest.blocks > 1 else module.name
    shape = "×".join(map(str, module.shape)) if module.shape else ""
    parameters = count(module.parameters) if module.parameters else "·"
    return (name or "(whole model)", module.cls, module.role or "", parameters, shape)
