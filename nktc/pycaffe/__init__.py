"""Caffe's Python interface, for scripts written for it: `import nktc.pycaffe as caffe`.

`NetSpec`, `layers` and `params` write nets in Python:

    from nktc.pycaffe import NetSpec, layers as L, params as P

    n = NetSpec()
    n.data, n.label = L.Data(source="train_lmdb", backend=P.Data.LMDB, batch_size=64, ntop=2)
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    print(n.to_proto())
"""

from nktc.pycaffe.net_spec import Function, NetSpec, SpecError, Top, layers, params, to_proto
from nktc.schema import TEST, TRAIN

__all__ = ["TEST", "TRAIN", "Function", "NetSpec", "SpecError", "Top", "layers", "params", "to_proto"]
