from __future__ import annotations

import json
import zipfile

import pytest

from nktc.doctor import Probe, Ran, Scrubber, bundle, examine, write_bundle
from nktc.errors import NktcError

TOKEN = "q7Wz-plain-looking"
GITHUB = "ghp_" + "a1B2" * 9
ENVIRON = {
    "WANDB_API_KEY": TOKEN,
    "MY_PRIVATE_THING": "something-else-entirely",
    "NKTC_TOKEN": "nktc-secret-value",
    "NKTC_DATA": "/home/joe/data:/mnt/joe/more",
    "OMP_NUM_THREADS": "8",
    "SHELL_HISTORY": "nobody's business",
}


@pytest.fixture
def planted(machine):
    """A machine whose every text has something in it that nobody else is to see."""
    failure = f"OSError: https://joe:hunter2@falcon.example.org/simple?key=abc {TOKEN} {GITHUB} /home/joe/env/x.so"
    return machine(
        environ=ENVIRON,
        packages={"nktc": "0.1.0", "torch": "2.13.0", "joes-tool": "1.0"},
        probes={"opencv": Probe(failure=failure)},
        commands={"nvidia-smi": Ran(output="| 0 N/A 4711 C /home/joe/secret-project/train.py |\n")},
    )


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "solver.prototxt").write_text('net: "/home/joe/nets/train.prototxt"\nmax_iter: 100\n')
    (folder / "train.prototxt").write_text('name: "net"  # mailed to jane.doe@example.org\n')
    (folder / "deploy.prototxt").write_text('name: "net"\n')
    (folder / "journal.jsonl").write_text(json.dumps({"event": "started", "by": f"joe@falcon {GITHUB}"}) + "\n")
    (folder / "environment.json").write_text(json.dumps({"command": f"nktc train --log wandb --api-key {TOKEN}x"}))
    (folder / "train.log").write_text("Iteration 0, loss = 2.3\n")
    (folder / "weights.caffemodel").write_bytes(b"no text")
    return folder


def opened(path) -> dict[str, str]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name).decode() for name in file.namelist()}


def test_a_bundle_holds_what_a_report_needs_and_no_secret(planted, run, tmp_path):
    written = write_bundle(tmp_path / "doctor.zip", planted, examine(planted), run)
    texts = opened(written.path)
    assert tuple(texts) == written.names
    assert {*texts} == {
        *("doctor.json", "doctor.txt", "packages.txt", "environment.txt", "cpu.txt", "nvidia-smi.txt"),
        *("run/solver.prototxt", "run/train.prototxt", "run/deploy.prototxt", "run/journal.jsonl"),
        *("run/environment.json", "run/train.log"),
    }
    everything = "\n".join(texts.values())
    for secret in (
        *("joe@", "joe:", "/joe", "hunter2", TOKEN, GITHUB, "something-else", "nktc-secret", "falcon", "jane.doe"),
        *("nobody's", "SHELL_HISTORY", "/home"),
    ):
        assert secret not in everything, secret
    assert json.loads(texts["doctor.json"])["nktc"] == "0.1.0"
    assert texts["run/solver.prototxt"] == 'net: "~/nets/train.prototxt"\nmax_iter: 100\n'
    assert texts["environment.txt"] == "NKTC_DATA=~/data:/mnt/USER/more\nNKTC_TOKEN=***\nOMP_NUM_THREADS=8\n"
    assert texts["cpu.txt"] == "avx2 avx512_vnni avx512f sse\n"
    assert texts["packages.txt"] == "joes-tool==1.0\nnktc==0.1.0\ntorch==2.13.0\n"
    assert "~/secret-project/train.py" in texts["nvidia-smi.txt"]
    assert "OSError: https://***@HOST.example.org/simple?*** *** *** ~/env/x.so" in texts["doctor.txt"]


def test_what_was_written_is_told(planted, tmp_path):
    said = write_bundle(tmp_path / "doctor.zip", planted, examine(planted)).text()
    assert said.startswith(f"{tmp_path}/doctor.zip holds doctor.json, doctor.txt, packages.txt")
    assert "read it before you send it" in said


def test_the_middle_of_a_very_long_journal_is_left_out(machine, run, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "MOST", 10_000)
    line = '{"event": "stepped"}\n'
    (run / "journal.jsonl").write_text("first\n" + line * 5_000 + "last\n")
    text = opened(write_bundle(tmp_path / "a.zip", machine(), examine(machine()), run).path)["run/journal.jsonl"]
    assert text.startswith("first\n")
    assert text.endswith("last\n")
    assert "characters are left out" in text
    assert len(text) < 21_000


def test_a_folder_that_is_no_run_is_refused_and_nothing_is_written(machine, tmp_path):
    here = machine()
    (tmp_path / "other.prototxt").write_text('name: "of somebody else"\n')
    with pytest.raises(NktcError, match=r"it has no solver\.prototxt and no journal"):
        write_bundle(tmp_path / "a.zip", here, examine(here), tmp_path)
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("git+https://u:p@host/x.git@main", "git+https://***@host/x.git@main"),
        ("https://token@host:8080/a", "https://***@host:8080/a"),
        ("https://h/a?sig=x&b=1 then", "https://h/a?*** then"),
        ("https://pypi.org/simple/torch/", "https://pypi.org/simple/torch/"),
        ('{"password": "correct horse"}', '{"password": "***"}'),
        ('{"hf_api_key": "two words", "x": 1}', '{"hf_api_key": "***", "x": 1}'),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer ***"),
        ("--hf-token abc", "--hf-token ***"),
        ("AKIA" + "ABCDEFGH12345678", "***"),
        ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.abc-def", "***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nx", "***\nx"),
        ("0123456789abcdef0123456789abcdef", "***"),
        ("hfConvolutionLayerNumber7OfTheNet", "***"),  # rather too much than too little
        ("C:\\Users\\someone\\nets and /Users/another/x", "C:\\Users\\USER\\nets and /Users/USER/x"),
        ("/home/other/x.so /homework/y", "/home/USER/x.so /homework/y"),
        ("/home/joe /home/joey/x /home/joe-old/y", "~ /home/USER/x /home/USER/y"),
        ("joe_nets Joe joey enjoe", "USER_nets USER joey enjoe"),
        ("falcon.lan falcons", "HOST.lan falcons"),
        ("a@b.org", "EMAIL"),
        ("conv1_1 inception_3a/5x5_reduce token_type_ids keys root_folder", None),
        ("torch==2.13.0+cpu NVIDIA H100 80GB HBM3 580.95.05 GPU-utilisation 0000:01:00.0", None),
    ],
)
def test_secrets_and_names_go_and_the_rest_stays(machine, text, expected):
    scrub = Scrubber(machine(users=frozenset({"joe", "root"})))
    assert scrub(text) == (text if expected is None else expected)


def test_names_that_json_writes_in_another_way_go_too(machine):
    scrub = Scrubber(machine(home="/home/josé", users=frozenset({"josé"}), environ={"A_TOKEN": 'a"b\\cdef'}))
    text = json.dumps({"by": "josé", "folder": "/home/josé/x", "said": 'a"b\\cdef'})
    assert scrub(text) == '{"by": "USER", "folder": "~/x", "said": "***"}'
    assert scrub.data({"josé": ["josé", 1, None]}) == {"josé": ["USER", 1, None]}
