"""A chat template taken apart into the words around each turn, by looking at what it writes.

Only what can be put together again to the same text is trusted: other tools take turns, not templates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Message = dict[str, str]
Render = Callable[[Sequence[Message], bool], str]
"""Messages to text; true: with the beginning of an answer. Raises ValueError for what it does not take."""

_NAMES = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo")


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """What stands around the words of each turn.

    begin: before the first turn when there is no system turn. system: (before, after) its words, None where
    the format has no such turn; `system[0]` then stands in place of `begin`. answer: after the last turn.
    """

    begin: str
    user: tuple[str, str]
    assistant: tuple[str, str]
    system: tuple[str, str] | None
    answer: str

    def write(self, messages: Sequence[Message]) -> str:
        """The text of a chat that ends with a user's turn, with the beginning of the answer."""
        words = {"user": self.user, "assistant": self.assistant, "system": self.system or ("", "")}
        starts_with_system = bool(messages) and messages[0]["role"] == "system"
        text = "" if starts_with_system else self.begin
        for message in messages:
            before, after = words[message["role"]]
            text += before + message["content"] + after
        return text + self.answer


def chat_format(render: Render) -> ChatFormat | None:
    """The format, or None when turns are not simply put one after another."""
    try:
        found = _taken_apart(render)
    except ValueError:
        return None
    if found is None or not _writes_the_same(found, render, with_system=False):
        return None
    system = _system(found, render)
    if system is not None:
        whole = ChatFormat(found.begin, found.user, found.assistant, system, found.answer)
        if _writes_the_same(whole, render, with_system=True):
            return whole
    return found


def _taken_apart(render: Render) -> ChatFormat | None:
    one, reply, two = _NAMES[:3]
    asked = render([_user(one)], True)
    unasked = render([_user(one)], False)
    answered = render([_user(one), _assistant(reply)], False)
    again = render([_user(one), _assistant(reply), _user(two)], True)
    pairs = [(asked, [one]), (unasked, [one]), (answered, [one, reply]), (again, [one, reply, two])]
    for text, words in pairs:
        if any(text.count(word) != 1 for word in words):
            return None
    first, _, last = asked.partition(one)
    before, _, rest = again.partition(one)
    to_answer, _, rest = rest.partition(reply)
    to_user, _, end = rest.partition(two)
    if before != first or end != last:
        return None
    # What ends an answer, and what begins a turn, are one string between the two: cut it where a chat
    # that ends there says, else where the first turn begins the same way.
    after_answer = _end_of_turn(answered.partition(reply)[2], to_user)
    if not first.endswith(to_user[len(after_answer) :]):
        begins = _common(first[::-1], to_user[::-1])[::-1]
        after_answer = to_user.removesuffix(begins)
    after_user = _common(_end_of_turn(unasked.partition(one)[2], to_answer), last)
    user = (to_user[len(after_answer) :], after_user)
    return ChatFormat(
        begin=first.removesuffix(user[0]),
        user=user,
        assistant=(to_answer[len(after_user) :], after_answer),
        system=None,
        answer=last[len(after_user) :],
    )


def _system(found: ChatFormat, render: Render) -> tuple[str, str] | None:
    told, one = _NAMES[:2]
    try:
        text = render([{"role": "system", "content": told}, _user(one)], True)
    except ValueError:
        return None
    if text.count(told) != 1 or text.count(one) != 1:
        return None
    before, _, rest = text.partition(told)
    between = rest.partition(one)[0]
    if not between.endswith(found.user[0]):
        return None  # it becomes a part of the user's turn
    return before, between[: len(between) - len(found.user[0])]


def _writes_the_same(found: ChatFormat, render: Render, with_system: bool) -> bool:
    names = iter(_NAMES)
    messages = [{"role": "system", "content": next(names)}] if with_system else []
    messages += [_user(next(names)), _assistant(next(names))]
    messages += [_user(next(names)), _assistant(next(names)), _user(next(names))]
    try:
        return all(
            found.write(part) == render(part, True)
            for part in (messages, messages[: 2 if with_system else 1])
        )
    except ValueError:
        return False


def _end_of_turn(one: str, other: str) -> str:
    """What both begin with, without the half of a mark: `<|end|>` of `<|end|><|u|>` and `<|end|><|eos|>`."""
    return one if one == other else _common(one, other).rstrip("<|[")


def _common(one: str, other: str) -> str:
    """What both begin with."""
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    return one[:same]


def _user(words: str) -> Message:
    return {"role": "user", "content": words}


def _assistant(words: str) -> Message:
    return {"role": "assistant", "content": words}
