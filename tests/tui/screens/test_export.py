"""The sheet before an export: what it proposes, what it asks before anything leaves, and its errors."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.export.plan import ExportPlan
from finetune_tui.core.export.push_plan import PushPlan
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.task_spec import ExportSpec, write_task_spec
from finetune_tui.tui.screens.export import ExportView
from finetune_tui.tui.screens.export_form import free_folder
from finetune_tui.tui.widgets.lines import Lines
from tests.tui.conftest import settled
from tests.tui.export_fixture import GIB, AppPilot, Sheet, plan_export, plan_push
from tests.tui.runs_fixture import make_run


@pytest.fixture
def sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sheet:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return Sheet(tmp_path / "home")


def refuse_quantised(spec: ExportSpec) -> ExportPlan:
    if not spec.merge:
        return plan_export(spec)
    raise UserError("the base itself is quantised", where="merge", hint="export the adapter")


async def test_it_proposes_a_folder_says_what_it_needs_and_starts_a_run(
    sheet: Sheet, tmp_path: Path
) -> None:
    here = tmp_path / "work"
    (here / f"{sheet.run.path.name}-merged").mkdir()
    async with sheet.app.run_test(size=(120, 36)) as pilot:
        await sheet.open(pilot)
        assert sheet.view.spec.out == str(here / f"{sheet.run.path.name}-adapter")
        assert "adapter: 6 files, 65.0M" in sheet.words
        assert "✓ disk needs 65.0M, 41.0G free" in sheet.words
        assert "memory needs" not in sheet.words

        await sheet.press(pilot, "j", "j", "enter")  # merge
        assert sheet.view.spec.out == str(here / f"{sheet.run.path.name}-merged-2")
        assert "merged, bfloat16" in sheet.words
        assert "✓ memory needs about 8.1G, 33.0G free" in sheet.words
        assert "! trained on the 4-bit base" in sheet.words

        await sheet.set(pilot, "out", "made/x")
        await sheet.press(pilot, "k", "k", "enter")
        assert sheet.view.spec.out == "made/x"  # what was typed stays
        assert "work/made/x" in sheet.words

        await sheet.press(pilot, "Q")
        assert len(sheet.queued) == 1
        assert sheet.app.place_name == "runs"
        await sheet.press(pilot, "g", "enter")
        spec = sheet.started[0]
        assert (spec.run, spec.out) == (str(sheet.run.path.absolute()), str(here / "made" / "x"))
        assert (spec.merge, spec.push_to, spec.private) == (False, None, True)
        assert sheet.asked == []
        assert sheet.app.place_name == "train"
        assert sheet.app.session.monitored == RunDirectory(sheet.home / "runs" / "r9-demo")


async def test_what_is_sent_is_shown_before_and_asked_once(sheet: Sheet) -> None:
    async with sheet.app.run_test(size=(120, 36)) as pilot:
        await sheet.open(pilot)
        await sheet.set(pilot, "push_to", "x")
        outlook = sheet.app.query_one("#export-outlook", Lines)
        row = next(
            at for at, text in enumerate(outlook.words.split("\n")) if "asks the Hub" in text
        )
        assert sheet.asked == []
        await pilot.click(outlook, offset=(3, row))
        await settled(pilot)
        assert sheet.asked == [("x", True)]
        assert "https://huggingface.co/ann/x" in sheet.words
        assert "private: ann alone" in sheet.words
        assert "ann, token from HF_TOKEN, may write" in sheet.words
        assert "6 files, 65.0M: 6 new" in sheet.words

        await sheet.press(pilot, "s")
        assert sheet.is_asking()
        assert "private: ann alone sees it" in sheet.app.screen.query_one(Lines).words
        await sheet.press(pilot, "escape")
        assert not sheet.started
        await sheet.press(pilot, "s", "y")
        assert [spec.push_to for spec in sheet.started] == ["x"]

        await sheet.open(pilot)
        await sheet.press(pilot, "s")  # agreed already
        assert len(sheet.started) == 2
        await sheet.open(pilot)
        sheet.push = lambda files, repo, private: plan_push(files, repo, private, old=True)
        sheet.form.go_to("private")
        await sheet.press(pilot, "enter", "s")
        assert sheet.is_asking()  # everybody would see it: that is another question
        assert "public: everybody sees it" in sheet.app.screen.query_one(Lines).words
        sent = sheet.words.partition("what is sent")[2]
        assert "is there already" in sent
        assert "5 new, 1 in place of" in sent
        assert "README.md" in sent
        assert "stay 1 file of the repository" in sent


async def test_what_is_wrong_stands_at_its_field_and_starts_nothing(
    sheet: Sheet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> PushPlan:
        raise UserError("the token may only read", where="ann/x", hint="make one")

    sheet.plan, sheet.push = refuse_quantised, refused
    async with sheet.app.run_test(size=(120, 36)) as pilot:
        await sheet.open(pilot)
        await sheet.press(pilot, "j", "j", "enter", "g", "s")
        assert sheet.form.row.title == "merge"
        assert "✗ the base itself is quantised" in sheet.words
        assert "export the adapter" in sheet.words
        await sheet.press(pilot, "enter")

        await sheet.set(pilot, "push_to", "a/b/c")
        assert "no name for a repository" in sheet.form.wrong["push_to"]
        assert "✗" in sheet.words
        monkeypatch.delenv("HF_TOKEN")
        await sheet.set(pilot, "push_to", "x")
        assert "no login for the Hub" in sheet.words
        monkeypatch.setenv("HF_TOKEN", "hf_token")
        assert sheet.asked == []

        await sheet.press(pilot, "g", "s")
        assert sheet.asked
        assert sheet.form.row.title == "push_to"
        assert "✗ ann/x: the token may only read" in sheet.words
        assert not sheet.is_asking()

        sheet.plan = lambda spec: dataclasses.replace(plan_export(spec), disk_free=GIB // 64)
        await sheet.set(pilot, "push_to", " ")
        await sheet.set(pilot, "out", "y")
        assert "16.0M is free there" in " ".join(sheet.words.split())
        await sheet.press(pilot, "s")
        assert sheet.form.row.title == "out"
        assert not sheet.started


async def test_which_runs_can_be_exported(sheet: Sheet, tmp_path: Path) -> None:
    before = ExportSpec(
        run=str(sheet.run.path.absolute()), out=str(tmp_path / "old"), merge=True, dtype="float16"
    )
    made = make_run(sheet.home, name="r8-demo", task="export", status=Status.FINISHED)
    made.spec_path.write_text(write_task_spec(before))
    failed = make_run(sheet.home, name="r9-demo", status=Status.FAILED)
    sheet.run, trained = failed, sheet.run
    async with sheet.app.run_test(size=(120, 36)) as pilot:
        await sheet.open(pilot)
        assert not sheet.app.query(ExportView)

        sheet.run = made  # its own settings again, in a new folder
        await sheet.open(pilot)
        spec = sheet.view.spec
        assert (spec.run, spec.merge, spec.dtype) == (str(trained.path.absolute()), True, "float16")
        assert spec.out == free_folder(trained, True)


Snap = Callable[..., bool]


def picture(
    sheet: Sheet, snap: Snap, size: tuple[int, int], *keys: str, merge: bool = False
) -> bool:
    async def prepare(pilot: AppPilot) -> None:
        await sheet.open(pilot)
        if merge:
            await sheet.press(pilot, "j", "j", "enter")
        await sheet.set(pilot, "push_to", "invoices")
        await sheet.press(pilot, *keys)

    return snap(sheet.app, terminal_size=size, run_before=prepare)


@pytest.fixture
def still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sheet:
    """The same under a path that is the same everywhere."""
    monkeypatch.setattr("finetune_tui.tui.watching._words_of", lambda *_: ("", ""))
    monkeypatch.setattr("finetune_tui.tui.screens.export.free_folder", lambda *_: "/data/invoices")
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    return Sheet(tmp_path / "home")


def test_dry_run_picture(snap_compare: Snap, still: Sheet) -> None:
    assert picture(still, snap_compare, (80, 24), "d")


@pytest.mark.soak
def test_question_picture(snap_compare: Snap, still: Sheet) -> None:
    assert picture(still, snap_compare, (80, 24), "s")


@pytest.mark.soak
@pytest.mark.parametrize("size", [(45, 20), (120, 36), (200, 50)])
def test_merged_picture(snap_compare: Snap, still: Sheet, size: tuple[int, int]) -> None:
    assert picture(still, snap_compare, size, "d", merge=True)
