"""Ask a trained model: pictures, folders, videos, arrays and databases in, class names, outputs and inner blobs out.

    from nktc import inference
    print(inference.load("model.onnx")("cat.jpg"))

`load` opens a model on an engine; a `Model` gives `Prediction`s for one thing, `Result`s for many, `blobs`, and raw
outputs by `run`.
`find` and `listed` name what is to be inferred, `FORMS` and `save` write what came out. `extract` writes blobs of a net
over its own data.
"""

from nktc.inference.crops import cut, ten_crops
from nktc.inference.extract import extract
from nktc.inference.features import save
from nktc.inference.model import Model, load
from nktc.inference.report import FORMS, plain
from nktc.inference.results import Detection, Prediction, Result
from nktc.inference.sources import Source, count, find, listed
from nktc.inference.writing import ARRAYS, Tally, form_of, write

__all__ = [
    "ARRAYS",
    "FORMS",
    "Detection",
    "Model",
    "Prediction",
    "Result",
    "Source",
    "Tally",
    "count",
    "cut",
    "extract",
    "find",
    "form_of",
    "listed",
    "load",
    "plain",
    "save",
    "ten_crops",
    "write",
]
