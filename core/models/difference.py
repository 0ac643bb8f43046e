"""Two models side by side: blocks, kinds, names by role, biases, and counts by part."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.models.report import (
    activation,
    attention_kind,
    bias_numbers,
    block_kinds,
    markdown_table,
    norm_classes,
    parts,
)
from finetune_tui.core.models.roles import Role
from finetune_tui.core.text import plain


@dataclass(frozen=True, slots=True)
class Row:
    """One thing compared; a or b is None where that model has no such thing."""

    section: str
    what: str
    a: str | int | None
    b: str | int | None

    @property
    def differs(self) -> bool:
        return self.a != self.b


@dataclass(frozen=True, slots=True)
class Difference:
    """a, b: the models' names. only_a, only_b: name patterns that just one has, `*` for the block."""

    a: str
    b: str
    rows: tuple[Row, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "a": self.a,
            "b": self.b,
            "rows": [
                {
                    "section": row.section,
                    "what": row.what,
                    "a": row.a,
                    "b": row.b,
                    "differs": row.differs,
                }
                for row in self.rows
            ],
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
        }


def difference(a: Manifest, b: Manifest) -> Difference:
    """What is the same and what is not, each row with both sides."""
    names_a, names_b = _patterns(a), _patterns(b)
    return Difference(
        a=a.model,
        b=b.model,
        rows=tuple(_rows(a, b)),
        only_a=tuple(name for name in names_a if name not in names_b),
        only_b=tuple(name for name in names_b if name not in names_a),
    )


def difference_report(found: Difference) -> str:
    """As Markdown; rows that differ are marked."""
    lines = [f"# {plain(found.a)} against {plain(found.b)}"]
    for section in dict.fromkeys(row.section for row in found.rows):
        rows = [row for row in found.rows if row.section == section]
        cells = (("≠" if r.differs else "", r.what, _shown(r.a), _shown(r.b)) for r in rows)
        lines += ["", f"## {section}", "", *markdown_table(("", "", found.a, found.b), cells)]
    for name, only in ((found.a, found.only_a), (found.b, found.only_b)):
        if only:
            lines += ["", f"## Only in {plain(name)}", ""]
            lines += [f"- `{plain(pattern)}`" for pattern in only]
    return "\n".join(lines) + "\n"


def _shown(value: str | int | None) -> str:
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else value


def _rows(a: Manifest, b: Manifest) -> Iterator[Row]:
    facts_a, facts_b = _facts(a), _facts(b)
    for what in facts_a:
        yield Row("Blocks and kinds", what, facts_a[what], facts_b[what])
    leaves_a, leaves_b = _leaves_by_role(a), _leaves_by_role(b)
    for role in Role:
        if role in leaves_a or role in leaves_b:
            yield Row("Names by role", role.value, leaves_a.get(role), leaves_b.get(role))
    parts_a, parts_b = parts(a), parts(b)
    for part in [*parts_a, *(part for part in parts_b if part not in parts_a)]:
        yield Row("Parameters", part, parts_a.get(part, 0), parts_b.get(part, 0))
    yield Row("Parameters", "all", a.parameters, b.parameters)


def _facts(manifest: Manifest) -> dict[str, str | int | None]:
    config = manifest.config
    return {
        "architecture": manifest.architecture,
        "family": manifest.family,
        "blocks": manifest.blocks,
        "kinds of blocks": len(block_kinds(manifest)),
        "modules": sum(1 for module in manifest.modules if not module.is_packed),
        "packed parameters": sum(1 for module in manifest.modules if module.is_packed),
        "width of the stream": config.hidden_size,
        "width of the MLP": config.intermediate_size,
        "attention": attention_kind(manifest),
        "norm": ", ".join(norm_classes(manifest)),
        "activation": activation(manifest),
        "positions": config.positions,
        "context": config.context,
        "vocabulary": config.vocabulary,
        "head tied to the embedding": "yes" if manifest.tied else "no",
        "experts": config.experts,
        "biases": ", ".join(dict.fromkeys(m.leaf_name for m in manifest.modules if bias_numbers(m)))
        or None,
    }


def _leaves_by_role(manifest: Manifest) -> dict[Role, str]:
    """The leaf names that play each role: {query: 'q_proj', norm: 'input_layernorm, norm'}."""
    found: dict[Role, dict[str, None]] = {}
    for module in manifest.modules:
        if module.role is not None:
            found.setdefault(module.role, {})[module.leaf_name] = None
    return {role: ", ".join(leaves) for role, leaves in found.items()}


def _patterns(manifest: Manifest) -> dict[str, None]:
    return {_pattern(manifest, module): None for module in manifest.modules if module.name}


def _pattern(manifest: Manifest, module: Module) -> str:
    block = manifest.block_index(module.name)
    if block is None:
        return module.name
    below = module.name.removeprefix(f"{manifest.blocks_at}.{block}")
    return f"{manifest.blocks_at}.*{below}"
