"""Regions of a picture, each brought to a few cells: ROIPooling, PSROIPooling."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, times
from nktc.schema import PSROIPoolingParameter, ROIPoolingParameter

SIDES = 5  # of a region: its image, x1, y1, x2, y2
LEAST = 0.1  # side of a region that PSROIPooling makes of a smaller one


class ROIPooling(Layer, param="roi_pooling_param"):
    """Finds the largest value in each cell of regions of a picture.

    The second input lists the regions: number of the image, then x1, y1, x2, y2 in pixels, which `scale` turns into
    those of the first input, rounded to whole ones, the last inside. A region is cut into `rows` by `columns` cells,
    which may share pixels; a cell outside of the picture is 0. Source: Fast R-CNN.
    """

    rows: int
    columns: int
    scale: float = 1.0

    @classmethod
    def read(cls, p: ROIPoolingParameter, phase: Phase) -> Self:
        if len(p.pooled_size) > 2:
            help = "give pooled_h and pooled_w"
            raise LayerError("pooled_size for 3 axes is not supported", field="pooled_size", help=help)
        rows, columns = (p.pooled_size[0], p.pooled_size[-1]) if p.pooled_size else (p.pooled_h, p.pooled_w)
        if not (rows and columns):
            help = "add pooled_h: 7 pooled_w: 7"
            raise LayerError(f"pools to {rows}x{columns} cells", field="roi_pooling_param", help=help)
        return cls(rows, columns, p.spatial_scale)

    def shape(self, x: Shape, regions: Shape) -> Shape:
        return (_regions(x, regions), x[1], self.rows, self.columns)

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        """x[n c h w] regions[r 5] -> y[r c rows columns]; the first of equal largest values gets the gradient, but none
        goes beyond the pixels of a region: a cell may reach one further, and a region of swapped sides has none"""
        places = _largest(x.detach(), regions.detach(), self.rows, self.columns, self.scale)
        corners = _rounded(regions.detach().reshape(len(regions), -1)[:, 1:SIDES] * self.scale)
        left, top, right, bottom = corners.T.reshape(4, -1, 1, 1, 1)
        row, column = places.div(x.shape[3], rounding_mode="floor"), places % x.shape[3]
        within = (top <= row) & (row <= bottom) & (left <= column) & (column <= right)
        channels = torch.arange(x.shape[1], device=x.device).reshape(1, -1, 1, 1)
        planes = _images(regions).reshape(-1, 1, 1, 1) * x.shape[1] + channels
        y = x.reshape(-1)[planes * (x.shape[2] * x.shape[3]) + places.clamp(min=0)]
        return torch.where(places < 0, 0, torch.where(within, y, y.detach()))

    def onnx(self, emit: Emitter, x: Operand, regions: Operand) -> Operand:
        if emit.target == "opencv":
            raise LayerError("cv2.dnn has no operator that pools regions", help="export for another --target")
        flat = emit("Reshape", regions, emit.constant((-1, SIDES), "int64"))
        return emit("MaxRoiPool", x, flat, pooled_shape=[self.rows, self.columns], spatial_scale=self.scale)

    def flops(self, x: Shape, regions: Shape, y: Shape) -> int:
        return y[0] * y[1] * x[2] * x[3]


class PSROIPooling(Layer, param="psroi_pooling_param"):
    """Finds the mean in each cell of regions of a picture, each cell in channels of its own.

    Channel d of cell i, j of the output is that of channel (d * group + i) * group + j. The second input lists the
    regions: number of the image, then x1, y1, x2, y2 in pixels, rounded to whole ones, the last inside, before `scale`
    turns them into those of the first input. A cell outside of the picture is 0. Source: R-FCN.
    """

    outputs: int
    group: int
    scale: float

    @classmethod
    def read(cls, p: PSROIPoolingParameter, phase: Phase) -> Self:
        for name in ("output_dim", "group_size", "spatial_scale"):
            if not getattr(p, name) > 0:
                help = f"add {name} to psroi_pooling_param"
                raise LayerError(f"has no {name} above 0", field=name, help=help)
        return cls(p.output_dim, p.group_size, p.spatial_scale)

    def shape(self, x: Shape, regions: Shape) -> Shape:
        count = _regions(x, regions)
        if x[1] != self.outputs * self.group**2:
            raise LayerError(
                f"output_dim {self.outputs} and group_size {self.group} take {self.outputs * self.group**2} channels,"
                f" not {x[1]}",
                field="bottom",
            )
        return (count, self.outputs, self.group, self.group)

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        """x[n dgg h w] regions[r 5] -> y[r d g g]"""
        g, count = self.group, len(regions)
        rows, columns = self._edges(regions.detach(), x.shape[2], x.shape[3])
        # Sums of all above and to the left, so that a cell is four of them; halves and floats would lose digits.
        sums = torch.nn.functional.pad(x.double().cumsum(2).cumsum(3), (1, 0, 1, 0))
        sums = sums.reshape(len(x), self.outputs, g, g, *sums.shape[2:])
        image = _images(regions).reshape(-1, 1, 1, 1)
        channel = torch.arange(self.outputs, device=x.device).reshape(1, -1, 1, 1)
        i, j = (torch.arange(g, device=x.device).reshape(shape) for shape in ((1, 1, -1, 1), (1, 1, 1, -1)))
        top, bottom = (edge.reshape(count, 1, g, 1) for edge in rows)
        left, right = (edge.reshape(count, 1, 1, g) for edge in columns)

        def corner(row: Tensor, column: Tensor) -> Tensor:
            return sums[image, channel, i, j, row, column]

        total = corner(bottom, right) - corner(top, right) - corner(bottom, left) + corner(top, left)
        area = (bottom - top).clamp(min=0) * (right - left).clamp(min=0)
        return torch.where(area > 0, total / area.clamp(min=1), 0).to(x.dtype)

    def _edges(self, regions: Tensor, height: int, width: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """First row and the one behind the last of each cell [r g], then the same of columns."""
        sides = regions.reshape(len(regions), -1)[:, 1:SIDES]
        whole = _rounded(sides)
        starts, ends = whole[:, :2] * self.scale, (whole[:, 2:] + 1) * self.scale
        cells = torch.arange(self.group, device=regions.device, dtype=regions.dtype)
        found = []
        for axis, most in ((1, height), (0, width)):
            start = starts[:, axis, None]
            bin_size = (ends[:, axis, None] - start).clamp(min=LEAST) / self.group
            first, last = (cells * bin_size + start).floor(), ((cells + 1) * bin_size + start).ceil()
            found.append((first.clamp(0, most).long(), last.clamp(0, most).long()))
        return found[0], found[1]

    def onnx(self, emit: Emitter, x: Operand, regions: Operand) -> Operand:
        """Means as products with matrices that have 1 / extent where a row (a column) is in a cell."""
        n, _, height, width = x.shape
        d, g = self.outputs, self.group

        def whole(*shape: int) -> Operand:
            return emit.constant(shape, "int64")

        flat = emit("Reshape", regions, whole(-1, SIDES))
        image, x1, y1, x2, y2 = emit("Split", flat, outputs=SIDES, axis=1)
        rows = self._emit_cells(emit, y1, y2, height)  # [r g h]
        columns = self._emit_cells(emit, x1, x2, width)  # [r g w]
        here = emit("Equal", emit("Floor", image), emit.constant([[float(i) for i in range(n)]]))  # [r n]
        here = emit("Unsqueeze", emit("Cast", here, to=1), whole(1, 3))
        rows = emit("Mul", emit("Unsqueeze", rows, whole(2)), here)  # [r g n h]
        rows = emit("Reshape", emit("Transpose", rows, perm=[1, 0, 2, 3]), whole(g, -1, n * height))
        cells = emit("Reshape", x, whole(n, d, g, g, height, width))
        cells = emit("Transpose", cells, perm=[2, 0, 4, 1, 3, 5])  # [i n h d j w]
        cells = emit("Reshape", cells, whole(g, n * height, d * g * width))
        means = emit("Reshape", emit("MatMul", rows, cells), whole(g, -1, d, g, width))  # [i r d j w]
        means = emit("Mul", means, emit("Unsqueeze", columns, whole(1)))  # columns [r 1 j w]
        means = emit("ReduceSum", means, whole(4), keepdims=0)  # [i r d j]
        return emit("Transpose", means, perm=[1, 2, 0, 3])

    def _emit_cells(self, emit: Emitter, first: Any, last: Any, extent: int) -> Any:
        """From the sides [r 1] of regions to [r g extent]: 1 / length in each cell."""
        scale, g = emit.constant(self.scale), self.group
        start = emit("Mul", _emit_rounded(emit, first), scale)
        end = emit("Mul", emit("Add", _emit_rounded(emit, last), emit.constant(1.0)), scale)
        size = emit("Max", emit("Sub", end, start), emit.constant(LEAST))
        size = emit("Div", size, emit.constant(float(g)))
        edges = []
        for op, cells in (("Floor", range(g)), ("Ceil", range(1, g + 1))):
            edge = emit("Add", emit("Mul", size, emit.constant([[float(cell) for cell in cells]])), start)
            edge = emit("Clip", emit(op, edge), emit.constant(0.0), emit.constant(float(extent)))
            edges.append(emit("Unsqueeze", edge, emit.constant([2], "int64")))
        length = emit("Max", emit("Sub", edges[1], edges[0]), emit.constant(1.0))
        places = emit.constant([[[float(place) for place in range(extent)]]])
        beyond = emit("Less", places, edges[0])
        inside = emit("And", emit("Not", beyond), emit("Less", places, edges[1]))
        return emit("Div", emit("Cast", inside, to=1), length)

    def flops(self, x: Shape, regions: Shape, y: Shape) -> int:
        return math.prod(x) + 4 * math.prod(y)


def _regions(x: Shape, regions: Shape) -> int:
    """How many regions there are. Raises LayerError."""
    if len(x) != 4:
        raise LayerError(f"takes 4 axes (batch, channels, height, width), not {len(x)}", field="bottom[0]")
    if not regions or math.prod(regions[1:]) != SIDES:
        raise LayerError(
            f"its second input {times(regions)} is not 5 numbers a region (image, x1, y1, x2, y2)", field="bottom[1]"
        )
    return regions[0]


def _images(regions: Tensor) -> Tensor:
    """The numbers of the regions' images."""
    return regions.detach().reshape(len(regions), -1)[:, 0].long()


