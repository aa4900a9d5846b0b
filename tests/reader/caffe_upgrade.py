"""What Caffe makes of old nets, on messages and setting by setting: what the upgrade of texts is held against."""

from __future__ import annotations

from typing import Any

from nktc.schema import LayerParameter, NetParameter, V1LayerParameter

UNCHANGED = {"bottom", "top", "name", "include", "exclude", "loss_weight", "blobs"}
NAMES = {  # of V1 types that are not their parts with a capital each
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
V0_NAMES = {
    "conv": "CONVOLUTION",
    "pool": "POOLING",
    "innerproduct": "INNER_PRODUCT",
    "images": "IMAGE_DATA",
}
# (types, old field, today's field) of V0 layers.
V0_FIELDS = [
    (("conv", "innerproduct"), "num_output", "num_output"),
    (("conv", "innerproduct"), "biasterm", "bias_term"),
    (("conv", "innerproduct"), "weight_filler", "weight_filler"),
    (("conv", "innerproduct"), "bias_filler", "bias_filler"),
    (("conv", "pool"), "pad", "pad"),
    (("conv", "pool"), "kernelsize", "kernel_size"),
    (("conv",), "group", "group"),
    (("conv", "pool"), "stride", "stride"),
    (("pool",), "pool", "pool"),
    (("dropout",), "dropout_ratio", "dropout_ratio"),
    (("lrn",), "local_size", "local_size"),
    (("lrn",), "alpha", "alpha"),
    (("lrn",), "beta", "beta"),
    (("lrn",), "k", "k"),
    (("data", "hdf5_data", "images", "window_data", "infogain_loss"), "source", "source"),
    (("data", "hdf5_data", "images", "window_data"), "batchsize", "batch_size"),
    (("data", "images"), "rand_skip", "rand_skip"),
    (("images",), "shuffle_images", "shuffle"),
    (("images",), "new_height", "new_height"),
    (("images",), "new_width", "new_width"),
    (("concat",), "concat_dim", "concat_dim"),
    (("window_data",), "det_fg_threshold", "fg_threshold"),
    (("window_data",), "det_bg_threshold", "bg_threshold"),
    (("window_data",), "det_fg_fraction", "fg_fraction"),
    (("window_data",), "det_context_pad", "context_pad"),
    (("window_data",), "det_crop_mode", "crop_mode"),
]
V0_MESSAGES = {
    "conv": "convolution_param",
    "innerproduct": "inner_product_param",
    "pool": "pooling_param",
    "dropout": "dropout_param",
    "lrn": "lrn_param",
    "data": "data_param",
    "hdf5_data": "hdf5_data_param",
    "images": "image_data_param",
    "window_data": "window_data_param",
    "infogain_loss": "infogain_loss_param",
    "concat": "concat_param",
}
V0_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}


def caffe_upgrade(net: NetParameter) -> NetParameter:
    """Today's net for one that Caffe takes, in Caffe's order: V0, data settings, V1, inputs, BatchNorm."""
    today = NetParameter()
    today.CopyFrom(net)
    if any(old.HasField("layer") for old in today.layers):
        without = _without_padding([*today.layers])
        del today.layers[:]
        today.layers.extend(_v0_to_v1(old) for old in without)
    for old in today.layers:
        _move_transform(old)
    today.layer.extend(_v1_to_today(old) for old in today.layers)
    del today.layers[:]
    if today.input:
        layer = LayerParameter(name="input", type="Input", top=today.input)
        for i in range(len(today.input)):
            if today.input_shape:
                layer.input_param.shape.add().CopyFrom(today.input_shape[i])
            else:
                layer.input_param.shape.add(dim=today.input_dim[4 * i : 4 * i + 4])
        layers = [layer, *today.layer]
        for name in ("layer", "input", "input_dim", "input_shape"):
            today.ClearField(name)  # type: ignore[arg-type]
        today.layer.extend(layers)
    for layer in today.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for spec in layer.param:
                spec.lr_mult = 0
                spec.decay_mult = 0
    return today


def _without_padding(layers: list[V1LayerParameter]) -> list[V1LayerParameter]:
    kept, writer = [], {}
    for index, old in enumerate(layers):
        new = V1LayerParameter()
        new.CopyFrom(old)
        for j, bottom in enumerate(old.bottom):
            source = layers[writer[bottom]] if bottom in writer else V1LayerParameter()
            if source.layer.type == "padding":
                new.layer.pad = source.layer.pad
                new.bottom[j] = source.bottom[0]
        writer.update(dict.fromkeys(old.top, index))
        if old.layer.type != "padding":
            kept.append(new)
    return kept


def _v0_to_v1(old: V1LayerParameter) -> V1LayerParameter:
    if not old.HasField("layer"):
        return old
    v0 = old.layer
    new = V1LayerParameter(bottom=old.bottom, top=old.top, blobs=v0.blobs)
    new.blobs_lr.extend(v0.blobs_lr)
    new.weight_decay.extend(v0.weight_decay)
    if v0.HasField("name"):
        new.name = v0.name
    new.type = V1LayerParameter.LayerType.Value(V0_NAMES.get(v0.type, v0.type.upper()))
    for types, name, today in V0_FIELDS:
        if v0.type in types and v0.HasField(name):  # type: ignore[arg-type]
            _put(getattr(new, V0_MESSAGES[v0.type]), today, getattr(v0, name))
    for name, today in V0_TRANSFORM.items():
        if v0.HasField(name):  # type: ignore[arg-type]
            setattr(new.transform_param, today, getattr(v0, name))
    if v0.type == "hdf5_output" and v0.HasField("hdf5_output_param"):
        new.hdf5_output_param.CopyFrom(v0.hdf5_output_param)
    return new


def _put(message: Any, name: str, value: Any) -> None:
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.message_type:
        getattr(message, name).CopyFrom(value)
    elif hasattr(getattr(message, name), "append"):
        getattr(message, name).append(value)
    else:
        setattr(message, name, value)


def _move_transform(old: V1LayerParameter) -> None:
    kind = V1LayerParameter.LayerType.Name(old.type)
    if kind not in ("DATA", "IMAGE_DATA", "WINDOW_DATA"):
        return
    settings: Any = getattr(old, f"{kind.lower()}_param")
    for name in ("scale", "mean_file", "crop_size", "mirror"):
        if settings.HasField(name):
            setattr(old.transform_param, name, getattr(settings, name))
            settings.ClearField(name)


def _v1_to_today(old: V1LayerParameter) -> LayerParameter:
    new = LayerParameter()
    kind = V1LayerParameter.LayerType.Name(old.type)
    if old.HasField("type"):
        new.type = NAMES.get(kind) or "".join(part.capitalize() for part in kind.split("_"))
    for field, value in old.ListFields():
        if field.name in UNCHANGED:
            if hasattr(value, "extend"):
                getattr(new, field.name).extend(value)
            else:
                setattr(new, field.name, value)
        elif field.name.endswith("_param"):
            getattr(new, field.name).CopyFrom(value)
    columns: list[tuple[str, Any]] = [
        ("name", old.param),
        ("share_mode", old.blob_share_mode),
        ("lr_mult", old.blobs_lr),
        ("decay_mult", old.weight_decay),
    ]
    for name, values in columns:
        for i, value in enumerate(values):
            if len(new.param) <= i:
                new.param.add()
            setattr(new.param[i], name, value)
    return new
