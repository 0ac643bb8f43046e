"""Foreign regular expressions, matched in a process of their own that is ended when it takes too long."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain

SECONDS = 3.0
_LONGEST = 1000  # characters of an expression
_MOST = 500  # expressions

# Memory is bounded too: an expression may ask for much of it while it is read.
_MATCH = """
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))
how, patterns, names = json.load(sys.stdin)
found = []
for pattern in patterns:
    try:
        match = getattr(re.compile(pattern), how)
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        print(json.dumps({"bad": pattern, "why": str(error)}))
        sys.exit()
    found.append([place for place, name in enumerate(names) if match(name)])
print(json.dumps(found))
"""


def matching(
    patterns: Sequence[str],
    names: Sequence[str],
    where: str,
    how: Literal["match", "fullmatch"] = "match",
    seconds: float = SECONDS,
) -> list[list[str]]:
    """For each expression the names it matches, as Python's re reads it.

    Raises UserError for one that is none, or when all of them take more than so many seconds.
    """
    if len(patterns) > _MOST or any(len(pattern) > _LONGEST for pattern in patterns):
        raise UserError("more, or longer, regular expressions than can be meant", where=where)
    asked = json.dumps([how, list(patterns), list(names)])
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MATCH],
            input=asked,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            check=True,
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"a regular expression takes more than {seconds:g} seconds",
            where=where,
            hint="name the modules themselves",
        ) from None
    except (subprocess.CalledProcessError, ValueError, OSError):
        raise UserError("a regular expression that cannot be read", where=where) from None
    if isinstance(answer, dict):
        why = plain(str(answer.get("why")), 80)
        raise UserError(
            f"'{plain(str(answer.get('bad')), 60)}' is no regular expression ({why})", where=where
        )
    return [[names[place] for place in places] for places in answer]
