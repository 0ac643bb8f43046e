"""Try: talk with a trained run beside its base, or ask it what it never trained on."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from finetune_tui.core.evidence.conversation import BOTH, Side
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.targets import require_result
from finetune_tui.tui.actions import Action
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.screens.try_actions import NEED_RUN, TRY_ACTIONS
from finetune_tui.tui.screens.try_field import PromptField
from finetune_tui.tui.screens.try_keeping import keep_answer
from finetune_tui.tui.screens.try_lines import (
    head_line,
    nothing_lines,
    side_title,
    state_lines,
    transcript,
)
from finetune_tui.tui.screens.try_options import TryOptions
from finetune_tui.tui.screens.try_rows import HeldOut, read_held_out
from finetune_tui.tui.screens.try_sheets import ask_example
from finetune_tui.tui.screens.try_talk import Stage
from finetune_tui.tui.widgets.lines import Build, Line, Lines, dim, key, line, rule
from finetune_tui.tui.widgets.status import StatusLine

_WIDE, _NARROW = 100, 60  # columns
_LEAST_FIELD, _MOST_FIELD = 3, 8  # rows


class TryPlace(TryOptions, can_focus=True):
    """A conversation with each side, side by side; below 100 columns one over the other, below 60 one."""

    title: ClassVar[str] = "Try"
    about: ClassVar[str] = (
        "Ask the base and the tuned model the same, from one loaded model: what differs is the training."
        " Good answers are kept as examples to train on."
    )
    actions: ClassVar[tuple[Action, ...]] = TRY_ACTIONS

    DEFAULT_CSS = """
    TryPlace { layout: vertical; }
    TryPlace #try-head, TryPlace #try-field-title, TryPlace .try-title { height: 1; }
    TryPlace #try-state { height: 0; }
    TryPlace #try-sides { height: 1fr; layout: vertical; }
    TryPlace.-wide #try-sides { layout: horizontal; }
    TryPlace .try-side { width: 1fr; height: 1fr; }
    TryPlace.-wide #try-tuned { border-left: solid $line; }
    TryPlace.-one .try-side { display: none; }
    TryPlace.-one .try-side.-front { display: block; border: none; }
    TryPlace #try-nothing { display: none; }
    TryPlace.-empty #try-nothing { display: block; }
    TryPlace.-empty #try-sides { display: none; }
    TryPlace.-no-run #try-field-title, TryPlace.-no-run PromptField { display: none; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._zoomed = False

    def compose(self) -> ComposeResult:
        yield Lines(lambda width, _: [head_line(self.talk, width)], id="try-head")
        yield Lines(lambda width, _: nothing_lines(self.talk, width, self.runs), id="try-nothing")
        with Container(id="try-sides"):
            for side in BOTH:
                with Vertical(id=f"try-{side}", classes="try-side"):
                    yield Lines(self._titles(side), id=f"try-title-{side}")
                    yield Lines(self._words(side), id=f"try-words-{side}", follow=True)
        yield Lines(lambda width, _: self._state(width), id="try-state")
        yield Lines(lambda width, _: [self._field_title(width)], id="try-field-title")
        yield PromptField(id="try-prompt")

    def on_mount(self) -> None:
        for side in BOTH:
            self.query_one(f"#try-title-{side}").add_class("try-title")
        self.talk.start()

    def on_unmount(self) -> None:
        self.talk.leave()

    def on_shown(self) -> None:
        self.focus()
        self._share_status_line(False)
        if self.talk.run is None:
            self.look_for_run()

    def on_hidden(self) -> None:
        self._share_status_line(True)

    def on_resize(self) -> None:
        self._lay_out()

    def refresh_from_session(self) -> None:
        self._redraw()

    def one_level_out(self) -> bool:
        """Leave the field, stop the answer, leave the zoom."""
        if self.field.has_focus:
            self.focus()
        elif not self.talk.stop():
            if not self._zoomed:
                return False
            self.action_zoom()
        return True

    def _share_status_line(self, shown: bool) -> None:
        """That line is about the next run; here another one answers."""
        for status in self.finetune.query(StatusLine):
            status.display = shown

    @property
    def field(self) -> PromptField:
        return self.query_one(PromptField)

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        talk = self.talk
        stage = talk.state.stage
        if action in NEED_RUN:
            return talk.run is not None
        if action == "stop":
            return talk.is_busy
        if action == "wait":
            return stage is Stage.BUSY
        if action == "on_cpu":
            return stage in (Stage.BUSY, Stage.WAITING, Stage.FAILED)
        if action in ("keep", "copy"):
            return self._front_answer is not None and not talk.is_answering
        if action in ("again", "new", "copy_all", "front", "other_side"):
            return bool(talk.conversation.turns)
        if action == "free":
            return stage is Stage.READY
        return True

    # Drawing

    def changed(self) -> None:
        if self.is_mounted:
            self._lay_out()

    def _lay_out(self) -> None:
        width = self.size.width
        self.set_class(width >= _WIDE and not self._zoomed, "-wide")
        self.set_class(width < _NARROW or self._zoomed or len(self.talk.sides) == 1, "-one")
        self.set_class(not self.talk.conversation.turns, "-empty")
        self.set_class(self.talk.run is None, "-no-run")
        for side in BOTH:
            self.query_one(f"#try-{side}").set_class(side is self.front, "-front")
        state = self.query_one("#try-state")
        rows = len(self._state(max(width, 20)))
        if state.styles.height is None or state.styles.height.value != rows:
            state.styles.height = rows
        self._redraw()
        self.refresh_bindings()

    def _redraw(self) -> None:
        for shown in self.query(Lines):
            shown.update()

    def _titles(self, side: Side) -> Build:
        def make(width: int, _height: int) -> Sequence[Line]:
            others = [one for one in BOTH if one is not side] if self._tabs else []
            return [side_title(self.talk, side, width, side is self.front, others)]

        return make

    def _words(self, side: Side) -> Build:
        def make(width: int, _height: int) -> Sequence[Line]:
            is_below = not (self.has_class("-wide") or self.has_class("-one"))
            is_second = side is Side.TUNED and is_below
            return transcript(self.talk.conversation, side, width, is_second)

        return make

    @property
    def _tabs(self) -> bool:
        return self.has_class("-one") and len(self.talk.sides) == 2

    def _state(self, width: int) -> list[Line]:
        return state_lines(self.talk, width, self.services.clock())

    def _field_title(self, width: int) -> Line:
        left = [line("prompt")]
        if self.held and self.example >= 0:
            at = f"held-out {self.example + 1} of {len(self.held.rows)}"
            left.append(line(dim(at)))
        if self.field.has_focus:
            keys = [key("⏎", "asks"), key("\\⏎", "new line")] if width >= _NARROW else []
        else:
            keys = [key("x", "example", "example"), key("l", "next", "turn_example(1)")]
        return rule(width, left, keys)

    # Writing

    def on_text_area_changed(self) -> None:
        rows = self.field.wrapped_document.height
        most = min(_MOST_FIELD, max(self.size.height // 3, _LEAST_FIELD))
        self.field.styles.height = min(max(rows, _LEAST_FIELD), most)

    def on_descendant_focus(self) -> None:
        self._redraw()

    def on_descendant_blur(self, _event: events.DescendantBlur) -> None:
        self._redraw()

    def on_prompt_field_sent(self, message: PromptField.Sent) -> None:
        message.stop()
        self.focus()
        self.say(message.text)

    def on_prompt_field_left(self, message: PromptField.Left) -> None:
        message.stop()
        self.focus()

    def say(self, text: str) -> None:
        """Ask this, after what was said so far."""
        if self.talk.is_answering:
            self.talk.stop()
        self.example = -1
        self.talk.conversation.say(text)
        self.talk.ask()
        self._to_end()

    def _to_end(self) -> None:
        self._lay_out()
        self.call_after_refresh(self.action_move, 1_000_000)

    def action_write(self) -> None:
        self.field.focus()
        self.talk.open()

    # Held-out rows

    def action_example(self) -> None:
        self._with_held_out(lambda held: ask_example(self, held, self.example, self._ask_held_out))

    def action_turn_example(self, by: int) -> None:
        """The next or the one before; at first the first, or the last."""
        at = max(self.example, 0) + by if self.example >= 0 or by < 0 else 0
        self._with_held_out(lambda held: self._ask_held_out(at % len(held.rows)))

    def _with_held_out(self, then: Callable[[HeldOut], object]) -> None:
        run, held = self.talk.run, self.held
        if held is not None:
            then(held)
            return
        if run is None:
            return

        def have_read(found: HeldOut) -> None:
            if run == self.talk.run:
                self.held = found
                self.finetune.hush()
                then(found)

        self.finetune.say("reading the held-out rows…")
        self.finetune.in_thread(lambda: read_held_out(run), have_read, "held-out rows of Try")

    def _ask_held_out(self, at: int) -> None:
        if self.held is None:
            return
        self.talk.stop()
        self.example = at
        self.talk.conversation.ask_row(self.held.rows[at])
        self.talk.ask()
        self._to_end()

    # What the keys do

    @property
    def _front_answer(self) -> str | None:
        """The last answer of the side in front."""
        turn = self.talk.last
        answer = turn.answers.get(self.front) if turn else None
        return answer.text if answer and answer.text.strip() else None

    def action_stop(self) -> None:
        self.talk.stop()

    def action_again(self) -> None:
        self.talk.again()

    def action_copy(self) -> None:
        if self._front_answer is not None:
            self.finetune.copy(self._front_answer, f"the {self.front} answer")

    def action_copy_all(self) -> None:
        shown = [self.query_one(f"#try-words-{side}", Lines).words for side in self.talk.sides]
        names = [f"== {side}\n" for side in self.talk.sides]
        text = "\n\n".join(name + words for name, words in zip(names, shown, strict=True))
        self.finetune.copy(text, "the conversation")

    def action_keep(self) -> None:
        keep_answer(self, self.talk.conversation, self.front)

    def action_front(self, side: str) -> None:
        self.front = Side(side)
        self._lay_out()

    def action_other_side(self) -> None:
        sides = self.talk.sides
        if len(sides) == 2:
            self.action_front(sides[self.front is sides[0]])

    def action_zoom(self) -> None:
        self._zoomed = not self._zoomed
        self._lay_out()

    def action_move(self, by: int) -> None:
        for side in BOTH if self.has_class("-wide") else (self.front,):
            shown = self.query_one(f"#try-words-{side}", Lines)
            shown.scroll_to(y=shown.scroll_offset.y + by, animate=False, force=True, immediate=True)

    async def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.action:
            await self.run_action(message.action)

    def on_click(self, event: events.Click) -> None:
        """A click anywhere on a side brings it to the front."""
        for side in BOTH:
            if self.query_one(f"#try-words-{side}").region.contains(event.screen_x, event.screen_y):
                self.action_front(side)


async def open_try(place: Place, run: RunDirectory) -> None:
    """Bring Try to the front, with this run to talk with. Raises UserError when it has no result."""
    require_result(run)
    app = place.finetune
    await app.action_show_place("try")
    assert isinstance(app.place, TryPlace)
    app.place.talk_with(run)
