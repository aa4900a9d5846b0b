#!/usr/bin/env python3
"""Inference speed: nktc's choice of engine against plain ONNX Runtime, plain OpenVINO and torch eager on the same net.

    .venv/bin/python tools/bench/infer.py --part nets [--net googlenet] [--batch 1] [--threads 2]
    .venv/bin/python tools/bench/infer.py --part folding
    .venv/bin/python tools/bench/infer.py --part int8 --weights nets/lenet=LENET.caffemodel
    .venv/bin/python tools/bench/infer.py --part caffe --caffe PATH/build/tools/caffe
    .venv/bin/python tools/bench/infer.py --part cuda

All of a row run in one process and take turns; a figure is the median of the milliseconds of a forward, and a ratio
that of the medians. "Plain" is the net as it is, in the ONNX file that any runtime would be given. nktc's choice is
what `nktc optimize` finds for that batch and those threads; `--without openvino` leaves an engine out of it.
`int8` is the choice in int8 against the choice in fp32, with top-1 of the whole test set; NKTC_DATA says where it is.
Weights are random but for int8. `caffe` times GoogLeNet in Caffe itself too; int8 is calibrated on noise there.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from nktc import data, engines, export, models, optimize, passes, reader
from nktc.ir import Graph, Phase

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import big_nets  # noqa: E402

BUILT: dict[str, Callable[[], str]] = {
    "alexnet": big_nets.alexnet,
    "googlenet": big_nets.googlenet,
    "squeezenet11": big_nets.squeezenet11,
    "mobilenet_v1": big_nets.mobilenet_v1,
    "densenet": lambda: big_nets.densenet(size=128),
    "inception_bn": lambda: big_nets.inception_bn(size=128),
}
SHIPPED = ("cifar10_quick", "lenet", "resnet50")

Run = Callable[[], object]


def net(name: str) -> Graph:
    """A deployed net with random weights."""
    if name in BUILT:
        graph = reader.build(reader.parse_net(BUILT[name]()), Phase.TEST)
    else:
        deployed = ROOT / "nets" / name / "deploy.prototxt"
        path = deployed if deployed.exists() else ROOT / "nets" / name / "train.prototxt"
        graph = models.open_model(path, [], data.Places.from_environment(()))
    return big_nets.random_weights(graph)


def plain(graph: Graph, backend: str, threads: int, batch: int) -> engines.Session:
    """The net as it is on an engine."""
    options = engines.Options(threads=threads, batch=batch)
    if backend == "torch":
        return engines.engine("torch").build(graph, options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.onnx"
        export.save(export.to_onnx(graph, batch=batch), path)
        return engines.engine(backend).open(path, options)


def measured(sessions: Mapping[str, engines.Session], graph: Graph, batch: int, seconds: float) -> dict[str, float]:
    """The median milliseconds of each."""
    inputs = [value.opened() for value in graph.inputs]
    feeds = engines.random_inputs(inputs, graph.preprocessing, batch, 0)
    runs: dict[str, Run] = {name: lambda s=session: s.run(feeds) for name, session in sessions.items()}
    times = engines.race(runs, dict.fromkeys(runs, batch), seconds)
    return {name: 1000 * found.median for name, found in times.items()}


def row(name: str, batch: int, threads: int, times: Mapping[str, float], own: str, note: str = "") -> None:
    """One line: the milliseconds of all, and how many times as fast as the others nktc's is."""
    others = {key: value / times[own] for key, value in times.items() if key != own}
    told = "  ".join(f"{key} {value:.2f} ms" for key, value in times.items())
    ratios = ", ".join(f"{value:.2f} x {key}" for key, value in others.items())
    print(f"{name:<13} batch {batch:<3} {threads} threads  {told}\n{'':<13} nktc is {ratios}{note}", flush=True)


def nets(args: argparse.Namespace) -> None:
    """nktc's choice against the plain ones."""
    without = set(args.without)
    for name in args.net or [*BUILT, *SHIPPED]:
        graph = net(name)
        for batch in args.batch:
            for threads in args.threads:
                torch.set_num_threads(threads)
                wanted = optimize.Wanted(
                    backend="onnxruntime" if "openvino" in without else "",
                    device="cpu",
                    batch=batch,
                    threads=threads,
                    seconds=args.seconds / 2,
                )
                _, way = optimize.fastest(graph, wanted)
                # All are made after the choice, whose sessions leave memory in pieces behind.
                sessions = {
                    backend: plain(graph, backend, threads, batch)
                    for backend in ("onnxruntime", "openvino", "torch")
                    if backend in engines.usable() and backend not in without
                }
                sessions["nktc"] = way.build()
                times = measured(sessions, graph, batch, args.seconds)
                row(name, batch, threads, times, "nktc", f"  ({way.name})")


def folding(args: argparse.Namespace) -> None:
    """What the passes alone do on ONNX Runtime: the same portable lowering before and after."""
    for name in args.net or ("densenet", "mobilenet_v1", "inception_bn", "resnet50"):
        graph = net(name)
        folded = passes.run(graph).graph
        for batch in args.batch:
            for threads in args.threads:
                sessions = {
                    "folded": plain(folded, "onnxruntime", threads, batch),
                    "as it is": plain(graph, "onnxruntime", threads, batch),
                }
                times = measured(sessions, graph, batch, args.seconds)
                row(name, batch, threads, times, "folded", f"  ({len(graph)} -> {len(folded)} layers)")


