"""The process that holds a person's own JSON schema and regular expression against answers.

    python -m finetune_tui.core.evidence.judging

Both can be written so that a single answer takes years, and neither Python's `re` nor a validator can be
interrupted from within. So they run here, where the kernel's clock ends the process (`core.limits`) and
memory is bounded; `judge` starts it again.

JSON lines: first `{"schema", "regex", "seconds"}`, answered with `{}` or `{"error"}`; then `{"answer"}` for
the schema or `{"expected", "answer"}` for the expression, each answered with `{"right"}` or `{"error"}`.
"""

import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.json_answers import NoJsonError, parsed
from finetune_tui.core.limits import bounded_memory, clock

_MOST_MEMORY = 2**30

Meets = Callable[[str], bool]
Matches = Callable[[str, str], bool | None]


def meets(schema: Any) -> Meets:
    """Whether an answer is JSON that a schema allows. Raises UserError for what is no schema.

    `format` says nothing about validity, as the standard has it. Nothing is ever fetched.
    """
    from jsonschema import exceptions
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY

    if not isinstance(schema, dict):
        raise UserError("a JSON schema is an object", where="json_schema")
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        _refuse_references(schema, standard=_id_of(kind.META_SCHEMA))
    except exceptions.SchemaError as error:
        place = "/".join(str(step) for step in error.absolute_path)
        reason = f"not a JSON schema ({error.message[:200]})"
        raise UserError(reason, where=f"json_schema, {place}" if place else "json_schema") from None
    except RecursionError:
        raise UserError("the schema is nested too deeply", where="json_schema") from None
    validator = kind(schema, registry=EMPTY_REGISTRY)  # whose own would fetch

    def allowed(answer: str) -> bool:
        try:
            return bool(validator.is_valid(parsed(answer)))
        except NoJsonError:
            return False
        except Unresolvable as error:
            words = f"the schema refers to what it does not hold ({str(error)[:120]})"
            raise UserError(words, where="json_schema") from None
        except RecursionError:
            words = "the schema refers to itself without end, or the answer is nested too deeply"
            raise UserError(words, where="json_schema") from None

    return allowed


def matches(pattern: str) -> Matches:
    """How a regular expression judges an answer. Raises UserError for what is none.

    Without a group in parentheses: whether it is found anywhere in the answer. With one: whether what the
    first group catches is the same in the answer as in the expected text; None when it catches nothing in
    the expected one.
    """
    try:
        expression = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"not a regular expression ({error})", where="regex") from None

    def judged(expected: str, answer: str) -> bool | None:
        found = expression.search(answer)
        if not expression.groups:
            return found is not None
        wanted = expression.search(expected)
        if wanted is None or wanted[1] is None:
            return None
        return found is not None and found[1] is not None and found[1] == wanted[1]

    return judged


def _refuse_references(schema: Any, standard: str) -> None:
    """Raises UserError for a reference to what neither the schema nor the standard holds."""
    known = {_id_of(part) for part in _parts(schema)} | {standard, ""}
    for part in _parts(schema):
        for name in ("$ref", "$dynamicRef", "$recursiveRef"):
            reference = part.get(name)
            if isinstance(reference, str) and _bare(reference) not in known:
                raise UserError(
                    f"the schema refers to '{reference[:120]}', and nothing is fetched",
                    where="json_schema",
                    hint="put what it refers to under `$defs` and refer to '#/$defs/…'",
                )


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _id_of(schema: Any) -> str:
    name = schema.get("$id", schema.get("id")) if isinstance(schema, dict) else None
    return _bare(name) if isinstance(name, str) else ""


def _bare(reference: str) -> str:
    return reference.partition("#")[0]


def main() -> None:
    warnings.simplefilter("ignore")  # about patterns that a later Python may read in another way
    with bounded_memory(_MOST_MEMORY):
        requests = iter(sys.stdin)
        about = json.loads(next(requests))
        try:
            with clock():  # with the import of a library
                allowed = None if about["schema"] is None else meets(about["schema"])
                judged = None if about["regex"] is None else matches(about["regex"])
        except UserError as error:
            return _say({"error": error.to_json()})
        _say({})
        for line in requests:
            _say(_answer(json.loads(line), allowed, judged, about["seconds"]))
    return None


def _answer(
    request: dict[str, str], allowed: Meets | None, judged: Matches | None, seconds: float
) -> Any:
    try:
        with clock(seconds):
            if "expected" in request:
                assert judged is not None  # asked for
                return {"right": judged(request["expected"], request["answer"])}
            assert allowed is not None
            return {"right": allowed(request["answer"])}
    except UserError as error:
        return {"error": error.to_json()}
    except (MemoryError, RecursionError):
        return {"right": False}


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
