"""doctor: what this machine can do, what is missing, and the exact fix."""

import argparse

from finetune_tui.core.doctor import examine
from finetune_tui.core.runs.home import find_home
from finetune_tui.tui.output import say, say_json


def doctor(options: argparse.Namespace) -> int:
    """Exit code 1 when something that training needs is missing."""
    findings = examine(find_home(options.home), ask_hub=True)
    if options.json:
        say_json({"findings": [finding.to_json() for finding in findings]})
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            mark = {True: "✓", False: "✗", None: "·"}[finding.ok]
            say(f"{mark} {finding.name.ljust(width)}  {finding.words}")
            if finding.fix:
                say(f"  {' ' * width}  fix: {finding.fix}")
    return 1 if any(finding.ok is False for finding in findings) else 0
