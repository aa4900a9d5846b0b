"""Sums of products and sums over axes: Gemm, MatMul, normalisations, Softmax, reductions, ArgMax."""

from __future__ import annotations

from math import prod

import numpy as np

from nktc.convert.importing import Importing, rule
from nktc.convert.onnx_graph import Call
from nktc.convert.operators.windows import pool_all
from nktc.errors import LayerError
from nktc.ir import times
from nktc.schema import InnerProductParameter


@rule("Gemm")
def gemm(net: Importing, call: Call) -> None:
    """Gemm with a constant matrix -> InnerProduct."""
    weight = net.weight(call, 1, "matrix")
    alpha, beta = call.attributes.get("alpha", 1.0), call.attributes.get("beta", 1.0)
    if call.attributes.get("transA", 0):
        raise LayerError("transA turns its input about, which InnerProduct does not")
    weight = (weight if call.attributes.get("transB", 0) else weight.T) * np.float32(alpha)
    arrays = [weight]
    if len(call.inputs) > 2 and call.inputs[2] and beta:
        bias = net.weight(call, 2, "bias")
        if bias.size not in (1, len(weight)):
            raise LayerError(f"its bias is {times(bias.shape)}, InnerProduct has one number an output")
        arrays.append(np.broadcast_to(bias.ravel() * np.float32(beta), (len(weight),)))
    params = InnerProductParameter(num_output=len(weight), bias_term=len(arrays) > 1)
    net.layer("InnerProduct", [net.blob(call.inputs[0])], call.outputs, arrays, inner_product_param=params)


@rule("MatMul")
def matmul(net: Importing, call: Call) -> None:
    """MatMul with a constant matrix -> InnerProduct, of two blobs -> MatMul, a type of nktc's own."""
    weight = net.constant(call.inputs[1])
    if weight is None or weight.ndim != 2:
        net.layer("MatMul", [net.blob(name) for name in call.inputs], call.outputs)
        return
    x = net.shape(call.inputs[0])
    params = InnerProductParameter(num_output=weight.shape[1], bias_term=False, axis=len(x) - 1)
    if len(x) == 1:
        raise LayerError("its input has 1 axis, InnerProduct takes a batch")
    net.layer("InnerProduct", [net.blob(call.inputs[0])], call.outputs, [weight.T], inner_product_param=params)


@rule("BatchNormalization")
def batch_normalization(net: Importing, call: Call) -> None:
    """BatchNormalization -> BatchNorm, and Scale where it scales."""
    if call.attributes.get("training_mode", 0):
        raise LayerError("it is exported to train", help="export the model after .eval()")
    scale, shift, mean, variance = (
        net.weight(call, position, what) for position, what in enumerate(("scale", "B", "mean", "var"), 1)
    )
    plain = bool((scale == 1).all() and (shift == 0).all())
    top = call.outputs[0]
    made = top if plain else net.between(top, "normalized")
    params = {"use_global_stats": True, "eps": call.attributes.get("epsilon", 1e-5)}
    arrays = [mean, variance, np.ones(1, np.float32)]
    net.layer("BatchNorm", [net.blob(call.inputs[0])], [made], arrays, batch_norm_param=params)
    if not plain:
        net.layer("Scale", [made], [top], [scale, shift], part="scale", scale_param={"bias_term": True})


