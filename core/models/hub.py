"""Fetch a model from the Hub: config, tokenizer, safetensors; never pickle or code. No torch."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import read_json
from finetune_tui.core.models import sanity
from finetune_tui.core.models.hub_files import Download, OnProgress, RemoteFile
from finetune_tui.core.models.weights import (
    ADAPTER_CONFIG,
    INDEX,
    SINGLE,
    base_of_adapter,
    shards_of_index,
)

_SMALL = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab"
    r"|chat_template)\.json|merges\.txt|vocab\.txt|chat_template\.jinja"
    r"|(tokenizer|spiece|sentencepiece[\w.]*)\.model",
    re.ASCII,
)
_MOST_SMALL = 256 * 2**20  # bytes; the largest tokenizer.json known has 35 MB


def fetch_config(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Fetch config.json alone, a few kB; the snapshot folder that holds it."""
    download = _ModelDownload(name, environment)
    download.take(download.required("config.json"))
    return download.snapshot


def fetch_tokenizer(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Fetch config and tokenizer, a few MB; the snapshot folder that holds them."""
    download = _ModelDownload(name, environment)
    download.required("config.json")
    download.take(*download.small_files())
    return download.snapshot


def fetch_model(
    name: str, on_progress: OnProgress, environment: Mapping[str, str] = os.environ
) -> Path:
    """Fetch what training needs: config, tokenizer, safetensors; never pickle or code.

    Returns the snapshot folder. Raises UserError (unknown, gated, nothing but pickle, no room) or
    WorkFailed (no network, cut, disk full), one line each, and whatever `on_progress` raises.
    """
    download = _ModelDownload(name, environment)
    download.required("config.json")
    download.take(*download.small_files())
    shards = download.shards()
    download.check_room(shards)
    download.take(*shards, on_progress=on_progress)
    return download.snapshot


class _ModelDownload(Download):
    """The parts of a model."""

    def required(self, file: str) -> RemoteFile:
        if file not in self.remote.names:
            raise self._no_config()
        return self.bounded(self.file(file), sanity.MOST_BYTES)

    def small_files(self) -> list[RemoteFile]:
        names = (name for name in self.remote.names if _SMALL.fullmatch(name))
        return [self.bounded(self.file(name), _MOST_SMALL) for name in names]

    def shards(self) -> list[RemoteFile]:
        """The weights: what the index names; a repository often holds them in other formats too."""
        if INDEX in self.remote.names:
            self.take(self.bounded(self.file(INDEX), _MOST_SMALL))
            where = f"{self.name}/{INDEX}"
            names = shards_of_index(read_json(self.snapshot / INDEX), where)
            absent = [name for name in names if name not in self.remote.names]
            if absent:
                raise UserError(f"its index names {absent[0]}, which is not there", where=self.name)
            return [self.file(name) for name in names]
        if SINGLE in self.remote.names:
            return [self.file(SINGLE)]
        pickled = [name for name in self.remote.names if name.endswith((".bin", ".pt", ".pth"))]
        raise UserError(
            "only *.bin on the Hub: pickle can run code, so it is not fetched"
            if pickled
            else "no safetensors on the Hub",
            where=self.name,
            hint="choose a model with *.safetensors, or write it so where you trust it",
        )

    def _no_config(self) -> UserError:
        if ADAPTER_CONFIG in self.remote.names:
            self.take(self.bounded(self.file(ADAPTER_CONFIG), 2**20))
            base = base_of_adapter(read_json(self.snapshot / ADAPTER_CONFIG, limit=2**20))
            made_for = f", made for {base}" if base else ""
            return UserError(
                f"this is an adapter{made_for}, not a model",
                where=self.name,
                hint=f"open {base or 'its base'} instead",
            )
        return UserError("has no config.json: not a Transformers model", where=self.name)
