"""The vocabulary: every layer type, one file a family.

Importing this folder fills the catalogue of `nktc.ir`. A type holds its settings as Caffe means them and its
rules: shapes, weights, the torch forward with Caffe's values and gradients, the ONNX form, the cost. `fill`
starts a weight; `table` and `explain` print the catalogue.
"""

from nktc.layers.accuracy import Accuracy
from nktc.layers.activation import ReLU, Sigmoid, TanH
from nktc.layers.batch_norm import BatchNorm
from nktc.layers.catalogue import explain, find, table
from nktc.layers.combine import Concat, Eltwise
from nktc.layers.convolution import Convolution
from nktc.layers.dropout import Dropout
from nktc.layers.filler import fill
from nktc.layers.inner_product import InnerProduct
from nktc.layers.input import Data, Dataset, DummyData, Input
from nktc.layers.loss import EuclideanLoss, SoftmaxWithLoss
from nktc.layers.normalize import LRN
from nktc.layers.pooling import Pooling
from nktc.layers.reshape import Flatten, Reshape
from nktc.layers.scale import Scale
from nktc.layers.softmax import Softmax

__all__ = [
    "LRN",
    "Accuracy",
    "BatchNorm",
    "Concat",
    "Convolution",
    "Data",
    "Dataset",
    "Dropout",
    "DummyData",
    "Eltwise",
    "EuclideanLoss",
    "Flatten",
    "InnerProduct",
    "Input",
    "Pooling",
    "ReLU",
    "Reshape",
    "Scale",
    "Sigmoid",
    "Softmax",
    "SoftmaxWithLoss",
    "TanH",
    "explain",
    "fill",
    "find",
    "table",
]
