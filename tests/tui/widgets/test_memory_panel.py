"""The memory panel: bars and numbers against what is free, what the last key did, what was simulated."""

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.hardware import Gpu, GpuProcess
from finetune_tui.core.memory.cards import CARDS
from finetune_tui.core.memory.estimate import Verdict, estimate_all
from finetune_tui.core.models.resolve import find_model
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import Line, cells, text_of
from finetune_tui.tui.widgets.memory_panel import (
    bar_text,
    memory_keys,
    memory_lines,
    memory_title,
    parts_title,
    present_line,
)
from finetune_tui.tui.widgets.memory_words import (
    PARTS,
    change_words,
    last_key_line,
    parts_of,
    verdict_words,
)
from tests.tui.conftest import hardware

GIB = 2**30
NARROW, WIDE = 38, 49


@pytest.fixture
def session() -> Session:
    return session_with("phi-2")


def session_with(name: str) -> Session:
    reference = find_model(name)
    assert reference.entry is not None
    session = Session()
    session.open_model(reference, reference.entry.manifest())
    session.choose_preset("structured-output")
    return session


def on_gpu(session: Session, **changed: object) -> None:
    machine = hardware()
    gpu = dataclasses.replace(machine.gpus[0], **changed)  # type: ignore[arg-type]
    session.hardware = dataclasses.replace(machine, gpus=(gpu,))


def says(session: Session) -> str | None:
    return session.verdict.value if session.verdict else None


def words(lines: Sequence[Line]) -> list[str]:
    return [text_of(one).rstrip() for one in lines]


def bars(session: Session, width: int = NARROW) -> dict[str, str]:
    """What stands behind the bar of each precision, the name of the present one with its `>`."""
    lines = words(memory_lines(session, width, parts=False, table=False))
    return {text[:5].strip(): text.rpartition("░")[2].rpartition("█")[2] for text in lines[:4]}


def test_every_precision_is_held_against_what_is_free(session: Session) -> None:
    on_gpu(session)
    assert memory_title(session) == ["memory", "GPU0", "free 23.1G"]
    fp32, bf16, _, nf4, last = words(memory_lines(session, NARROW, parts=False, table=False))
    assert fp32.startswith(" fp32 ██")
    assert "▶" in fp32
    assert fp32.endswith(" NO")
    assert bf16.startswith(">bf16 ██")
    assert nf4.endswith(" fits")
    assert last.startswith(" last key: ")
    assert max(map(len, (fp32, bf16, nf4))) <= NARROW


def test_a_band_around_the_limit_says_may_fit(session: Session) -> None:
    on_gpu(session)
    present = session.estimate
    assert present is not None
    for free, expected in (
        (present.device + present.band, Verdict.FITS),
        (present.device + present.band - 1, Verdict.MAY),
        (present.device - present.band, Verdict.MAY),
        (present.device - present.band - 1, Verdict.NO),
    ):
        on_gpu(session, free=free)
        assert session.verdict is expected
        assert bars(session)[">bf16"].endswith(f" {expected.value}")
        assert text_of(verdict_words(session)).endswith(f" {expected.value}")


def test_only_the_present_precision_has_a_band(session: Session) -> None:
    on_gpu(session)
    assert [name for name, tail in bars(session).items() if "±" in tail] == [">bf16"]
    session.change_spec(load_in_4bit=True)
    assert [name for name, tail in bars(session).items() if "±" in tail] == [">4bit"]


def test_without_a_gpu_there_are_sizes_and_no_verdicts(session: Session) -> None:
    session.hardware = hardware(gpu=False)
    assert memory_title(session) == ["memory", "no GPU here", "sizes only"]
    shown = " ".join(words(memory_lines(session, NARROW, parts=False, table=False)))
    assert not any(verdict.value in shown for verdict in Verdict)
    assert "/" not in text_of(verdict_words(session))


def test_a_card_that_is_not_here_is_compared_with(session: Session) -> None:
    session.hardware = hardware(gpu=False)
    session.card = "24 GB"
    assert memory_title(session) == ["memory", "24 GB card", "23.5G usable"]
    assert session.budget == CARDS["24 GB"]
    assert ">bf16" in bars(session)  # as it would be held on a GPU
    session.change_spec(load_in_4bit=True, max_length=512)
    assert text_of(verdict_words(session)).endswith("/24G card fits")


def test_the_card_and_not_the_gpu_counts_while_one_is_chosen(session: Session) -> None:
    on_gpu(session, free=GIB)
    assert says(session) == "NO"
    session.card = "141 GB"
    assert says(session) == "fits"
    session.card = None
    assert says(session) == "NO"


def test_another_gpu_changes_the_verdict_at_once(session: Session) -> None:
    machine = hardware()
    small = Gpu(index=1, uuid="GPU-small", name="T4", total=16 * GIB, free=15 * GIB)
    session.hardware = dataclasses.replace(machine, gpus=(machine.gpus[0], small))
    session.change_spec(load_in_4bit=True)
    assert says(session) == "fits"
    session.change_spec(gpus=["GPU-small"])
    assert says(session) == "NO"
    assert memory_title(session)[1] == "GPU1"


