"""Parts of a reproduce script: rows to tokens and what trains of them. Text, never run here."""

TOKENS = r'''

# --- Rows to tokens -------------------------------------------------------------------------------
# What people wrote may hold the text of a special token. It is marked before a template sees it and
# becomes ordinary tokens, so that no row can end a turn or open another.

MARK = "\U0010fffd"
tokenizer = AutoTokenizer.from_pretrained(MODEL, revision=REVISION, trust_remote_code=False)


def longest_first(names):
    return tuple(sorted(set(names) - {""}, key=lambda name: (-len(name), name)))


ADDED = tokenizer.added_tokens_decoder.values()
SPECIAL = longest_first(
    {token.content for token in ADDED if token.special} | set(tokenizer.all_special_tokens)
)


def guarded(text, names, known):
    """`text` with every one of `names` in it marked. known: the names that `encoded` is given."""
    numbers = {name: chr(0xE000 + number) for number, name in enumerate((*known, MARK))}
    pattern = "|".join(re.escape(name) for name in (*names, MARK))
    return re.sub(pattern, lambda found: f"{MARK}{numbers[found.group()]}{MARK}", text)


def encoded(text, cuts, known):
    """Token ids, and where each begins in `text`. No token reaches over a cut."""
    ids, begins, place = [], [], 0
    for found in re.finditer(f"{MARK}([\ue000-\uf8ff]){MARK}|\\Z", text):
        if found.start() > place:
            piece = text[place : found.start()]
            inside = [cut - place for cut in cuts if place < cut < found.start()]
            more, starts = plain_piece(piece, inside, place == 0)
            ids, begins = ids + more, begins + [place + start for start in starts]
        if found.group():
            name = (*known, MARK)[ord(found[1]) - 0xE000]
            more = as_text(name, found.start() == 0)
            ids, begins = ids + more, begins + [found.start()] * len(more)
        place = found.end()
    return ids, begins


def plain_piece(text, cuts, is_first):
    """A text without marks; taken in two where a token would lie across a cut."""
    ids, spans = tokens_of(text, is_first)
    across = [cut for cut in cuts if any(begin < cut < end for begin, end in spans)]
    if not across:
        return ids, [begin for begin, _ in spans]
    ids, begins, place = [], [], 0
    for cut in sorted({*across, len(text)}):
        more, spans = tokens_of(text[place:cut], is_first and place == 0)
        ids, begins = ids + more, begins + [place + begin for begin, _ in spans]
        place = cut
    return ids, begins


def tokens_of(text, is_first, is_text=False):
    """Ids and their places. Some tokenizers put a space before what they take for the first word: a
    piece from the middle is encoded behind a line break, which is then taken away."""
    if is_first:
        return called(text, is_text)
    ids, spans = called("\n" + text, is_text)
    behind = next((index for index, (begin, _) in enumerate(spans) if begin >= 1), len(spans))
    if behind and spans[behind - 1][1] > 1:
        return called(text, is_text)
    return ids[behind:], [(begin - 1, end - 1) for begin, end in spans[behind:]]


def called(text, is_text):
    """is_text: special tokens in it are not meant."""
    more = {"add_special_tokens": False, "split_special_tokens": is_text}
    if not tokenizer.is_fast:
        ids = tokenizer(text, **more)["input_ids"]
        return ids, [(0, len(text))] * len(ids)
    encoding = tokenizer(text, return_offsets_mapping=True, **more)
    return encoding["input_ids"], encoding["offset_mapping"]


def as_text(name, is_first):
    """The text of a special token in ordinary tokens."""
    ids, _ = tokens_of(name, is_first, is_text=True)
    if tokenizer.convert_tokens_to_ids(name) not in ids:
        return ids
    start, _ = tokens_of(name[:1], is_first, is_text=True)
    rest, _ = tokens_of(name[1:], False, is_text=True)
    return [*start, *rest]


def beginning():
    """What the tokenizer writes before a text, usually one token or none."""
    around = tokenizer("", add_special_tokens=True)["input_ids"]
    if around and around[-1] == tokenizer.eos_token_id != tokenizer.bos_token_id:
        around = around[:-1]
    return around


def masked(text, spans, known):
    """Ids, and a 1 for each that lies in one of the spans (begin, end) of characters."""
    ids, begins = encoded(text, [place for span in spans for place in span], known)
    mask = [0] * len(ids)
    for span in spans:
        for place in range(bisect_left(begins, span[0]), bisect_left(begins, span[1])):
            mask[place] = 1
    return ids, mask
'''

PLAIN_TOKENS = r'''

def tokenised(row):
    """All ids of a row, and a 1 for each that trains. The end token always does."""
    prompt = guarded(row[0], SPECIAL, SPECIAL)
    text = prompt + guarded(row[1], SPECIAL, SPECIAL)
    begin = len(prompt) if COMPLETION_ONLY_LOSS else 0
    ids, mask = masked(text, [(begin, len(text))], SPECIAL)
    first = beginning()
    learns = 0 if COMPLETION_ONLY_LOSS or IS_TEXT else 1
    return [*first, *ids, tokenizer.eos_token_id], [learns] * len(first) + mask + [1]
'''

