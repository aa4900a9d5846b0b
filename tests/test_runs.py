"""A run's folder: its names, its journal, its newest weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nktc import runs
from nktc.errors import NktcError
from nktc.runs import Run


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(run: Run, name: str, folder: Path | None = None, best: bool = False) -> Path:
    """A snapshot that the run wrote."""
    path = (folder or run.snapshots) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    run.record("saved", iteration=1, weights=str(path), state="", best=best)
    return path


def test_folders_are_numbered_where_no_name_is_given(here):
    folders = [runs.create(None, "mlp").folder for _ in range(3)]
    assert folders == [Path("runs/mlp"), Path("runs/mlp-2"), Path("runs/mlp-3")]


def test_a_run_is_not_overwritten_but_resumed(here):
    run = runs.create(Path("r"), "mlp")
    run.record("started", iteration=0)
    with pytest.raises(NktcError) as caught:
        runs.create(Path("r"), "mlp")
    assert caught.value.message == "r holds a run already"
    assert "--run-dir" in caught.value.help
    assert list(runs.create(Path("r"), "mlp", resuming=True).events()) == list(run.events())


def test_a_run_that_failed_before_it_began_is_in_nobodys_way(here):
    runs.create(Path("r"), "mlp")
    assert runs.create(Path("r"), "mlp").folder == Path("r")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", "cannot make the folder file: file is not a folder"),
        ("file/in/it", "cannot make the folder file/in/it: file is not a folder"),
        ("n" * 300, f"cannot make the folder {'n' * 300}: File name too long"),
        ("\udcff", "the name of the folder \udcff is not UTF-8"),
    ],
)
def test_a_folder_that_cannot_be_is_refused(name, said, here):
    Path("file").touch()
    with pytest.raises(NktcError) as caught:
        runs.create(Path(name), "mlp")
    assert caught.value.message == said


def test_events_come_back_in_order_and_what_is_none_is_passed_over(here):
    run = runs.create(Path("r"), "mlp")
    run.record("started", iteration=0, name="ünï\nx")
    with run.journal.open("ab") as file:
        file.write(b'3\n{"no": "event"}\n\xff\xfe junk\n{"event": "torn", "iterat\n')
    run.record("ended", iteration=5)
    events = list(run.events())
    assert [event["event"] for event in events] == ["started", "ended"]
    assert events[0]["name"] == "ünï\nx"
    assert len(run.journal.read_bytes().splitlines()) == 6
    assert list(Run(Path("nowhere")).events()) == []


def test_a_journal_that_cannot_be_written_is_the_users_to_mend(here):
    run = Run(Path("gone"))
    with pytest.raises(NktcError) as caught:
        run.record("stepped")
    assert caught.value.message == "cannot write gone/journal.jsonl: No such file or directory"


def test_the_newest_weights_that_are_still_there(here):
    run = runs.create(Path("r"), "mlp")
    first, last = saved(run, "mlp_iter_1.caffemodel"), saved(run, "mlp_iter_2.caffemodel")
    assert run.weights() == last
    last.unlink()
    assert run.weights() == first
    first.unlink()
    with pytest.raises(NktcError) as caught:
        run.weights()
    assert str(caught.value) == (
        "error: r has no weights: no snapshot was written\nhelp: train it further, or give --weights"
    )


def test_the_best_weights_are_used_where_the_run_kept_them(here):
    run = Run(here)
    saved(run, "a_best.caffemodel", best=True)
    best = saved(run, "b_best.caffemodel", best=True)
    saved(run, "a_iter_9.caffemodel")
    assert run.weights() == best


def test_a_run_that_was_moved_has_its_own_weights_not_those_where_it_was(here):
    name = "mlp_iter_1.caffemodel"
    saved(runs.create(Path("a"), "mlp"), name)
    Path("a").rename("b")
    saved(runs.create(Path("a"), "mlp"), name)
    assert Run(Path("b")).weights() == Path("b/snapshots") / name


def test_weights_under_a_prefix_elsewhere_are_found(here):
    run = runs.create(Path("r"), "mlp")
    path = saved(run, "w.caffemodel", Path("elsewhere"))
    assert run.weights() == path


def test_only_a_runs_folder_opens(here):
    Path("r").mkdir()
    for folder in ("r", "none"):
        with pytest.raises(NktcError) as caught:
            runs.open_run(folder)
        assert caught.value.message == f"{folder} is not the folder of a run: it has no deploy.prototxt"
    Path("r/deploy.prototxt").touch()
    assert runs.open_run("r").labels == Path("r/labels.txt")
    assert [runs.open_run("r").net(i).name for i in (None, 0, 1)] == [
        "train.prototxt",
        "test.prototxt",
        "test1.prototxt",
    ]


def test_the_environment_is_json(here):
    run = runs.create(Path("r"), "mlp")
    run.write_environment({"seed": 3, "folder": "ünï"})
    assert json.loads(run.environment.read_text(encoding="utf-8")) == {"seed": 3, "folder": "ünï"}
