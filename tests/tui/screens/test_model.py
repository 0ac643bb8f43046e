"""The Model place, and what the app does when it opens."""

from pathlib import Path

from textual.widgets import Input

from finetune_tui.core.runs.state import Status
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.returning import last_seen
from finetune_tui.tui.screens.model import ModelPlace
from finetune_tui.tui.screens.reading import ReadingScreen
from finetune_tui.tui.services import Services
from finetune_tui.tui.widgets.lines import Lines
from finetune_tui.tui.widgets.prompt import PromptLine
from finetune_tui.tui.widgets.report_pane import ReportPane
from finetune_tui.tui.widgets.status import Footline, Masthead
from tests.tui.conftest import NOW, press, settled
from tests.tui.runs_fixture import make_run

SIZE = (80, 24)


def words(app: FinetuneApp) -> str:
    return one_line("\n".join(lines.words for lines in app.query_one(ModelPlace).query(Lines)))


def one_line(text: str) -> str:
    return " ".join(text.split())


async def test_the_demo_is_one_key_away(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "d")
        assert app.place_name == "layers"
        assert app.session.preset == "structured-output"
        assert app.session.data is not None
        assert app.session.spec_to_run().model_name_or_path == "demo"


async def test_a_model_of_the_catalog(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "slash", *"phi-2", "enter", "enter")
        assert app.place_name == "layers"
        assert app.session.title == "Phi-2"
        assert not app.session.selection.choices


async def test_the_strip_says_what_this_machine_can_do(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        assert "GPU0 RTX 4090" in words(app)
        assert "PyTorch 2.9.1 ✓" in words(app)
        assert "GPU0 RTX 4090" in app.query_one(Masthead).words


async def test_a_folder_that_is_no_model_is_told_as_text(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "f")
        await press(pilot, *"/x/[bold]", "enter")
        assert "/x/[bold]: there is no such folder" in app.query_one(Footline).words
        assert app.place_name == "model"


async def test_a_mistyped_folder_names_its_neighbour_and_is_there_to_be_mended(
    app: FinetuneApp, tmp_path: Path
) -> None:
    (tmp_path / "tiny-llama").mkdir()
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "f", *f"{tmp_path}/tiny-lama", "enter")
        said = "".join(app.query_one(Footline).words.split())  # a long path is wrapped anywhere
        assert f"didyoumean'{tmp_path}/tiny-llama'?" in said
        await press(pilot, "f")
        assert app.query_one(PromptLine).query_one(Input).value == f"{tmp_path}/tiny-lama"


async def test_no_run_yet(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "c")
        assert "no run yet" in app.query_one(Footline).words


async def test_a_live_run_opens_its_monitor(app: FinetuneApp, services: Services) -> None:
    run = make_run(services.home)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        assert app.session.monitored == run
        assert app.place_name == "train"
        app._watch.look()
        await settled(pilot)
        assert "r7 ▶" in app.query_one(Masthead).words
        await pilot.press("q")
    assert "r7 goes on" in (app.return_value or "")


async def test_what_ended_while_the_app_was_closed_is_said_once(services: Services) -> None:
    make_run(
        services.home,
        status=Status.FINISHED,
        ended=NOW - 600,
        best_eval_loss=0.447,
        best_step=560,
        adapter_bytes=3 * 2**20,
    )
    (services.home / "app.json").write_text(f'{{"seen": {NOW - 3600}}}')
    for said in (True, False):
        app = FinetuneApp(services)
        async with app.run_test(size=SIZE) as pilot:
            await settled(pilot)
            ended = "finished 10m00 ago · best .447 at step 560 · adapter 3.0M"
            away = f"while you were away: r7-demo-structured-output {ended}"
            assert (away in words(app)) is said
            assert "the last run r7-demo-structured-output, finished 10m00 ago" in words(app)
    assert last_seen(services.home) == NOW


async def test_the_palette_knows_the_actions_of_the_place(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "colon", *"built-in demo", "enter", "enter")
        await settled(pilot)
        assert app.place_name == "layers"


async def test_help_lists_the_keys_of_the_place_and_everywhere(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "question_mark")
        shown = app.screen.query_one("#help-keys", Lines).words
        assert "keys in Model" in shown
        assert "built-in demo" in shown
        assert "next pane" in shown
        await press(pilot, "escape")
        assert app.place_name == "model"


async def test_escape_never_leaves(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "escape", "escape", "escape")
        assert app.is_running


async def test_leaving_without_a_run_says_nothing(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "q")
    assert app.return_value is None


async def test_filters_by_keys_and_by_mouse(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        place = app.query_one(ModelPlace)
        await press(pilot, "b", "i")
        assert place.filters.kind == "base"
        assert {entry.kind for entry in place._listed} == {"base"}
        await press(pilot, "escape")
        assert not place.filters.are_set
        head = app.query_one("#model-head", Lines)
        await pilot.click(head, offset=(head.words.splitlines()[1].index("size"), 1))
        assert place.filters.size == "below 1B"


async def test_a_filter_that_leaves_nothing_says_so(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "slash", *"zebra", "enter")
        assert "no model is so" in words(app)
        await press(pilot, "enter", "x", "r", "j", "y", "escape")
        assert app.query_one(ModelPlace).entry is not None


async def test_the_card_says_what_a_model_saw_needs_and_has_here(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "slash", *"phi-2", "enter")
        assert "saw 1.40T tokens, 504 a parameter" in words(app)
        assert "base: for one fixed prompt" in words(app)
        assert "fp32 32.6G NO bf16 22.3G may fit" in words(app)
        assert "on this disk, 5.2G" in words(app)


async def test_report_and_difference_are_read_over_the_screen(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "slash", *"phi-2", "enter", "r")
        assert "2,779,683,840" in app.screen.query_one(ReportPane).words
        await press(pilot, "escape", "x", "escape")
        await press(pilot, "slash", *"phi-2", "enter", "x", "slash", *["backspace"] * 5)
        await press(pilot, *"3.5-mini", "enter", "x")
        assert isinstance(app.screen, ReadingScreen)
        assert "qkv_proj" in app.screen.query_one(ReportPane).text
        await press(pilot, "escape")
        assert app.place_name == "model"
