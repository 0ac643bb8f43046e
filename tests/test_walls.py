"""The walls: what holds torch, and what knows the screen, stay where they belong."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = frozenset(
    (
        *("torch", "transformers", "peft", "bitsandbytes", "datasets", "accelerate"),
        *("safetensors", "numpy", "pandas", "pyarrow"),
    )
)
STARRED = (
    "core.memory.simulation",
    "core.models.inspection",
    "core.data.parquet",
    "core.data.tokens",
    "core.evidence.chat_answer",
    "core.evidence.chat_call",
    "core.evidence.measure",
    "core.evidence.question_sets",
    "core.evidence.questions",
    "core.export.adapter_files",
    "core.export.beside",
    "core.export.merge",
    "core.export.merging",
    "core.export.tokenizer_files",
    "core.export.verify",
    "core.training",
)


def _modules(room: str) -> list[str]:
    files = (ROOT / room).rglob("*.py")
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)
    return sorted(name.removesuffix(".__init__") for name in names)


def _is_starred(module: str) -> bool:
    """A starred module's own parts too: `core.data.tokens_chat` belongs to `core.data.tokens`."""
    return any(
        module == starred or module.startswith((f"{starred}.", f"{starred}_"))
        for starred in STARRED
    )


def _loaded_by(modules: list[str]) -> set[str]:
    """What a fresh interpreter holds after importing them all."""
    imports = "".join(f"import finetune_tui.{module}\n" for module in modules)
    script = f"import sys\n{imports}print(*(name.partition('.')[0] for name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


def test_nothing_but_what_is_starred_imports_torch_or_its_friends() -> None:
    modules = [module for module in _modules("core") + _modules("tui") if not _is_starred(module)]
    assert len(modules) > 40
    assert not _loaded_by(modules) & HEAVY


def test_core_never_imports_the_screens() -> None:
    modules = [module for module in _modules("core") if not _is_starred(module)]
    loaded = _loaded_by(modules)
    assert not loaded & {"textual", "rich"}
    assert "finetune_tui" in loaded


@pytest.mark.parametrize("module", ["tui.cli", "core.runs.supervisor"])
def test_what_runs_without_a_screen_starts_without_one(module: str) -> None:
    assert not _loaded_by([module]) & {"textual", "rich", *HEAVY}
