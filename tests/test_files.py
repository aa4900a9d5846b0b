"""Writing whole files or nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nktc import files
from nktc.errors import NktcError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_body_that_fails_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def body() -> None:
        with files.atomic(target) as temporary:
            temporary.write_text("half")
            assert target.read_text() == "old"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_an_interrupt_is_no_different(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.atomic(tmp_path / "file"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    files.write_text(tmp_path / "a" / "b" / "file", "ünï")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == "ünï".encode()
    assert names(tmp_path / "a" / "b") == ["file"]


def test_permissions_are_the_old_files_or_the_users_default(tmp_path):
    (tmp_path / "old").touch()
    (tmp_path / "old").chmod(0o640)
    before = os.umask(0o027)
    try:
        for name in ("old", "new"):
            files.write_text(tmp_path / name, "x")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("old", "new")] == [0o640, 0o640]
    files.write_text(tmp_path / "newer", "x")
    assert (tmp_path / "newer").stat().st_mode & 0o777 == 0o666 & ~before


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    files.write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_text() == "x"
    assert names(tmp_path) == ["link", "there"]


def test_a_name_as_long_as_names_can_be_is_written(tmp_path):
    files.write_text(tmp_path / ("n" * 255), "x")
    assert names(tmp_path) == ["n" * 255]
    with pytest.raises(NktcError, match=r"cannot write .*: File name too long"):
        files.write_text(tmp_path / ("n" * 256), "x")


def test_what_is_no_plain_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, said in {"pipe": "it is no plain file", "folder": "it is a folder"}.items():
        with pytest.raises(NktcError) as caught:
            files.write_text(tmp_path / name, "x")
        assert caught.value.message == f"cannot write {tmp_path / name}: {said}"
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == ["folder", "pipe"]


def test_what_a_descriptor_stands_for_is_not_replaced_either(tmp_path):
    ends = os.pipe()
    try:
        with pytest.raises(NktcError, match=f"cannot write /dev/fd/{ends[1]}: it is no plain file"):
            files.write_text(f"/dev/fd/{ends[1]}", "x")
    finally:
        for end in ends:
            os.close(end)


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NktcError) as caught:
        files.write_text(tmp_path / "file" / "deep" / "new", "x")
    said = f"cannot make the folder {tmp_path / 'file' / 'deep'}: {tmp_path / 'file'} is not a folder"
    assert caught.value.message == said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(NktcError, match=r"cannot write .*: Permission denied"):
        files.write_text(tmp_path / "file", "x")


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path):
    # A limit on the size of files fails a write as a full disk does.
    (tmp_path / "file").write_text("old")
    code = (
        "import resource, sys\n"
        "from nktc import files\n"
        "from nktc.errors import NktcError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    files.write_bytes(sys.argv[1], bytes(5000))\n"
        "except NktcError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file")], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"error: cannot write {tmp_path / 'file'}: File too large\n"
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_reading_says_what_is_wrong(tmp_path):
    (tmp_path / "file").write_bytes(b"\0x")
    assert files.read_bytes(tmp_path / "file", "weights") == b"\0x"
    (tmp_path / "loop").symlink_to("loop")
    for name, said in {
        "none": f"weights {tmp_path / 'none'} does not exist",
        "": f"weights {tmp_path} is a folder, not a file",
        "loop": f"cannot read weights {tmp_path / 'loop'}: Too many levels of symbolic links",
    }.items():
        with pytest.raises(NktcError) as caught:
            files.read_bytes(tmp_path / name, "weights")
        assert caught.value.message == said


def test_a_mapped_file_is_its_bytes_before_and_after_they_are_let_go_of(tmp_path):
    data = bytes(range(256)) * 1000
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "empty").touch()
    mapped = files.Mapped(tmp_path / "file", "weights")
    assert bytes(mapped.view) == data
    mapped.release()
    assert bytes(mapped.view) == data
    assert bytes(files.Mapped(tmp_path / "empty", "weights").view) == b""


def test_a_file_that_is_replaced_keeps_its_bytes_where_it_is_mapped(tmp_path):
    files.write_bytes(tmp_path / "file", b"old")
    mapped = files.Mapped(tmp_path / "file", "weights")
    files.write_bytes(tmp_path / "file", b"another")
    assert bytes(mapped.view) == b"old"


def test_a_pipe_is_read_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["/bin/sh", "-c", f"echo hello > '{tmp_path / 'pipe'}'"]):
        assert bytes(files.Mapped(tmp_path / "pipe", "weights").view) == b"hello\n"


def test_what_cannot_be_mapped_is_said_as_where_it_is_read(tmp_path):
    for path, said in {
        tmp_path: "is a folder, not a file",
        tmp_path / "none": "does not exist",
        "/dev/zero": "is no plain file",
        "a\0b": "embedded null byte",
    }.items():
        with pytest.raises(NktcError, match=said) as caught:
            files.Mapped(path, "weights")
        assert caught.value.message.startswith(("weights", "cannot read weights"))
