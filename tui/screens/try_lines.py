"""What the Try place says: pure functions of the conversation and of where its model stands."""

from collections.abc import Sequence

from finetune_tui.core.evidence.conversation import Answer, Conversation, Ended, Side, Style, Turn
from finetune_tui.core.text import duration, percent, plain, size
from finetune_tui.tui.flow import broken
from finetune_tui.tui.screens.try_talk import Stage, Talk, TalkState
from finetune_tui.tui.widgets.answer_marks import marked, wrapped
from finetune_tui.tui.widgets.lines import (
    Line,
    Span,
    cells,
    dim,
    fit,
    key,
    line,
    rule,
    spread,
    strong,
    wrap,
)

_MOST_PROMPT = 12  # lines of a prompt above its answer
_CUT = {
    Ended.LENGTH: "cut at max_new_tokens",
    Ended.CONTEXT: "the context is full",
    Ended.STOPPED: "stopped",
}
_SHORT = {Ended.END: "end", Ended.LENGTH: "cut", Ended.CONTEXT: "full", Ended.STOPPED: "stopped"}
_NARROW, _SHORT_BELOW = 60, 50  # columns
_TITLES = {Side.BASE: "base", Side.TUNED: "tuned"}


def head_line(talk: Talk, width: int) -> Line:
    """Which run, how it is asked, and where its model is; the keys that change each."""
    if talk.run is None:
        return line(" ", strong("Try"))
    right = line(*place_words(talk), " ")
    how = "as a chat" if talk.conversation.style is Style.CHAT else "as it stands"
    name = plain(talk.run.id if width >= _NARROW else talk.run.short_id, 40)
    left = line(" ", Span(name, "strong", "choose_run"))
    for words, action in ((talk.sampling.words, "settings"), (how, "style")):
        longer = line(left, dim(" · "), Span(words, "", action))
        left = longer if cells(longer) + cells(right) < width else left
    return spread(left, right, width)


def place_words(talk: Talk) -> Line:
    """Where the model is, or why it is nowhere."""
    state = talk.state
    opened = state.opened
    if opened is not None:
        held = f" {size(opened.bytes)}" if opened.bytes else ""
        words = f"{short_device(opened.device)} {opened.dtype}{held}"
        if opened.step is not None:
            words = f"checkpoint {opened.step} · {words}"
        return line(Span(words, "good" if state.stage is Stage.READY else "", "where"))
    words = {Stage.LOADING: state.words or "loading", Stage.FAILED: "failed"}.get(
        state.stage, state.stage.value
    )
    return line(Span(plain(words, 60), "dim", "where"))


def short_device(name: str) -> str:
    """'NVIDIA GeForce RTX 4090' → 'RTX 4090'."""
    return plain(name.removeprefix("NVIDIA ").removeprefix("GeForce "), 24)


def side_title(
    talk: Talk, side: Side, width: int, in_front: bool, others: Sequence[Side] = ()
) -> Line:
    """`─[tuned]─base──────── 31 t/s · 40 tokens──`: the side, and how its last answer comes along.

    in_front: its answer is the one that is kept and copied. others: those that stand behind it.
    """
    title = f"[{_TITLES[side]}]" if in_front else _TITLES[side]
    style = "strong" if in_front else ""
    tabs = [line(Span(title, style, f"front('{side.value}')"))]
    tabs += [line(Span(_TITLES[one], "", f"front('{one.value}')")) for one in others]
    answer = talk.figures(side)
    figures = answer_words(answer, width < _SHORT_BELOW) if answer else ""
    return rule(width, tabs, [line(dim(figures))] if figures else [])


def answer_words(answer: Answer, in_short: bool = False) -> str:
    """'40 tokens · 31 t/s · end token', or '40 · 31/s · end'."""
    if answer.read < answer.to_read:
        return f"reading the prompt {percent(answer.read, answer.to_read)}"
    if not answer.to_read:
        return "waiting"
    unit = "" if in_short else " token" if answer.tokens == 1 else " tokens"
    parts = [f"{answer.tokens}{unit}"]
    rate = answer.tokens_per_second
    if rate:
        number = f"{rate:.1f}" if rate < 10 else f"{rate:.0f}"
        parts.append(f"{number}/s" if in_short else f"{number} t/s")
    if answer.ended:
        parts.append(_SHORT[answer.ended] if in_short else answer.ended.value)
    return " · ".join(parts)


def transcript(
    conversation: Conversation, side: Side, width: int, short_prompt: bool
) -> list[Line]:
    """All turns of one side. short_prompt: the whole prompt stands elsewhere, one line of it will do."""
    lines: list[Line] = []
    for turn in conversation.turns:
        lines += prompt_lines(turn, width, 1 if short_prompt else _MOST_PROMPT)
        answer = turn.answers.get(side)
        if answer is None and turn is not conversation.turns[-1]:
            lines.append(line(dim("   (not answered)")))
        elif answer is None:
            lines += expected_lines(turn.expected, width) if not turn.answers else []
        else:
            lines += answer_lines(answer, turn.expected, width)
        lines.append(())
    return lines[:-1]


