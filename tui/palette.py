"""The command palette: every action that can be done now, by its name, and every setting."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Provider

from finetune_tui.tui.actions import ACTIONS, EVERYWHERE, Action
from finetune_tui.tui.screens.train import TrainPlace
from finetune_tui.tui.widgets.form_rows import rows, value_words

if TYPE_CHECKING:
    from finetune_tui.tui.app import FinetuneApp


class FinetuneCommands(Provider):
    """What both of them look at."""

    @property
    def _finetune(self) -> "FinetuneApp":
        return cast("FinetuneApp", self.app)


class ActionCommands(FinetuneCommands):
    """`group: help` for each action of the app, of the place in front, and of the focused pane."""

    async def discover(self) -> AsyncIterator[DiscoveryHit]:
        for action in self._actions():
            yield DiscoveryHit(self._name(action), partial(self._perform, action))

    async def search(self, query: str) -> AsyncIterator[Hit]:
        matcher = self.matcher(query)
        for action in self._actions():
            name = self._name(action)
            score = matcher.match(name)
            if score > 0:
                shown = matcher.highlight(name)
                yield Hit(score, shown, partial(self._perform, action))

    def _actions(self) -> Iterator[Action]:
        """Those of the place in front first."""
        reachable = {active.binding.id for active in self.screen.active_bindings.values()}
        actions = [one for one in ACTIONS.values() if one.id in reachable or not one.keys]
        yield from sorted(actions, key=lambda one: one.group == EVERYWHERE)

    def _name(self, action: Action) -> str:
        words = self._finetune.keymap.words(action)
        return f"{action.group}: {action.help}" + (f" · {words}" if words else "")

    async def _perform(self, action: Action) -> None:
        app = self._finetune
        if action.keys:
            await app.action_perform(action.id)
        else:
            await app.run_action(action.run)


class SettingCommands(FinetuneCommands):
    """`setting: use_cpu is no · …` for each setting of a run that is looked for: it leads to its row."""

    async def search(self, query: str) -> AsyncIterator[Hit]:
        spec, matcher = self._finetune.session.spec, self.matcher(query)
        for row in rows():
            if row.field is None:
                continue
            name = f"setting: {row.title} is {value_words(spec, row.title)} · {row.field.help}"
            score = max(matcher.match(name), 2 * matcher.match(row.title))  # its name counts more
            if score > 0:
                yield Hit(score, matcher.highlight(name), partial(self._go_to, row.title))

    async def _go_to(self, name: str) -> None:
        app = self._finetune
        await app.action_show_place("train")
        app.query_one(TrainPlace).go_to_setting(name)
