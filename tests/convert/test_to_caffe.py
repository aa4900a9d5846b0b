"""What forks and nktc have, said in BVLC's layers: the same values, and nothing that BVLC's schema lacks."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import answers, feeds

from nktc import convert
from nktc.convert.to_caffe import TYPES
from nktc.errors import NktcError
from nktc.ir import Graph, definition
from nktc.schema import wire_fields

DATA = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 6 dim: 5 } } }\n'
MEAN = 'layer { name: "a" type: "Pooling" bottom: "x" top: "a" pooling_param { pool: AVE global_pooling: true } }'
SAID = {
    "ReLU6": 'layer { name: "l" type: "ReLU6" bottom: "x" top: "x" }',
    "ReLU6 with a slope": 'layer { name: "l" type: "ReLU6" bottom: "x" top: "y" relu6_param { negative_slope: 0.1 } }',
    "HardSwish in place": 'layer { name: "r" type: "ReLU" bottom: "x" top: "c" }'
    ' layer { name: "l" type: "HardSwish" bottom: "c" top: "c" } layer { name: "m" type: "TanH" bottom: "c" top: "y" }',
    "SiLU": 'layer { name: "l" type: "SiLU" bottom: "x" top: "y" }',
    "Swish": 'layer { name: "l" type: "Swish" bottom: "x" top: "y" swish_param { beta: 1.5 } }',
    "GELU": 'layer { name: "l" type: "GELU" bottom: "x" top: "y" gelu_param { approximate: TANH } }',
    "Softplus": 'layer { name: "l" type: "Softplus" bottom: "x" top: "y" softplus_param { beta: 2 } }',
    "SeLu": 'layer { name: "l" type: "SeLu" bottom: "x" top: "y" }',
    "CReLU": 'layer { name: "l" type: "CReLU" bottom: "x" top: "y" }',
    "DepthwiseConvolution": 'layer { name: "l" type: "DepthwiseConvolution" bottom: "x" top: "y"'
    " convolution_param { num_output: 8 kernel_h: 3 kernel_w: 2 group: 4 pad: 1 } }",
    "ConvolutionDepthwise": 'layer { name: "l" type: "ConvolutionDepthwise" bottom: "x" top: "y"'
    " convolution_param { num_output: 4 kernel_size: 3 stride: 2 bias_term: false } }",
    "NVIDIA's BatchNorm": 'layer { name: "l" type: "BatchNorm" bottom: "x" top: "x"'
    " batch_norm_param { scale_bias: true } }",
    "Intel's BatchNorm": 'layer { name: "l" type: "BatchNorm" bottom: "x" top: "y"'
    " batch_norm_param { use_weight_bias: true relu: true } }",
    "SegNet's BN": 'layer { name: "l" type: "BN" bottom: "x" top: "y" bn_param { bn_mode: INFERENCE } }',
    "caffe-windows's BN": 'layer { name: "l" type: "BN" bottom: "x" top: "y" bn_param { momentum: 0.9 eps: 0.01 } }',
    "Axpy": MEAN + ' layer { name: "l" type: "Axpy" bottom: "a" bottom: "x" bottom: "x" top: "y" }',
    "BroadcastMul": MEAN + ' layer { name: "l" type: "BroadcastMul" bottom: "a" bottom: "x" top: "y" }',
    "ShuffleChannel": 'layer { name: "l" type: "ShuffleChannel" bottom: "x" top: "y"'
    " shuffle_channel_param { group: 2 } }",
    "PixelShuffle": 'layer { name: "l" type: "PixelShuffle" bottom: "x" top: "y"'
    " pixel_shuffle_param { upscale_factor: 2 } }",
    "Reorg": 'layer { name: "l" type: "Reorg" bottom: "x" top: "y" reorg_param { stride: 2 reverse: true } }',
    "Padding": 'layer { name: "l" type: "Padding" bottom: "x" top: "y" padding_param { pad_beg: 1 pad_end: 2 } }',
    "Resize": 'layer { name: "l" type: "Resize" bottom: "x" top: "y" resize_param { scale: 3 mode: LINEAR } }',
    "Resize to less": 'layer { name: "l" type: "Resize" bottom: "x" top: "y" resize_param { size: 4 mode: CUBIC } }',
    "Interp": 'layer { name: "l" type: "Interp" bottom: "x" top: "y" interp_param { zoom_factor: 2 } }',
    "Upsample": 'layer { name: "l" type: "Upsample" bottom: "x" top: "y" upsample_param { scale: 2 } }',
    "GlobalPooling": 'layer { name: "l" type: "GlobalPooling" bottom: "x" top: "y"'
    " global_pooling_param { keep_axes: false } }",
    "PoolingND": 'layer { name: "l" type: "PoolingND" bottom: "x" top: "y"'
    " pooling_nd_param { kernel_size: 3 stride: 2 round_mode: FLOOR } }",
    "Pooling rounded down": 'layer { name: "l" type: "Pooling" bottom: "x" top: "y"'
    " pooling_param { pool: AVE kernel_size: 2 stride: 2 round_mode: FLOOR } }",
    "Synopsys's Pooling": 'layer { name: "l" type: "Pooling" bottom: "x" top: "y"'
    " pooling_param { kernel_size: 2 stride: 2 ceil_mode: false } }",
}
REFUSED = {
    'GELU "l": it takes the error function': 'layer { name: "l" type: "GELU" bottom: "x" top: "y" }',
    'LayerNorm "l": no layers of BVLC Caffe do its work': 'layer { name: "l" type: "LayerNorm" bottom: "x" top: "y" }',
    'Permute "l": BVLC Caffe has no layer that moves axes': 'layer { name: "l" type: "Permute" bottom: "x" top: "y"'
    " permute_param { order: 0 order: 2 order: 3 order: 1 } }",
    'Normalize "l": no layers of BVLC Caffe do its work': 'layer { name: "l" type: "Normalize" bottom: "x" top: "y" }',
    'Reorg "l": Darknet': 'layer { name: "l" type: "Reorg" bottom: "x" top: "y" reorg_param { stride: 1 } }',
}


def drawn(graph: Graph) -> Graph:
    """The graph with weights that make values of a good size."""
    draw = np.random.default_rng(3)
    graph.arrays.update({name: draw.random(p.weight.shape, np.float32) + 0.25 for name, p in graph.parameters.items()})
    return graph


def foreign(message, dialect: str) -> list[str]:
    """The fields of a message that a dialect lacks."""
    known = {field.name for field in wire_fields(dialect, message.DESCRIPTOR.name).values()}
    found = [field.name for field, _ in message.ListFields() if field.name not in known]
    for field, value in message.ListFields():
        if field.message_type and field.name in known:
            for one in value if field.is_repeated else [value]:
                found += foreign(one, dialect)
    return found


@pytest.mark.parametrize("name", SAID)
def test_a_layer_is_said_with_those_of_bvlc_and_of_ssd(read, name):
    graph = drawn(read(DATA + SAID[name]))
    given = feeds(graph)
    expected = answers(graph, given)
    for dialect, called in convert.DIALECTS.items():
        written = convert.to_caffe(graph, dialect)
        assert {node.type for node in written} <= TYPES[dialect]
        assert not foreign(definition(written), called)
        found = answers(written, given)
        assert list(found) == list(expected)
        for blob, values in expected.items():
            np.testing.assert_allclose(found[blob], values, rtol=1e-5, atol=1e-5 * np.abs(values).max())


@pytest.mark.parametrize("reason", REFUSED)
def test_what_caffe_has_no_layers_for_is_refused_at_its_line(read, reason):
    with pytest.raises(NktcError) as raised:
        convert.to_caffe(drawn(read(DATA + REFUSED[reason])))
    assert f"net.prototxt:2:{REFUSED[reason].index('type') + 1}: error: {reason}" in str(raised.value)


def test_a_net_of_bvlcs_layers_stays_as_it_is(read):
    graph = drawn(
        read(
            DATA + 'layer { name: "c" type: "Convolution" bottom: "x" top: "c" param { name: "w" lr_mult: 2 }'
            ' convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }'
            ' layer { name: "r" type: "ReLU" bottom: "c" top: "c" }'
        )
    )
    assert definition(convert.to_caffe(graph)) == definition(graph)


def test_a_shuffle_in_three_layers_becomes_one_convolution(read):
    graph = read(
        DATA + 'layer { name: "a" type: "Reshape" bottom: "x" top: "a" reshape_param { shape {'
        " dim: 0 dim: 2 dim: 2 dim: 6 dim: 5 } } }"
        ' layer { name: "b" type: "Permute" bottom: "a" top: "b" permute_param { order: 0 order: 2 } }'
        ' layer { name: "c" type: "Reshape" bottom: "b" top: "c" reshape_param { shape {'
        " dim: 0 dim: 4 dim: 6 dim: 5 } } }"
    )
    given = feeds(graph)
    written = convert.to_caffe(graph)
    assert [(node.name, node.type) for node in written] == [("x", "Input"), ("c", "Convolution")]
    np.testing.assert_array_equal(answers(written, given)["c"], answers(graph, given)["c"])
