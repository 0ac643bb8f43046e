"""The command line: one parser, one place where errors become a line and an exit code.

Imports nothing heavy: every command lives in a module of `commands` that is imported when it is typed.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.text import plain
from finetune_tui.tui.output import say_error

# command → where it lives, and its line in --help
_COMMANDS = {
    "models": ("models:models", "the catalog"),
    "inspect": ("models:inspect", "the module tree of a model"),
    "presets": ("models:presets", "the task presets, resolved on a model"),
    "estimate": ("estimate:estimate", "what a selection costs in memory, and what would fit"),
    "data": ("data:data", "what a data file holds: format, bad rows, lengths, tokens"),
    "train": ("train:train", "start a run and follow it"),
    "import": ("importing:import_spec", "a file of axolotl, LLaMA-Factory or TRL as a spec"),
    "script": ("importing:script", "a run as one plain Python file that trains the same"),
    "queue": ("queue:queue", "what waits to be trained, and its order"),
    "runs": ("listing:runs", "all runs"),
    "show": ("runs:show", "one run"),
    "attach": ("runs:attach", "follow a run that is under way"),
    "pause": ("runs:pause", "hold a run, or let it go with a checkpoint"),
    "resume": ("runs:resume", "go on with a run that is paused, was stopped or killed"),
    "stop": ("runs:stop", "ask a run to stop with a checkpoint"),
    "checkpoint": ("runs:checkpoint", "ask a run for a checkpoint now"),
    "compare": ("compare:compare", "did it help: base and tuned model on the same rows"),
    "chat": ("chat:chat", "ask a trained run beside its base"),
    "export": ("export:export", "a run's result in a folder anybody can load, and on the Hub"),
    "name": ("labels:name", "what a run is called"),
    "note": ("labels:note", "a line about a run"),
    "tag": ("labels:tag", "tags of a run, to find it by"),
    "archive": ("labels:archive", "leave runs out of the list"),
    "diff": ("difference:diff", "in which settings two runs differ"),
    "duplicate": ("difference:duplicate", "a run's spec, to be edited and trained again"),
    "delete": ("bin:delete", "move runs into the bin"),
    "restore": ("bin:restore", "bring deleted runs back"),
    "bin": ("bin:bin", "deleted runs"),
    "hook": ("settings:hook", "what runs when a run ends, and a test of it"),
    "settings": ("settings:settings", "what you want of this app, whatever the run"),
    "doctor": ("doctor:doctor", "what this machine can do, what is missing, the exact fix"),
}


_RUN = "r7, a whole id, or the path of a run"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UserError(message, hint=f"see `{self.prog} --help`")


def parser() -> argparse.ArgumentParser:
    """Every command and flag."""
    top = _Parser(
        prog="finetune-tui",
        description="Fine-tune language models on a GPU box. Without a command it opens the app.",
    )
    top.add_argument("--version", action="version", version=version("finetune-tui"))
    top.add_argument(
        "--home", help="where runs live (default: $FINETUNE_TUI_HOME or your data folder)"
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    made = {}
    for name, (_, words) in _COMMANDS.items():
        made[name] = commands.add_parser(name, help=words, description=words)
        made[name].add_argument("--json", action="store_true", help="answer in JSON")
        made[name].add_argument("--home", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    made["inspect"].add_argument("model")
    instead = made["inspect"].add_mutually_exclusive_group()
    instead.add_argument(
        "--report", action="store_true", help="the architecture report, in Markdown"
    )
    instead.add_argument("--against", metavar="MODEL", help="what is different in this other model")
    made["presets"].add_argument("model", nargs="?")
    made["presets"].add_argument(
        "--preset",
        nargs="+",
        help="only these; any k in bitfit-top-8, any attention-only-blocks-8-15",
    )
    made["estimate"].add_argument("model")
    made["estimate"].add_argument("--preset")
    _add_set(made["estimate"])
    made["estimate"].add_argument("--gpu", metavar="GB", help="compare with a card of that size")
    made["estimate"].add_argument("--fit", action="store_true", help="list settings that would fit")
    made["estimate"].add_argument(
        "--simulate", action="store_true", help="count every allocation of a step (seconds)"
    )
    made["estimate"].add_argument("--data", nargs="+", help="what would be trained on")
    made["data"].add_argument("file", nargs="+", help="files, folders or Hub data sets")
    made["data"].add_argument("--model", help="count in this model's tokens")
    made["data"].add_argument("--max-length", type=int, help="tokens a row may have")
    _add_set(made["data"])
    made["data"].add_argument("--strict", action="store_true", help="stop at the first bad row")
    _add_train(made["train"])
    made["attach"].add_argument(
        "--plain", action="store_true", help="a sentence for each event, to be listened to"
    )
    for name in ("show", "attach", "pause", "stop", "checkpoint"):
        made[name].add_argument("run", help=_RUN)
    made["pause"].add_argument(
        "--release", action="store_true", help="write a checkpoint and free the machine"
    )
    made["resume"].add_argument("run", nargs="?", help=_RUN)
    made["resume"].add_argument("--detach", action="store_true", help="do not follow it")
    made["resume"].add_argument(
        "--interrupted", action="store_true", help="all that a reboot or a kill cut off here"
    )
    _add_compare(made["compare"])
    _add_export(made["export"])
    _add_chat(made["chat"])
    _add_listing(made)
    _add_queue(made["queue"])
    _add_importing(made)
    made["hook"].add_argument(
        "--test", action="store_true", help="run it now, as if a run had ended"
    )
    made["settings"].add_argument("key", nargs="?")
    made["settings"].add_argument("value", nargs="?")
    made["settings"].add_argument("--unset", action="store_true", help="take the setting out")
    return top


def _add_compare(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help=_RUN)
    command.add_argument("--data", nargs="+", default=[], help="rows to ask, not those held out")
    command.add_argument(
        "--forget",
        nargs="+",
        default=[],
        metavar="F",
        help="rows of other work: what was forgotten",
    )
    command.add_argument(
        "--metric",
        nargs="+",
        default=[],
        help="exact, json, schema, fields, rouge-l, regex; the first judges rows",
    )
    command.add_argument("--schema", metavar="FILE", help="a JSON schema that answers should meet")
    command.add_argument(
        "--regex", help="is found in a right answer; a group in it catches what must be equal"
    )
    command.add_argument("--rows", type=int, help="rows of each; 0: all (default: 200)")
    command.add_argument(
        "--max-new-tokens", type=int, help="of an answer (default: what they need)"
    )
    command.add_argument("--cpu", action="store_true", help="without a GPU")
    instead = command.add_mutually_exclusive_group()
    instead.add_argument("--detach", action="store_true", help="start it and come back at once")
    instead.add_argument("--queue", action="store_true", help="put it at the end of the queue")
    instead.add_argument("--list", action="store_true", help="the comparisons that a run has")
    instead.add_argument(
        "--show", nargs="?", const="", metavar="NAME", help="one of them; the newest without a name"
    )
    command.add_argument(
        "--only", metavar="WHICH", help="its rows: fixed, regressed, both-wrong, both-right"
    )
    command.add_argument("--forgotten", action="store_true", help="with --only: of the second set")
    command.add_argument(
        "--all", action="store_true", dest="all_rows", help="with --only: every row"
    )


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help=_RUN)
    command.add_argument("--out", required=True, metavar="DIR", help="a folder not there yet")
    command.add_argument(
        "--merge", action="store_true", help="one whole model instead of an adapter"
    )
    command.add_argument(
        "--dtype", help="of a merged model: auto (as the run), float32, bfloat16, float16"
    )
    command.add_argument("--push", metavar="REPO", help="send it to this repository on the Hub")
    seen = command.add_mutually_exclusive_group()
    seen.add_argument("--private", action="store_true", help="a new repository is private (usual)")
    seen.add_argument("--public", action="store_true", help="everybody may see it")
    command.add_argument("--cpu", action="store_true", help="without a GPU")
    instead = command.add_mutually_exclusive_group()
    instead.add_argument(
        "--dry-run", action="store_true", help="only say what would be written and sent"
    )
    instead.add_argument("--detach", action="store_true", help="start it and come back at once")
    instead.add_argument("--queue", action="store_true", help="put it at the end of the queue")


def _add_listing(made: Mapping[str, argparse.ArgumentParser]) -> None:
    """The list of runs, what they are called, and the bin."""
    made["runs"].add_argument(
        "--filter",
        nargs="+",
        default=[],
        metavar="WORD",
        help="words, status:failed, tag:x, is:live",
    )
    made["runs"].add_argument("--sort", default="newest", help="newest, oldest, name, eval-loss …")
    made["runs"].add_argument("--all", action="store_true", help="archived ones too")
    for name in ("name", "note", "tag"):
        made[name].add_argument("run", help=_RUN)
        made[name].add_argument("text", nargs="*", metavar=name.upper())
        made[name].add_argument("--clear", action="store_true", help="take it away")
    made["tag"].add_argument("--remove", nargs="+", default=[], metavar="TAG")
    made["archive"].add_argument("run", nargs="+", help=_RUN)
    made["archive"].add_argument("--undo", action="store_true", help="show them again")
    made["diff"].add_argument("run", help=_RUN)
    made["diff"].add_argument("other", metavar="run", help=_RUN)
    made["duplicate"].add_argument("run", help=_RUN)
    made["delete"].add_argument("run", nargs="+", help=_RUN)
    made["restore"].add_argument(
        "run", nargs="*", help="r7 or a whole id; without: the last deleted"
    )
    made["bin"].add_argument("--empty", action="store_true", help="take them away for good")
    made["bin"].add_argument("--days", type=float, help="with --empty: those deleted longer ago")


def _add_chat(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help=_RUN)
    command.add_argument(
        "--prompt", metavar="TEXT", help="answer this and end; else stdin is asked"
    )
    command.add_argument("--system", metavar="TEXT", help="what the model is told before a chat")
    one = command.add_mutually_exclusive_group()
    one.add_argument("--base-only", action="store_true", help="only the model before training")
    one.add_argument("--tuned-only", action="store_true", help="only the trained model")
    _add_set(command)
    command.add_argument(
        "--style", choices=("chat", "prompt"), help="as a turn of a chat, or as it stands"
    )
    where = command.add_mutually_exclusive_group()
    where.add_argument("--cpu", action="store_true", help="answer on the CPU")
    where.add_argument("--gpu", metavar="UUID", help="answer on this GPU")
    command.add_argument("--wait", action="store_true", help="wait until the GPU has room")


def _add_importing(made: Mapping[str, argparse.ArgumentParser]) -> None:
    """Specs from elsewhere, and runs as scripts."""
    made["import"].add_argument("file", help="another tool's YAML")
    made["import"].add_argument(
        "--from",
        dest="tool",
        choices=("axolotl", "llama-factory", "trl"),
        help="whose file it is, where its keys do not tell",
    )
    made["import"].add_argument("--out", metavar="SPEC.yaml", help="write the spec there")
    made["script"].add_argument("run", help=_RUN)
    made["script"].add_argument("--out", metavar="FILE.py", help="write the script there")


def _add_queue(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "words",
        nargs="*",
        metavar="ACTION",
        help="list, move Q3 first|last|before Q1|after Q1, remove Q3, retry Q3, hold, start",
    )
    stops = command.add_mutually_exclusive_group()
    for flag, value, words in (
        ("--stop-on-failure", True, "hold the queue when something fails"),
        ("--keep-going", False, "let the next one start all the same"),
    ):
        stops.add_argument(
            flag, action="store_const", const=value, dest="stop_on_failure", help=words
        )


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="any key of a spec",
    )


def _add_train(command: argparse.ArgumentParser) -> None:
    command.add_argument("spec", nargs="?", help="a spec, as YAML")
    command.add_argument("--model", help="catalog id, `demo`, a folder or a Hub id")
    command.add_argument("--preset")
    command.add_argument("--data", nargs="+", help="files, folders or Hub data sets to train on")
    _add_set(command)
    command.add_argument("--strict", action="store_true", help="stop at the first bad row")
    instead = command.add_mutually_exclusive_group()
    instead.add_argument("--detach", action="store_true", help="start it and come back at once")
    instead.add_argument("--queue", action="store_true", help="put it at the end of the queue")
    instead.add_argument(
        "--rehearse",
        action="store_true",
        help="a few real steps instead: memory, time, disk and a sample",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, or open the app. 0: done, 1: the work failed, 2: the request was wrong."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    try:
        options = parser().parse_args(words)
        place = _COMMANDS[options.command][0] if options.command else "app:app"
        module, _, function = place.partition(":")
        run = getattr(import_module(f"finetune_tui.tui.commands.{module}"), function)
        return int(run(options))
    except UserError as error:
        say_error(error, as_json)
        return error.exit_code
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("FINETUNE_TUI_DEBUG"):
            raise
        reason = plain(f"{type(error).__name__}: {error}", 300)
        hint = "this is a fault of the app; FINETUNE_TUI_DEBUG=1 shows where"
        say_error(WorkFailed(reason, hint=hint), as_json)
        return 1


if __name__ == "__main__":
    sys.exit(main())
