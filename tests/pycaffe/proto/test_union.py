"""The messages that scripts see hold what any fork of Caffe says."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format

from nktc import schema
from nktc.pycaffe.proto import caffe_pb2

SSD = """name: "ssd"
layer {
  name: "data"
  type: "AnnotatedData"
  top: "data"
  transform_param {
    mirror: true
    resize_param {
      prob: 1.0
      resize_mode: WARP
      height: 300
      width: 300
      interp_mode: NEAREST
    }
    emit_constraint {
      emit_type: CENTER
    }
  }
  annotated_data_param {
    batch_sampler {
      sampler {
        min_scale: 0.3
      }
      max_trials: 50
    }
  }
}
"""


def any_class(name: str) -> Any:
    return getattr(caffe_pb2, name)


def test_a_net_of_a_fork_is_written_as_it_was_read() -> None:
    net = text_format.Parse(SSD, any_class("NetParameter")())
    assert text_format.MessageToString(net) == SSD
    again = any_class("NetParameter").FromString(net.SerializeToString())
    assert again.layer[0].transform_param.resize_param.height == 300
    assert again == net


def test_fields_of_a_fork_have_its_number_and_what_stands_for_them_unsaid() -> None:
    transform = any_class("TransformationParameter").DESCRIPTOR.fields_by_name
    assert transform["resize_param"].number == 8
    assert any_class("PoolingParameter")().axis == 1  # Intel's
    assert any_class("SolverParameter")(eval_type="detection").eval_type == "detection"


def test_constants_are_those_of_the_schema_and_of_the_forks() -> None:
    assert (caffe_pb2.TRAIN, caffe_pb2.TEST, caffe_pb2.Phase.Value("TEST")) == (0, 1, 1)
    assert caffe_pb2.PoolingParameter.AVE == schema.PoolingParameter.AVE
    assert any_class("EmitConstraint").MIN_OVERLAP == 1


def test_every_message_and_field_of_the_schema_is_there_with_its_number() -> None:
    for name, ours in schema.NetParameter.DESCRIPTOR.file.message_types_by_name.items():
        theirs = any_class(name).DESCRIPTOR.fields_by_name
        assert {f.name: f.number for f in ours.fields}.items() <= {f.name: f.number for f in theirs.values()}.items()


def test_every_field_of_a_fork_whose_type_is_known_is_there() -> None:
    for row in schema.every_fork_field():
        if row.message == "V1LayerParameter.LayerType":
            assert row.name in dict(any_class("V1LayerParameter").LayerType.items())
        elif row.type and row.type.split()[-1] != "ROIPooling":
            assert row.name in any_class(row.message.replace(".", "_")).DESCRIPTOR.fields_by_name, row
