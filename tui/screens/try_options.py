"""How Try asks: whom, where, as what, and how an answer is drawn."""

from finetune_tui.core.evidence.chat import Where
from finetune_tui.core.evidence.conversation import Conversation, Side, Style
from finetune_tui.core.evidence.held_out import trained_style
from finetune_tui.core.evidence.sampling import Sampling
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.listing import RunFacts
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.screens.try_rows import HeldOut, runs_to_ask
from finetune_tui.tui.screens.try_sampling import SamplingScreen
from finetune_tui.tui.screens.try_sheets import ask_run, ask_where
from finetune_tui.tui.screens.try_talk import Talk

_SIDES = ((Side.BASE, Side.TUNED), (Side.TUNED,), (Side.BASE,))


class TryOptions(Place):
    """A place that talks. runs: how many there are, whether or not they can be asked."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.talk = Talk(self, self.changed)
        self.front = Side.TUNED
        self.runs = 0
        self.held: HeldOut | None = None
        self.example = -1  # which of the held-out rows was asked last

    def changed(self) -> None:
        """Something of it is another: show it."""

    def action_new(self) -> None:
        self.talk.stop()
        self.example = -1
        old = self.talk.conversation
        self.talk.conversation = Conversation(old.style, old.system)
        self.changed()

    # Which run

    def talk_with(self, run: RunDirectory) -> None:
        """Choose a run; nothing is loaded before something is asked."""
        self.talk.choose(run)
        self.held, self.example = None, -1
        self.changed()

        def known(style: Style | None) -> None:
            if run == self.talk.run and style is not None and not self.talk.conversation.turns:
                self.talk.conversation.style = style
                self.changed()

        self.finetune.in_thread(lambda: trained_style(run), known, "style of Try")

    def look_for_run(self) -> None:
        """The one that is watched, else the newest that has a result."""
        watched, services = self.session.monitored, self.services

        def look() -> tuple[int, list[RunFacts]]:
            runs = services.list_runs()
            return len(runs), runs_to_ask(runs, services.clock())

        def looked(found: tuple[int, list[RunFacts]]) -> None:
            self.runs, facts = found
            if self.talk.run is None and facts:
                runs = [one.run for one in facts]
                self.talk_with(watched if watched and watched in runs else runs[0])
            self.changed()

        self.finetune.in_thread(look, looked, "runs of Try")

    def action_choose_run(self) -> None:
        ask_run(self, self.talk.run, self.talk_with)

    # How

    def action_sides(self) -> None:
        """Both, one alone, the other alone, from the next prompt on."""
        talk = self.talk
        at = _SIDES.index(tuple(talk.sides))
        talk.sides = _SIDES[(at + 1) % len(_SIDES)]
        if self.front not in talk.sides:
            self.front = talk.sides[0]
        who = "both answer" if len(talk.sides) == 2 else f"the {talk.sides[0]} alone answers"
        self.finetune.say(f"from the next prompt on {who}")
        self.changed()

    def action_style(self) -> None:
        """As a turn of a chat, or as it stands; a conversation cannot go on in another way."""
        is_chat = self.talk.conversation.style is Style.CHAT
        self.action_new()
        self.talk.conversation.style = Style.PROMPT if is_chat else Style.CHAT
        how = "as it stands, each alone" if is_chat else "as the turns of a chat"
        self.finetune.say(f"prompts are put {how}")
        self.changed()

    def action_system(self) -> None:
        def told(text: str) -> None:
            self.action_new()
            self.talk.conversation.system = text or None
            if text:
                self.talk.conversation.style = Style.CHAT
            self.changed()

        self.finetune.ask("system", told, self.talk.conversation.system or "")

    def action_settings(self) -> None:
        def left(sampling: Sampling | None) -> None:
            self.talk.sampling = sampling or self.talk.sampling
            self.changed()

        self.app.push_screen(SamplingScreen(self.talk.sampling), left)

    # Where

    def action_where(self) -> None:
        ask_where(self, self.talk.where, self.talk.move)

    def action_on_cpu(self) -> None:
        self.talk.move(Where(use_cpu=True))

    def action_wait(self) -> None:
        self.talk.wait()

    def action_free(self) -> None:
        self.talk.free()
        self.finetune.say("the memory of the model is given back; the next prompt loads it again")
