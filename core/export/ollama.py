"""An Ollama Modelfile beside the weights: the model, how a chat is written for it, and where answers end.

Its TEMPLATE is in the language of Go's text/template. Which architectures Ollama takes from safetensors is
for `ollama create` to say; its documentation (import.md) names those listed here.
"""

from collections.abc import Sequence

from finetune_tui.core.export.chat_format import ChatFormat
from finetune_tui.core.text import plain

# As its documentation names them: Llama 2 to 3.2, Mistral 1 and 2, Mixtral, Gemma 1 and 2, Phi-3.
_ADAPTERS = frozenset(
    {
        *("LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM", "GemmaForCausalLM"),
        "Gemma2ForCausalLM",
    }
)
_MODELS = _ADAPTERS | {"Phi3ForCausalLM"}


def write_modelfile(
    architecture: str,
    *,
    merged: bool,
    base: str,
    chat: ChatFormat | None,
    asks_in_turns: bool,
    beginning: str,
    stops: Sequence[str],
) -> str:
    """The whole text.

    base: for people, of an adapter. chat: None when the template cannot be put into Ollama's language.
    asks_in_turns: whether the run learnt from chats; else prompts go to the model as they are. beginning:
    the token that Ollama writes itself. stops: end tokens, as text.
    """
    lines = ["# For Ollama: ollama create NAME -f Modelfile"]
    named = _MODELS if merged else _ADAPTERS
    if architecture not in named:
        what = "models" if merged else "adapters"
        lines += [
            f"# Its documentation does not name {plain(architecture, 60)} among the {what} that it imports "
            "from",
            "# safetensors; `ollama create` says whether your version does, else llama.cpp converts it.",
        ]
    if merged:
        lines.append("FROM .")
    else:
        lines += [
            f"# In place of BASE: the folder of {plain(base, 100)}, or Ollama's name of that very model,",
            "# not quantised.",
            "FROM BASE",
            "ADAPTER .",
        ]
    lines += _template(chat, asks_in_turns, beginning)
    for stop in stops:
        if stop.strip() and not set(stop) & {'"', "\n", "\r", "\\"}:
            lines.append(f'PARAMETER stop "{stop}"')
    return "\n".join(lines) + "\n"


def _template(chat: ChatFormat | None, asks_in_turns: bool, beginning: str) -> list[str]:
    if not asks_in_turns:
        return [
            "# It learnt prompts and completions as they are, without turns.",
            'TEMPLATE """{{ .Prompt }}"""',
        ]
    unknown = [
        "# This model's chat template cannot be put into Ollama's language exactly, so none is written",
        "# here: Ollama may find one of its own. Compare what it sends with tokenizer_config.json.",
    ]
    if chat is None:
        return unknown
    text = go_template(chat, beginning)
    if '"""' in text:
        return unknown
    notes = []
    if chat.system is None:
        notes.append(
            "# The format has no system turn of its own: one that is asked for is left out."
        )
    return [*notes, f'TEMPLATE """{text}"""']


def go_template(chat: ChatFormat, beginning: str = "") -> str:
    """The format in Go's language. Ollama writes the beginning token itself."""
    begin = _literal(chat.begin.removeprefix(beginning))
    user, assistant = _turn(chat.user), _turn(chat.assistant)
    turns = f'{{{{ if eq .Role "user" }}}}{user}{{{{ else if eq .Role "assistant" }}}}{assistant}'
    if chat.system is None:
        first = begin
    else:
        system = (chat.system[0].removeprefix(beginning), chat.system[1])
        turns += f'{{{{ else if eq .Role "system" }}}}{_turn(system)}'
        # Ollama gives a system turn as the first of the messages.
        first = f"{{{{ if not .System }}}}{begin}{{{{ end }}}}" if begin else ""
    return (
        f"{first}{{{{ range .Messages }}}}{turns}{{{{ end }}}}{{{{ end }}}}{_literal(chat.answer)}"
    )


def _turn(around: tuple[str, str]) -> str:
    return f"{_literal(around[0])}{{{{ .Content }}}}{_literal(around[1])}"


def _literal(text: str) -> str:
    """Text that the template language takes as text."""
    return text.replace("{{", '{{ "{{" }}')
