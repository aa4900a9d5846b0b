"""What a run's folder says of the run before it begins: solver, nets, environment, the net to infer with."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from nktc import __version__, data, files, passes, text
from nktc.errors import NktcError
from nktc.ir import Graph, Preprocessing, definition
from nktc.reader import NetFile
from nktc.runs import Run
from nktc.schema import TransformationParameter
from nktc.train.feeding import Feeding
from nktc.train.settings import Settings
from nktc.train.speed import Speed


def describe_run(
    run: Run,
    settings: Settings,
    train: Graph,
    tests: Sequence[Graph],
    feedings: Sequence[Feeding],
    seed: int,
    device: torch.device,
    speed: Speed,
    ranks: int,
    stand_in: Sequence[str],
) -> None:
    """Write everything of a run's folder that is known before training."""
    files.write_text(run.solver, text.print_message(settings.message))
    files.write_text(run.net(None), _net_text(settings.train_net))
    for index, test in enumerate(settings.test_nets):
        files.write_text(run.net(index), _net_text(test.net))
    run.write_environment(
        {
            "nktc": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "seed": seed,
            "speed": str(speed),
            "ranks": ranks,
            "command": sys.argv,
            "folder": str(Path.cwd()),
            "stand_in": list(stand_in),
        }
    )
    graph = tests[0] if tests else train
    write_deploy(run, graph, feedings[1 if tests else 0])


def write_deploy(run: Run, graph: Graph, feeding: Feeding) -> None:
    """The run's deploy.prototxt with the mean and labels it names; nothing for a net that only computes losses."""
    preprocessing: dict[str, Preprocessing] = {}
    for node, stream in zip(graph.sources, feeding.streams, strict=True):
        if stream.preprocessing:
            preprocessing[node.outputs[0].name] = stream.preprocessing
    try:
        net = definition(passes.deploy(graph, preprocessing))
    except NktcError:
        return  # it trains all the same
    for layer in net.layer:
        found = preprocessing.get(layer.top[0]) if layer.type == "Input" else None
        if found:
            layer.transform_param.CopyFrom(_transform(run, found))
    # A stand-in has names of its own.
    labels = next((stream.feed.labels for stream in feeding.streams if stream.feed.labels), graph.labels)
    if labels:
        files.write_text(run.labels, "".join(f"{label}\n" for label in labels))
        net.label_file = run.labels.name
    files.write_text(run.deploy, text.print_message(net))


def _transform(run: Run, found: Preprocessing) -> TransformationParameter:
    """The transform_param of an Input that takes pictures so prepared."""
    message = TransformationParameter()
    if found.scale != 1:
        message.scale = found.scale
    if found.crop:
        message.crop_size = found.crop
        message.resize_height, message.resize_width = found.size
    if found.resize_mode != "SQUASH":
        message.resize_mode = TransformationParameter.ResizeMode.Value(found.resize_mode)
    if found.fill:
        message.fill_value = found.fill
    if found.std is not None:
        message.std_value.extend(found.std.ravel().tolist())
    if found.order == "RGB":
        message.channel_order = TransformationParameter.RGB
    if found.mean is not None and found.mean.shape[1:] == (1, 1):
        message.mean_value.extend(found.mean.ravel().tolist())
    elif found.mean is not None:
        data.write_mean(run.mean, found.mean)
        message.mean_file = run.mean.name
    return message


def _net_text(net: NetFile) -> str:
    return text.print_tree(net.tree) if net.tree else text.print_message(net.message)
