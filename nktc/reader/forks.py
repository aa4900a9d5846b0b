"""What forks of Caffe write otherwise: brought to ours where ours has it, refused where it matters, noted where not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor

from nktc.errors import LayerError, NktcError, NktcWarning
from nktc.reader.old_names import layer_type
from nktc.schema import ForkField, LayerParameter, NetParameter, fork_fields, fork_types
from nktc.text import Field, Scalar, Tree

FUSED = ("convolution_param", "inner_product_param")
THREE_AXES = {"Convolution3D": "convolution", "Deconvolution3D": "convolution", "Pooling3D": "pooling"}
COSTS = {"SoftmaxWithLoss": 3, "SmoothL1Loss": 2}
"""Types that in R-FCN's Caffe have a last top of what each item costs, and how many tops they then have."""
CROPS = (("crop_h", "crop_w"), ("crop_height", "crop_width"))
PARTS = ("layer", "layers", "net_param", "train_net_param", "test_net_param")
"""Fields of a net or a solver that hold layers."""
YES = ("true", "True", "t", "1")
DETECTORS = (
    "MultiBoxLoss",
    "MultiBoxFocalLoss",
    "DetectionEvaluate",
    "EvalDetection",
    "Yolov3",
    "GaussianYolov3",
    "RegionLoss",
    "YoloSeg",
)
"""Types that train or score a detector, none of which is here."""
DEPLOY = "give the deploy net: nktc check, infer, export and convert take it"
MOST_FORKS = 3  # named in an error
MOST_NAMES = 12  # of fields in one warning
LEFT_OUT = "left out: of no known dialect"
"""What a comment in the text of a binary file ends with."""


class Found(NamedTuple):
    """A fork's field in a text."""

    row: ForkField
    field: Field


def ours(net: Tree) -> tuple[Tree, tuple[int, ...]]:
    """`net`, in today's syntax, with what forks write otherwise as ours has it, `net` itself where there is nothing
    such; and of each layer which one of `net` it comes from."""
    fields: list[Field] = []
    origins: list[int] = []
    stats = net.find("bn_stats_batch_size")
    changed = stats is not None
    for field in net.fields:
        if field is stats:
            continue
        if stats and field.name == "layer" and isinstance(field.value, Tree):
            field = replace(field, value=_with_stats(field.value, stats))
        if field.name != "layer" or not isinstance(field.value, Tree):
            fields.append(field)
            continue
        layers = _layers(field, field.value)
        changed |= len(layers) > 1 or layers[0] is not field
        fields += layers
        position = origins[-1] + 1 if origins else 0
        origins += [position] * len(layers)
    return (replace(net, fields=tuple(fields)) if changed else net), tuple(origins)


def solver_ours(field: Field) -> Field:
    """A solver's field as ours has it."""
    return replace(field, name="warmup_lr") if field.name == "warmup_start_lr" else field


def unknown_type(name: str) -> LayerError | None:
    """The refusal of a layer type that only forks have, None for any other."""
    row = fork_types().get(name)
    if not row:
        return None
    said = f'layer type "{name}" of {_whose(row.forks)} is not supported'
    help = "a layer of type Python can compute what you write it to"
    if name in DETECTORS:
        help = DEPLOY
    return LayerError(f"{said}: {row.why}" if row.why else said, field="type", help=help, code="unknown-type")


def refusals(tree: Tree, descriptor: Descriptor = LayerParameter.DESCRIPTOR) -> list[NktcError]:
    """What a fork's fields in a layer want that is not had here, or those of a net or a solver but not in its layers;
    located."""
    errors: list[NktcError] = []
    alone = replace(tree, fields=tuple(field for field in tree.fields if field.name not in PARTS))
    for row, field in found(alone, descriptor):
        if row.effect == "refused" and not _is_neutral(field, row):
            whose = f"{field.name} of {_whose(row.forks)}" if row.forks else field.name
            errors.append(NktcError(f"{whose} is not supported: {row.why}", at=field.extent(), code="fork-field"))
    return errors


