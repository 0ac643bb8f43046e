import dataclasses
import shutil
from pathlib import Path

import pytest

from finetune_tui.core import demo
from finetune_tui.core.data.report import lengths_of, report_of
from finetune_tui.core.data.token_report import TokenReport
from finetune_tui.core.hardware import Gpu
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.tui.screens.checks import Check, check_lines, checks, refusal
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import text_of
from tests.tui.runs_fixture import HARDWARE, REHEARSAL, demo_session

GPU = Gpu(index=0, name="RTX 4090", total=24 * 2**30, free=23 * 2**30)


def by_name(session: Session, error: str | None = None) -> dict[str, Check]:
    return {check.about: check for check in checks(session, error)}


def ready() -> Session:
    session = demo_session()
    session.data = report_of(session.spec.train_files)
    return session


def phi() -> Session:
    session = demo_session()
    reference = find_model("phi-2")
    assert reference.entry
    session.open_model(reference, reference.entry.manifest())
    session.choose_preset("structured-output")
    return session


def test_the_demo_is_ready_on_a_machine_without_a_gpu() -> None:
    found = checks(ready())
    assert refusal(found) is None
    assert {check.verdict for check in found} == {"good"}


def test_an_empty_session_says_what_is_missing() -> None:
    found = by_name(Session())
    assert found["model"].verdict == "bad"
    assert found["data"].verdict == "bad"
    assert "1 Model" in (refusal(checks(Session())) or "")


def test_nothing_selected_is_in_the_way() -> None:
    session = ready()
    session.choose(list(session.selection.choices), Mode.FROZEN)
    assert by_name(session)["trains"].verdict == "bad"


def test_what_would_be_refused_is_in_the_way_with_its_remedy() -> None:
    session = ready()
    session.change_spec(init_lora_weights="pissa", lora_r="4096")
    check = by_name(session)["trains"]
    assert check.verdict == "bad"
    assert check.words.startswith("init_lora_weights: 'model.layers")
    assert "init_lora_weights: default" in check.words
    session.change_spec(init_lora_weights="default")
    assert by_name(session)["trains"].verdict == "good"


def test_single_tokens_alone_can_train() -> None:
    session = ready()
    session.choose(list(session.selection.choices), Mode.FROZEN)
    session.change_spec(trainable_token_indices="5, 7")
    assert by_name(session)["trains"].words == "2 single tokens"
    assert session.trainable == 2 * 128
    assert session.spec_to_run().trainable_token_indices == ("5", "7")


def test_data_is_said_with_its_bad_rows(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"text": "a"}\n{"text": "b"}\nnot json\n')
    session = ready()
    session.use_data(report_of([file]))
    assert by_name(session)["data"].verdict == "warn"
    assert "1 bad" in by_name(session)["data"].words
    session.change_spec(strict=True)
    assert by_name(session)["data"].verdict == "bad"
    assert by_name(session, "t.jsonl: gone")["data"].words == "t.jsonl: gone"


def test_a_real_model_needs_a_gpu_or_the_word_that_none_is_wanted() -> None:
    session = phi()
    session.change_spec(use_cpu=False)
    assert by_name(session)["GPU"].verdict == "bad"
    assert "d in 4 Train: on the CPU" in by_name(session)["GPU"].words
    session.change_spec(use_cpu=True)
    assert by_name(session)["memory"].verdict != "bad"


def test_memory_is_held_against_what_is_free_on_the_gpu() -> None:
    session = phi()
    session.change_spec(use_cpu=False, load_in_4bit=True, max_length=512)
    session.hardware = dataclasses.replace(HARDWARE, gpus=(GPU,), gpu_error=None)
    session.change_spec(per_device_train_batch_size=1)
    assert by_name(session)["memory"].verdict == "good"
    small = dataclasses.replace(GPU, free=2**30)
    session.hardware = dataclasses.replace(HARDWARE, gpus=(small,), gpu_error=None)
    check = by_name(session)["memory"]
    assert (check.verdict, check.words[:12]) == ("bad", "does not fit")
    session.change_spec(memory_check=False)
    assert by_name(session)["memory"].verdict == "warn"
    assert "F finds what does" in check.words
    estimate = session.estimate
    assert estimate is not None
    tight = dataclasses.replace(GPU, free=estimate.device)
    session.hardware = dataclasses.replace(HARDWARE, gpus=(tight,), gpu_error=None)
    check = by_name(session)["memory"]
    assert (check.verdict, check.words[:7]) == ("warn", "may fit")
    silent = dataclasses.replace(GPU, free=None)
    session.hardware = dataclasses.replace(HARDWARE, gpus=(silent,), gpu_error=None)
    assert "unknown" in by_name(session)["memory"].words


