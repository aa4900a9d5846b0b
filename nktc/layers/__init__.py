"""The vocabulary: every layer type, one file a family.

Importing this folder fills the catalogue of `nktc.ir`. A type holds its settings as Caffe means them and its
rules: shapes, weights, the torch forward with Caffe's values and gradients, the ONNX form, the cost. `fill`
starts a weight that `check_filler` accepts; `table` and `explain` print the catalogue;
`allow_python` lets layers of type Python run the code that they name.
"""

from nktc.layers.accuracy import Accuracy
from nktc.layers.activation import (
    BNLL,
    ELU,
    GELU,
    HardSwish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Swish,
    TanH,
)
from nktc.layers.arithmetic import AbsVal, Clip, Exp, Log, Power, Threshold
from nktc.layers.attention import Attention
from nktc.layers.batch_norm import BatchNorm
from nktc.layers.catalogue import explain, find, table
from nktc.layers.combine import Concat, Eltwise, MatMul
from nktc.layers.convolution import Convolution
from nktc.layers.crop import Crop, Tile
from nktc.layers.data_types import AnnotatedData, HDF5Data, ImageData, MemoryData, WindowData
from nktc.layers.deconvolution import Deconvolution
from nktc.layers.distance_loss import ContrastiveLoss, EuclideanLoss, HingeLoss
from nktc.layers.dropout import Dropout
from nktc.layers.embed import Embed
from nktc.layers.filler import check_filler, fill
from nktc.layers.global_pooling import GlobalPooling
from nktc.layers.hdf5_output import HDF5Output
from nktc.layers.im2col import Im2col
from nktc.layers.inner_product import InnerProduct
from nktc.layers.input import Data, Dataset, DummyData, Input, Part
from nktc.layers.loss import InfogainLoss, MultinomialLogisticLoss, SigmoidCrossEntropyLoss, SoftmaxWithLoss
from nktc.layers.normalize import LRN, MVN, GroupNorm, LayerNorm
from nktc.layers.over_ranks import alone
from nktc.layers.parameter import Parameter
from nktc.layers.pooling import Pooling, PoolingND
from nktc.layers.precision import TORCH, Cast, Quantize
from nktc.layers.python import Python, allow_python
from nktc.layers.r2_score import R2Score
from nktc.layers.recurrent import LSTM, RNN, LSTMUnit
from nktc.layers.reduce import Reduction
from nktc.layers.reshape import Flatten, Reshape
from nktc.layers.resize import PixelShuffle, Resize
from nktc.layers.scale import Bias, Scale
from nktc.layers.select import ArgMax, BatchReindex, Filter
from nktc.layers.softmax import Softmax
from nktc.layers.split import Silence, Slice, Split
from nktc.layers.spp import SPP
from nktc.layers.table_data import TableData

__all__ = [
    "BNLL",
    "ELU",
    "GELU",
    "LRN",
    "LSTM",
    "MVN",
    "RNN",
    "SPP",
    "TORCH",
    "AbsVal",
    "Accuracy",
    "AnnotatedData",
    "ArgMax",
    "Attention",
    "BatchNorm",
    "BatchReindex",
    "Bias",
    "Cast",
    "Clip",
    "Concat",
    "ContrastiveLoss",
    "Convolution",
    "Crop",
    "Data",
    "Dataset",
    "Deconvolution",
    "Dropout",
    "DummyData",
    "Eltwise",
    "Embed",
    "EuclideanLoss",
    "Exp",
    "Filter",
    "Flatten",
    "GlobalPooling",
    "GroupNorm",
    "HDF5Data",
    "HDF5Output",
    "HardSwish",
    "HingeLoss",
    "Im2col",
    "ImageData",
    "InfogainLoss",
    "InnerProduct",
    "Input",
    "LSTMUnit",
    "LayerNorm",
    "Log",
    "MatMul",
    "MemoryData",
    "MultinomialLogisticLoss",
    "PReLU",
    "Parameter",
    "Part",
    "PixelShuffle",
    "Pooling",
    "PoolingND",
    "Power",
    "Python",
    "Quantize",
    "R2Score",
    "ReLU",
    "Reduction",
    "Reshape",
    "Resize",
    "Scale",
    "SiLU",
    "Sigmoid",
    "SigmoidCrossEntropyLoss",
    "Silence",
    "Slice",
    "Softmax",
    "SoftmaxWithLoss",
    "Softplus",
    "Split",
    "Swish",
    "TableData",
    "TanH",
    "Threshold",
    "Tile",
    "WindowData",
    "allow_python",
    "alone",
    "check_filler",
    "explain",
    "fill",
    "find",
    "table",
]