def in_vain(tree: Tree, descriptor: Descriptor = NetParameter.DESCRIPTOR) -> list[NktcWarning]:
    """One warning of all the fields in a net or a solver that forks have and that do nothing here, and one of those
    that were left out of a binary file."""
    return [*_without_effect(tree, descriptor), *_unwritten(tree), *_left_out(tree)]


def _without_effect(tree: Tree, descriptor: Descriptor) -> Iterator[NktcWarning]:
    none = [one for one in found(tree, descriptor) if one.row.effect == "none"]
    if not none:
        return
    names = list(dict.fromkeys(one.field.name for one in none))
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    forks = {one.row.forks for one in none}
    whose = f" ({', '.join(forks.pop())})" if len(forks) == 1 and all(forks) else ""
    has = "has" if len(names) == 1 else "have"
    said = f"{', '.join(names[:MOST_NAMES])}{more}{whose} {has} no effect here"
    yield NktcWarning(said, at=none[0].field.extent(), code="fork-no-effect")


def _unwritten(net: Tree) -> Iterator[NktcWarning]:
    layers = (field for name in ("layer", "layers") for field in net.all(name))
    written = [one for one in layers if isinstance(one.value, Tree) and layer_type(one.value) == "MatWrite"]
    if written:
        help = "nktc infer --blob NAME, or nktc extract_features, gives what they take"
        yield NktcWarning(
            "MatWrite layers write no files here", at=written[0].extent(), help=help, code="fork-no-effect"
        )


def meant(net: Tree) -> Tree:
    """A net without what makes no difference here; what is refused is the same whatever it is called."""
    return _meant(net, {id(one.field): one.row for one in found(net, NetParameter.DESCRIPTOR)})


def _meant(tree: Tree, rows: Mapping[int, ForkField]) -> Tree:
    fields: list[Field] = []
    for field in tree.fields:
        row = rows.get(id(field))
        if row and row.effect == "refused" and not _is_neutral(field, row):
            fields.append(replace(field, name="refused", value=Scalar("identifier", "", field.span)))
        elif not row or row.effect not in ("none", "refused"):
            value = _meant(field.value, rows) if isinstance(field.value, Tree) else field.value
            fields.append(replace(field, value=value))
    return replace(tree, fields=tuple(fields), opening="")


def is_renamed(kind: str, param: str) -> bool:
    """Whether the settings of a type were once called so."""
    return param == f"{THREE_AXES.get(kind)}_param" or (kind, param) == ("VideoData", "image_data_param")


def _left_out(net: Tree) -> Iterator[NktcWarning]:
    inner = [(one.name, one.value) for one in _messages(net)]
    strange = [(name, tree) for name, tree in inner if isinstance(tree, Tree) and tree.opening.endswith(LEFT_OUT)]
    if not strange:
        return
    name, tree = strange[0]
    words = tree.opening.removeprefix("# ").removesuffix(f" {LEFT_OUT}")
    more = f", and others in {len(strange) - 1} more places" if len(strange) > 1 else ""
    said = f"{words} of {name} is of no known dialect of Caffe and left out{more}"
    yield NktcWarning(said, at=tree.span, help="give the net as text if it matters", code="fork-no-effect")


def _messages(tree: Tree) -> Iterator[Field]:
    for field in tree.fields:
        if isinstance(field.value, Tree):
            yield field
            yield from _messages(field.value)


def found(tree: Tree, descriptor: Descriptor) -> Iterator[Found]:
    """Every field of a fork in a message and in those inside it; nothing is told of what is inside such a field."""
    for field in tree.fields:
        known = descriptor.fields_by_name.get(field.name)
        rows = fork_fields(descriptor.name, field.name)
        if known is None and descriptor.name == "V1LayerParameter":  # as it will be in today's syntax
            known = LayerParameter.DESCRIPTOR.fields_by_name.get(field.name)
        word = field.value.text if isinstance(field.value, Scalar) else ""
        enum = known.enum_type.values_by_name if known and known.enum_type else None
        foreign = known is None or (enum is not None and word.isidentifier() and word not in enum)
        if rows and foreign:
            fitting = [row for row in rows if word in row.values] or [row for row in rows if row.type] or rows
            yield Found(fitting[0], field)
        elif known is not None and known.message_type and isinstance(field.value, Tree):
            yield from found(field.value, known.message_type)


