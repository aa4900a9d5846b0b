"""Blobs of a net over its own data, as LMDBs of Datums: what Caffe's extract_features makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from nktc import data, models, module, reader, train, weights
from nktc.errors import NktcError, near
from nktc.inference.features import packed
from nktc.ir import Graph, Phase, rewrite


@torch.inference_mode()
def extract(
    net: Path,
    files: Sequence[str | Path],
    databases: Sequence[tuple[str, Path]],
    batches: int,
    backend: str = "lmdb",
    gpu: int | None = None,
    places: data.Places | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, int]:
    """Run the TEST net over the first `batches` batches of its data layers and write each blob of `databases` into an
    LMDB of its own: a record for each of its rows, floats, its key the row's number in ten digits. `gpu` is the one to
    run on, None for the CPU. Returns the records of each blob. Raises NktcError."""
    if backend != "lmdb":
        help = "lmdb makes what a Data layer reads just as well, with backend: LMDB"
        raise NktcError("nktc reads LevelDB and does not write it", help=help)
    if gpu is not None and (problem := module.why_no_gpu(gpu)):
        raise NktcError(f"GPU {gpu} cannot be had: {problem}", help="on the CPU it runs without a GPU")
    for _, path in databases:
        if path.exists() or [other for _, other in databases].count(path) > 1:
            what = "is there already" if path.exists() else "is given for two blobs"
            raise NktcError(f"{path} {what}", help="give another name")
    file = reader.read_net(net)
    graph = reader.build(file, Phase.TEST, feeds=models.feeds(file))
    for given in files:
        graph, _ = weights.attach(graph, given)
    graph = _giving(graph, net, [blob for blob, _ in databases])
    missing = dict.fromkeys(
        p.layer for name, p in graph.parameters.items() if p.weight.kept and name not in graph.arrays
    )
    if missing:
        said = " and ".join(map(str, files))
        raise NktcError(f"{said} has no weights for {', '.join(missing)}", help="give the weights of this very net")
    if not graph.sources:
        raise NktcError(
            f"no data layer feeds {databases[0][0]}", help="give a net with a Data layer for the TEST phase"
        )
    chosen = torch.device("cpu") if gpu is None else torch.device("cuda", gpu)
    where = places or data.Places.from_environment()
    feeding = train.open_feeding(graph, where, file.folder, seed=0, device=chosen)
    compiled = module.compile(graph).to(chosen)
    counts = dict.fromkeys((blob for blob, _ in databases), 0)
    with ExitStack() as stack:
        writers = {blob: stack.enter_context(data.new_database(path, {})) for blob, path in databases}
        made = feeding.ahead(0)
        for _ in range(batches):
            values = compiled(*next(made))
            for blob, writer in writers.items():
                rows = np.atleast_1d(values[blob].float().cpu().numpy())
                first = counts[blob]
                writer.write([(b"%010d" % number, packed(row)) for number, row in enumerate(rows, first)])
                counts[blob] += len(rows)
    for node, skipped in feeding.skipped(graph):
        tell(train.skips(node, skipped))
    return counts


def _giving(graph: Graph, net: Path, blobs: Sequence[str]) -> Graph:
    """The graph with these blobs as its outputs. Raises NktcError for one that it has not."""
    for blob in blobs:
        if blob not in graph.values:
            known = [name for name in graph.values if "@" not in name]
            raise NktcError(f'{net} has no blob "{blob}"', help=near(blob, known) or f"it has {', '.join(known)}")
    return rewrite.wanting(graph, blobs)
