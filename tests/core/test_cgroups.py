"""Control groups of both kinds, laid out as folders."""

from pathlib import Path

import pytest

from finetune_tui.core.cgroups import memory_group, oom_kills


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc" / "self"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "cgroup"
    folder.mkdir()
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_version_2_takes_the_tightest_limit_above_the_process(proc: Path, root: Path) -> None:
    write(proc / "cgroup", "0::/a/b\n")
    write(root / "a/b/memory.max", "max\n")
    write(root / "a/memory.max", "1000\n")
    write(root / "a/memory.current", "700\n")
    write(root / "a/memory.stat", "anon 5\ninactive_file 300\n")
    group = memory_group(proc, root)
    assert (group.limit, group.used) == (1000, 400)


def test_version_1_where_no_limit_is_a_huge_number(proc: Path, root: Path) -> None:
    write(proc / "cgroup", "4:cpu,memory:/x\n3:cpuset:/\n0::/\n")
    write(root / "memory/x/memory.limit_in_bytes", "9223372036854771712\n")
    assert memory_group(proc, root).limit is None


def test_a_container_sees_its_own_group_at_the_mount_point(proc: Path, root: Path) -> None:
    write(proc / "cgroup", "0::/docker/0123\n")
    write(root / "memory.max", "2048\n")
    write(root / "memory.events", "low 0\noom 2\noom_kill 3\n")
    assert memory_group(proc, root).limit == 2048
    assert oom_kills(proc, root) == 3


def test_kills_in_version_1(proc: Path, root: Path) -> None:
    write(proc / "cgroup", "4:memory:/x\n")
    write(root / "memory/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert oom_kills(proc, root) == 1


def test_the_machines_own_counter_where_no_group_has_one(proc: Path, root: Path) -> None:
    write(proc / "cgroup", "0::/\n")
    write(proc.parent / "vmstat", "nr_free_pages 1\noom_kill 4\n")
    assert oom_kills(proc, root) == 4


def test_nothing_is_known_without_proc(tmp_path: Path) -> None:
    assert oom_kills(tmp_path / "none" / "self", tmp_path) is None
    assert memory_group(tmp_path / "none" / "self", tmp_path).limit is None