def _whose(forks: Sequence[str]) -> str:
    """The fork that something comes from: most of what several have is SSD's."""
    return "SSD" if "SSD" in forks else ", ".join(forks[:MOST_FORKS])


def _is_neutral(field: Field, row: ForkField) -> bool:
    """Whether a field says what holds without it."""
    if isinstance(field.value, Tree):
        return not field.value.fields
    word = field.value.text
    if word == row.neutral:
        return True
    if row.neutral in ("true", "false"):
        return (word in YES) == (row.neutral == "true")
    try:
        return float(word) == float(row.neutral)
    except ValueError:
        return False


def _layers(field: Field, tree: Tree) -> list[Field]:
    """The layers that a fork's layer is here: itself, changed perhaps, and what it does besides behind it."""
    kind = _word(tree, "type")
    changed, added = tree, list[Field]()
    if len([*tree.all("top")]) == COSTS.get(kind):
        changed = _with_kind(changed, f"{kind}OHEM")
    if kind in THREE_AXES:
        changed = _renamed(changed, f"{THREE_AXES[kind]}_param", f"{THREE_AXES[kind]}3d_param")
    if kind == "VideoData":  # C3D's of 2014
        changed = _renamed(changed, "image_data_param", "video_data_param")
    if kind == "Normalize" and changed.find("softmax_param", "normalize_type"):
        changed = _renamed(changed, "softmax_param", "normalize_param")
    if changed.find("convolution_param"):
        changed = _with_dilation(changed)
    if changed.find("transform_param"):
        changed = _with_size(_with_crop(changed))
    if kind == "Dropout" and changed.find("dropout_param"):
        changed, added = _dropout(changed)
    elif kind == "ELU" and (factor := changed.find("elu_param", "lambda")):
        changed = _without(changed, "elu_param", "lambda")
        added = _behind(changed, "Power", "power_param", [replace(factor, name="scale")])
    for param in FUSED:
        if changed.find(param, "relu"):
            changed, added = _fused(changed, param)
    if changed.find("loss_param", "normalization") or changed.find("loss_param", "pre_fixed_normalizer"):
        changed, added = _fixed(changed)
    return [field if changed is tree else replace(field, value=changed), *added]


def _with_dilation(layer: Tree) -> Tree:
    """DeepLab's hole is dilation."""
    settings = layer.find("convolution_param")
    assert settings
    if not isinstance(settings.value, Tree):
        return layer
    holes = [field for name in ("hole", "hole_h", "hole_w") for field in settings.value.all(name)]
    if not holes:
        return layer
    both = [field for field in holes if field.name != "hole"]
    if len(both) == 1:  # the other is 1
        one = replace(both[0], value=Scalar("number", "1", both[0].value.span))
        both = [*both, one] if both[0].name == "hole_h" else [one, *both]
    chosen = [replace(field, name="dilation") for field in both or holes]
    fields: list[Field] = []
    for field in settings.value.fields:
        if field not in holes:
            fields.append(field)
        elif chosen:
            fields += chosen
            chosen = []
    return _with(layer, settings, fields)


def _with_crop(layer: Tree) -> Tree:
    """SSD's crop_h and crop_w, where they are equal, are a crop_size."""
    settings = layer.find("transform_param")
    assert settings
    if not isinstance(settings.value, Tree):
        return layer
    for high, wide in CROPS:
        rows, columns = settings.value.find(high), settings.value.find(wide)
        if rows and columns and rows.value == columns.value and not settings.value.find("crop_size"):
            kept = [
                replace(field, name="crop_size") if field is rows else field
                for field in settings.value.fields
                if field is not columns
            ]
            return _with(layer, settings, kept)
    return layer


