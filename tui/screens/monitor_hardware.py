"""GPU, processor, memory and disk of a run in a line: whose memory it is, and never a guess."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune_tui.core.hardware import Gpu, Hardware
from finetune_tui.core.runs.words import number as known
from finetune_tui.core.text import plain, size
from finetune_tui.tui.widgets.lines import Line, dim, line

_OF_A_GPU = ("index", "uuid", "name", "total", "used", "utilization", "temperature", "power")
_OF_THE_REST = ("cpu_percent", "memory_used", "memory_total", "disk_free")


def hardware_facts(
    event: Mapping[str, Any] | None, seen: Hardware | None, chosen: Sequence[str] = ()
) -> dict[str, Any]:
    """What the run said last, else what is seen from here, in the same words.

    chosen: UUIDs of the GPUs it was given; the others of the machine are then left out.
    """
    if event is not None:
        gpus = event.get("gpus")
        found = [gpu for gpu in gpus if isinstance(gpu, Mapping)] if isinstance(gpus, list) else []
        return {**event, "gpus": [gpu for gpu in found if gpu.get("uuid") in chosen] or found}
    if seen is None:
        return {"gpus": []}
    gpus = [{name: getattr(gpu, name) for name in _OF_A_GPU} for gpu in seen.gpus]
    return {"gpus": gpus, **{name: getattr(seen, name) for name in _OF_THE_REST}}


def hardware_title(facts: Mapping[str, Any]) -> str:
    """The GPU's name, and how many others there are."""
    gpus = facts["gpus"]
    if not gpus:
        return "CPU"
    first = f"GPU{gpus[0].get('index', 0)} {plain(str(gpus[0].get('name') or ''), 30)}".rstrip()
    return first + (f" +{len(gpus) - 1}" if len(gpus) > 1 else "")


def hardware_parts(facts: Mapping[str, Any], predicted: float | None = None) -> list[Line]:
    """`98%  9.1/23.6G (yours 8.9G, others 205M)`, memory, disk: the more important first."""
    parts = [_gpu(gpu, predicted) for gpu in facts["gpus"]]
    if not parts and known(facts.get("cpu_percent")) is not None:
        parts.append(line(dim("cpu "), f"{facts['cpu_percent']:.0f}%"))
    used, total = known(facts.get("memory_used")), known(facts.get("memory_total"))
    if used is not None and total is not None:
        parts.append(line(dim("ram "), f"{_gib(used)}/{size(total)}"))
    free = known(facts.get("disk_free"))
    if free is not None:
        parts.append(line(dim("disk "), size(free), dim(" free")))
    return parts


def shares(gpu: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Whose a GPU's memory is: yours, others'. What cannot be seen is `unseen`, never free.

    Nothing of one's own is unseen too: in a container the driver lists processes under other numbers.
    """
    used, own = known(gpu.get("used")), known(gpu.get("own"))
    if "own" not in gpu or used is None:
        return []
    if not own:
        return [("yours", "unseen"), ("others", "unseen")]
    return [("yours", size(own)), ("others", size(max(used - own, 0)))]


def others_words(gpu: Gpu, own_pids: frozenset[int] = frozenset()) -> str:
    """What other processes hold of a GPU: `others 3.1G`; `others unseen` where processes are hidden."""
    if gpu.processes is None or gpu.used is None:
        return "others unseen"
    strangers = [process for process in gpu.processes if process.pid not in own_pids]
    if not strangers:
        return "nobody else on it"
    held = [process.used for process in strangers]
    known_bytes = [share for share in held if share is not None]
    if len(known_bytes) < len(held):
        return f"{len(held)} others, their share unseen"
    return f"others {size(sum(known_bytes))}"


def _gpu(gpu: Mapping[str, Any], predicted: float | None) -> Line:
    parts: list[str] = []
    if known(gpu.get("utilization")) is not None:
        parts.append(f"{gpu['utilization']:.0f}%")
    used, total = known(gpu.get("used")), known(gpu.get("total"))
    whose = ", ".join(
        f"{who} {words}" for who, words in shares(gpu) if (who, words) != ("yours", "unseen")
    )
    if used is not None and total is not None:
        notes = ", ".join(
            filter(None, (f"predicted {size(predicted)}" if predicted else "", whose))
        )
        parts.append(f"{_gib(used)}/{size(total)}" + (f" ({notes})" if notes else ""))
    for name, unit in (("temperature", "°C"), ("power", "W")):
        if known(gpu.get(name)) is not None:
            parts.append(f"{gpu[name]:.0f}{unit}")
    return line("  ".join(parts) if parts else dim("says nothing"))


def _gib(value: float) -> str:
    return f"{value / 2**30:.1f}"
