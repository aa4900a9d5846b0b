"""Channel shuffles, which exporters write as three operators, as the one layer that they are."""

from __future__ import annotations

from nktc.ir import Graph, Node, rewrite
from nktc.layers import Permute, Reshape, ShuffleChannel
from nktc.schema import LayerParameter, ShuffleChannelParameter


def recognise_shuffles(graph: Graph) -> Graph:
    """Reshape [n g c p..], Permute of g and c, Reshape back => ShuffleChannel(g)."""
    for node in [node for node in graph if isinstance(node.layer, Permute)]:
        before = graph.producers[node.inputs[0].name]
        behind = graph.only_reader(node.outputs[0].name)
        alone = graph.only_reader(node.inputs[0].name)
        if alone is not node or behind is None or not all(isinstance(n.layer, Reshape) for n in (before, behind)):
            continue
        x, parts = before.inputs[0].shape, before.outputs[0].shape
        axes = len(parts)
        assert isinstance(node.layer, Permute)
        swapped = axes > 3 and node.layer.along(axes) == (0, 2, 1, *range(3, axes))
        if not swapped or parts != (x[0], parts[1], x[1] // parts[1], *x[2:]) or behind.outputs[0].shape != x:
            continue
        group = parts[1]
        definition = LayerParameter(
            name=behind.name,
            type="ShuffleChannel",
            bottom=[before.inputs[0].name],
            top=[behind.outputs[0].name],
            shuffle_channel_param=ShuffleChannelParameter(group=group),
        )
        made = Node(behind.name, ShuffleChannel(group), before.inputs, behind.outputs, definition=definition)
        graph = rewrite.exchange(graph, {before.name, node.name, behind.name}, [made])
    return graph