def _with_size(layer: Tree) -> Tree:
    """SSD's resize_param, where nothing in it is drawn at random and each side is stretched for itself, is
    resize_height and resize_width."""
    settings, resize = layer.find("transform_param"), layer.find("transform_param", "resize_param")
    if not settings or not resize or not isinstance(settings.value, Tree) or not isinstance(resize.value, Tree):
        return layer
    said = resize.value
    methods = [field.value.text for field in said.all("interp_mode") if isinstance(field.value, Scalar)]
    plain = methods in ([], ["LINEAR"]) and (_word(said, "resize_mode") or "WARP") == "WARP"
    certain = _number(_word(said, "prob") or "1") == 1
    sizes = [replace(f, name=f"resize_{f.name}") for f in said.fields if f.name in ("height", "width")]
    if not plain or not certain or len(sizes) != 2:
        return layer
    fields: list[Field] = []
    for field in settings.value.fields:
        fields += sizes if field is resize else [field]
    return _with(layer, settings, fields)


def _dropout(layer: Tree) -> tuple[Tree, list[Field]]:
    """Values that are not scaled up in TRAIN are scaled down in TEST; values dropped in TEST too are those of TRAIN."""
    added: list[Field] = []
    scaled, sampled = layer.find("dropout_param", "scale_train"), layer.find("dropout_param", "sample_weights_test")
    ratio = layer.find("dropout_param", "dropout_ratio")
    changed = layer
    if scaled:
        changed = _without(changed, "dropout_param", "scale_train")
        if not _yes(scaled):
            word = ratio.value.text if ratio and isinstance(ratio.value, Scalar) else "0.5"
            keep = f"{1 - _number(word):.9g}"
            added = _behind(
                changed,
                "Power",
                "power_param",
                [Field("scale", Scalar("number", keep, scaled.value.span), scaled.span)],
            )
    if sampled:
        changed = _without(changed, "dropout_param", "sample_weights_test")
        if _yes(sampled) and not changed.find("phase"):
            train = Field("phase", Scalar("identifier", "TRAIN", sampled.value.span), sampled.span)
            changed = replace(changed, fields=(*changed.fields, train))
    return changed, added


def _fused(layer: Tree, param: str) -> tuple[Tree, list[Field]]:
    """Intel's relu inside another layer is a ReLU behind it."""
    relu, slope = layer.find(param, "relu"), layer.find(param, "negative_slope")
    assert relu
    changed = _without(_without(layer, param, "relu"), param, "negative_slope")
    return changed, _behind(changed, "ReLU", "relu_param", [slope] if slope else []) if _yes(relu) else []


def _fixed(layer: Tree) -> tuple[Tree, list[Field]]:
    """Intel's loss divided by a number it is given is a sum, which a Power layer divides."""
    mode, divisor = layer.find("loss_param", "normalization"), layer.find("loss_param", "pre_fixed_normalizer")
    top = [*layer.all("top")]
    if not mode or not isinstance(mode.value, Scalar) or mode.value.text != "PRE_FIXED":
        return _without(layer, "loss_param", "pre_fixed_normalizer"), []
    settings = layer.find("loss_param")
    assert settings
    assert isinstance(settings.value, Tree)
    none = replace(mode, value=replace(mode.value, text="NONE"))
    kept = [none if field is mode else field for field in settings.value.fields if field is not divisor]
    changed = _with(layer, settings, kept)
    number = _number(_word(settings.value, "pre_fixed_normalizer") or "1")
    weights = [*layer.all("loss_weight")]
    if number in (0, 1) or not divisor or len(top) != max(1, len(weights)):
        return changed if number else layer, []
    assert isinstance(top[0].value, Scalar)
    inner = replace(top[0], value=replace(top[0].value, text=f"{top[0].value.text}(sum)"))
    zero = Field("loss_weight", Scalar("number", "0", top[0].value.span), top[0].span)
    fields = [
        inner if field is top[0] else field for field in changed.fields if not any(field is one for one in weights)
    ]
    changed = replace(changed, fields=(*fields, zero, *weights[1:]))
    first = replace(changed, fields=tuple(field for field in changed.fields if field.name != "top" or field is inner))
    one = Field("loss_weight", Scalar("number", "1", top[0].value.span), top[0].span)
    scale = Field("scale", Scalar("number", f"{1 / number:.9g}", divisor.value.span), divisor.span)
    return changed, _behind(first, "Power", "power_param", [scale], [top[0], *(weights[:1] or [one])])


