"""Old spellings of nets and solvers, brought to today's, on the message.

Three ages of Caffe are read: V0 of 2013 (`layers { layer { type: "conv" kernelsize: 5 } }`), V1 of 2014
(`layers { type: CONVOLUTION blobs_lr: 1 }`) and today's `layer`. What comes out is what Caffe's own upgrade
makes of them.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from nktc.errors import NktcError, Note, Span, near, raise_all
from nktc.schema import (
    LayerParameter,
    NetParameter,
    SolverParameter,
    V0LayerParameter,
    V1LayerParameter,
)
from nktc.text import Tree

V1_TYPES = {
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "ELTWISE": "Eltwise",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData",
}
V0_TYPES = {
    "accuracy": "Accuracy",
    "bnll": "BNLL",
    "concat": "Concat",
    "conv": "Convolution",
    "data": "Data",
    "dropout": "Dropout",
    "euclidean_loss": "EuclideanLoss",
    "flatten": "Flatten",
    "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output",
    "im2col": "Im2col",
    "images": "ImageData",
    "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "pool": "Pooling",
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "softmax_loss": "SoftmaxWithLoss",
    "split": "Split",
    "tanh": "TanH",
    "window_data": "WindowData",
}
# The settings of each V0 type that has any: the message they go to, and their old names.
V0_SETTINGS = {
    "conv": (
        "convolution_param",
        "num_output biasterm weight_filler bias_filler pad kernelsize group stride",
    ),
    "innerproduct": ("inner_product_param", "num_output biasterm weight_filler bias_filler"),
    "pool": ("pooling_param", "pool pad kernelsize stride"),
    "dropout": ("dropout_param", "dropout_ratio"),
    "lrn": ("lrn_param", "local_size alpha beta k"),
    "concat": ("concat_param", "concat_dim"),
    "infogain_loss": ("infogain_loss_param", "source"),
    "data": ("data_param", "source batchsize rand_skip"),
    "hdf5_data": ("hdf5_data_param", "source batchsize"),
    "images": ("image_data_param", "source batchsize rand_skip shuffle_images new_height new_width"),
    "window_data": (
        "window_data_param",
        "source batchsize det_fg_threshold det_bg_threshold det_fg_fraction det_context_pad det_crop_mode",
    ),
}
# Settings that have another name today.
V0_RENAMED = {
    "batchsize": "batch_size",
    "biasterm": "bias_term",
    "det_bg_threshold": "bg_threshold",
    "det_context_pad": "context_pad",
    "det_crop_mode": "crop_mode",
    "det_fg_fraction": "fg_fraction",
    "det_fg_threshold": "fg_threshold",
    "kernelsize": "kernel_size",
    "shuffle_images": "shuffle",
}
V0_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")
TRANSFORMED = ("data_param", "image_data_param", "window_data_param")
# Fields of a V1 layer that are not copied as they are.
V1_OWN = {"type", "param", "blob_share_mode", "blobs_lr", "weight_decay", "layer"}
STATISTICS = 3  # weights of BatchNorm: mean, variance and their divisor
SOLVERS = {
    SolverParameter.SGD: "SGD",
    SolverParameter.NESTEROV: "Nesterov",
    SolverParameter.ADAGRAD: "AdaGrad",
    SolverParameter.RMSPROP: "RMSProp",
    SolverParameter.ADADELTA: "AdaDelta",
    SolverParameter.ADAM: "Adam",
}


def upgrade(net: NetParameter, tree: Tree | None) -> tuple[NetParameter, list[Tree | None]]:
    """`net` in today's spelling, and the text of each of its layers; `net` itself is left as it is.

    With nothing to do the net returned is `net`. The Input layer made of a net's `input` fields has those
    fields for its text. `tree` is the text that `net` was bound from, None when it came from elsewhere.
    """
    _refuse_mixture(net, tree)
    if tree:
        _refuse_ignored(tree)
    trees = _trees(tree, "layers", len(net.layers)) if net.layers else _trees(tree, "layer", len(net.layer))
    today = net
    if net.layers:
        today = _without(net, "layers")
        if any(old.HasField("layer") for old in net.layers):
            pairs = _fold_padding(net.layers, trees)
        else:
            pairs = list(zip(net.layers, trees, strict=True))
        trees = [text for _, text in pairs]
        today.layer.extend(_layer(old, text) for old, text in pairs)
    if net.input or net.input_dim or net.input_shape:
        layer, text = _input_layer(net, tree)
        rest = [*today.layer]
        today = _without(today, "layer", "input", "input_dim", "input_shape")
        today.layer.extend([layer, *rest])
        trees = [text, *trees]
    learning = [i for i, layer in enumerate(today.layer) if _learns_statistics(layer)]
    if learning:
        today = _copy(today) if today is net else today
        for i in learning:
            for spec in today.layer[i].param:
                spec.lr_mult = spec.decay_mult = 0
    return today, trees


def upgrade_solver(solver: SolverParameter, tree: Tree | None = None) -> SolverParameter:
    """`solver` with `type` for `solver_type`; the one given when there is nothing to do."""
    if not solver.HasField("solver_type"):
        return solver
    if solver.HasField("type"):
        at, *_ = _places(tree, "solver_type")
        first, *_ = _places(tree, "type")
        notes = [Note("type is given here", first)] if first else []
        message = "solver_type and type both name the solver"
        raise NktcError(message, at=at, notes=notes, help="leave out solver_type")
    today = SolverParameter()
    today.CopyFrom(solver)
    today.type = SOLVERS[solver.solver_type]
    today.ClearField("solver_type")
    return today


def _places(tree: Tree | None, name: str) -> Sequence[Span | None]:
    """The places of the fields called `name`; at least one, None where there is no text."""
    return [field.extent() for field in tree.all(name)] if tree and tree.find(name) else [None]


def _trees(tree: Tree | None, name: str, count: int) -> list[Tree | None]:
    """The texts of the layers; Nones where the text does not fit the message."""
    found: list[Tree | None] = []
    if tree:
        found += [field.value for field in tree.all(name) if isinstance(field.value, Tree)]
    return found if len(found) == count else [None] * count


def _copy(net: NetParameter) -> NetParameter:
    copy = NetParameter()
    copy.CopyFrom(net)
    return copy


def _without(net: NetParameter, *names: str) -> NetParameter:
    """A copy of `net` that never holds the fields `names`: weights may be in them."""
    copy = NetParameter()
    for field, value in net.ListFields():
        if field.name not in names:
            _set(copy, field.name, value)
    return copy


def _set(message: Any, name: str, value: Any) -> None:
    """Set a field of any kind to a copy of `value`; a repeated one is added to, by one value or by many."""
    field = message.DESCRIPTOR.fields_by_name[name]
    target = getattr(message, name)
    if hasattr(target, "extend"):
        target.extend(value if hasattr(value, "extend") else [value])
    elif field.message_type:
        target.CopyFrom(value)
    else:
        setattr(message, name, value)


def _refuse_mixture(net: NetParameter, tree: Tree | None) -> None:
    if not net.layer or not net.layers:
        return
    places = {name: _places(tree, name)[0] for name in ("layer", "layers")}
    first, second = sorted(places, key=lambda name: ((at := places[name]) and (at.line, at.column)) or (0, 0))
    notes = [Note(f"the first {first} is here", places[first])] if places[first] else []
    message = "a net has layer, or in the old spelling layers, but not both"
    raise NktcError(message, at=places[second], notes=notes)


def _refuse_ignored(tree: Tree) -> None:
    """Refuse a data layer's old transform settings in today's `layer`: Caffe reads and then ignores them."""
    errors = []
    for layer in tree.all("layer"):
        for param, name in product(TRANSFORMED, TRANSFORM):
            if isinstance(layer.value, Tree) and (found := layer.value.find(param, name)):
                help = f"write {name} in transform_param, or leave it out as Caffe does"
                message = f"{name} has no effect in the {param} of a layer"
                errors.append(NktcError(message, at=found.extent(), help=help))
    raise_all(errors)


def _learns_statistics(layer: LayerParameter) -> bool:
    """Whether a BatchNorm sets rates for its statistics, which no gradient reaches; Caffe overrules them."""
    if layer.type != "BatchNorm" or len(layer.param) != STATISTICS:
        return False
    return any(spec.lr_mult or spec.decay_mult for spec in layer.param)


def _input_layer(net: NetParameter, tree: Tree | None) -> tuple[LayerParameter, Tree | None]:
    """The Input layer that the fields `input`, `input_shape` and `input_dim` of a net stand for."""
    text = None
    if tree:
        fields = tuple(field for field in tree.fields if field.name in ("input", "input_shape", "input_dim"))
        text = Tree(fields, fields[0].extent(), fields[-1].extent()) if fields else None
    at, *_ = _places(tree, "input")
    inputs, shapes, sizes = len(net.input), len(net.input_shape), len(net.input_dim)
    layer = LayerParameter(name="input", type="Input", top=net.input)
    if shapes:
        if shapes != inputs:
            place = _places(tree, "input_shape")[-1]
            message = f"{inputs} input but {shapes} input_shape"
            raise NktcError(message, at=place, help="write one for each input")
        layer.input_param.shape.extend(net.input_shape)
    elif sizes != 4 * inputs:
        place = _places(tree, "input_dim")[-1] if sizes else at
        message = f"{inputs} input but {sizes} input_dim"
        raise NktcError(message, at=place, help="write four for each input, or an input_shape")
    else:
        for i in range(inputs):
            layer.input_param.shape.add(dim=net.input_dim[4 * i : 4 * i + 4])
    return layer, text


def _fold_padding(
    layers: Iterable[V1LayerParameter], trees: Sequence[Tree | None]
) -> list[tuple[V1LayerParameter, Tree | None]]:
    """V0 layers without those of type padding, whose pad goes to the layer that reads them."""
    kept: list[tuple[V1LayerParameter, Tree | None]] = []
    padding: dict[str, V1LayerParameter] = {}  # by the blob it writes
    for old, text in zip(layers, trees, strict=True):
        if old.layer.type == "padding":
            if len(old.bottom) != 1 or len(old.top) != 1:
                message = f"padding takes 1 bottom and 1 top, not {len(old.bottom)} and {len(old.top)}"
                raise NktcError(message, at=text.span if text else None)
            padding[old.top[0]] = old
            continue
        today = V1LayerParameter()
        today.CopyFrom(old)
        for i, bottom in enumerate(old.bottom):
            if source := padding.get(bottom):
                if old.layer.type not in ("conv", "pool"):
                    message = f'padding "{source.layer.name}" is read by a layer that cannot pad'
                    raise NktcError(message, at=text.span if text else None, help="only conv and pool can")
                today.layer.pad = source.layer.pad
                today.bottom[i] = source.bottom[0]
        for top in old.top:
            padding.pop(top, None)
        kept.append((today, text))
    return kept


def _layer(old: V1LayerParameter, text: Tree | None) -> LayerParameter:
    """Today's layer for a V1 layer, or for the V0 layer in one."""
    today = LayerParameter()
    if old.HasField("layer"):
        _from_v0(today, old.layer, text)
    for field, value in old.ListFields():
        if field.name not in V1_OWN:
            _set(today, field.name, value)
    if old.HasField("type"):
        name = V1LayerParameter.LayerType.Name(old.type)
        if name not in V1_TYPES:
            found = text.find("type") if text else None
            raise NktcError("NONE is no type of layer", at=found.extent() if found else None)
        today.type = V1_TYPES[name]
    for names, values in (("name", old.param), ("share_mode", old.blob_share_mode)):
        _set_specs(today, names, values)
    _set_rates(today, old.blobs_lr, old.weight_decay)
    _move_transform(today)
    return today


