"""The widget that shows lines: what it sends to the terminal, how it follows and scrolls."""

from textual.app import App, ComposeResult
from textual.geometry import Region

from finetune_tui.tui.themes import FALLBACKS
from finetune_tui.tui.widgets.kept import Kept
from finetune_tui.tui.widgets.lines import Line, Lines, Span, line


class Shown(App[None]):
    def __init__(self, rows: list[str], follow: bool = False) -> None:
        super().__init__()
        self.rows = rows
        self.follow = follow
        self.clicked: list[tuple[int, str]] = []
        self.asked = 0

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return FALLBACKS

    def compose(self) -> ComposeResult:
        yield Lines(self.lines, follow=self.follow)

    def lines(self, width: int, height: int) -> list[Line]:
        return [
            line(row, Span(" go", "key", f"go({index})")) for index, row in enumerate(self.rows)
        ]

    def on_lines_clicked(self, message: Lines.Clicked) -> None:
        self.clicked.append((message.index, message.action))

    def action_ask(self) -> None:
        self.asked += 1


class Watched(Lines):
    def __init__(self, rows: list[str]) -> None:
        super().__init__(lambda width, height: [line(row) for row in rows])
        self.redrawn: list[Region] = []

    def refresh(self, *regions: Region, **options: bool) -> "Watched":
        self.redrawn += regions
        return super().refresh(*regions, **options)


async def test_only_cells_that_changed_are_drawn_again() -> None:
    rows = ["loss .412", "step 10", "same"]
    shown = Watched(rows)

    class Host(Shown):
        def compose(self) -> ComposeResult:
            yield shown

    async with Host([]).run_test(size=(40, 5)) as pilot:
        await pilot.pause()
        shown.redrawn.clear()
        shown.update()
        assert shown.redrawn == []
        rows[0] = "loss .398"
        shown.update()
        assert shown.redrawn == [Region(6, 0, 3, 1)]


async def test_a_followed_log_stays_at_its_end_until_the_person_scrolls_up() -> None:
    app = Shown([f"event {number}" for number in range(30)], follow=True)
    async with app.run_test(size=(40, 6)) as pilot:
        shown = app.query_one(Lines)
        await pilot.pause()
        assert shown.scroll_offset.y == 24
        app.rows.append("another")
        shown.update()
        await pilot.pause()
        assert shown.scroll_offset.y == 25
        shown.scroll_to(y=3, animate=False, immediate=True)
        app.rows.append("and another")
        shown.update()
        await pilot.pause()
        assert shown.scroll_offset.y == 3


async def test_a_click_says_line_and_action() -> None:
    app = Shown(["abc", "def"])
    async with app.run_test(size=(40, 6)) as pilot:
        await pilot.click(Lines, offset=(4, 1))
        await pilot.click(Lines, offset=(1, 0))
        await pilot.pause()
        assert app.clicked == [(1, "go(1)"), (0, "")]


async def test_an_action_of_the_app_runs_at_once() -> None:
    app = Shown([])
    async with app.run_test(size=(40, 6)) as pilot:
        app.query_one(Lines).update(lambda width, height: [line(Span("ask", "key", "app.ask"))])
        await pilot.click(Lines, offset=(1, 0))
        await pilot.pause()
        assert app.asked == 1
        assert app.clicked == []


async def test_foreign_markup_is_shown_and_not_obeyed() -> None:
    app = Shown(["[bold]x[/] \\[link"])
    async with app.run_test(size=(40, 6)):
        assert "[bold]x[/]" in app.query_one(Lines).words


async def test_more_and_fewer_lines_can_be_scrolled_to_and_lay_nothing_out_anew() -> None:
    rows = ["first"]
    app = Shown(rows)
    async with app.run_test(size=(20, 5)) as pilot:
        shown = app.query_one(Lines)
        layouts: list[object] = []
        app.screen.refresh = lambda *_, **options: layouts.append(options.get("layout"))  # type: ignore[assignment, method-assign]
        rows += [f"row {number}" for number in range(40)]
        shown.update()
        await pilot.pause()
        assert shown.allow_vertical_scroll
        shown.reveal(40)
        assert shown.scroll_offset.y == 36
        del rows[3:]
        shown.update()
        await pilot.pause()
        assert shown.scroll_offset.y == 0
        assert True not in layouts


async def test_the_very_same_lines_are_not_looked_at_again() -> None:
    kept = Kept()
    made: list[int] = []

    def lines(width: int, _height: int) -> tuple[Line, ...]:
        return kept.lines("all", (width, len(rows)), lambda: made.append(width) or [line(*rows)])  # type: ignore[func-returns-value]

    rows = ["a"]
    shown = Watched([])

    class Host(Shown):
        def compose(self) -> ComposeResult:
            yield shown

    async with Host([]).run_test(size=(20, 5)):
        shown.update(lines)
        shown.redrawn.clear()
        shown.update()
        assert (made, shown.redrawn) == ([20], [])
        rows.append("b")
        shown.update()
        assert shown.words == "ab"
        assert made == [20, 20]


async def test_what_changed_while_it_was_hidden_is_there_when_it_is_shown_again() -> None:
    app = Shown(["before"])
    async with app.run_test(size=(40, 5)) as pilot:
        await pilot.pause()
        shown = app.query_one(Lines)
        shown.display = False
        await pilot.pause()
        app.rows = ["after"]
        shown.update()
        shown.display = True
        await pilot.pause()
        assert shown.words == "after go"
