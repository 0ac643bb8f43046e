"""The pieces of work that are not a training."""

OTHER_TASKS = {"compare": "a comparison", "export": "an export"}
"""By the key `task` of their specs, in words: `task_spec` reads them."""
