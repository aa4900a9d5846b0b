"""A trained model, opened: the net to infer with, its weights, its preprocessing and its class names."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nktc import data, passes, reader, runs, weights
from nktc.errors import NktcError, near
from nktc.ir import Feed, Graph, Layer, Phase, Shape, catalogue, infer
from nktc.reader import NetFile


def feeds(net: NetFile) -> Callable[[Layer], Feed]:
    """What is known of the data layers of a net, its files looked for beside it too."""
    return lambda layer: data.describe(layer, net.folder)


def supposed(net: NetFile, shapes: Mapping[str, Shape]) -> Callable[[Layer, Sequence[str]], Feed | None]:
    """What the data layers of a net that is only looked at are taken to feed, their files there or not."""
    return lambda layer, tops: data.supposed(layer, net.folder, tops, shapes)


def named(shapes: Mapping[str, Shape], nets: Sequence[NetFile]) -> dict[str, Shape]:
    """Shapes of --input-shape by the blob they are for; that of no name is for the first blob that is fed. Raises
    NktcError for a blob that is fed in none of the nets."""
    known = catalogue()
    layers = [layer for net in nets for layer in net.message.layer if layer.type in known]
    fed = list(dict.fromkeys(top for layer in layers if known[layer.type].source for top in layer.top))
    for name in shapes:
        if name not in fed and (name or not fed):
            what = f'names "{name}", which nothing feeds' if name else "is given, and the net is fed nothing"
            help = near(name, fed) or (f"what is fed is {', '.join(fed)}" if fed else "")
            raise NktcError(f"--input-shape {what}", help=help)
    return {name or fed[0]: shape for name, shape in shapes.items()}


def open_model(net: str | Path, files: Sequence[str | Path], places: data.Places) -> Graph:
    """The deploy graph of a prototxt with weights from `files`, later ones over earlier ones; without any where there
    are no files. Raises NktcError."""
    file = reader.read_net(net)
    graph = reader.build(file, Phase.TEST, feeds=feeds(file))
    if not graph:
        raise NktcError(f"{net} has no layers in the TEST phase", help="a net is a list of layer { ... }")
    for path in files:
        graph, _ = weights.attach(graph, path)
    preprocessing = {}
    for node in graph.sources:
        with infer.place(node.type, node.name, node.locate):
            found = data.preprocessing(node.layer, places, file.folder)
        if found:
            preprocessing[node.outputs[0].name] = found
    deployed = passes.deploy(graph, preprocessing)
    if deployed is graph:
        deployed = dataclasses.replace(graph, preprocessing=preprocessing)
    missing = dict.fromkeys(
        p.layer for name, p in deployed.parameters.items() if name not in deployed.arrays and not p.weight.volatile
    )
    if files and missing:
        given = " and ".join(map(str, files))
        raise NktcError(f"{given} has no weights for {', '.join(missing)}", help="give the weights of this very net")
    return deployed


def open_run(folder: str | Path, places: data.Places) -> Graph:
    """The deploy graph of a run with its newest weights. Raises NktcError."""
    run = runs.open_run(folder)
    return open_model(run.deploy, [run.weights()], places)


def open_either(
    run: Path | None, net: Path | None, files: Sequence[str], places: data.Places
) -> tuple[Graph, dict[str, str]]:
    """A run's graph, or that of a net and weights, and where it came from. Raises NktcError when it is not clear."""
    if run and (net or files):
        raise NktcError("--run and --model exclude each other", help="a run has its own net and weights")
    if run:
        weights_file = runs.open_run(run).weights()
        return open_run(run, places), _origin(runs.open_run(run).deploy, [weights_file])
    if not net or not files:
        raise NktcError("no trained net is given", help="give --run DIR, or --model NET and --weights W")
    return open_model(net, files, places), _origin(net, files)


def _origin(net: Path, files: Sequence[str | Path]) -> dict[str, str]:
    """What a file made from this model says of where it came from: names and SHA-256 of the net and its weights."""
    named = {"net": net} | {f"weights{i or ''}": Path(file) for i, file in enumerate(files)}
    return {key: f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for key, path in named.items()}
