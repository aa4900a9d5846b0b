"""What is legal in a net and hardly meant: `lint` tells it as NktcWarnings."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message

from nktc import reader
from nktc.errors import NktcWarning, Note, in_order
from nktc.ir import Graph, Node, Phase
from nktc.reader import NetFile

RANDOM = ("gaussian", "uniform", "xavier", "msra", "positive_unitball", "gaussian_unitball")
"""Fillers that leave a weight useless until it is learned or loaded."""

WATCHED = ("Accuracy", "ArgMax", "DetectionEvaluate", "DetectionOutput", "R2Score", "Softmax")
"""Types whose tops are there to be looked at."""

MOST_NAMES = 3  # of layers in one message


def lint(net: NetFile, graph: Graph) -> list[NktcWarning]:
    """What is suspect in a net and in a graph built of it."""
    found = [
        *(reader.in_vain(net.tree) if net.tree else ()),
        *_old_spelling(net),
        *_rules(net),
        *_names(graph),
        *_overwritten(graph),
        *_fillers(graph),
    ]
    if graph.phase is Phase.TRAIN:
        found += [*_losses(graph), *_unused(graph), *_stays_random(graph), *_gradients(graph)]
    return in_order(found)


def _old_spelling(net: NetFile) -> Iterator[NktcWarning]:
    """layers { ... } and input: are those of older Caffes."""
    old = {"layers": "layer", "input": "an Input layer"}
    first = next((found for found in net.tree.fields if found.name in old), None) if net.tree else None
    if first:
        message = f"{first.name} is an old spelling of {old[first.name]}"
        help = f"nktc upgrade {net.path} writes today's"
        yield NktcWarning(message, at=first.extent(), help=help, code="old-spelling")


def _rules(net: NetFile) -> Iterator[NktcWarning]:
    """Rules whose conditions exclude each other."""
    for layer, tree in zip(net.message.layer, net.trees, strict=True):
        for kind in ("include", "exclude"):
            for i, rule in enumerate(getattr(layer, kind)):
                both = sorted({*rule.stage} & {*rule.not_stage})
                if both:
                    why = f'stage "{both[0]}" is asked for and excluded'
                elif rule.HasField("min_level") and rule.HasField("max_level") and rule.min_level > rule.max_level:
                    why = f"min_level {rule.min_level} is above max_level {rule.max_level}"
                else:
                    continue
                texts = [*tree.all(kind)] if tree else []
                at = texts[i].extent() if i < len(texts) else None
                yield NktcWarning(
                    f'this rule of layer "{layer.name}" never holds: {why}', at=at, code="rule-never-holds"
                )


def _names(graph: Graph) -> Iterator[NktcWarning]:
    first: dict[str, Node] = {}
    for node in graph:
        name = node.definition.name if node.definition else ""
        if name in first:
            note = Note("the first is here", first[name].locate("name"))
            message = f'two layers are called "{name}"'
            help = "weight files know layers by name: give each its own"
            yield NktcWarning(message, at=node.locate("name"), notes=[note], help=help, code="same-name")
        elif name:
            first[name] = node


def _overwritten(graph: Graph) -> Iterator[NktcWarning]:
    """Blobs that are taken as they are and then worked on in place: Caffe has one memory for both."""
    takers = _takers(graph)
    weights = dict(graph.losses)
    for node in graph:
        tops = node.definition.top if node.definition else ()
        for value, bottom in zip(node.inputs, node.definition.bottom if node.definition else (), strict=True):
            if bottom not in tops:
                continue
            other = next((taker for taker in takers[value.name] if taker is not node), None)
            if not other and value.name not in weights:
                continue
            why = f'which "{other.name}" takes' if other else f"which weighs {weights[value.name]:g} in the loss,"
            message = f'{node.type} "{node.name}" overwrites "{bottom}", {why} as it was before'
            notes = [Note(f'"{other.name}" is here', other.locate("name"))] if other else []
            help = "Caffe refuses this: give it a top of its own"
            yield NktcWarning(message, at=node.locate("top"), notes=notes, help=help, code="overwritten")


def _takers(graph: Graph) -> dict[str, list[Node]]:
    """The nodes that take each value, by its name."""
    takers: dict[str, list[Node]] = {value: [] for value in graph.values}
    for node in graph:
        for value in node.inputs:
            takers[value.name].append(node)
    return takers


def _fillers(graph: Graph) -> Iterator[NktcWarning]:
    for node in graph:
        for param in node.layer.param:
            settings = getattr(node.definition, param, None)
            if not isinstance(settings, Message) or "bias_filler" not in settings.DESCRIPTOR.fields_by_name:
                continue
            if settings.HasField("bias_filler") and "bias" not in node.weights:
                message = f'{node.type} "{node.name}" has a bias_filler and no bias'
                at, help = node.locate("bias_filler"), "set bias_term: true, or leave the bias_filler out"
                yield NktcWarning(message, at=at, help=help, code="unused-filler")


def _losses(graph: Graph) -> Iterator[NktcWarning]:
    """A loss of weight 0 beside one that counts is there to be looked at."""
    for node in graph if not graph.losses else ():
        if node.layer.loss:
            message = f'{node.type} "{node.name}" weighs 0, so nothing is learned from it'
            at = node.locate("loss_weight") or node.at
            yield NktcWarning(message, at=at, help="leave loss_weight out for 1", code="weightless-loss")


def _unused(graph: Graph) -> Iterator[NktcWarning]:
    """Layers of a net that learns whose work ends nowhere."""
    if not graph.losses:
        return
    learning, takers, ends = _learning(graph), _takers(graph), set()
    weights = {name for node in graph if node.name in learning for name in node.weights.values()}
    for node in reversed(graph.nodes):
        if node.layer.source or node.type in WATCHED or node.name in learning:
            continue
        followers = {taker.name for value in node.outputs for taker in takers[value.name]}
        if node.outputs and not followers and not node.layer.loss:
            ends.add(node.name)
            message = f'nothing takes the top "{node.outputs[0].name}" of {node.type} "{node.name}"'
            help = "connect it, leave the layer out, or end it in a Silence layer"
            yield NktcWarning(message, at=node.locate("top"), help=help, code="unused-top")
        if followers & ends:
            ends.add(node.name)
        elif node.name not in ends and any(
            graph.parameters[name].learns and name not in weights for name in node.weights.values()
        ):
            message = f'no loss depends on {node.type} "{node.name}", so its weights never change'
            yield NktcWarning(message, at=node.at, help="set lr_mult: 0 if it is meant", code="no-gradient")


def _learning(graph: Graph) -> set[str]:
    """The names of the nodes that a gradient reaches."""
    reached = {name for name, _ in graph.losses}
    found = set()
    for node in reversed(graph.nodes):
        if any(value.name in reached for value in node.outputs):
            found.add(node.name)
            back = node.propagate or (True,) * len(node.inputs)
            reached |= {value.name for value, goes in zip(node.inputs, back, strict=True) if goes}
    return found


def _gradients(graph: Graph) -> Iterator[NktcWarning]:
    """In-place layers that something learns through by a gradient that is not theirs."""
    learning = _learning(graph)
    behind: set[str] = set()  # values that depend on a weight that learns
    for node in graph:
        learns = any(graph.parameters[name].learns for name in node.weights.values())
        through = any(value.name in behind for value in node.inputs)
        if learns or through:
            behind |= {value.name for value in node.outputs}
        if through and node.name in learning and getattr(node.layer, "overwrites", False):
            message = f'{node.type} "{node.name}" in place passes the gradient of its output, not of its input'
            help = "Caffe computes the same: give it a top of its own to learn better"
            yield NktcWarning(message, at=node.locate("top"), help=help, code="in-place-gradient")


def _stays_random(graph: Graph) -> Iterator[NktcWarning]:
    """One warning a net: a net that is fine-tuned has many such layers."""
    frozen = [
        node
        for node in graph
        for name in node.weights.values()
        if (p := graph.parameters[name]).layer == node.name
        and p.weight.learns
        and p.lr_mult == 0
        and p.weight.filler.type in RANDOM
    ]
    if not frozen:
        return
    names = [*dict.fromkeys(f'"{node.name}"' for node in frozen)]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    message = f"lr_mult 0 leaves weights as random as they start in {', '.join(names[:MOST_NAMES])}{more}"
    at = frozen[0].locate("param.lr_mult") or frozen[0].at
    yield NktcWarning(message, at=at, help="right where weights are loaded with --weights", code="frozen-random")
