"""A trained model, opened: the net to infer with, its weights, its preprocessing and its class names."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from nktc import data, passes, reader, runs, weights
from nktc.errors import NktcError, near
from nktc.ir import Feed, Graph, Layer, Phase, Shape, catalogue, infer
from nktc.reader import NetFile
from nktc.schema import LayerParameter, NetParameter
from nktc.text import Tree


def feeds(net: NetFile) -> Callable[[Layer], Feed]:
    """What is known of the data layers of a net, its files looked for beside it too."""
    return lambda layer: data.describe(layer, net.folder)


def supposed(net: NetFile, shapes: Mapping[str, Shape]) -> Callable[[Layer, Sequence[str]], Feed | None]:
    """What the data layers of a net that is only looked at are taken to feed, their files there or not."""
    return lambda layer, tops: data.supposed(layer, net.folder, tops, shapes)


def named(shapes: Mapping[str, Shape], nets: Sequence[NetFile]) -> dict[str, Shape]:
    """Shapes of --input-shape by the blob they are for; that of no name is for the first blob that is fed and is no
    label. Raises NktcError for a blob that is fed in none of the nets."""
    fed = list(dict.fromkeys(top for net in nets for layer in net.message.layer if _feeds(layer) for top in layer.top))
    for name in shapes:
        if name not in fed and (name or not fed):
            what = f'names "{name}", which nothing feeds' if name else "is given, and the net is fed nothing"
            help = near(name, fed) or (f"what is fed is {', '.join(fed)}" if fed else "")
            raise NktcError(f"--input-shape {what}", help=help)
    if "" not in shapes:
        return dict(shapes)
    labels = {label for net in nets for label in _labels(net)}
    first = next((top for top in fed if top not in labels), fed[0])
    return {name or first: shape for name, shape in shapes.items()}


def open_model(
    net: str | Path,
    files: Sequence[str | Path],
    places: data.Places,
    shapes: Mapping[str, Shape] | None = None,
    dialect: str = "",
) -> Graph:
    """The deploy graph of a net with weights from `files`, later ones over earlier ones; without any where there are no
    files. `shapes` are those of what it is fed, by blob, whose data need not be there then; `dialect` is that of a
    binary file where it could mean several things. Raises NktcError."""
    file = _read(net, dialect)
    graph = _built(file, named(shapes, [file]) if shapes else {})
    if not graph:
        raise NktcError(f"{net} has no layers in the TEST phase", help="a net is a list of layer { ... }")
    for path in files:
        graph, _ = weights.attach(graph, path)
    preprocessing = {}
    for node in graph.sources:
        with infer.place(node.type, node.name, node.locate):
            found = None if shapes else data.preprocessing(node.layer, places, file.folder)
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


def unsaid(path: str | Path, shapes: Mapping[str, Shape], dialect: str = "") -> list[str]:
    """What the data layers of a net feed beside its labels and `shapes` does not tell. Raises NktcError."""
    return _unsaid(_read(path, dialect), shapes)


def _read(path: str | Path, dialect: str) -> NetFile:
    net = reader.read_net(path, dialect=dialect)
    return _snapshot(net) if reader.is_binary(path) else net


def _built(net: NetFile, shapes: Mapping[str, Shape]) -> Graph:
    """The graph of TEST; where it does not build as it is, and `shapes` tell of all that its data layers feed beside
    labels, that without labels and losses. Raises NktcError."""
    looked = supposed(net, shapes) if shapes else lambda layer, tops: None
    try:
        return reader.build(net, Phase.TEST, feeds=feeds(net), supposed=looked)
    except NktcError:
        if not shapes or not _data(net) or _unsaid(net, shapes):
            raise
    return reader.build(_unlabelled(net, shapes), Phase.TEST, feeds=feeds(net))


def _feeds(layer: LayerParameter) -> bool:
    """Whether a layer brings data: one of that kind, or one of Python or of a type unknown here that takes nothing."""
    kind = catalogue().get(layer.type)
    return kind.source if kind and layer.type != "Python" else not layer.bottom


def _data(net: NetFile) -> dict[int, LayerParameter]:
    """Its layers of data in TEST by their positions, without those of type Input."""
    state = reader.State(Phase.TEST, net.message.state.level, tuple(net.message.state.stage))
    sources = {at: one for at, one in enumerate(net.message.layer) if _feeds(one)}
    return {at: one for at, one in sources.items() if one.type != "Input" and reader.included(one, state)}


def _unsaid(net: NetFile, shapes: Mapping[str, Shape]) -> list[str]:
    labels = _labels(net)
    return [top for one in _data(net).values() for top in one.top if top not in labels and top not in shapes]


def _reached(net: NetFile, blobs: Iterable[str]) -> dict[int, LayerParameter]:
    """The layers that blobs lead to, by their positions."""
    held, found = set(blobs), {}
    for at, layer in enumerate(net.message.layer):
        if not held.isdisjoint(layer.bottom):
            held.update(layer.top)
            found[at] = layer
    return found


def _labels(net: NetFile) -> set[str]:
    """What its data layers feed that leads to no layer with weights; none where nothing else is fed."""
    known = catalogue()
    weighty = {name for name, kind in known.items() if kind.multiplies and not kind.loss}
    fed = [top for layer in _data(net).values() for top in layer.top]
    labels = {top for top in fed if not any(one.type in weighty for one in _reached(net, [top]).values())}
    return labels if len(labels) < len(set(fed)) else set()


def _unlabelled(net: NetFile, shapes: Mapping[str, Shape]) -> NetFile:
    """A net with Inputs in place of its data layers and without what labels lead to, and the tops of a Split for it; a
    SoftmaxWithLoss leaves its Softmax."""
    data, labels = _data(net), _labels(net)
    gone = _reached(net, labels)
    lost = {top for one in gone.values() if one.type != "SoftmaxWithLoss" for top in one.top}
    losses = [at for at, one in gone.items() if one.type == "SoftmaxWithLoss" and lost.isdisjoint(one.bottom[:1])]
    layers: list[LayerParameter] = []
    trees: list[Tree | None] = []
    for at, (layer, tree) in enumerate(zip(net.message.layer, net.trees, strict=True)):
        if at in data:
            fed = [top for top in layer.top if top not in labels]
            made = [LayerParameter(name=top, type="Input", top=[top]) for top in fed]
            for one, top in zip(made, fed, strict=True):
                shape = shapes[top]
                one.input_param.shape.add(dim=shape if len(shape) != 3 else (1, *shape))
        elif at not in gone:
            made = [layer]
        elif at in losses:
            name = "prob" if len(losses) == 1 else f"{layer.name}_prob"
            made = [LayerParameter(name=name, type="Softmax", bottom=layer.bottom[:1], top=[name])]
            made[0].softmax_param.axis = layer.softmax_param.axis
        else:
            made = []
        layers += made
        trees += [tree if one is layer else None for one in made]
    taken = {bottom for one in layers for bottom in one.bottom}
    for at, layer in reversed([*enumerate(layers)]):
        if layer.type == "Split" and not taken.issuperset(layer.top):
            layers[at] = LayerParameter(name=layer.name, type="Split", bottom=layer.bottom)
            layers[at].top.extend(top for top in layer.top if top in taken)
            if not layers[at].top:
                del layers[at], trees[at]
    message = NetParameter()
    message.CopyFrom(net.message)
    del message.layer[:]
    message.layer.extend(layers)
    return dataclasses.replace(net, message=message, trees=tuple(trees), instances=())


def _snapshot(net: NetFile) -> NetFile:
    """The net of a snapshot that was taken in training with all its layers, which are those that its rules chose: in
    TEST these would leave its data out. A BatchNorm that was for TRAIN alone had another beside it in TEST, so that
    its use_global_stats tells nothing of that."""
    phases = {rule.phase for layer in net.message.layer for rule in layer.include if rule.HasField("phase")}
    if phases != {Phase.TRAIN.value}:
        return net
    message = NetParameter()
    message.CopyFrom(net.message)
    for layer in message.layer:
        if layer.include and layer.type == "BatchNorm":
            layer.batch_norm_param.ClearField("use_global_stats")
        layer.ClearField("include")
    return dataclasses.replace(net, message=message)


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
        return open_run(run, places), origin(runs.open_run(run).deploy, [weights_file])
    if not net or not files:
        raise NktcError("no trained net is given", help="give --run DIR, or --model NET and --weights W")
    return open_model(net, files, places), origin(net, files)


def origin(net: Path, files: Sequence[str | Path]) -> dict[str, str]:
    """What a file made from this model says of where it came from: names and SHA-256 of the net and its weights."""
    named = {"net": net} | {f"weights{i or ''}": Path(file) for i, file in enumerate(files)}
    return {key: f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for key, path in named.items()}
