"""Is what lies in a run what its spec says was trained? Asked before a weight is loaded, without torch.

A run may come from anywhere. Its spec alone decides which modules are adapted and how; the files only fill
in numbers, so nothing they name is ever followed, imported or matched as a regular expression.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import read_json
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, find_model, known_manifest
from finetune_tui.core.models.tensor_file import Tensor, read_header
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.targets import has_result, require_result
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.left_behind import Expected, Scale, Shape, expected_of
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_LARGEST_CONFIG = 16 * 2**20  # bytes; it names every module, and a model of experts has many
_DTYPES = ("F32", "F16", "BF16")
_OTHER = "the files are of another run than its spec.yaml"
_AGAIN = "copy the run again, or train it to its end"

# What our own adapters never say, because plain PEFT would then build something else than was trained.
_NEVER = (
    *("layers_to_transform", "layers_pattern", "layer_replication", "exclude_modules"),
    *("target_parameters", "auto_mapping", "megatron_config", "loftq_config", "lora_bias"),
    *("use_qalora", "alora_invocation_tokens"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a result that passed, None where the selection has no such part.

    tokens: ids that the adapter says trained. Which they are, the spec may say in words of the tokenizer's.
    """

    adapter: Path | None
    trained: Path | None
    scales: Mapping[str, Scale]
    tokens: tuple[int, ...]

    def as_saved(self, selection: Selection) -> Selection:
        """The selection with the rank and alpha that each adapter was saved with."""
        adapted = {
            name: Choice(Mode.LORA, scale.r, scale.lora_alpha)
            for name, scale in self.scales.items()
        }
        return Selection({**selection.choices, **adapted})


def require_sound(run: RunDirectory) -> None:
    """Raises UserError when a run has no result, or one that is not what its spec says.

    For before anything is started: where the model itself would have to be read for it, nothing is said yet.
    """
    require_result(run)
    spec = run.spec()
    reference = find_model(spec.model_name_or_path)
    manifest = known_manifest(reference)
    if has_result(run) and manifest is not None:
        check_result(run, spec, manifest, selection_of(spec, manifest), reference)


def check_result(
    run: RunDirectory,
    spec: Spec,
    manifest: Manifest,
    selection: Selection,
    reference: ModelReference,
) -> Found:
    """The result of a run, when it is what its spec says. Raises UserError with the first that is not."""
    expected = expected_of(spec, manifest, selection)
    adapter = trained = None
    tokens: tuple[int, ...] = ()
    if expected.adapter:
        adapter = _inside(run, run.adapter / ADAPTER)
        _check_adapter_files(run.adapter)
        _check_tensors(adapter, expected.adapter, expected.twins)
        config = _inside(run, run.adapter / ADAPTER_CONFIG)
        tokens = check_config(config, spec, manifest, expected, reference)
    if expected.own:
        trained = _inside(run, run.trained)
        _check_tensors(trained, expected.own, {})
    return Found(adapter, trained, expected.scales, tokens)


def check_config(
    path: Path,
    spec: Spec,
    manifest: Manifest,
    expected: Expected,
    reference: ModelReference,
) -> tuple[int, ...]:
    """The tokens of an adapter_config.json that says what the spec says. Raises UserError naming the key."""
    config = read_json(path, limit=_LARGEST_CONFIG)
    try:
        if not isinstance(config, dict):
            raise UserError("no JSON object")
        check_base(config, reference)
        if expected.scales:
            return _check_lora(config, spec, manifest, expected)
        _require(config, "peft_type", "TRAINABLE_TOKENS")
        return _tokens(config.get("token_indices"), spec, manifest, "token_indices")
    except UserError as error:
        place = f"{path}: {error.where}" if error.where else str(path)
        raise UserError(error.message, where=place, hint=error.hint or _OTHER) from None


def _check_lora(
    config: Mapping[str, Any], spec: Spec, manifest: Manifest, expected: Expected
) -> tuple[int, ...]:
    _require(config, "peft_type", "LORA")
    _require(config, "bias", "none")
    _require(config, "use_dora", spec.use_dora)
    _require(config, "use_rslora", spec.use_rslora)
    never = [*_NEVER]
    never += [] if spec.trainable_token_indices else ["trainable_token_indices"]
    # PEFT says it by itself of the matrices that GPT-2 holds transposed.
    is_transposed = any(manifest.module(name).cls == "Conv1D" for name in expected.scales)
    never += [] if is_transposed else ["fan_in_fan_out"]
    for key in never:
        if config.get(key):
            raise UserError("an adapter trained here never says it", where=key)
    if config.get("init_lora_weights") not in (True, False, None, "gaussian"):
        raise UserError("plain PEFT would change the base for it", where="init_lora_weights")
    ends = _names(config.get("target_modules"), "target_modules")
    _check_same(_ending_in(ends, manifest), set(expected.scales), "target_modules")
    full = _names(config.get("modules_to_save") or [], "modules_to_save")
    _check_same(full, set(expected.full), "modules_to_save")
    _check_scales(config, expected.scales)
    if not spec.trainable_token_indices:
        return ()
    tokens = config.get("trainable_token_indices")
    listed = list(tokens.values()) if isinstance(tokens, dict) else []
    one = listed[0] if len(listed) == 1 else None
    return _tokens(one, spec, manifest, "trainable_token_indices")


def _check_scales(config: Mapping[str, Any], scales: Mapping[str, Scale]) -> None:
    """Every module's rank and alpha by its whole name: PEFT itself would match patterns."""
    ranks, alphas = (_by_name(config, key, scales) for key in ("rank_pattern", "alpha_pattern"))
    for name, scale in scales.items():
        for key, own, wanted in (
            ("r", ranks.get(name, config.get("r")), scale.r),
            ("lora_alpha", alphas.get(name, config.get("lora_alpha")), scale.lora_alpha),
        ):
            if not _is_number(own) or not math.isclose(own, wanted, rel_tol=1e-6):
                raise UserError(
                    f"{plain(repr(own), 40)} for {name}, where {wanted:g} was trained", where=key
                )


