"""The real worker on a machine with so little free memory.

    python scarce.py SHARE LOOKS RUN_DIR

SHARE: of what is predicted, so much is free from the worker's look number LOOKS on (the first is 1).
"""

import itertools
import sys
from dataclasses import replace
from typing import Any

from finetune_tui.core.memory.estimate import Estimate
from finetune_tui.core.memory.free import Free
from finetune_tui.core.training import metering, worker
from finetune_tui.core.training.memory_check import require_memory


def main() -> int:
    share, looks, *rest = sys.argv[1:]
    looked = itertools.count(1)

    def scarce(plan: Any, spec: Any, predicted: Estimate, free: Free) -> str | None:
        if next(looked) >= int(looks):
            free = replace(free, bytes=int(predicted.device * float(share)))
        return require_memory(plan, spec, predicted, free)

    setattr(metering, "require_memory", scarce)  # noqa: B010 - a function, put in another's place
    return worker.main(rest)


if __name__ == "__main__":
    sys.exit(main())
