"""settings, hook: what a person wants of this app, and what runs when a run ends."""

import argparse
import time
from collections.abc import Mapping

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.runs.hook import last_test, try_hook
from finetune_tui.core.settings import SETTINGS, Settings, change_setting, read_settings
from finetune_tui.core.text import did_you_mean, duration
from finetune_tui.tui.output import say, say_error, say_json


def settings(options: argparse.Namespace) -> int:
    """All settings, one, or one changed. Exit code 1 when the file has something that cannot be taken."""
    if options.key is not None and options.key not in SETTINGS:
        hint = did_you_mean(options.key, SETTINGS) or f"settings are {', '.join(SETTINGS)}"
        raise UserError(f"'{options.key[:60]}' is no setting", hint=hint)
    found = _changed(options) or read_settings()
    if options.json:
        say_json(found.to_json())
        return 1 if found.problems else 0
    shown = [options.key] if options.key else SETTINGS
    width = max(len(key) for key in shown)
    for key in shown:
        say(f"{key.ljust(width)}  {_words(found, key)}")
    if not options.key:
        say(f"in {found.path}")
    for problem in found.problems:
        say_error(UserError(problem), as_json=False)
    return 1 if found.problems else 0


def hook(options: argparse.Namespace) -> int:
    """The command that runs when a run ends, and how its last test went; `--test` runs it now."""
    home, found = find_home(options.home), read_settings()
    if found.on_end is None:
        raise UserError(
            "no hook is set",
            where=str(found.path),
            hint="`finetune-tui settings on_end 'COMMAND'` sets one",
        )
    result = try_hook(home, found.on_end) if options.test else last_test(home, found.on_end)
    tested = None
    if result:
        tested = {
            "time": result.time,
            "exit_code": result.exit_code,
            "words": result.words,
            "seconds": result.seconds,
        }
    if options.json:
        say_json({"on_end": found.on_end, "tested": tested})
        return 1 if options.test and result and not result.ok else 0
    say(f"when a run ends: {found.on_end}")
    if result is None:
        say("never tested: `finetune-tui hook --test` runs it now")
    elif options.test and not result.ok:
        raise WorkFailed(f"the hook failed: {result.words}", where=str(found.path))
    else:
        when = "now" if options.test else f"{duration(time.time() - result.time)} ago"
        say(f"tested {when}: {result.words}")
    return 0


def _changed(options: argparse.Namespace) -> Settings | None:
    if options.key is None or (options.value is None and not options.unset):
        if options.unset:
            raise UserError("--unset wants a setting")
        return None
    if options.unset and options.value is not None:
        raise UserError("--unset takes no value")
    if options.key == "keys" and options.value is not None:
        raise UserError("keys are set in the file", where=str(read_settings().path))
    return change_setting(options.key, None if options.unset else options.value)


def _words(found: Settings, key: str) -> str:
    value = getattr(found, key)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{action}: {keys}" for action, keys in value.items()) or "(none)"
    return str(value) if value is not None else "(none)"