def int8(args: argparse.Namespace) -> None:
    """The choice in int8 against the choice in fp32, on trained weights; top-1 of the whole test set, once a net."""
    places = data.Places.from_environment(())
    for given in args.weights:
        name, _, weights = given.partition("=")
        path = ROOT / name / "train.prototxt"
        graph = models.open_model(path, [weights], places)
        wanted = optimize.Wanted(device="cpu", precision="int8", records=10000, seconds=args.seconds / 2)
        outcome = optimize.optimize(path, [weights], Path(args.folder) / f"{path.parent.name}.onnx", wanted, places)
        print(f"{path.parent.name:<13} {outcome.scores}, in fp32: {', '.join(outcome.kept) or 'none'}", flush=True)
        found = engines.own_records(path, [value.name for value in graph.inputs], Phase.TRAIN, 128, places)
        assert found
        seen = optimize.Samples(found.feeds, found.labels)
        for batch in args.batch:
            for threads in args.threads:
                base = dataclasses.replace(wanted, batch=batch, threads=threads, precision="fp32")
                _, wide = optimize.fastest(graph, base, seen)
                _, narrow = optimize.fastest(graph, dataclasses.replace(base, precision="int8"), seen)
                sessions = {"int8": narrow.build(), "fp32": wide.build()}
                times = measured(sessions, graph, batch, args.seconds)
                row(path.parent.name, batch, threads, times, "int8", f"  ({narrow.name}; {wide.name})")


def caffe(args: argparse.Namespace) -> None:
    """GoogLeNet against Caffe itself, both on the CPU, in turns: what GIE's headline was measured on."""
    graph = net("googlenet")
    draw = np.random.default_rng(0)
    noise = tuple({"data": draw.normal(0, 60, (4, 3, 224, 224)).astype(np.float32)} for _ in range(4))
    seen = optimize.Samples(noise, about="noise")
    for batch in args.batch:
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder) / "googlenet.prototxt"
            text.write_text(big_nets.googlenet().replace("dim: 1 dim: 3", f"dim: {batch} dim: 3", 1))
            threads = max(args.threads)
            base = optimize.Wanted(device="cpu", batch=batch, threads=threads, seconds=args.seconds / 2)
            sessions = {"plain ONNX Runtime": plain(graph, "onnxruntime", threads, batch)}
            names = {}
            for precision in ("fp32", "int8"):
                for engine in ("", "onnxruntime"):
                    wanted = dataclasses.replace(base, precision=precision, backend=engine)
                    _, way = optimize.fastest(graph, wanted, seen)
                    sessions[f"nktc {precision}{' on ONNX Runtime' if engine else ''}"] = way.build()
                    names[precision] = way.name
            rounds: dict[str, list[float]] = {name: [] for name in ("Caffe", *sessions)}
            for _ in range(args.rounds):
                rounds["Caffe"].append(caffe_forward(args.caffe, text, threads, 10 if batch == 1 else 2))
                for name, found in measured(sessions, graph, batch, args.seconds / 2).items():
                    rounds[name].append(found)
            for name, found in rounds.items():
                ratios = np.divide(rounds["Caffe"], found)
                print(
                    f"googlenet batch {batch} {threads} threads  {name:<24} {np.median(found):8.1f} ms"
                    f"  {np.median(ratios):.2f} x Caffe ({ratios.min():.2f} to {ratios.max():.2f})",
                    flush=True,
                )
            print(f"  {names}", flush=True)


def caffe_forward(binary: str, text: Path, threads: int, iterations: int) -> float:
    """Milliseconds of a forward, as `caffe time` tells them."""
    command = [binary, "time", "-model", str(text), "-iterations", str(iterations)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = re.search(r"Average Forward pass: ([\d.]+) ms", done.stderr)
    assert found, done.stderr
    return float(found[1])


def cuda(args: argparse.Namespace) -> None:
    """GoogLeNet on a GPU: nktc's choice against torch eager."""
    graph = net("googlenet")
    for batch in args.batch:
        wanted = optimize.Wanted(device="cuda", batch=batch, seconds=args.seconds / 2)
        _, way = optimize.fastest(graph, wanted)
        sessions = {
            "nktc": way.build(),
            "torch": engines.engine("torch").build(graph, engines.Options("cuda", batch=batch)),
        }
        row("googlenet", batch, 0, measured(sessions, graph, batch, args.seconds), "nktc", f"  ({way.name})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("nets", "folding", "int8", "caffe", "cuda"), default="nets")
    parser.add_argument("--caffe", default="caffe", metavar="FILE", help="the program that is timed by --part caffe")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--net", action="append", choices=[*BUILT, *SHIPPED])
    parser.add_argument("--batch", action="append", type=int)
    parser.add_argument("--threads", action="append", type=int)
    parser.add_argument("--without", action="append", default=[], help="an engine that is not to be used")
    parser.add_argument("--weights", action="append", default=[], metavar="NET=FILE")
    parser.add_argument("--folder", default=".", help="where int8 leaves its files")
    parser.add_argument("--seconds", type=float, default=6.0)
    args = parser.parse_args()
    args.batch = args.batch or [1, 16]
    args.threads = args.threads or [1, 2]
    np.seterr(all="ignore")
    {"nets": nets, "folding": folding, "int8": int8, "caffe": caffe, "cuda": cuda}[args.part](args)


if __name__ == "__main__":
    main()
