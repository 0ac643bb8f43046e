"""Before a start: what is ready and what is missing, in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune_tui.core.text import plain, size

if TYPE_CHECKING:
    from finetune_tui.tui.session import Session


@dataclass(frozen=True, slots=True)
class Check:
    """ok: True ready, False in the way, None good to know. place: where it is put right."""

    ok: bool | None
    words: str
    place: str | None = None


def checks(session: "Session") -> tuple[Check, ...]:
    """One line for each thing a start needs; nothing is guessed, what is unknown is left out."""
    if session.manifest is None:
        return (Check(False, "no model is open", "model"),)
    return tuple(_checks(session))


def _checks(session: "Session") -> Iterator[Check]:
    if not session.selection.choices:
        yield Check(False, "nothing is chosen to train", "layers")
    yield _data(session)
    device = _device(session)
    if device:
        yield device
    yield _weights(session)
    free = session.hardware.disk_free if session.hardware else None
    if free is not None:
        yield Check(free >= 2**30, f"disk {size(free)} free")


def _data(session: "Session") -> Check:
    files = session.data_files
    if not files:
        return Check(False, "no data yet", "data")
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    rows = f", {session.data.rows} rows" if session.data and session.data.files == files else ""
    return Check(True, f"data {plain(files[0].name, 24)}{more}{rows}", "data")


def _device(session: "Session") -> Check | None:
    if session.spec.use_cpu:
        return Check(True, "trains on the CPU, as set")
    if session.hardware is None:
        return None
    if session.gpu is None:
        return Check(False, "no GPU here, and use_cpu is off", "train")
    estimate, free = session.estimate, session.free_bytes
    if estimate is None or free is None:
        return Check(None, f"GPU{session.gpu.index} does not tell its free memory")
    left = free - estimate.device
    if session.fits:
        return Check(True, f"fits, {size(left)} to spare")
    if left >= 0:
        return Check(False, f"may not fit: {size(left)} left, ±{size(estimate.band)}", "train")
    return Check(False, f"{size(-left)} more than is free", "train")


def _weights(session: "Session") -> Check:
    reference = session.reference
    if reference is None or session.manifest is None:
        return Check(False, "no model is open", "model")
    if reference.kind == "demo":
        return Check(True, "weights are built in")
    if reference.folder is not None:
        return Check(True, "weights are in its folder")
    return Check(None, f"weights: Hub, {size(2 * session.manifest.parameters)} unless here")