def _by_name(config: Mapping[str, Any], key: str, scales: Mapping[str, Scale]) -> Mapping[str, Any]:
    pattern = config.get(key) or {}
    if not isinstance(pattern, dict):
        raise UserError("not a list of modules and numbers", where=key)
    odd = next((name for name in pattern if name not in scales), None)
    if odd is not None:
        raise UserError(f"names '{plain(odd, 80)}', which this run did not adapt", where=key)
    return pattern


def _names(value: Any, key: str) -> set[str]:
    if isinstance(value, str):
        raise UserError(
            f"'{plain(value, 60)}' is a pattern; an adapter trained here lists names", where=key
        )
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise UserError("not a list of names", where=key)
    return set(value)


def _ending_in(ends: set[str], manifest: Manifest) -> set[str]:
    """The modules meant by whole names or by their last parts: of long lists PEFT keeps those alone.

    An end that no module has stays in, to be named.
    """
    found, used = set(), set()
    for module in manifest.modules:
        parts = module.name.split(".")
        hits = {".".join(parts[first:]) for first in range(len(parts))} & ends
        if hits and not module.is_packed:
            found.add(module.name)
            used |= hits
    return found | (ends - used)


def _check_same(named: set[str], trained: set[str], key: str) -> None:
    if odd := sorted(named - trained):
        words = f"names '{plain(odd[0], 80)}', which this run did not train"
    elif odd := sorted(trained - named):
        words = f"does not name '{odd[0]}', which this run trained"
    else:
        return
    raise UserError(words, where=key)


def _tokens(value: Any, spec: Spec, manifest: Manifest, key: str) -> tuple[int, ...]:
    wanted = len(spec.trainable_token_indices)
    is_list = isinstance(value, list) and len(value) == wanted
    if not is_list or not all(
        type(token) is int and 0 <= token < manifest.config.vocabulary for token in value
    ):
        raise UserError(f"not the {wanted} tokens that this run trained", where=key)
    return tuple(value)


def check_base(config: Mapping[str, Any], reference: ModelReference) -> None:
    """Models of the Hub have one name everywhere; a folder may have been moved since."""
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or reference.kind not in ("catalog", "hub"):
        return
    if base != reference.public_name:
        raise UserError(
            f"made for {plain(base, 80) or 'no model'}, and this run trained {reference.public_name}",
            where="base_model_name_or_path",
        )


def _require(config: Mapping[str, Any], key: str, wanted: Any) -> None:
    value = config.get(key, wanted)
    if value != wanted or type(value) is not type(wanted):
        raise UserError(f"{plain(repr(value), 60)}, where {wanted!r} was trained", where=key)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e12  # neither inf nor nan passes


def _inside(run: RunDirectory, path: Path) -> Path:
    """A file of the run's own. Raises UserError when it is missing or leads out of the run."""
    where = str(path)
    try:
        real, home = path.resolve(strict=True), run.path.resolve(strict=True)
    except FileNotFoundError:
        if path.parent != run.path and not path.parent.is_dir():
            raise UserError(
                f"{path.parent.name}/ is missing", where=str(run.path), hint=_AGAIN
            ) from None
        if pickled := _pickled(path.parent):
            raise UserError(
                f"only {pickled}: pickle can run code, so it is not opened", where=str(path.parent)
            ) from None
        raise UserError(f"{path.name} is missing", where=str(path.parent), hint=_AGAIN) from None
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot be read ({type(error).__name__})", where=where) from None
    if not real.is_relative_to(home):
        raise UserError("leads out of the run, so it is not followed", where=where)
    return path


def _check_adapter_files(folder: Path) -> None:
    if pickled := _pickled(folder):
        raise UserError(
            f"holds {pickled}: pickle can run code, and no run leaves one",
            where=str(folder),
            hint="take the file away",
        )


def _pickled(folder: Path) -> str | None:
    found = sorted(path.name for glob in _PICKLES for path in folder.glob(glob))
    return plain(found[0], 60) if found else None


def _check_tensors(path: Path, wanted: Mapping[str, Shape], twins: Mapping[str, Shape]) -> None:
    """Raises UserError unless the file holds these tensors, each of its shape, and no other."""
    found = read_header(path)
    where = str(path)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UserError(f"{_count(missing)} missing, first: {missing[0]}", where=where, hint=_OTHER)
    for name, tensor in found.items():
        shape = wanted.get(name, twins.get(name))
        if shape is None:
            extra = [one for one in found if one not in wanted and one not in twins]
            raise UserError(
                f"{_count(extra)} too many, first: '{plain(name, 120)}'", where=where, hint=_OTHER
            )
        _check_tensor(name, tensor, shape, where)


def _check_tensor(name: str, tensor: Tensor, shape: Shape, where: str) -> None:
    if tensor.shape != shape:
        raise UserError(
            f"{name} is {_words(tensor.shape)} and should be {_words(shape)}",
            where=where,
            hint=_OTHER,
        )
    if tensor.dtype not in _DTYPES:
        raise UserError(
            f"{name} is {tensor.dtype} and should be one of {', '.join(_DTYPES)}", where=where
        )


def _words(shape: Shape) -> str:
    return " × ".join(f"{side:,}" for side in shape) or "a single number"


def _count(names: list[str]) -> str:
    return "1 tensor is" if len(names) == 1 else f"{len(names):,} tensors are"
