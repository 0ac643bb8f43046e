"""What every test may rely on."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hook, the theme and the keys of whoever runs the tests are none of theirs."""
    monkeypatch.setenv("FINETUNE_TUI_SETTINGS", str(tmp_path / "nobodys-settings.yaml"))
