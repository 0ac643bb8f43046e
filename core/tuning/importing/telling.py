"""What an import says: the spec with its notes as comments, the notes as lines and as a page."""

from collections.abc import Iterator
from itertools import groupby

from finetune_tui.core.text import count, percent, plain
from finetune_tui.core.tuning.counting import trained_numbers
from finetune_tui.core.tuning.importing.importing import Imported
from finetune_tui.core.tuning.importing.notes import Kind, Note
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec_file import write_spec


def as_yaml(imported: Imported, name: str) -> str:
    """A spec file that says on top where it comes from and what became of the other tool's keys."""
    head = [f"From {imported.title}'s {plain(name, 200)}.", *note_lines(imported)]
    return "".join(f"# {line}".rstrip() + "\n" for line in head) + write_spec(imported.spec)


def note_lines(imported: Imported) -> Iterator[str]:
    """Every note on a line of its own, under what it is about."""
    for kind, notes in _by_kind(imported):
        yield ""
        yield f"{kind.words}:"
        for note in notes:
            place = f"{note.line:>4}" if note.line else "    "
            yield f"{place}  {note.key}: {note.words}"


def as_page(imported: Imported) -> str:
    """The notes in Markdown, to be read before a run is started."""
    lines = [f"{_word(trains(imported))}.", ""]
    for kind, notes in _by_kind(imported):
        lines += [f"## {kind.words}", ""]
        for note in notes:
            place = f" (line {note.line})" if note.line else ""
            lines.append(f"- `{_word(note.key)}`{place}: {_word(note.words)}")
        lines.append("")
    return "\n".join(lines)


def trains(imported: Imported) -> str:
    """`meta-llama/Llama-3.1-8B: 224 modules train, 83.9M of 8.03B (1.0%)`."""
    spec, manifest = imported.spec, imported.manifest
    model = plain(spec.model_name_or_path, 80)
    if manifest is None:
        return f"{model}: preset {spec.preset}"
    selection = selection_of(spec, manifest)
    trained = trained_numbers(manifest, selection, spec)
    share = percent(trained, manifest.parameters)
    modules = len(selection.choices)
    words = f"{modules} modules train" if modules != 1 else "1 module trains"
    return f"{model}: {words}, {count(trained)} of {count(manifest.parameters)} ({share})"


def gravest(imported: Imported) -> str:
    """How many keys a person should look at, in words; empty when there is none."""
    counted = [
        (sum(note.kind is kind for note in imported.notes), words)
        for kind, words in (
            (Kind.UNKNOWN, "not understood"),
            (Kind.IMPOSSIBLE, "not possible here"),
            (Kind.CHANGES, "different here"),
        )
    ]
    return ", ".join(f"{number} {words}" for number, words in counted if number)


def _by_kind(imported: Imported) -> Iterator[tuple[Kind, list[Note]]]:
    for kind, notes in groupby(imported.notes, key=lambda note: note.kind):
        yield kind, list(notes)


def _word(text: str) -> str:
    """Words of files as words: nothing in them becomes a style of the page."""
    return text.replace("`", "'").replace("**", "* *")
