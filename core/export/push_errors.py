"""What a Hub that refuses a push, or a connection that breaks in it, means in one line. No torch."""

from collections.abc import Mapping

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.models.hub_account import Refused, host_of, unclear
from finetune_tui.core.models.hub_http import endpoint_of, find_token

AGAIN = "start again: files that arrived are not sent a second time"


def refused_push(refused: Refused, repo: str, environment: Mapping[str, str]) -> UserError:
    """Who must do what."""
    said = f" ({refused.said})" if refused.said else ""
    _, token_from = find_token(environment)
    match refused.status:
        case 401 if refused.code != "RepoNotFound":
            return UserError(
                f"the Hub does not accept the token from {token_from}",
                where=repo,
                hint="`hf auth login` makes a new one",
            )
        case 402:
            return UserError(f"the Hub wants to be paid for this{said}", where=repo)
        case 403:
            return _forbidden(refused, repo, environment)
        case 401 | 404:
            return UserError(
                "no such repository, or it may not be seen with this login",
                where=repo,
                hint="look at its name and at the rights of the token",
            )
        case 409 | 412:
            return WorkFailed(
                "somebody else wrote to it at the same moment", where=repo, hint=AGAIN
            )
        case 413:
            return WorkFailed(f"too large for the Hub{said}", where=repo)
        case 400 | 422:
            return WorkFailed(f"the Hub refuses it{said}", where=repo)
        case 429:
            return unclear(refused, environment)
        case _:
            return WorkFailed(
                f"the Hub answers {refused.status}{said}", where=host_of(environment), hint=AGAIN
            )


def cut(why: str, repo: str) -> WorkFailed:
    """The connection broke. why: in a few words."""
    return WorkFailed(f"the connection to the Hub broke ({why})", where=repo, hint=AGAIN)


def _forbidden(refused: Refused, repo: str, environment: Mapping[str, str]) -> UserError:
    page = f"{endpoint_of(environment)}/{repo}"
    if refused.code == "GatedRepo" or "gated" in refused.said.lower():
        return UserError(
            "gated: this account has no access to it", where=repo, hint=f"ask for it at {page}"
        )
    said = refused.said or "no reason given"
    return UserError(
        f"the Hub forbids to write there ({said})",
        where=repo,
        hint="look at the token's rights, at your role there, and at the room left",
    )
