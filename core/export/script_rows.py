"""Parts of a reproduce script: reading rows and holding some out. Text, never run here."""

RECORDS = r'''
# --- The rows -------------------------------------------------------------------------------------


def records(path):
    """(line, value) of every record: a JSON object a line, or the elements of one JSON array."""
    text = Path(path).read_text(encoding="utf-8-sig")
    if not (path.lower().endswith(".json") and text.lstrip().startswith("[")):
        for line, record in enumerate(text.split("\n"), 1):
            if record.strip() and line not in SKIPPED.get(path, ()):
                yield line, json.loads(record)
        return
    space, place, line = re.compile(r"[ \t\r\n]*"), text.index("[") + 1, 1
    seen = 0
    while True:
        place = space.match(text, place).end()
        if text.startswith("]", place):
            return
        line, seen = line + text.count("\n", seen, place), place
        value, place = json.JSONDecoder().raw_decode(text, place)
        if line not in SKIPPED.get(path, ()):
            yield line, value
        place = space.match(text, place).end()
        place += text.startswith(",", place)


def without_nulls(value):
    return {name: field for name, field in value.items() if field is not None}
'''

TEXT_ROW = r'''

def row_of(value):
    """The prompt (none here) and what is written after it."""
    return "", value["text"]


def content_of(row):
    return row[1]
'''

COMPLETION_ROW = r'''

def row_of(value):
    """The prompt and what is written after it."""
    value = without_nulls(value)
    return value.get("prompt", ""), value["completion"]


def content_of(row):
    return json.dumps(row)
'''

INSTRUCTION_ROW = r'''

def row_of(value):
    """The prompt (system, instruction and input, those there are) and what is written after it."""
    value = without_nulls(value)
    parts = [value.get(name, "") for name in ("system", "instruction", "input")]
    return "\n\n".join(part for part in parts if part.strip()), value["output"]


def content_of(row):
    return json.dumps(row)
'''

CHAT = r'''

def parsed(value):
    """Lists are often kept as JSON text."""
    return json.loads(value) if isinstance(value, str) and value.strip() else value


def tidy(turn):
    """A turn without fields that are null, and with content of several text parts as one text."""
    kept = {name: value for name, value in turn.items() if value is not None or name == "content"}
    content = kept.get("content")
    if isinstance(content, list) and content:
        if all(isinstance(part, dict) and part.get("type") == "text" for part in content):
            kept["content"] = "".join(part["text"] for part in content)
    return kept
'''

MESSAGES_ROW = r'''

def row_of(value):
    """The turns of a chat, and the tools it offers."""
    value = without_nulls(value)
    return [tidy(turn) for turn in parsed(value["messages"])], parsed(value.get("tools")) or None
'''

CHAT_COMPLETION_ROW = r'''

def row_of(value):
    """The turns of a chat, and the tools it offers."""
    value = without_nulls(value)
    turns = [*value["prompt"], *value["completion"]]
    return [tidy(turn) for turn in turns], parsed(value.get("tools")) or None
'''

CONVERSATIONS_ROW = r'''

ROLES = {
    "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant",
    "bard": "assistant", "bot": "assistant", "model": "assistant", "ai": "assistant",
    "function": "tool", "function_response": "tool", "tool_response": "tool", "observation": "tool",
}  # fmt: skip


def row_of(value):
    """The turns of a chat, and the tools it offers."""
    value = without_nulls(value)
    turns = [message_of(turn) for turn in parsed(value["conversations"])]
    if value.get("system") and turns[0].get("role") != "system":
        turns = [{"role": "system", "content": value["system"]}, *turns]
    return turns, parsed(value.get("tools")) or None


def message_of(turn):
    """ShareGPT's from and value as role and content."""
    turn = tidy(turn)
    if "from" not in turn or "role" in turn:
        return turn
    role, said = turn["from"].lower(), turn.get("value")
    if role in ("function_call", "tool_call"):
        calls = json.loads(said) if isinstance(said, str) else said
        calls = [calls] if isinstance(calls, dict) else calls
        calls = [{"name": call["name"], "arguments": call.get("arguments", {})} for call in calls]
        calls = [{"type": "function", "function": call} for call in calls]
        return {"role": "assistant", "content": "", "tool_calls": calls}
    others = {key: field for key, field in turn.items() if key not in ("from", "value", "content")}
    content = turn.get("content") if said is None else said
    return {"role": ROLES.get(role, role), "content": content, **others}
'''

CHAT_CONTENT = r"""

def content_of(row):
    return json.dumps(row, sort_keys=True)
"""

HOLD_OUT = r'''

def held_out_of(rows):
    """Which rows are held out: drawn by content and seed, equal rows together, never all."""
    wanted = min(max(round(len(rows) * EVAL_SPLIT), 1), len(rows) - 1) if len(rows) > 1 else 0
    ranks = [
        hashlib.blake2b(f"{SEED}\n{content_of(row)}".encode(), digest_size=16).digest()
        for row in rows
    ]
    places = sorted(range(len(rows)), key=ranks.__getitem__)
    groups = [list(group) for _, group in itertools.groupby(places, key=ranks.__getitem__)]
    if len(groups) == 1:
        return set(groups[0][:wanted])
    chosen = []
    for group in groups:
        if len(chosen) + len(group) <= wanted:
            chosen.extend(group)
    return set(chosen or min(groups, key=len)) if wanted else set()
'''

READING = r'''

class Unusable(Exception):
    """A row that nothing can be learnt from: the run left it out too."""


UNUSABLE = (Unusable, jinja2.TemplateError, ValueError, TypeError, KeyError, AttributeError)


def read(files):
    return [row_of(value) for path in files for _, value in records(path)]


def sequences_of(rows):
    """(ids, mask) of each usable row, cut at MAX_LENGTH."""
    found = []
    for row in rows:
        try:
            ids, mask = tokenised(row)
        except UNUSABLE as error:
            print(f"left out: {error}")
            continue
        ids, mask = ids[:MAX_LENGTH], mask[:MAX_LENGTH]
        if any(mask[1:]):  # the first token stands after nothing: it is never learnt
            found.append((ids, mask))
    return found

'''