CHAT_TOKENS = r'''

def ends_of_turns():
    """Special tokens, and those at which generation stops."""
    ends = {tokenizer.eos_token_id}
    try:
        path = Path(tokenizer.name_or_path) / "generation_config.json"
        named = json.loads(path.read_bytes()).get("eos_token_id")
    except (OSError, ValueError, TypeError, AttributeError):
        named = None
    more = named if isinstance(named, list) else [named]
    ends |= {token for token in more if type(token) is int}
    names = tokenizer.convert_ids_to_tokens(sorted(ends))
    return longest_first({*SPECIAL, *(name for name in names if name)})


TEMPLATE = tokenizer.chat_template
ENDS = ends_of_turns()
written = TEMPLATE if isinstance(TEMPLATE, str) else ""
KNOWN = longest_first({*SPECIAL, *(token.content for token in ADDED if token.content in written)})


def tokenised(row):
    """All ids of a chat, and a 1 for each that trains: what the assistant writes, end tokens included."""
    messages, tools = row
    known = KNOWN if TEMPLATE else SPECIAL
    text, spans, ends = templated(messages, tools) if TEMPLATE else plain(messages)
    ids, mask = masked(text, spans, known)
    if not ASSISTANT_ONLY_LOSS:
        mask = [1] * len(ids)
    if not ends:
        ids, mask = [*ids, tokenizer.eos_token_id], [*mask, 1]
    first = [] if TEMPLATE else beginning()  # a template writes its own beginning
    return [*first, *ids], [0] * len(first) + mask


def templated(messages, tools):
    """The chat as the model reads it, what trains of it, and whether that has an end token."""
    messages = [marked_turn(turn) for turn in messages]
    tools = marked(tools, KNOWN) if tools else None

    def render(turns, answer):
        return tokenizer.apply_chat_template(
            turns, tools=tools, tokenize=False, add_generation_prompt=answer
        )

    if isinstance(TEMPLATE, str) and re.search(r"\{%-?\s*generation\s*-?%\}", TEMPLATE):
        texts, places = render_jinja_template(
            conversations=[messages],
            tools=tools,
            chat_template=TEMPLATE,
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
        text = texts[0]
        spans = [(begin, after_end(begin, end, text)) for begin, end in places[0]]
    else:
        text = render(messages, False)
        answers = [place for place, turn in enumerate(messages) if turn["role"] == "assistant"]
        spans = []
        for place in answers[-1:] if LAST_TURN_ONLY else answers:
            before, after = render(messages[:place], True), render(messages[: place + 1], False)
            body = without_end(after)
            if not text.startswith(before) or not text.startswith(body):
                raise Unusable("the chat template rewrites earlier turns")
            end = after_end(len(body), len(body), after)
            end = end if text.startswith(after[:end]) else len(body)
            spans.append((len(before), max(end, len(before))))
    spans = spans[-1:] if LAST_TURN_ONLY else spans
    return text, spans, bool(spans) and text.endswith(ENDS, 0, spans[-1][1])


def plain(messages):
    """For models without a chat template: `Instruct: …`, `Output: …`, the end token, blank lines between."""
    words = {"user": "Instruct: ", "assistant": "Output: ", "tool": "Result: "}
    lines, spans = [], []
    for turn in messages:
        before = "\n\n".join(lines)
        line = words.get(turn["role"], "") + guarded(turn.get("content") or "", SPECIAL, SPECIAL)
        if turn["role"] == "assistant":
            lines.append(line + tokenizer.eos_token)
            begin = len(f"{before}\n\nOutput:" if before else "Output:")
            spans.append((begin, len("\n\n".join(lines))))
        else:
            lines.append(line)
    return "\n\n".join(lines), spans[-1:] if LAST_TURN_ONLY else spans, True


def marked_turn(turn):
    """The assistant may use added tokens that are not special (<think>): its template reads them."""
    names = SPECIAL if turn["role"] == "assistant" else KNOWN
    return {key: value if key == "role" else marked(value, names) for key, value in turn.items()}


def marked(value, names):
    if isinstance(value, str):
        return guarded(value, names, KNOWN)
    if isinstance(value, dict):
        return {key: marked(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [marked(item, names) for item in value]
    return value


def without_end(text):
    """Without the end tokens and white space at its end."""
    while True:
        shorter = text.rstrip()
        end = next((end for end in ENDS if shorter.endswith(end)), "")
        shorter = shorter.removesuffix(end)
        if shorter == text:
            return text
        text = shorter


def after_end(begin, end, text):
    """Behind the end-of-turn token that follows text[begin:end], if one does."""
    body = begin + len(without_end(text[begin:end]))
    rest = text[body:]
    blank = len(rest) - len(rest.lstrip())
    found = next((one for one in ENDS if rest.startswith(one, blank)), None)
    return body + blank + len(found) if found else body
'''