def test_a_gpu_that_others_use_says_what_is_left_and_who_has_the_rest(session: Session) -> None:
    held = (GpuProcess(4242, 11 * GIB),)
    on_gpu(session, free=12 * GIB, used=12 * GIB, processes=held)
    assert memory_title(session)[2] == "free 12.0G of 24.0G"
    assert words(memory_keys(session, WIDE, "layers")) == ["others 11.0G"]
    on_gpu(session, free=None)
    assert memory_title(session) == ["memory", "GPU0", "free unknown"]
    assert says(session) is None


def test_on_the_cpu_memory_is_held_against_that_of_the_machine(session: Session) -> None:
    on_gpu(session)
    session.card = "24 GB"
    session.change_spec(use_cpu=True, gradient_checkpointing=True)
    assert memory_title(session) == ["memory", "CPU", "free 33.0G"]
    assert says(session) == "fits"
    assert session.hardware is not None
    session.hardware = dataclasses.replace(session.hardware, memory_available=GIB)
    assert says(session) == "NO"
    session.hardware = None
    assert says(session) is None


def test_numbers_for_each_part_stand_under_their_names_and_sum_up(session: Session) -> None:
    on_gpu(session)
    title = text_of(parts_title(session, NARROW))
    assert title.strip("─").split("─") == ["in", "G", *PARTS, "total"]
    rows = words(memory_lines(session, NARROW, parts=True, table=False))[:4]
    for row in rows:
        *numbers, total = map(float, row[5:].split())
        assert sum(numbers) == pytest.approx(total, abs=0.6 * len(numbers))
    for name, end in (("base", 9), ("logits", 27), ("total", 37)):
        assert title[: end + 1].endswith(name)
        assert all(row[end].isdigit() and row[end + 1 : end + 2] in ("", " ") for row in rows)


def test_with_room_the_parts_are_always_there(session: Session) -> None:
    on_gpu(session)
    *_, names, numbers, last = words(memory_lines(session, WIDE, parts=False, table=True))
    assert names.split()[2:] == ["base", "train", "acts", "logits", "ctx", "total"]
    assert len(numbers.split()) == 6
    assert last.startswith(" last key: ")


def test_the_parts_are_the_whole(session: Session) -> None:
    assert session.manifest is not None
    found = estimate_all(session.manifest, session.selection, session.spec)
    assert [sum(parts_of(each.breakdown)) for each in found.values()] == [
        each.device for each in found.values()
    ]


def test_the_last_key_says_how_much_and_where(session: Session) -> None:
    on_gpu(session)
    session.toggle(["lm_head"])
    assert text_of(last_key_line(session, NARROW)).startswith(" last key: −")
    session.toggle(["lm_head"])
    assert text_of(last_key_line(session, NARROW)).startswith(" last key: +")
    session.change_spec(max_length=512)
    narrow, wide = (text_of(last_key_line(session, width)) for width in (NARROW, 60))
    assert narrow.startswith(" last key: −")
    assert narrow.endswith("G acts")
    assert "  acts −" in wide
    assert "  ctx −" in wide
    session.change_spec(learning_rate=1e-3)
    assert text_of(last_key_line(session, NARROW)) == " last key: no change"


def test_the_machine_being_read_is_no_key(session: Session) -> None:
    session.toggle(["lm_head"])  # fp32 while no GPU is known
    on_gpu(session)
    change = session.last_change
    assert abs(change) < GIB
    session.use_context(300 * 2**20)
    assert session.last_change == 0


def test_a_measured_context_moves_every_estimate(session: Session) -> None:
    on_gpu(session)
    before = session.estimate
    session.use_context(300 * 2**20)
    after = session.estimate
    assert before is not None
    assert after is not None
    assert after.breakdown.context == 300 * 2**20
    assert after.device - before.device == after.breakdown.context - before.breakdown.context


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (0, "0"),
        (int(0.61 * GIB), "+0.61G"),
        (-int(4.1 * GIB), "−4.10G"),
        (5 * 2**20, "+5.0M"),
        (-300, "−300B"),
    ],
)
def test_changes_in_words(change: int, shown: str) -> None:
    assert change_words(change) == shown


@pytest.mark.parametrize(
    ("share", "bar"),
    [(0, "░░░░"), (0.5, "██░░"), (0.53, "██▏░"), (1, "████"), (1.01, "███▶"), (9, "███▶")],
)
def test_bars(share: float, bar: str) -> None:
    assert bar_text(share, 4) == bar


@given(
    st.sampled_from(["phi-2", "demo", "qwen3-30b-a3b", "llama-3.1-8b"]),
    st.integers(1, 300 * GIB) | st.none(),
    st.integers(NARROW, 120),
    st.booleans(),
)
def test_no_line_is_wider_than_the_panel(
    name: str, free: int | None, width: int, parts: bool
) -> None:
    session = session_with(name)
    on_gpu(session, free=free)
    for one in memory_lines(session, width, parts, table=True)[:4]:
        assert cells(tuple(one)) <= width
    assert cells(present_line(session, max(width, 60))) <= max(width, 60)
