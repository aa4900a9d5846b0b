"""How long `nktc convert` takes, and how much memory, from a net and its weights to each kind of file.

`.venv/bin/python tools/bench/convert.py [--net NET] [--rounds N]` prints the medians of N rounds for each kind. Each
round is a process of its own. Memory is the most that it had, less what it had once all was imported, in times the
weights; these are random.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nktc import data, models, weights

CHILD = """
import json, resource, sys, time
start = time.perf_counter()
from nktc.cli import nktc
nktc.get_command(None, "convert")
imported = time.perf_counter() - start
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    nktc(["convert", *sys.argv[1:]], standalone_mode=False)
except SystemExit as ended:
    assert not ended.code
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([imported, (after - before) * 1024]), file=sys.stderr)
"""
KINDS = (".onnx", ".safetensors", ".caffemodel", ".caffemodel.h5")
NET = Path(__file__).parents[2] / "nets" / "googlenet" / "deploy.prototxt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", type=Path, default=NET)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("kinds", nargs="*", metavar="SUFFIX", help="Those to write; all unless given.")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "net.caffemodel")
        graph = models.open_model(wanted.net, [], data.Places.from_environment(()))
        draw = np.random.default_rng(0)
        arrays = {name: draw.random(p.weight.shape, np.float32) for name, p in graph.parameters.items()}
        weights.save(file, graph, arrays)
        size = file.stat().st_size
        print(f"{wanted.net}: {size / 2**20:.1f} MiB of weights")
        for suffix in wanted.kinds or KINDS:
            arguments = [str(wanted.net), str(file), "-o", str(Path(folder, f"made{suffix}"))]
            rounds = [_run(arguments) for _ in range(wanted.rounds)]
            wall, imported, memory = map(statistics.median, zip(*rounds, strict=True))
            print(
                f"{suffix:15} {wall:5.2f} s, {imported:.2f} s of it imports;"
                f" {memory / 2**20:6.1f} MiB beyond these, {memory / size:.2f} times the weights",
                flush=True,
            )


def _run(arguments: list[str]) -> tuple[float, float, float]:
    """Seconds in all, seconds of imports, bytes beyond them."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False)
    wall = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stderr)
    imported, memory = json.loads(done.stderr.splitlines()[-1])
    return wall, imported, memory


if __name__ == "__main__":
    main()
