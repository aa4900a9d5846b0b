"""Inputs that a net can be tried on."""

from __future__ import annotations

import numpy as np

from nktc import engines

NET = """
    layer { name: "in" type: "Input" top: "x" top: "words" top: "which" top: "rois" input_param {
      shape { dim: 2 dim: 4 dim: 6 dim: 5 } shape { dim: 3 dim: 7 } shape { dim: 9 } shape { dim: 20 dim: 5 } } }
    layer { name: "embed" type: "Embed" bottom: "words" top: "e" embed_param { input_dim: 3 num_output: 2 } }
    layer { name: "pick" type: "BatchReindex" bottom: "x" bottom: "which" top: "p" }
    layer { name: "pool" type: "ROIPooling" bottom: "x" bottom: "rois" top: "r"
      roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.25 } }
"""


def test_what_is_looked_up_is_there(read):
    found = engines.noise(read(NET), 1, seed=3)
    assert {*found["words"].ravel()} == {0, 1, 2}
    assert {*found["which"]} == {0, 1}
    image, left, top, right, bottom = found["rois"].T
    assert {*image} == {0, 1}
    assert (left <= right).all()
    assert (top <= bottom).all()
    assert 0 <= left.min() < right.max() <= 16
    assert 0 <= top.min() < bottom.max() <= 20
    np.testing.assert_array_equal(found["x"], engines.random_inputs(read(NET).inputs, {}, 1, 3)["x"])


def test_every_run_begins_its_sequences(read):
    found = engines.noise(
        read("""
            layer { name: "in" type: "Input" top: "x" top: "cont" input_param {
              shape { dim: 9 dim: 4 dim: 3 } shape { dim: 9 dim: 4 } } }
            layer { name: "l" type: "LSTM" bottom: "x" bottom: "cont" top: "y" recurrent_param { num_output: 2 } }
        """),
        1,
        seed=0,
    )
    assert not found["cont"][0].any()
    assert {*found["cont"].ravel()} == {0, 1}


def test_a_picture_of_proposals_is_as_large_as_their_map(read):
    found = engines.noise(
        read("""
            layer { name: "in" type: "Input" top: "s" top: "o" top: "info" input_param {
              shape { dim: 1 dim: 2 dim: 6 dim: 5 } shape { dim: 1 dim: 4 dim: 6 dim: 5 } shape { dim: 1 dim: 3 } } }
            layer { name: "p" type: "Proposal" bottom: "s" bottom: "o" bottom: "info" top: "r"
              proposal_param { ratio: 1 scale: 2 feat_stride: 16 } }
        """),
        1,
        seed=0,
    )
    assert found["info"].tolist() == [[96, 80, 1]]


def test_regions_and_pictures_with_axes_of_one_behind_are_as_those_without(read):
    """Fast R-CNN's own nets have regions of four axes."""
    found = engines.noise(
        read("""
            layer { name: "in" type: "Input" top: "s" top: "o" top: "info" top: "rois" input_param {
              shape { dim: 1 dim: 2 dim: 6 dim: 5 } shape { dim: 1 dim: 4 dim: 6 dim: 5 }
              shape { dim: 1 dim: 3 dim: 1 dim: 1 } shape { dim: 7 dim: 5 dim: 1 dim: 1 } } }
            layer { name: "p" type: "Proposal" bottom: "s" bottom: "o" bottom: "info" top: "r"
              proposal_param { ratio: 1 scale: 2 feat_stride: 16 } }
            layer { name: "pool" type: "ROIPooling" bottom: "s" bottom: "rois" top: "y"
              roi_pooling_param { pooled_h: 2 pooled_w: 2 } }
        """),
        1,
        seed=0,
    )
    assert found["info"].tolist() == [[[[96]], [[80]], [[1]]]]
    assert found["rois"].shape == (7, 5, 1, 1)
    assert not found["rois"][:, 0].any()
    assert (found["rois"][:, 1:3] <= found["rois"][:, 3:]).all()


def test_what_a_split_hands_on_is_known_too(read):
    """Caffe writes a Split into the net of a snapshot where two layers take one input."""
    found = engines.noise(
        read("""
            layer { name: "in" type: "Input" top: "words" input_param { shape { dim: 40 } } }
            layer { name: "two" type: "Split" bottom: "words" top: "a" top: "b" }
            layer { name: "embed" type: "Embed" bottom: "b" top: "e" embed_param { input_dim: 3 num_output: 2 } }
        """),
        1,
        seed=0,
    )
    assert {*found["words"]} == {0, 1, 2}
