"""Loads the schema of prototxts with the protobuf runtime that is here, and reads a net with it."""

from __future__ import annotations

import json

import google.protobuf
from google.protobuf import text_format
from google.protobuf.internal import api_implementation

from nktc import schema


def main() -> None:
    net = text_format.Parse('name: "one" layer { name: "x" type: "Input" top: "x" }', schema.NetParameter())
    found = {
        "version": google.protobuf.__version__,
        "implementation": api_implementation.Type(),
        "right": net.layer[0].type == "Input",
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