@rule("InstanceNormalization", "GroupNormalization")
def group_normalization(net: Importing, call: Call) -> None:
    """InstanceNormalization, GroupNormalization -> GroupNorm, a type of nktc's own."""
    x = net.shape(call.inputs[0])
    scale, shift = net.weight(call, 1, "scale"), net.weight(call, 2, "bias")
    groups = x[1] if call.op == "InstanceNormalization" else call.attributes["num_groups"]
    if scale.size == groups != x[1]:  # as opset 18 has it
        scale, shift = (np.repeat(array, x[1] // groups) for array in (scale, shift))
    params = {"group": groups, "eps": call.attributes.get("epsilon", 1e-5)}
    net.layer("GroupNorm", [net.blob(call.inputs[0])], call.outputs, [scale, shift], group_norm_param=params)


@rule("LayerNormalization")
def layer_normalization(net: Importing, call: Call) -> None:
    """LayerNormalization -> LayerNorm, a type of nktc's own."""
    arrays = [net.weight(call, 1, "scale")]
    if len(call.inputs) > 2 and call.inputs[2]:
        arrays.append(net.weight(call, 2, "bias"))
    x, axis = net.shape(call.inputs[0]), call.attributes.get("axis", -1)
    arrays = [np.broadcast_to(array, x[axis:]) for array in arrays]
    params = {"axis": axis, "eps": call.attributes.get("epsilon", 1e-5), "bias_term": len(arrays) > 1}
    net.layer("LayerNorm", [net.blob(call.inputs[0])], call.outputs[:1], arrays, layer_norm_param=params)


@rule("LRN")
def lrn(net: Importing, call: Call) -> None:
    """LRN."""
    size = call.attributes["size"]
    if size % 2 == 0:
        raise LayerError(f"its size {size} is even, Caffe's LRN has a middle")
    names = {"alpha": 1e-4, "beta": 0.75}
    params = {name: call.attributes.get(name, default) for name, default in names.items()}
    params |= {"local_size": size, "k": call.attributes.get("bias", 1.0)}
    net.layer("LRN", [net.blob(call.inputs[0])], call.outputs, lrn_param=params)


@rule("Softmax", "LogSoftmax")
def softmax(net: Importing, call: Call) -> None:
    """Softmax, and Log behind it; before opset 13 over all axes from its own on."""
    x, top = net.shape(call.inputs[0]), call.outputs[0]
    axis = call.attributes.get("axis", -1 if call.opset >= 13 else 1) % len(x)
    source = net.blob(call.inputs[0])
    logarithm = call.op == "LogSoftmax"
    flat = call.opset < 13 and prod(x[axis + 1 :]) != 1
    if flat:
        rows = (prod(x[:axis]), prod(x[axis:]))
        net.reshape(source, net.between(top, "rows"), x, rows, part="rows")
        source, axis = net.between(top, "rows"), 1
    tops = [net.between(top, "softmax")] if flat or logarithm else [top]
    net.layer("Softmax", [source], tops, softmax_param={"axis": axis} if axis != 1 else {})
    if logarithm:
        logs = [net.between(top, "logs")] if flat else [top]
        net.layer("Log", tops, logs, part="log")
        tops = logs
    if flat:
        net.reshape(tops[0], top, rows, x, part="shape")


@rule("ReduceMean", "ReduceSum", "ReduceMax")
def reduce(net: Importing, call: Call) -> None:
    """Over pictures -> Pooling; over the last axes -> Reduction; over channels -> a Convolution with equal weights."""
    x, top = net.shape(call.inputs[0]), call.outputs[0]
    axes = sorted(axis % len(x) for axis in net.numbers(call, "axes", 1) or range(len(x)))
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(x))
    after = kept if call.attributes.get("keepdims", 1) else tuple(n for axis, n in enumerate(x) if axis not in axes)
    if call.attributes.get("noop_with_empty_axes") and not net.numbers(call, "axes", 1):
        net.alias(call)
        return
    source = net.blob(call.inputs[0])
    if len(x) > 2 and axes == list(range(2, len(x))) and call.op != "ReduceSum":
        steps = [kept]
        made = top if after == kept else net.between(top, "pooled")
        pool_all(net, source, x, made, call.op == "ReduceMax", "" if made == top else "pool")
    elif axes == list(range(axes[0], len(x))) and call.op != "ReduceMax":
        steps = [x[: axes[0]]]
        made = top if after == steps[0] else net.between(top, "reduced")
        operation = {"operation": "MEAN" if call.op == "ReduceMean" else "SUM", "axis": axes[0]}
        net.layer("Reduction", [source], [made], part="" if made == top else "reduce", reduction_param=operation)
    elif axes == [1] and len(x) == 4 and call.op != "ReduceMax":
        steps = [kept]
        made = top if after == kept else net.between(top, "mean")
        share = 1 / x[1] if call.op == "ReduceMean" else 1.0
        params = {"num_output": 1, "kernel_size": [1], "bias_term": False}
        weight = np.full((1, x[1], 1, 1), share, np.float32)
        part = "" if made == top else "mean"
        net.layer("Convolution", [source], [made], [weight], part=part, convolution_param=params)
    else:
        raise LayerError(f"it goes over axes {axes} of {times(x)}, no layer of Caffe does")
    if made != top:
        net.reshape(made, top, steps[0], after, part="shape")


@rule("ArgMax")
def argmax(net: Importing, call: Call) -> None:
    """ArgMax; of equal values Caffe's gives the last, whatever select_last_index says."""
    x, top = net.shape(call.inputs[0]), call.outputs[0]
    axis = call.attributes.get("axis", 0) % len(x)
    kept = (*x[:axis], 1, *x[axis + 1 :])
    flat = not call.attributes.get("keepdims", 1)
    made = net.between(top, "kept") if flat else top
    net.layer("ArgMax", [net.blob(call.inputs[0])], [made], argmax_param={"axis": axis})
    if flat:
        net.reshape(made, top, kept, net.shape(top), part="shape")
