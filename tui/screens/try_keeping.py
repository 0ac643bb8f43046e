"""Keeping an answer as an example: into which file, and what comes of it."""

from pathlib import Path

from finetune_tui.core.evidence.conversation import Conversation, Side
from finetune_tui.core.evidence.keeping import keep_example
from finetune_tui.core.text import plain
from finetune_tui.tui.screens.place import Place

_last: dict[Path, str] = {}  # home → the file that was named last, as it was typed


def keep_answer(place: Place, conversation: Conversation, side: Side) -> None:
    """Ask for a file, add prompt and answer to it, and say so."""
    example = conversation.example(side)
    if example is None:
        place.finetune.say(f"the {side} has no answer to keep")
        return
    home = place.services.home
    kind = "chats" if "messages" in example else "prompts"
    row = conversation.turns[-1].row

    def named(text: str) -> None:
        if not text:
            return
        _last[home] = text
        path = Path(text).expanduser().absolute()
        place.finetune.in_thread(
            lambda: keep_example(path, example), lambda rows: said(path, rows), "keeping"
        )

    def said(path: Path, rows: int) -> None:
        number = "1 example" if rows == 1 else f"{rows} examples"
        warning = "; its prompt is held out: do not measure with it any more" if row else ""
        place.finetune.say(f"kept in {plain(str(path))}: {number}{warning}")

    default = _last.get(home) or str(home / "kept" / f"{kind}.jsonl")
    place.finetune.ask(f"keep the {side} answer in", named, default, path=True)
