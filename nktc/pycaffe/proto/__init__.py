"""Caffe's messages by the module name that scripts know: `from caffe.proto import caffe_pb2`."""