def test_a_full_disk_is_in_the_way() -> None:
    session = ready()
    session.hardware = dataclasses.replace(HARDWARE, disk_free=2**20)
    assert by_name(session)["disk"].verdict == "bad"


def test_a_folder_without_weights_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    session = ready()
    session.reference = find_model(str(tmp_path))
    assert by_name(session)["model"].verdict == "bad"
    shutil.copy(demo.MODEL_FOLDER / "model.safetensors", tmp_path)
    assert by_name(session)["model"].verdict == "good"


def test_an_estimate_says_of_which_batch_it_speaks() -> None:
    session = phi()
    session.change_spec(per_device_train_batch_size=3, max_length=512, use_cpu=True)
    assert " for 3×512 tokens, " in by_name(session)["memory"].words


def test_the_disk_that_is_needed_hardly_moves_when_it_was_rehearsed() -> None:
    session = ready()
    state = session.trainable * (12 * (session.spec.save_total_limit + 1) + 4)
    rehearsed = dataclasses.replace(
        REHEARSAL, checkpoint_bytes=12 * session.trainable, result_bytes=4 * session.trainable
    )
    before = by_name(session)["disk"].words
    after = {check.about: check for check in checks(session, None, rehearsed)}["disk"].words
    assert before == after
    assert state < 2**26 < rehearsed.disk_needed(session.spec)  # most is room for what a run tells


def test_what_is_in_the_way_is_told_to_its_end_where_there_are_lines_for_it() -> None:
    long = Check("memory", "bad", "does not fit, F finds what does: 23.5G for 2×1024 tokens")
    well = Check("disk", "good", "41.0G free, needs 5.6G, and 5.2G of it are weights of a model")
    shown = [text_of(one) for one in check_lines([long, well], 40, 2, 1)]
    assert [one[:12].strip() for one in shown] == ["✗ memory", "", "✓ disk"]
    assert shown[1].endswith("2×1024 tokens") or shown[1].rstrip().endswith("…")


@pytest.mark.parametrize("most", [1, 3])
def test_the_verdict_is_a_mark_and_not_only_a_colour(most: int) -> None:
    lines = check_lines(
        [Check("data", "bad", "no file yet"), Check("disk", "good", "ok")], 40, most
    )
    assert [text_of(one)[:3] for one in lines] == [" ✗ ", " ✓ "]


def test_the_checkpoints_to_come_and_the_weights_to_get_need_room() -> None:
    session = phi()
    once = by_name(session)["disk"].words
    assert "needs" in once
    assert "5.2G of it weights" in once
    session.change_spec(save_total_limit=500)
    assert by_name(session)["disk"].words != once
    session.hardware = dataclasses.replace(HARDWARE, disk_free=2**30)
    assert by_name(session)["disk"].words.startswith("too full")


def test_what_was_rehearsed_counts_instead_of_the_estimate() -> None:
    session = ready()
    session.hardware = dataclasses.replace(HARDWARE, gpus=(GPU,), gpu_error=None)
    session.change_spec(use_cpu=False)
    found = {check.about: check for check in checks(session, None, REHEARSAL)}
    measured = "9.6G measured with rows up to 256 tokens, GPU0 has 23.0G free (others unseen)"
    assert found["memory"].words == measured
    assert found["disk"].words == "41.0G free, needs 409M"


def test_how_much_of_the_data_trains_is_said_once_it_was_counted() -> None:
    session = ready()
    question = session.token_question
    assert question is not None
    counted = TokenReport(
        question=question,
        rows=2000,
        bad_rows=(),
        looked_at=2000,
        tokens=1000,
        trained_tokens=310,
        share_trained=0.31,
        ends_trained=True,
        cut_rows=0,
        cut_tokens=0,
        lengths=lengths_of([5], "tokens"),
        notes=(),
        examples=(),
    )
    session.counted = counted
    assert "31% trained" in by_name(session)["data"].words
    session.counted = dataclasses.replace(counted, ends_trained=False)
    assert by_name(session)["data"].verdict == "warn"
    session.change_spec(max_length=64)  # what was counted speaks of another length
    assert "trained" not in by_name(session)["data"].words
