"""Being told in the open app that a run has ended: once, with its facts, and not where it is switched off."""

from pathlib import Path

import pytest

from finetune_tui.core.runs.directory import RunDirectory, list_runs
from finetune_tui.core.runs.processes import ProcessId
from finetune_tui.core.runs.state import Status
from finetune_tui.core.settings import Settings
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.ends import Ends
from finetune_tui.tui.widgets.status import Footline
from tests.tui.runs_fixture import NOW, fixed_services, make_run, settle, write_run_state

FINISHED = {"status": Status.FINISHED, "ended": NOW + 5, "best_eval_loss": 0.441, "best_step": 560}


def ends(home: Path) -> Ends:
    return Ends(lambda: list_runs(home), since=NOW)


def end(run: RunDirectory, **changed: object) -> None:
    write_run_state(run, **{**FINISHED, "worker": None, **changed})


def test_an_end_is_found_once(tmp_path: Path) -> None:
    watch, run = ends(tmp_path), make_run(tmp_path)
    assert watch.look([], NOW) == []
    end(run)
    assert watch.look([], NOW + 7) == ["r7 finished 2s ago · best .441 at step 560"]
    assert [watch.look([run], NOW + 9) for _ in range(12)] == [[]] * 12


def test_a_run_that_goes_on_again_ends_again(tmp_path: Path) -> None:
    watch, run = ends(tmp_path), make_run(tmp_path)
    watch.look([run], NOW)
    end(run, status=Status.STOPPED)
    assert len(watch.look([run], NOW + 7)) == 1
    write_run_state(run)
    assert watch.look([run], NOW + 8) == []
    end(run, ended=NOW + 20)
    assert len(watch.look([run], NOW + 21)) == 1


def test_what_ended_before_the_app_was_opened_is_not_news(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    end(run, ended=NOW - 5)
    assert ends(tmp_path).look([run], NOW) == []


def test_a_run_shorter_than_two_looks_is_told(tmp_path: Path) -> None:
    watch = ends(tmp_path)
    watch.look([], NOW)
    end(make_run(tmp_path))
    assert [words for _ in range(10) for words in watch.look([], NOW + 6)] == [
        "r7 finished 1s ago · best .441 at step 560"
    ]


@pytest.mark.parametrize("state", [{"status": Status.PAUSED}, {"host": "elsewhere"}])
def test_what_is_held_or_lives_elsewhere_has_not_ended(
    tmp_path: Path, state: dict[str, object]
) -> None:
    watch, run = ends(tmp_path), make_run(tmp_path)
    watch.look([run], NOW)
    write_run_state(run, **{"worker": None, **state})
    assert watch.look([run], NOW + 3) == []


def test_a_worker_that_is_gone_is_an_end(tmp_path: Path) -> None:
    watch, run = ends(tmp_path), make_run(tmp_path)
    watch.look([run], NOW)
    write_run_state(run, worker=ProcessId(2**22 + 5, "1"))
    (words,) = watch.look([run], NOW + 3)
    assert words.startswith("r7 dead")
    end(run, status=Status.KILLED)  # written by whoever found it; no second end
    assert watch.look([run], NOW + 6) == []


@pytest.mark.parametrize(
    ("off", "sent"),
    [
        ((), ["\x07", "\x1b]9;r7 finished 1s ago · best .441 at step 560\x07"]),
        (("bell",), ["\x1b]9;r7 finished 1s ago · best .441 at step 560\x07"]),
        (("notify",), ["\x07"]),
        (("bell", "notify"), []),
    ],
)
async def test_the_terminal_is_told_as_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: tuple[str, ...], sent: list[str]
) -> None:
    for name in ("TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "settings.yaml"
    settings = Settings(path, bell="bell" not in off, notify="notify" not in off)
    run = make_run(tmp_path)
    app = FinetuneApp(
        fixed_services(tmp_path, clock=lambda: NOW + 6, read_settings=lambda: settings)
    )
    app._watch._ends._since = NOW
    told: list[str] = []

    def send(sequence: str) -> bool:
        told.append(sequence)
        return True

    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        monkeypatch.setattr(app.telling, "send", send)
        end(run)
        for _ in range(3):
            app._watch.look()
            await settle(pilot)
        assert "r7 finished" in app.screen.query_one(Footline).words
    assert [words for words in told if not words.startswith(("\x1b]2;", "\x1b[22"))] == sent
    titles = [words for words in told if "\x1b]2;" in words]
    assert titles == ["\x1b[22;2t\x1b]2;finetune-tui r7 finished\x07"]


async def test_without_a_terminal_nothing_is_sent(tmp_path: Path) -> None:
    app = FinetuneApp(fixed_services(tmp_path))
    async with app.run_test():
        assert not app.telling.send("\x07")