def _set_specs(layer: LayerParameter, name: str, values: Sequence[Any]) -> None:
    """Give the i-th weight's ParamSpec the i-th of `values`."""
    for i, value in enumerate(values):
        while len(layer.param) <= i:
            layer.param.add()
        setattr(layer.param[i], name, value)


def _set_rates(layer: LayerParameter, rates: Sequence[float], decays: Sequence[float]) -> None:
    _set_specs(layer, "lr_mult", rates)
    _set_specs(layer, "decay_mult", decays)


def _move_transform(layer: LayerParameter) -> None:
    """Move a data layer's own transform settings to transform_param."""
    settings: Any  # of any of three classes
    for settings in (layer.data_param, layer.image_data_param, layer.window_data_param):
        for name in TRANSFORM:
            if settings.HasField(name):
                setattr(layer.transform_param, name, getattr(settings, name))
                settings.ClearField(name)


def _from_v0(layer: LayerParameter, old: V0LayerParameter, text: Tree | None) -> None:
    """Fill `layer` from a V0 layer; settings that its type does not have are dropped, as Caffe drops them."""
    if old.type not in V0_TYPES:
        found = text.find("layer", "type") if text else None
        at = found.extent() if found else None
        raise NktcError(f'unknown old layer type "{old.type}"', at=at, help=near(old.type, V0_TYPES))
    layer.name, layer.type = old.name, V0_TYPES[old.type]
    layer.blobs.extend(old.blobs)
    _set_rates(layer, old.blobs_lr, old.weight_decay)
    param, names = V0_SETTINGS.get(old.type, ("", ""))
    for field, value in old.ListFields():
        if field.name in names.split():
            if isinstance(value, int) and value < 0:
                found = text.find("layer", field.name) if text else None
                at = found.extent() if found else None
                raise NktcError(f"{field.name} takes a whole number from 0, not {value}", at=at)
            _set(getattr(layer, param), V0_RENAMED.get(field.name, field.name), value)
        elif field.name in V0_TRANSFORM:
            _set(layer.transform_param, V0_TRANSFORM[field.name], value)
    if old.type == "hdf5_output" and old.HasField("hdf5_output_param"):
        layer.hdf5_output_param.CopyFrom(old.hdf5_output_param)
