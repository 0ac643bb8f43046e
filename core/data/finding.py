"""From what a person names to files: a file, a folder of files, or a data set on the Hub."""

import os
from collections.abc import Callable
from pathlib import Path

from finetune_tui.core.data.kinds import check_file, not_readable
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.data_set_name import FILE_SUFFIXES, DataSetName, data_set_name
from finetune_tui.core.text import nearest

_NO_DATA = frozenset({"dataset_info.json", "dataset_infos.json", "state.json", "package.json"})


def find_files(
    source: str | Path, cache: Path, on_progress: Callable[[int, int], None]
) -> list[Path]:
    """The data files of a source; a data set is fetched first when it is not on this disk.

    cache: a folder for records of what was fetched. on_progress: (bytes done, in all) of a download.
    Raises UserError or WorkFailed, one line each, and what `on_progress` raises.
    """
    found = look_up(source)
    if not isinstance(found, DataSetName):
        return found
    from finetune_tui.core.models.hub_data import fetch_data_set  # HTTP: only for who needs it

    return fetch_data_set(
        found, FILE_SUFFIXES, cache / "hub", lambda now: on_progress(now.done, now.total)
    )


def look_up(source: str | Path) -> list[Path] | DataSetName:
    """The files that a source names on this disk, checked; or the data set it means, never asked for.

    Raises UserError.
    """
    text = os.fspath(source)
    if text.startswith("hf:") and (named := data_set_name(text)):
        return named
    if "\0" in text:
        raise UserError("not the name of a file", where=text)
    try:
        path = Path(text).expanduser() if text.startswith("~") else Path(text)
        if path.is_dir():
            return _files_of(path)
        if not path.exists():
            named = None if path.suffix.lower() in FILE_SUFFIXES else data_set_name(text)
            if named is None:
                raise _absent(path)
            return named
    except RuntimeError as error:  # ~ of nobody
        raise UserError("there is no such folder", where=text) from error
    except OSError as error:
        raise not_readable(Path(text), error) from error
    check_file(path)
    return [path]


def _files_of(folder: Path) -> list[Path]:
    """Its data files in order of name: those called train*, when there are such; or those of its `data`."""
    found = _data_files(folder) or (
        _data_files(folder / "data") if (folder / "data").is_dir() else []
    )
    training = [path for path in found if path.name.lower().startswith("train")]
    found = training or found
    if not found:
        hint = f"it needs files that end in {', '.join(FILE_SUFFIXES)}"
        raise UserError("no data file in this folder", where=str(folder), hint=hint)
    kinds = sorted({path.suffix.lower() for path in found})
    if len(kinds) > 1:
        words = f"holds {' and '.join(kinds)} files"
        raise UserError(words, where=str(folder), hint="name the files to train on")
    for path in found:
        check_file(path)
    return found


def _data_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in FILE_SUFFIXES
        and not path.name.startswith((".", "_"))
        and path.name not in _NO_DATA
        and path.is_file()
    )


def _absent(path: Path) -> UserError:
    try:
        beside = nearest(path.name, (one.name for one in path.parent.iterdir()))
    except OSError:
        beside = None
    hint = f"did you mean {path.parent / beside}?" if beside else None
    return UserError("there is no such file", where=str(path), hint=hint)