def _behind(layer: Tree, kind: str, param: str, settings: Sequence[Field], outer: Sequence[Field] = ()) -> list[Field]:
    """Layers that work on the tops of another, in place unless `outer` has another top; they are in the net where it
    is."""
    named = layer.find("name")
    at = named.value.span if named else layer.span
    inside = tuple(replace(field, comments=(), aside="") for field in settings)
    message = [Field(param, Tree(inside, at, at, inline=True), at)] if inside else []
    rules = [field for field in layer.fields if field.name in ("include", "exclude")]
    found = []
    for position, top in enumerate(layer.all("top")):
        bare = replace(top, comments=(), aside="")
        name = f"{_word(layer, 'name')}({kind}{position or ''})"
        fields = [
            Field("name", Scalar("string", name, at), at),
            Field("type", Scalar("string", kind, at), at),
            replace(bare, name="bottom"),
            *(outer or [bare]),
            *rules,
            *message,
        ]
        found.append(Field("layer", Tree(tuple(fields), layer.span, layer.end), layer.span))
    return found


def _with_stats(layer: Tree, stats: Field) -> Tree:
    """Intel's bn_stats_batch_size of a net is the stats_batch_size of each BatchNorm."""
    if _word(layer, "type") != "BatchNorm":
        return layer
    said = replace(stats, name="stats_batch_size", comments=(), aside="")
    settings = layer.find("batch_norm_param")
    if settings and isinstance(settings.value, Tree):
        kept = [field for field in settings.value.fields if field.name != "stats_batch_size"]
        return _with(layer, settings, [*kept, said])
    message = Field("batch_norm_param", Tree((said,), stats.span, stats.span, inline=True), stats.span)
    return replace(layer, fields=(*layer.fields, message))


def _with_kind(layer: Tree, kind: str) -> Tree:
    """A layer of another type."""
    return replace(
        layer,
        fields=tuple(
            replace(f, value=replace(f.value, text=kind)) if f.name == "type" and isinstance(f.value, Scalar) else f
            for f in layer.fields
        ),
    )


def _with(layer: Tree, settings: Field, fields: Sequence[Field]) -> Tree:
    """A layer whose message `settings` has these fields."""
    assert isinstance(settings.value, Tree)
    changed = replace(settings, value=replace(settings.value, fields=tuple(fields)))
    return replace(layer, fields=tuple(changed if field is settings else field for field in layer.fields))


def _without(layer: Tree, param: str, name: str) -> Tree:
    settings = layer.find(param)
    if not settings or not isinstance(settings.value, Tree) or not settings.value.find(name):
        return layer
    return _with(layer, settings, [field for field in settings.value.fields if field.name != name])


def _renamed(layer: Tree, old: str, new: str) -> Tree:
    if not layer.find(old):
        return layer
    return replace(layer, fields=tuple(replace(f, name=new) if f.name == old else f for f in layer.fields))


def _word(tree: Tree, name: str) -> str:
    found = tree.find(name)
    return found.value.text if found and isinstance(found.value, Scalar) else ""


def _yes(field: Field) -> bool:
    return isinstance(field.value, Scalar) and field.value.text in YES


def _number(word: str) -> float:
    try:
        return float(word.rstrip("fF"))
    except ValueError:
        return 0.0
