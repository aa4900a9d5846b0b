"""Downloads, from a server of our own: resume, checksum, errors."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nktc.data.sets.catalogue import Download
from nktc.data.sets.download import DownloadError, download

CONTENT = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves CONTENT as /file. `breaks` holds after how many bytes the next answers break off; `log` the
    ranges asked for; without `ranges` every answer is whole; `status` replaces the answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks: list[int] = []
        self.log: list[str | None] = []
        self.ranges = True
        self.status = 0

    @property
    def wanted(self) -> Download:
        sum = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
        return Download(f"http://127.0.0.1:{self.server_port}/file", sum, len(CONTENT))


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.log.append(asked)
        if self.server.status:
            self.send_error(self.server.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges else 0  # type: ignore[index]
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks.pop(0)] if self.server.breaks else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_file_arrives_whole_and_once(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    assert download(server.wanted, folder).read_bytes() == CONTENT
    assert download(server.wanted, folder) == folder / "file"
    assert server.log == [None]
    assert not (folder / "file.part").exists()
    assert capsys.readouterr().err == f"downloading {server.wanted.url} (1.0 MB)\n"


def test_an_interrupted_download_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.breaks = [300_000, 0, 200_000]
    assert download(server.wanted, tmp_path, pause=0).read_bytes() == CONTENT
    assert server.log == [None, "bytes=300000-", "bytes=300000-", "bytes=500000-"]


def test_a_later_run_goes_on_too(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    assert download(server.wanted, tmp_path).read_bytes() == CONTENT
    assert server.log == ["bytes=1000-"]


def test_a_part_that_is_already_whole_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert download(server.wanted, tmp_path, pause=0).read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT * 2)
    assert download(server.wanted, tmp_path, pause=0).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_anew(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.breaks = [300_000]
    assert download(server.wanted, tmp_path, pause=0).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_nothing_stays(server: Server, tmp_path: Path) -> None:
    wanted = Download(server.wanted.url, "md5:" + 32 * "0", len(CONTENT))
    with pytest.raises(DownloadError) as refused:
        download(wanted, tmp_path)
    found = hashlib.md5(CONTENT).hexdigest()
    assert str(refused.value) == (
        f"error: {wanted.url} is not the file it was: its md5 is {found} (1024000 bytes), not {32 * '0'}"
    )
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_file_that_is_gone_is_asked_for_once(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DownloadError) as refused:
        download(server.wanted, tmp_path, pause=0)
    assert str(refused.value) == f"error: {server.wanted.url} answers 404 Not Found"
    assert len(server.log) == 1


def test_a_busy_server_is_asked_again_and_then_given_up(server: Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(DownloadError, match="answers 503 Service Unavailable"):
        download(server.wanted, tmp_path, pause=0)
    assert len(server.log) == 5


def test_a_transfer_that_always_breaks_off_is_given_up_and_its_part_kept(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000] * 9
    with pytest.raises(DownloadError, match=r"cannot be read \(broke off after 5000 of 1024000 bytes\)"):
        download(server.wanted, tmp_path, pause=0)
    assert (tmp_path / "file.part").stat().st_size == 5000


def test_an_address_that_nobody_answers_is_said_plainly(tmp_path: Path) -> None:
    with Server() as closed:
        wanted = closed.wanted
    with pytest.raises(DownloadError) as refused:
        download(wanted, tmp_path, pause=0)
    assert str(refused.value) == f"error: {wanted.url} cannot be read (connection refused)"


def test_a_folder_that_cannot_be_written_is_said_plainly(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError) as refused:
        download(server.wanted, tmp_path / "file" / "x")
    assert str(refused.value) == f"error: file cannot be stored in {tmp_path / 'file' / 'x'} (not a directory)"


def test_two_at_a_time_fetch_it_once(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: download(server.wanted, tmp_path), range(2)))
    assert found == [tmp_path / "file"] * 2
    assert server.log == [None]
