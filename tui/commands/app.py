"""No command: open the app, or, with no terminal to open it on, run the demo and print the result."""

import argparse
import sys

from finetune_tui.core.runs.home import find_home
from finetune_tui.core.tuning.spec import demo_spec


def app(options: argparse.Namespace) -> int:
    """The app on a terminal; elsewhere the demo training, headless."""
    home = find_home(options.home)
    if sys.stdin.isatty() and sys.stdout.isatty():
        from finetune_tui.tui.app import run_app

        return run_app(home)
    from finetune_tui.tui.commands.train import train_spec
    from finetune_tui.tui.output import say

    say("no terminal here: training the built-in demo instead\n")
    return train_spec(demo_spec(), home)
