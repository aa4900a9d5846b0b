"""Nets inside binary files: every dialect is read as what it says, and none is mistaken for another."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from nktc import reader, text
from nktc.errors import NktcError, Source
from nktc.ir import Phase
from nktc.schema import NetParameter
from nktc.text import parse

# A message, written by hand: numbers and values. A float is 32 bits, an int a varint, a str or bytes its bytes, a
# list a message inside.
Value = float | int | str | bytes | list
Said = Sequence[tuple[int, Value]]


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encoded(said: Said) -> bytes:
    parts = []
    for number, value in said:
        if isinstance(value, float):
            parts.append(varint(number << 3 | 5) + struct.pack("<f", value))
        elif isinstance(value, int):
            parts.append(varint(number << 3) + varint(value))
        else:
            data = encoded(value) if isinstance(value, list) else value.encode() if isinstance(value, str) else value
            parts.append(varint(number << 3 | 2) + varint(len(data)) + data)
    return b"".join(parts)


def net(*layers: Said, name: str = "n", number: int = 100) -> bytes:
    return encoded([(1, name), *((number, [*layer]) for layer in layers)])


INPUT = [(1, "x"), (2, "Input"), (4, "x"), (143, [(1, [(1, 1), (1, 6), (1, 4), (1, 4)])])]


@pytest.fixture
def said(tmp_path: Path):
    """The text of the net in a file of these bytes, on one line a layer."""

    def said(data: bytes, dialect: str = "") -> str:
        path = tmp_path / "net.caffemodel"
        path.write_bytes(data)
        return text.print_tree(reader.read_tree(path, dialect))

    return said


def layer(kind: str, *more: tuple[int, Value]) -> Said:
    return [(1, "a"), (2, kind), (3, "x"), (4, "y"), *more]


def has(printed: str, *words: str) -> None:
    plain = " ".join(printed.split())
    for word in words:
        assert word in plain, plain


def test_a_binary_net_says_what_the_text_says(tmp_path: Path, said) -> None:
    prototxt = """
        name: "lenet" force_backward: true
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 28 dim: 28 } } }
        layer { name: "c" type: "Convolution" bottom: "x" top: "c" param { lr_mult: 0.1 } include { stage: "a\\"b\\n" }
                convolution_param { num_output: 20 pad: 1 pad: 2 kernel_size: 5
                                    weight_filler { type: "xavier" std: 1e-05 } } }
        layer { name: "e" type: "Eltwise" bottom: "c" top: "e" eltwise_param { operation: SUM coeff: -1.5 } }
        layer { name: "r" type: "Reduction" bottom: "c" top: "r" reduction_param { axis: -1 } loss_weight: 1 }
    """
    tree = parse(Source("", prototxt))
    message = text.bind(tree, NetParameter)
    printed = said(message.SerializeToString())
    assert text.bind(parse(Source("", printed)), NetParameter) == message


def test_weights_are_passed_over_unread(tmp_path: Path) -> None:
    blob = encoded([(7, [(1, 4)]), (5, np.zeros(4, "<f4").tobytes())])
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net(INPUT, [*layer("InnerProduct"), (117, [(1, 4), (2, 0)]), (7, blob), (7, b"\xff\xff")]))
    found = reader.read_net(path)
    assert [len(one.blobs) for one in found.message.layer] == [0, 0]
    assert [value.shape for value in reader.build(found, Phase.TEST).outputs] == [(1, 4)]


@pytest.mark.parametrize(
    ("fork", "layers", "words"),
    [
        ("BVLC", [layer("LSTM", (146, [(1, 3)]))], ["recurrent_param { num_output: 3 }"]),
        (
            "NVIDIA",
            [layer("LSTM", (145, 2), (151, [(1, 3)]))],
            ["forward_type: FLOAT16", "recurrent_param { num_output: 3 }"],
        ),
        ("BVLC", [layer("Parameter", (145, [(1, [(1, 3)])]))], ["parameter_param { shape { dim: 3 } }"]),
        ("BVLC", [layer("Clip", (148, [(1, -1.0), (2, 2.0)]))], ["clip_param { min: -1 max: 2 }"]),
        ("Intel", [layer("SmoothL1Loss", (148, [(1, 2.0)]))], ["smooth_l1_loss_param { sigma: 2 }"]),
        ("SSD", [layer("Permute", (202, [(1, 0), (1, 2)]))], ["permute_param { order: 0 order: 2 }"]),
        ("caffe-windows", [layer("Permute", (224, [(1, 0), (1, 2)]))], ["permute_param { order: 0 order: 2 }"]),
        (
            "caffe-windows",
            [layer("BN", (200, [(1, [(1, "constant")]), (4, 0.5)]))],
            ['slope_filler { type: "constant" } eps: 0.5'],
        ),
        (
            "SegNet",
            [layer("BN", (45, [(1, [(1, "constant")]), (3, 1)]))],
            ['scale_filler { type: "constant" } bn_mode: INFERENCE'],
        ),
        ("PSPNet", [layer("Interp", (143, [(1, 60), (2, 61)]))], ["interp_param { height: 60 width: 61 }"]),
        ("CTPN", [layer("Lstm", (140, [(1, 128)]))], ["lstm_param { num_output: 128 }"]),
        ("BVLC", [layer("ELU", (140, [(1, 0.5)]))], ["elu_param { alpha: 0.5 }"]),
        (
            "C3D-1.1",
            [layer("Pooling3D", (6662, [(2, 3), (5, 2)]))],
            ["pooling3d_param { kernel_size: 3 kernel_depth: 2 }"],
        ),
        ("MobileNet-YOLO", [layer("Upsample", (150, [(1, 2)]))], ["upsample_param { scale: 2 }"]),
        ("MobileNet-YOLO", [layer("Yolov3", (603, [(1, 13), (11, 10.0)]))], ["yolov3_param { side: 13 biases: 10 }"]),
        ("Intel", [layer("Reorg", (159, [(1, 2)]))], ["reorg_param { stride: 2 }"]),
        (
            "Intel",
            [layer("Convolution", (106, [(1, 8), (15, 4), (19, 1)]))],
            ["num_output: 8 engine: MKLDNN relu: true"],
        ),
    ],
)
def test_a_forks_file_is_told_by_what_is_in_it(said, fork: str, layers: list[Said], words: list[str]) -> None:
    printed = said(net(*layers))
    has(printed, *words)
    assert said(net(*layers), fork) == printed


def test_layers_of_2014_have_each_forks_types_and_numbers(said) -> None:
    def old(kind: int, *more: tuple[int, Value]) -> Said:
        return [(2, "x"), (3, "y"), (4, "a"), (5, kind), *more]

    has(said(net(old(41, (43, [(3, 2)])), number=2)), "type: INTERP", "interp_param { zoom_factor: 2 }")
    has(said(net(old(42, (43, [(1, [(5, 1.0)])])), number=2)), "type: BN", "bn_param { slope_filler { mean: 1 } }")
    # In C3D's a convolution's stride is what in BVLC's is its weight_filler.
    wide = [(1, 64), (4, 3), (6, 3), (7, 1), (8, 1), (9, [(1, "gaussian")])]
    printed = said(net(old(30, (10, wide)), number=2))
    has(printed, "type: CONVOLUTION3D", "kernel_depth: 3 stride: 1 temporal_stride: 1 weight_filler")
    has(said(net(old(4, (10, [(1, 64), (6, 3), (7, [(1, "gaussian")])])), number=2)), "stride: 3 weight_filler")
    plain = [(1, 64), (4, 3), (7, 2), (9, [(1, "gaussian")])]
    has(said(net(old(4, (10, plain)), number=2)), "type: CONVOLUTION", "stride: 2 weight_filler")


def test_a_layer_of_2013_in_a_binary_file_is_read(tmp_path: Path) -> None:
    inner = [(1, "c"), (2, "conv"), (3, 4), (8, 3), (50, b"junk")]
    path = tmp_path / "old"
    path.write_bytes(
        encoded([(1, "n"), (3, "x"), *((4, n) for n in (1, 2, 8, 8)), (2, [(1, inner), (2, "x"), (3, "c")])])
    )
    graph = reader.build(reader.read_net(path), Phase.TEST)
    assert [value.shape for value in graph.outputs] == [(1, 4, 6, 6)]


def test_a_file_that_could_mean_two_things_is_refused_unless_its_dialect_is_named(said) -> None:
    # 13 is how Caffe rounds sizes, and whether Intel's counts the padding.
    pooled = net(INPUT, layer("Pooling", (121, [(2, 2), (3, 2), (13, 1)])))
    with pytest.raises(NktcError) as refusal:
        said(pooled)
    assert refusal.value.code == "dialect"
    assert "may be in the dialect of BVLC or Intel, and is not the same net in each" in refusal.value.message
    assert "--dialect NAME" in refusal.value.help
    has(said(pooled, "BVLC"), "round_mode: FLOOR")
    has(said(pooled, "Intel"), "avg_include_pad: true")
    # With a layer that only one of them has it is clear.
    has(
        said(net(INPUT, layer("Pooling", (121, [(2, 2), (13, 1)])), layer("Reorg", (159, [(1, 2)])))), "avg_include_pad"
    )


def test_region_nets_of_r_fcn_and_faster_r_cnn_are_told_by_their_layers(said) -> None:
    pooled = layer("PSROIPooling", (10001, [(1, 0.0625), (2, 21), (3, 7)]))
    has(said(net(INPUT, pooled)), "psroi_pooling_param { spatial_scale: 0.0625 output_dim: 21 group_size: 7 }")
    pooled = layer("ROIPooling", (8266711, [(1, 6), (2, 7)]))
    has(said(net(INPUT, pooled)), "roi_pooling_param { pooled_h: 6 pooled_w: 7 }")


def test_bn_and_dilation_of_tsn_have_its_numbers(said) -> None:
    made = net(
        INPUT,
        layer("BN", (137, [(3, 0.5), (5, 1)])),
        layer("Convolution", (106, [(1, 2), (4, 1), (16, 2)])),
        layer("Scale", (160, [(4, 1)])),
    )
    has(said(made), "bn_param { momentum: 0.5 frozen: true }")
    has(said(made), "dilation: 2")
    has(said(made), "scale_param { bias_term: true }")


def test_a_net_that_was_written_here_is_no_forks(said) -> None:
    """Without its producer this is the net of the test before."""
    pool = [(1, "p"), (2, "Pooling"), (3, "x"), (4, "y"), (121, [(2, 2), (3, 2), (13, 1)])]
    assert "round_mode: FLOOR" in said(encoded([(1, "n"), (100, [*pool]), (20002, "nktc")]))
    assert "producer" not in said(encoded([(1, "n"), (20002, "nktc"), (100, [*pool])]))


def test_a_dialect_that_is_none_is_refused_with_a_near_name(said) -> None:
    with pytest.raises(NktcError, match='no dialect "Nvidia"') as refusal:
        said(net(INPUT), "Nvidia")
    assert refusal.value.help == 'did you mean "NVIDIA"?'


def test_fields_that_no_fork_is_known_to_have_are_left_out_and_told_of(tmp_path: Path) -> None:
    path = tmp_path / "n.caffemodel"
    path.write_bytes(net(INPUT, layer("ReLU", (123, [(1, 0.5), (77, 3)]), (9999, "what"))))
    found = reader.read_net(path)
    assert found.message.layer[1].relu_param.negative_slope == 0.5
    assert found.tree
    (warning,) = reader.in_vain(found.tree)
    assert (
        warning.message
        == "field 9999 of layer is of no known dialect of Caffe and left out, and others in 1 more places"
    )
    assert warning.code == "fork-no-effect"


def test_the_phase_that_a_snapshot_notes_in_every_layer_is_not_the_nets_own(said) -> None:
    everywhere = net([*INPUT, (10, 0)], layer("Dropout", (10, 0)))
    assert "phase" not in said(everywhere)
    has(said(net(INPUT, layer("Dropout", (10, 0)))), "phase: TRAIN")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (net(INPUT)[:-3], "is neither a prototxt nor a whole .caffemodel: field 100 at byte 3 has"),
        (encoded([(1, "a"), (2, 5)]), "is no net"),
        (b"\x00" * 50, "is neither a prototxt nor a whole .caffemodel: there is no field 0"),
        (b"\x12\x01a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "has 9223372036854775807 bytes"),
    ],
)
def test_what_is_no_net_is_refused_in_words(said, data: bytes, words: str) -> None:
    with pytest.raises(NktcError) as refusal:
        said(data)
    assert words in refusal.value.message


def test_damage_of_any_byte_is_refused_or_read(tmp_path: Path) -> None:
    convolution = layer("Convolution", (106, [(1, 8), (4, 3), (7, [(1, "xavier")])]))
    whole = net(INPUT, convolution, layer("LSTM", (146, [(1, 3)])))
    path = tmp_path / "n.caffemodel"
    random = np.random.default_rng(0)
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([random.integers(256)]) + whole[place + 1 :])
        try:
            reader.read_net(path)
        except NktcError:
            continue


def test_the_trained_models_nets_are_read_from_their_weight_files(shared: Path) -> None:
    found = {path.parent.name: reader.read_net(path) for path in sorted(shared.glob("models/*/*.caffemodel"))}
    assert {name: len(one.message.layer) for name, one in found.items()} == {
        "lenet_mnist": 9,
        "mtcnn_det1": 18,
        "mtcnn_det2": 22,
        "ultraface_slim320": 100,
        "wechat_qrcode_detect": 204,
    }
    graph = reader.build(found["ultraface_slim320"], Phase.TEST)
    assert [value.shape for value in graph.outputs] == [(1, 4420, 4), (1, 4420, 2)]
    assert reader.build(found["wechat_qrcode_detect"], Phase.TEST).outputs[0].shape[-1] == 7
