"""Parameter."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nktc import ir, module
from nktc.ir import Graph

NET = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "w" type: "Parameter" top: "w" param { lr_mult: 2 } parameter_param { shape { dim: 2 dim: 3 } } }
    layer { name: "y" type: "Eltwise" bottom: "x" bottom: "w" top: "y" eltwise_param { operation: PROD } }
"""


def test_it_is_learned_and_nothing_feeds_it(read: Callable[..., Graph]) -> None:
    net = module.compile(read(NET))
    assert [value.name for value in net.graph.inputs] == ["x"]
    assert [(p.name, p.learns, p.lr_mult) for p in net.graph.parameters.values()] == [("w.value", True, 2)]
    held = net.tensor("w.value")
    assert held.tolist() == [[0] * 3] * 2, "as Caffe's, which has no filler"
    x = torch.arange(6.0).reshape(2, 3)
    net(x)["y"].sum().backward()
    torch.testing.assert_close(held.grad, x)


def test_a_filler_tells_how_it_starts(read: Callable[..., Graph]) -> None:
    net = NET.replace(
        'dim: 3 } } }\n    layer { name: "y"', 'dim: 3 } blob_filler { value: 4 } } }\n    layer { name: "y"'
    )
    assert module.compile(read(net)).tensor("w.value").tolist() == [[4] * 3] * 2


def test_the_listing_says_its_shape_once(read: Callable[..., Graph], golden: Callable[[object, str], None]) -> None:
    golden(
        ir.rewrite.keep(read(NET), ["w"]),
        """
        net net TEST
          w f32[2 3] = Parameter
        """,
    )


def test_one_without_a_shape_is_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("Parameter", "") == ("has no shape", 'type: "Parameter"')
    message, at = refusal("Parameter", "parameter_param { shape { dim: 2 dim: 0 } }")
    assert (message, at) == ("a dimension is 0", "dim: 0")