def _rounded(x: Tensor) -> Tensor:
    """To whole numbers, halves away from 0, as C rounds."""
    size = x.abs()
    whole = size.floor()  # adding 0.5 first would round the last number below 0.5 up
    return x.sign() * (whole + (size - whole >= 0.5))


def _emit_rounded(emit: Emitter, x: Any) -> Any:
    # ONNX's Round takes halves to even.
    return emit("Mul", emit("Sign", x), emit("Floor", emit("Add", emit("Abs", x), emit.constant(0.5))))


# An operator of its own, so that torch.compile takes the forward in one piece.
@torch.library.custom_op("nktc::largest_in_regions", mutates_args=())
def _largest(x: Tensor, regions: Tensor, rows: int, columns: int, scale: float) -> Tensor:
    """Where in its picture [h w], flat, the largest value of each cell is, the first of several: [r c rows columns]; -1
    in a cell outside."""
    height, width = x.shape[2:]
    sides = regions.reshape(len(regions), -1)
    starts = _rounded(sides[:, 1:SIDES] * scale)
    found = torch.full((len(regions), x.shape[1], rows, columns), -1, dtype=torch.int64, device=x.device)
    for r, (image, corners) in enumerate(zip(sides[:, 0].long().tolist(), starts.long().tolist(), strict=True)):
        if not 0 <= image < len(x):
            raise IndexError(f"index {image} is out of bounds for axis 0 with {len(x)} images")
        left, top, right, bottom = corners
        across = _cells(left, right, columns, width, x.dtype)
        down = _cells(top, bottom, rows, height, x.dtype)
        # The first in the order of reading: in each row the first, then the first row.
        held = [(j, *x[image, :, :, a:b].max(-1)) for j, (a, b) in enumerate(across) if a < b]
        for i, (a, b) in enumerate(down):
            if a >= b:
                continue
            for j, values, places in held:
                row = values[:, a:b].argmax(-1, keepdim=True)
                place = places[:, a:b].gather(1, row)
                found[r, :, i, j] = ((row + a) * width + place + across[j][0]).squeeze(1)
    return found


@_largest.register_fake
def _(x: Tensor, regions: Tensor, rows: int, columns: int, scale: float) -> Tensor:
    return regions.new_empty((len(regions), x.shape[1], rows, columns), dtype=torch.int64)


def _cells(first: int, last: int, count: int, most: int, dtype: torch.dtype) -> list[tuple[int, int]]:
    """Begin and end of each of the cells between `first` and `last`, it included, inside of 0 to `most`."""
    size = torch.tensor(max(last - first + 1, 1), dtype=dtype) / count
    cells = torch.arange(count, dtype=dtype)
    begins, ends = (cells * size).floor(), ((cells + 1) * size).ceil()
    return [
        (min(max(int(begin) + first, 0), most), min(max(int(end) + first, 0), most))
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
    ]
