"""The vocabulary: every layer type, one file a family.

Importing this folder fills the catalogue of `nktc.ir`. A type holds its settings as Caffe means them and its
rules: shapes, weights, the torch forward with Caffe's values and gradients, the ONNX form, the cost. `fill`
starts a weight that `check_filler` accepts; `table` and `explain` print the catalogue;
`allow_python` lets layers of type Python run the code that they name, `in_process` as a part of the program.
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
from nktc.layers.bn import BN
from nktc.layers.by_channel import Axpy, BroadcastMul
from nktc.layers.catalogue import explain, find, table
from nktc.layers.center_loss import CenterLoss
from nktc.layers.clips import VideoData
from nktc.layers.combine import Concat, Eltwise, MatMul
from nktc.layers.convolution import Convolution
from nktc.layers.crop import Crop, Tile
from nktc.layers.ctc import CTCLoss, CtcLoss, LabelsequenceAccuracy
from nktc.layers.ctpn_lstm import ContinuationIndicator, Lstm
from nktc.layers.data_types import AnnotatedData, HDF5Data, ImageData, MemoryData, WindowData
from nktc.layers.deconvolution import Deconvolution
from nktc.layers.depthwise import ConvolutionDepthwise, DepthwiseConvolution
from nktc.layers.detection import DetectionBoxes, DetectionOutput
from nktc.layers.distance_loss import ContrastiveLoss, EuclideanLoss, HingeLoss, L1Loss, SmoothL1Loss
from nktc.layers.dropout import Dropout, SpatialDropout
from nktc.layers.embed import Embed
from nktc.layers.filler import check_filler, fill
from nktc.layers.global_pooling import GlobalPooling
from nktc.layers.hard_examples import BoxAnnotatorOHEM, SmoothL1LossOHEM, SoftmaxWithLossOHEM
from nktc.layers.hdf5_output import HDF5Output
from nktc.layers.im2col import Im2col
from nktc.layers.inner_product import InnerProduct
from nktc.layers.input import Data, Dataset, DummyData, Input, Part
from nktc.layers.interp import Interp
from nktc.layers.loss import InfogainLoss, MultinomialLogisticLoss, SigmoidCrossEntropyLoss, SoftmaxWithLoss
from nktc.layers.normalize import LRN, MVN, GroupNorm, LayerNorm
from nktc.layers.over_ranks import alone
from nktc.layers.parameter import Parameter
from nktc.layers.permute import Permute
from nktc.layers.pixel_labels import DenseImageData, ImageSegData, LabelledPixels
from nktc.layers.pooling import Pooling, PoolingND
from nktc.layers.precision import TORCH, Cast, Quantize
from nktc.layers.priors import PriorBox
from nktc.layers.proposal import Proposal
from nktc.layers.python import Python, allow_python, in_process
from nktc.layers.python_blob import CaffeLayer
from nktc.layers.python_caffe import CaffeForm
from nktc.layers.r2_score import R2Score
from nktc.layers.rearrange import Flip, Padding, Reorg, Reverse, ShuffleChannel, Transpose
from nktc.layers.recurrent import LSTM, RNN, LSTMUnit
from nktc.layers.reduce import Reduction
from nktc.layers.relu6 import CReLU, ReLU6
from nktc.layers.reshape import Flatten, Reshape
from nktc.layers.resize import PixelShuffle, Resize
from nktc.layers.roi import PSROIPooling, ROIPooling
from nktc.layers.scale import Bias, Scale
from nktc.layers.seg_accuracy import SegAccuracy
from nktc.layers.select import ArgMax, BatchReindex, Filter
from nktc.layers.selu import SELU, SeLU, SeLu, SeLuDropout
from nktc.layers.softmax import Softmax
from nktc.layers.split import MatWrite, Silence, Slice, Split
from nktc.layers.spp import SPP
from nktc.layers.suppression import Choice
from nktc.layers.table_data import TableData
from nktc.layers.unit_norm import Normalize
from nktc.layers.upsample import UnPooling, Unpooling, Upsample
from nktc.layers.volume import Convolution3D, Deconvolution3D, Pooling3D
from nktc.layers.yolo import YoloDetectionOutput, Yolov3DetectionOutput

__all__ = [
    "BN",
    "BNLL",
    "ELU",
    "GELU",
    "LRN",
    "LSTM",
    "MVN",
    "RNN",
    "SELU",
    "SPP",
    "TORCH",
    "AbsVal",
    "Accuracy",
    "AnnotatedData",
    "ArgMax",
    "Attention",
    "Axpy",
    "BatchNorm",
    "BatchReindex",
    "Bias",
    "BoxAnnotatorOHEM",
    "BroadcastMul",
    "CReLU",
    "CTCLoss",
    "CaffeForm",
    "CaffeLayer",
    "Cast",
    "CenterLoss",
    "Choice",
    "Clip",
    "Concat",
    "ContinuationIndicator",
    "ContrastiveLoss",
    "Convolution",
    "Convolution3D",
    "ConvolutionDepthwise",
    "Crop",
    "CtcLoss",
    "Data",
    "Dataset",
    "Deconvolution",
    "Deconvolution3D",
    "DenseImageData",
    "DepthwiseConvolution",
    "DetectionBoxes",
    "DetectionOutput",
    "Dropout",
    "DummyData",
    "Eltwise",
    "Embed",
    "EuclideanLoss",
    "Exp",
    "Filter",
    "Flatten",
    "Flip",
    "GlobalPooling",
    "GroupNorm",
    "HDF5Data",
    "HDF5Output",
    "HardSwish",
    "HingeLoss",
    "Im2col",
    "ImageData",
    "ImageSegData",
    "InfogainLoss",
    "InnerProduct",
    "Input",
    "Interp",
    "L1Loss",
    "LSTMUnit",
    "LabelledPixels",
    "LabelsequenceAccuracy",
    "LayerNorm",
    "Log",
    "Lstm",
    "MatMul",
    "MatWrite",
    "MemoryData",
    "MultinomialLogisticLoss",
    "Normalize",
    "PReLU",
    "PSROIPooling",
    "Padding",
    "Parameter",
    "Part",
    "Permute",
    "PixelShuffle",
    "Pooling",
    "Pooling3D",
    "PoolingND",
    "Power",
    "PriorBox",
    "Proposal",
    "Python",
    "Quantize",
    "R2Score",
    "ROIPooling",
    "ReLU",
    "ReLU6",
    "Reduction",
    "Reorg",
    "Reshape",
    "Resize",
    "Reverse",
    "Scale",
    "SeLU",
    "SeLu",
    "SeLuDropout",
    "SegAccuracy",
    "ShuffleChannel",
    "SiLU",
    "Sigmoid",
    "SigmoidCrossEntropyLoss",
    "Silence",
    "Slice",
    "SmoothL1Loss",
    "SmoothL1LossOHEM",
    "Softmax",
    "SoftmaxWithLoss",
    "SoftmaxWithLossOHEM",
    "Softplus",
    "SpatialDropout",
    "Split",
    "Swish",
    "TableData",
    "TanH",
    "Threshold",
    "Tile",
    "Transpose",
    "UnPooling",
    "Unpooling",
    "Upsample",
    "VideoData",
    "WindowData",
    "YoloDetectionOutput",
    "Yolov3DetectionOutput",
    "allow_python",
    "alone",
    "check_filler",
    "explain",
    "fill",
    "find",
    "in_process",
    "table",
]
