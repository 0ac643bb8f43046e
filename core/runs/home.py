"""Where runs live, and whether they would outlive the container they live in."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_CONTAINER_DISKS = frozenset({"overlay", "aufs", "fuse-overlayfs", "fuse.fuse-overlayfs", "tmpfs"})
_LASTING = frozenset(
    {"ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs"}
    | {"ceph", "lustre", "gpfs", "beegfs", "glusterfs", "fuse", "fuseblk"}
)
_OF_THE_SYSTEM = ("/boot", "/dev", "/etc", "/proc", "/run", "/snap", "/sys", "/usr", "/var/lib")


@dataclass(frozen=True, slots=True)
class _Mount:
    point: Path
    kind: str


def find_home(option: str | None = None) -> Path:
    """`--home`, else $FINETUNE_TUI_HOME, else the platform's data folder; absolute, not made."""
    chosen = option or os.environ.get("FINETUNE_TUI_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("finetune-tui", appauthor=False).absolute()


def on_container_disk(path: Path, mounts: Path = _MOUNTS) -> bool:
    """Whether what is written there goes when the container goes. False when nothing is known."""
    holding = [mount for mount in _read_mounts(mounts) if path.is_relative_to(mount.point)]
    if not holding:
        return False
    # The longest mount point holds the path; of two mounts on one point, the later hides the other.
    nearest = max(reversed(holding), key=lambda mount: len(mount.point.parts))
    return nearest.kind in _CONTAINER_DISKS


def lasting_mounts(mounts: Path = _MOUNTS) -> tuple[Path, ...]:
    """Folders on a disk that outlives the container and may be written, to offer as a home."""
    found = []
    for mount in _read_mounts(mounts):
        lasts = mount.kind in _LASTING or mount.kind.startswith("fuse.")
        if not lasts or mount.kind in _CONTAINER_DISKS or mount.point == Path("/"):
            continue
        if any(mount.point.is_relative_to(folder) for folder in _OF_THE_SYSTEM):
            continue
        if mount.point.is_dir() and os.access(mount.point, os.W_OK):
            found.append(mount.point)
    return tuple(dict.fromkeys(found))


def _read_mounts(path: Path) -> list[_Mount]:
    try:
        lines = path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    mounts = []
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) >= 5 and after:
            mounts.append(_Mount(Path(_unescaped(fields[4])), after.split(" ")[0]))
    return mounts


def _unescaped(text: str) -> str:
    """mountinfo writes a space in a path as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
