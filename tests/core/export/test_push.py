"""Pushing: what is told before, what a Hub may refuse, and what is there after anything that can break."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.export import push as pushing
from finetune_tui.core.export.push import PushResult, files_of, push
from finetune_tui.core.export.push_call import push_call
from finetune_tui.core.export.push_plan import check_push, plan_push, read_repo
from finetune_tui.core.models import hub_account
from tests.core.export.writing_hub import KINDS, TOKEN, Fault, Repository, WritingHub

REPO = "ann/invoices"


class Near:
    """Stands in for the other process: the same call in this one, so that a test costs no start."""

    def __enter__(self) -> "Near":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def call(
        self, name: str, params: dict[str, Any], heard: Callable[[Any], None], **_: object
    ) -> Any:
        assert name == "push"
        return push_call(params, heard)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WritingHub]:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with WritingHub().running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        yield hub


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call in this process, and no waiting before another try."""
    import huggingface_hub.utils._http as http

    monkeypatch.setattr(pushing, "CallProcess", Near)
    monkeypatch.setattr(http, "time", types.SimpleNamespace(sleep=lambda _seconds: None))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export: two files of weights, a card, an empty file, a folder within."""
    folder = tmp_path / "invoices"
    (folder / "extra").mkdir(parents=True)
    chance = random.Random(7)
    (folder / "adapter_model.safetensors").write_bytes(chance.randbytes(300_000))
    (folder / "trained.safetensors").write_bytes(chance.randbytes(150_000))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# invoices\n")
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "empty.txt").write_text("")
    (folder / "extra" / "merges.txt").write_text("a b\n")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_of(folder)}


def send(folder: Path, repo: str = REPO, private: bool = True) -> PushResult:
    return push(folder, repo, private, lambda *_: None, lambda: None)


def refusal(folder: Path, repo: str = REPO, private: bool = True) -> UserError:
    with pytest.raises(UserError) as raised:
        send(folder, repo, private)
    words = str(raised.value)
    assert "\n" not in words
    assert TOKEN not in words
    return raised.value


# One push, in a process of its own


def test_all_files_come_in_one_commit_and_are_counted(
    hub: WritingHub, folder: Path, tmp_path: Path
) -> None:
    (folder / ".cache").mkdir()
    (folder / ".cache" / "secret.txt").write_text("stays here")
    (folder / "link.txt").symlink_to(tmp_path)
    hub.slow = 0.15
    told: list[tuple[str, int | None, int | None, str | None]] = []
    checks: list[int] = []

    result = push(
        folder, "invoices", True, lambda *words: told.append(words), lambda: checks.append(1)
    )
    assert hub.visible(REPO) == contents(folder)
    assert ".cache/secret.txt" not in contents(folder)
    assert len(hub.repositories[REPO].commits) == 2  # the Hub's own first one, and ours
    assert hub.repositories[REPO].private
    assert result.url == f"{hub.url}/{REPO}"
    assert (result.repo, result.private, result.files) == (REPO, True, 6)
    assert result.bytes == sum(map(len, contents(folder).values()))

    sending = [(done, total) for phase, done, total, _ in told if phase == "sending"]
    assert sending
    assert all(0 <= (done or 0) <= (total or 0) == result.bytes for done, total in sending)
    assert len(checks) > 2
    assert hub.tokens == {f"Bearer {TOKEN}"}  # and to none of the storage's addresses
    assert TOKEN not in str(told)


def test_a_stop_ends_it_within_a_file(hub: WritingHub, folder: Path) -> None:
    """What `check` raises comes out within a second or two, and nothing is committed then or later."""
    (folder / "adapter_model.safetensors").write_bytes(os.urandom(20_000_000))
    hub.slow = 0.05  # the whole file would take 15 s

    class Stop(Exception):
        pass

    def check() -> None:
        if hub.received > 200_000:
            raise Stop

    began = time.monotonic()
    with pytest.raises(Stop):
        push(folder, REPO, True, lambda *_: None, check)
    assert time.monotonic() - began < 8
    assert hub.visible(REPO) == {}
    assert hub.asked["commit"] == 0


def test_a_hub_that_falls_silent_is_left(
    hub: WritingHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "SILENCE", 4.0)  # long enough to come so far
    hub.faults = lambda kind, _: Fault(stall=25) if kind == "put" else None
    began = time.monotonic()
    failed = refusal(folder)
    assert time.monotonic() - began < 20
    assert isinstance(failed, WorkFailed)
    assert "nothing moved for 4 s" in failed.message
    assert hub.asked["put"]
    assert not hub.visible(REPO)


@pytest.mark.parametrize(
    ("trouble", "told", "ended"),
    [
        ("429", "the Hub answered 429, trying again", "too many requests"),
        ("503", "the Hub answered 503, trying again", "the Hub answers 503"),
        ("broken", "the connection broke, trying again", "nothing moved for 60 s"),
    ],
)
def test_tries_that_repeat_are_told_and_not_waited_for_for_ever(
    trouble: str, told: str, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(pushing, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    said: list[str | None] = []
    watch = pushing._Watch(
        REPO, lambda _phase, _done, _all, words: said.append(words), lambda: None
    )
    words = {"phase": "sending", "done": 7, "total": 9, "file": "a.bin", "trouble": trouble}
    watch.heard(words)
    assert told in (said[-1] or "")
    now[0] += 59
    watch.heard(words)
    now[0] += 2
    with pytest.raises(WorkFailed) as raised:
        watch.heard(words)
    assert ended in raised.value.message
    assert "start again" in str(raised.value)


# What is told before


def test_the_plan_names_everything_and_writes_nothing(hub: WritingHub) -> None:
    plan = plan_push({"README.md": 2000, "model.safetensors": 5 * 2**30}, "invoices", True)
    assert not plan.exists
    assert plan.lines() == (
        f"to    {hub.url}/{REPO}",
        "      will be made, private: ann alone sees it",
        "as    ann, token from HF_TOKEN, may write",
        "send  2 files, 5.0G: 2 new",
        "      README.md            2.0K",
        "      model.safetensors    5.0G",
    )
    hub.repositories[REPO] = Repository(False, [{"README.md": b"old", "notes.md": b"mine"}])
    plan = plan_push({"README.md": 2000, "model.safetensors": 9}, REPO, False)
    told = "\n".join(plan.lines())
    assert "is there already, public: everybody sees it" in told
    assert "1 new, 1 in place of the old" in told
    assert re.search(r"README.md +2.0K  replaces", told)
    assert "stay  1 file of the repository" in told
    assert plan.to_json()["exists"] is True
    assert set(hub.asked) == {"whoami", "info"}
    assert hub.repositories[REPO].files == {"README.md": b"old", "notes.md": b"mine"}


@pytest.mark.usefixtures("near")
def test_files_of_others_stay_and_a_private_repository_stays_private(
    hub: WritingHub, folder: Path
) -> None:
    hub.repositories["workshop/shared"] = Repository(
        True, [{"notes.md": b"mine", "README.md": b"x"}]
    )
    result = send(folder, "workshop/shared", private=False)
    assert result.private
    assert hub.visible("workshop/shared") == {"notes.md": b"mine"} | contents(folder)
    assert hub.asked["create"] == 0


@pytest.mark.usefixtures("near")
def test_a_second_push_sends_nothing_again_and_commits_only_what_changed(
    hub: WritingHub, folder: Path
) -> None:
    first = send(folder)
    received = hub.received
    assert send(folder).commit == first.commit
    assert hub.received == received
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# better\n")
    assert send(folder).commit != first.commit
    assert hub.received == received
    assert hub.visible(REPO) == contents(folder)


@pytest.mark.usefixtures("near")
def test_files_of_one_content_are_sent_once(hub: WritingHub, folder: Path) -> None:
    weights = (folder / "trained.safetensors").read_bytes()
    for number in range(3):
        (folder / f"again-{number}.safetensors").write_bytes(weights)
    send(folder)
    assert hub.visible(REPO) == contents(folder)
    assert hub.asked["put"] == 2


@pytest.mark.usefixtures("near")
def test_rules_for_git_that_lie_there_drop_no_weights(hub: WritingHub, folder: Path) -> None:
    hub.repositories[REPO] = Repository(True, [{".gitignore": b"*.safetensors\n*.txt\n"}])
    send(folder)
    assert hub.visible(REPO) == {".gitignore": b"*.safetensors\n*.txt\n"} | contents(folder)


@pytest.mark.usefixtures("near")
def test_weights_go_in_parts_where_the_hub_wants_them(hub: WritingHub, folder: Path) -> None:
    hub.parts = 70_000
    send(folder)
    assert hub.visible(REPO) == contents(folder)
    assert hub.asked["part"] == 5 + 3


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"HF_TOKEN": "", "HF_HUB_OFFLINE": ""}, "no login for the Hub; `hf auth login`"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE forbids"),
        ({"HF_TOKEN": "hf_other"}, "does not accept the token from HF_TOKEN"),
        ({"HF_ENDPOINT": "ftp://hub"}, "does not begin with https://"),
        ({"HF_ENDPOINT": "http://ann:secret@127.0.0.1:9"}, "127.0.0.1:9 cannot be reached"),
        ({"HF_ENDPOINT": "http://hub.invalid"}, "hub.invalid cannot be reached"),
    ],
)
def test_a_login_or_a_hub_that_is_not_there(
    changes: Mapping[str, str],
    words: str,
    hub: WritingHub,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    told = str(refusal(folder))
    assert words in told
    assert "secret" not in told
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("token", "repo", "words"),
    [
        ({"role": "read"}, REPO, "the token from HF_TOKEN may only read"),
        ({"role": "fineGrained", "fineGrained": {"scoped": []}}, REPO, "may only read"),
        (
            {
                "role": "fineGrained",
                "fineGrained": {
                    "scoped": [{"entity": {"name": "ann/else"}, "permissions": ["repo.write"]}]
                },
            },
            REPO,
            "writes to ann/else, not to this",
        ),
        (
            {"role": "write"},
            "bob/invoices",
            "bob is neither you (ann) nor an organization of yours",
        ),
    ],
)
def test_rights_that_do_not_suffice(
    token: dict[str, Any], repo: str, words: str, hub: WritingHub, folder: Path
) -> None:
    hub.account["auth"]["accessToken"] = token
    assert words in str(refusal(folder, repo))
    assert hub.repositories == {}


def test_a_fine_grained_token_that_may_write_there_does(
    hub: WritingHub, folder: Path, near: None
) -> None:
    scope = {"entity": {"type": "user", "name": "ann"}, "permissions": ["repo.write"]}
    hub.account["auth"]["accessToken"] = {"role": "fineGrained", "fineGrained": {"scoped": [scope]}}
    send(folder)
    assert hub.visible(REPO) == contents(folder)


def test_what_was_to_be_private_never_goes_into_a_public_repository(
    hub: WritingHub, folder: Path
) -> None:
    hub.repositories[REPO] = Repository(False)
    assert "is there already and public" in str(refusal(folder))
    hub.repositories[REPO] = Repository(True, disabled=True)
    assert "disabled" in str(refusal(folder))
    assert set(hub.asked) == {"whoami", "info"}


@pytest.mark.usefixtures("near")
def test_nor_into_one_that_became_public_meanwhile(
    hub: WritingHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_open(_near: Near, _name: str, params: dict[str, Any], *heard: Any, **_: object) -> Any:
        hub.repositories[REPO] = Repository(False)
        return push_call(params, *heard)

    monkeypatch.setattr(Near, "call", then_open)
    assert "is public, and this was to be private" in str(refusal(folder))
    assert hub.visible(REPO) == {}


@pytest.mark.parametrize(
    "repo",
    ["", "a/b/c", "ann/", "/x", "ann/x y", "-ann/x", "ann/x--y", "ann/x.git", "ann/..", "x" * 97],
)
def test_names_that_cannot_be(repo: str, hub: WritingHub) -> None:
    with pytest.raises(UserError, match="no name for a repository") as raised:
        check_push(repo)
    assert raised.value.where == "push_to"
    assert not hub.asked


@given(st.text(max_size=120))
def test_any_text_is_a_name_or_one_line(text: str) -> None:
    try:
        name = read_repo(text)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name, re.ASCII)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "orgs", "auth", "accessToken", "role", "fineGrained", "scoped"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON, st.sampled_from(["siblings", "private", "sha"]), _JSON)
def test_whatever_a_hub_says_of_itself_is_read_or_refused(
    account: Any, key: str, value: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        said = account if isinstance(account, dict) else {"name": account}
        patch.setattr(
            hub_account, "ask", lambda path, _: said if "whoami" in path else {key: value}
        )
        try:
            found = hub_account.who_am_i({"HF_TOKEN": TOKEN})
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert found.rights
        assert hub_account.look_at(REPO, {}) is not None


def test_an_empty_folder_is_nothing_to_send(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("x")
    with pytest.raises(UserError, match="nothing in it to send"):
        files_of(tmp_path)


def test_a_certificate_that_nobody_vouches_for(
    folder: Path, hub: WritingHub, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    try:
        subprocess.run(
            [*command.split(), "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    with (
        WritingHub().with_tls(certificate, key).running() as secure,
        pytest.MonkeyPatch.context() as at,
    ):
        at.setenv("HF_ENDPOINT", secure.url)
        assert "its certificate is not trusted" in str(refusal(folder))


# What breaks on the way

_STATUSES = {
    400: "the Hub refuses it",
    401: "does not accept the token",
    402: "wants to be paid",
    403: "the Hub forbids to write there",
    409: "at the same moment",
    413: "too large for the Hub",
    429: "too many requests",
    500: "the Hub answers 500",
    503: "the Hub answers 503",
}
_HARMLESS = {("create", 409)}  # somebody has just made it: fine
_CHANGING = [kind for kind in KINDS if kind not in ("whoami", "info", "part", "complete")]


@pytest.mark.usefixtures("near")
@pytest.mark.parametrize("kind", _CHANGING)
@pytest.mark.parametrize(
    "statuses", [(403, 500), pytest.param(tuple(_STATUSES), marks=pytest.mark.soak)]
)
def test_a_refusal_at_any_stage_is_one_line_and_leaves_the_old_state(
    statuses: Sequence[int], kind: str, hub: WritingHub, folder: Path
) -> None:
    for status in statuses:
        repo, words = f"ann/try{status}", _STATUSES[status]
        hub.objects.clear()
        hub.faults = lambda asked, _, status=status: Fault(status) if asked == kind else None  # type: ignore[misc]
        if (kind, status) not in _HARMLESS:
            told = refusal(folder, repo)
            assert words in str(told) or kind == "validate", (kind, status)
            assert told.exit_code == (2 if status in (401, 402, 403) else 1) or kind == "validate"
        assert not hub.visible(repo)
        hub.faults = lambda _kind, _number: None
        send(folder, repo)
        assert hub.visible(repo) == contents(folder)


@pytest.mark.usefixtures("near")
def test_the_hubs_own_words_reach_the_person_and_the_token_does_not(
    hub: WritingHub, folder: Path
) -> None:
    said = (("X-Error-Message", f"\x1b[31mstorage is full for {TOKEN}"),)
    hub.faults = lambda kind, _: Fault(403, headers=said) if kind == "batch" else None
    assert "(storage is full for …)" in str(refusal(folder))
    gated = (("X-Error-Code", "GatedRepo"),)
    hub.faults = lambda kind, _: Fault(403, headers=gated) if kind == "preupload" else None
    assert "gated" in str(refusal(folder))
    hub.faults = lambda _kind, _number: None
    (folder / "README.md").write_text("---\nlicense: badheader\n---\n")
    told = str(refusal(folder))
    assert "does not take the card's header" in told
    assert '"license" is no license' in told


@pytest.mark.usefixtures("near")
@pytest.mark.parametrize("kind", ["preupload", "batch", "put", "verify"])
def test_a_connection_that_breaks_once_is_no_failure(
    kind: str, hub: WritingHub, folder: Path
) -> None:
    hub.faults = lambda asked, n: Fault(after=70_000) if (asked, n) == (kind, 1) else None
    send(folder)
    assert hub.visible(REPO) == contents(folder)


@pytest.mark.usefixtures("near")
def test_a_commit_whose_answer_was_lost_counts_and_is_not_made_twice(
    hub: WritingHub, folder: Path
) -> None:
    hub.faults = lambda kind, _: Fault(deaf=True) if kind == "commit" else None
    result = send(folder)
    assert hub.visible(REPO) == contents(folder)
    assert result.commit == f"{1:040x}"
    assert len(hub.repositories[REPO].commits) == 2


@pytest.mark.usefixtures("near")
def test_a_hub_that_lost_a_file_is_noticed(hub: WritingHub, folder: Path) -> None:
    hub.lacks = "trained.safetensors"
    assert "took it without trained.safetensors" in str(refusal(folder))


@pytest.mark.usefixtures("near")
def test_answers_that_make_no_sense(hub: WritingHub, folder: Path) -> None:
    for kind in ("whoami", "info", "preupload", "batch", "commit"):
        for body in (b"", b"[]", b"<html>", b'{"files": 3, "objects": {}}', b"null"):
            hub.faults = lambda asked, _, kind=kind, body=body: (  # type: ignore[misc]
                Fault(200, body=body) if asked == kind else None
            )
            refusal(folder)
            assert not hub.visible(REPO)


def cut_at_random(hub: WritingHub, folder: Path, seed: int) -> bool:
    """Nobody is home from a random moment on; whether that hit the push. Then it is pushed again."""
    chance = random.Random(seed)
    repo = f"ann/cut{seed}"
    hub.objects.clear()
    hub.half.clear()
    hub.parts, hub.slow = chance.choice([0, 70_000]), 0.004
    old = chance.choice([None, {"README.md": b"old", "notes.md": b"mine"}])
    if old is not None:
        hub.repositories[repo] = Repository(True, [old])
    timer = threading.Timer(chance.uniform(0.0, 0.16), setattr, (hub, "dead", True))
    timer.start()
    hit = False
    try:
        send(folder, repo)
    except WorkFailed as error:
        hit = True
        assert "\n" not in str(error)
    timer.join()
    hub.dead = False
    whole = (old or {}) | contents(folder)
    now = hub.visible(repo)
    assert now in ((old or {}), whole) or now is None
    send(folder, repo)
    assert hub.visible(repo) == whole
    return hit


@pytest.mark.usefixtures("near")
def test_the_network_cut_at_random_moments(hub: WritingHub, folder: Path) -> None:
    hits = sum(cut_at_random(hub, folder, seed) for seed in range(10))
    assert hits > 3


@pytest.mark.soak
@pytest.mark.usefixtures("near")
def test_the_network_cut_at_many_random_moments(hub: WritingHub, folder: Path) -> None:
    hits = sum(cut_at_random(hub, folder, seed) for seed in range(100, 400))
    assert hits > 100


_PUSH = """
import sys
from pathlib import Path
from finetune_tui.core.export.push import push
push(Path(sys.argv[1]), sys.argv[2], True, lambda *words: print(*words, flush=True), lambda: None)
"""


@pytest.mark.soak
def test_killed_at_random_moments(hub: WritingHub, folder: Path) -> None:
    """kill -9 of the process that pushes: its helper ends too, and there is the old state or the new."""
    (folder / "adapter_model.safetensors").write_bytes(os.urandom(3_000_000))
    hub.slow = 0.02
    whole, killed = contents(folder), 0
    for seed in range(30):
        repo = f"ann/killed{seed}"
        hub.objects.clear()
        command = [sys.executable, "-c", _PUSH, str(folder), repo]
        pusher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(random.Random(seed).uniform(0.3, 3.0))
        pusher.send_signal(signal.SIGKILL)
        killed += pusher.wait() == -signal.SIGKILL
        output, _ = pusher.communicate()
        assert TOKEN.encode() not in output
        time.sleep(1.5)  # its helper notices within half a second
        asked = hub.asked.total()
        assert hub.visible(repo) in (None, {}, whole)
        time.sleep(0.3)
        assert hub.asked.total() == asked  # and asks nothing more
        send(folder, repo)
        assert hub.visible(repo) == whole
    assert killed > 15


@pytest.mark.soak
@pytest.mark.usefixtures("hub")
def test_the_token_is_in_no_command_line(hub: WritingHub, folder: Path) -> None:
    hub.slow = 0.2
    command = [sys.executable, "-c", _PUSH, str(folder), REPO]
    pusher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = []
    while pusher.poll() is None:
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                lines.append(process.read_bytes())
            except OSError:
                continue
        time.sleep(0.1)
    output, _ = pusher.communicate()
    assert any(b"core.calls.server" in line for line in lines)
    assert not any(TOKEN.encode() in line for line in (*lines, output))
