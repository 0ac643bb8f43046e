"""The embedded demo: a small model that is really trained, its data, and where they lie.

`scripts/build_demo.py` makes every file below; nothing else in the package treats the demo specially.
"""

from pathlib import Path

_HERE = Path(__file__).parent

MODEL_FOLDER = _HERE / "model"
TRAIN_FILE = _HERE / "data" / "train.jsonl"
HELDOUT_FILE = _HERE / "data" / "heldout.jsonl"
QUESTIONS_FILE = _HERE / "data" / "questions.jsonl"
