"""A net with fewer records to learn from."""

from __future__ import annotations

from dataclasses import replace

from nktc.errors import NktcError
from nktc.reader import NetFile
from nktc.schema import TEST, TRAIN, LayerParameter, NetParameter, Phase

LIMITED = ("Data", "Dataset", "ImageData", "TableData")
"""Types whose records a split_param can choose from."""


def limited(net: NetFile, records: int) -> NetFile:
    """The net with `records` of its training data, the first that the seed of its split_param draws. A layer that feeds
    both phases becomes two. Raises NktcErrors for data that cannot be limited."""
    message, trees = NetParameter(), []
    message.CopyFrom(net.message)
    del message.layer[:]
    limits = 0
    for layer, tree in zip(net.message.layer, net.trees, strict=True):
        phases = {rule.phase for rule in layer.include if rule.HasField("phase")} or {TRAIN, TEST}
        copies = [layer]
        if layer.type in LIMITED and TRAIN in phases:
            if layer.exclude or (layer.include and phases != {TRAIN}):
                help = "give it include { phase: TRAIN } alone, and the test's data a layer of its own"
                raise NktcError(f'which records of layer "{layer.name}" are for training is not told', help=help)
            copies = [_copy(layer, TRAIN, records)] + ([] if layer.include else [_copy(layer, TEST, None)])
            limits += 1
        message.layer.extend(copies)
        trees += [tree] * len(copies)
    if not limits:
        raise NktcError(
            f"{net.path or 'the net'} has no data that can be limited", help=f"that of {', '.join(LIMITED)} can"
        )
    return replace(net, message=message, trees=tuple(trees), tree=None, instances=())


def _copy(layer: LayerParameter, phase: Phase.ValueType, records: int | None) -> LayerParameter:
    made = LayerParameter()
    made.CopyFrom(layer)
    if not made.include:
        made.include.add().phase = phase
    if records:
        made.split_param.records = records
    return made