def prompt_lines(turn: Turn, width: int, most: int) -> list[Line]:
    """What was asked, behind a mark; the first lines of it."""
    said = turn.said or "(a tool has answered; what does the model say?)"
    rows = broken(said, max(width - 4, 8))
    more = len(rows) - most
    shown = [
        line(Span(" › " if not at else "   ", "accent"), dim(text))
        for at, text in enumerate(rows[:most])
    ]
    if more > 0:
        words = " …" if most == 1 else f"   … {more} more lines"
        shown[-1:] = (
            [fit(line(shown[-1], dim(" …")), width)] if most == 1 else [shown[-1], line(dim(words))]
        )
    return shown


def answer_lines(answer: Answer, expected: str | None, width: int) -> list[Line]:
    """The answer as it is, and whether it is what was expected; where it is not, what differs."""
    said, wanted = answer.text.strip(), (expected or "").strip()
    if not said:
        rows = [line(dim(f" (no words; {answer.ended.value})"))] if answer.ended else []
    elif answer.exact is False and "\n" not in said + wanted:
        rows = [line(" ", one) for one in wrapped(marked(plain(said), plain(wanted)), width - 2)]
    else:
        rows = [line(f" {text}") for text in broken(said, max(width - 2, 8))]
    if answer.ended is None:
        return [*rows[:-1], line(rows[-1], dim("▏"))] if rows else []
    if answer.ended is not Ended.END:
        rows.append(line(Span(f" … {_CUT[answer.ended]}", "warn")))
    if answer.exact:
        rows.append(line(Span(" ✓ exactly as expected", "good")))
    elif answer.exact is False:
        rows += expected_lines(wanted, width, Span(" ✗ ", "bad"))
    return rows


def expected_lines(expected: str | None, width: int, mark: Span | str = "   ") -> list[Line]:
    """What a held-out row has as its answer, the first lines of it."""
    if expected is None:
        return []
    first, *rest = broken(expected.strip(), max(width - 14, 8))[:_MOST_PROMPT]
    return [line(mark, dim("expected "), first), *(line(" " * 12, text) for text in rest)]


def nothing_lines(talk: Talk, width: int, runs: int) -> list[Line]:
    """Before anything was asked: what can be done. runs: how many there are that can answer."""
    if talk.run is None:
        return no_run_lines(width, runs)
    words = (
        "Ask, and the base answers beside the tuned model, both from one loaded model: what differs is"
        " the training alone."
    )
    return [
        *(line(dim(f" {text}")) for text in wrap(words, width - 2)),
        (),
        line(" ", key("⏎", "write a prompt", "write")),
        line(" ", key("x", "ask a held-out example", "example")),
        line(" ", key("s", f"how it is drawn: {talk.sampling.words}", "settings")),
        line(" ", key("r", "another run", "choose_run")),
        line(" ", key("d", f"where: {where_words(talk)}", "where")),
    ]


def where_words(talk: Talk) -> str:
    if talk.where.use_cpu:
        return "on the CPU"
    return "on that GPU" if talk.where.gpu else "as it trained"


def no_run_lines(width: int, runs: int) -> list[Line]:
    """No run can answer: how to come by one."""
    if runs:
        words = "No run has a result yet: one answers when it has finished, or was stopped with a checkpoint."
    else:
        words = "No run yet: train one, then ask it here."
    return [
        *(line(dim(f" {text}")) for text in wrap(words, width - 2)),
        (),
        line(" ", key("5", "goes to Runs", "app.show_place('runs')")),
        line(
            " ", key("1", "goes to Model, ", "app.show_place('model')"), key("d", "opens the demo")
        ),
    ]


def state_lines(talk: Talk, width: int, now: float) -> list[Line]:
    """What is in the way, or under way, below the conversation; nothing when all is well."""
    state = talk.state
    if state.error is not None:
        return _error_lines(state, width)
    if state.stage is Stage.LOADING:
        spent = duration(now - state.since)
        return [
            line(
                " ",
                Span("loading: ", "accent"),
                plain(state.words, 60),
                dim(f"  {spent}  "),
                key("esc", "stop", "stop"),
            )
        ]
    if state.stage in (Stage.BUSY, Stage.WAITING) and state.room is not None:
        return busy_lines(state, width)
    return []


def busy_lines(state: TalkState, width: int) -> list[Line]:
    """Why it does not fit now, and the ways out."""
    assert state.room is not None
    words = plain(state.room.words)
    lines = [
        line(Span(" ! " if not at else "   ", "warn"), text)
        for at, text in enumerate(wrap(words, width - 4))
    ]
    first = key("w", "wait for it", "wait")
    if state.stage is Stage.WAITING:
        first = line(dim("looks every 5 s  "), key("esc", "no longer", "stop"))
    ways = ("  ", key("c", "on the CPU", "on_cpu"), "  ", key("d", "elsewhere", "where"))
    return [*lines, line("   ", first, *ways)]


def _error_lines(state: TalkState, width: int) -> list[Line]:
    rows = wrap(f"{state.error}", width - 4)
    lines = [line(Span(" ✗ " if not at else "   ", "bad"), text) for at, text in enumerate(rows)]
    if state.stage is Stage.FAILED:
        lines.append(
            line(
                "   ",
                key("a", "again", "again"),
                "   ",
                key("c", "on the CPU", "on_cpu"),
                "   ",
                key("r", "another run", "choose_run"),
            )
        )
    return lines
