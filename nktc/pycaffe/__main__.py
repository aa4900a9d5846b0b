"""python -m nktc.pycaffe SCRIPT ARGUMENTS...: runs a script that says `import caffe`; also -m MODULE and -c CODE."""

from __future__ import annotations

import os
import runpy
import sys

from nktc.pycaffe import imports, old_numpy

USAGE = "usage: python -m nktc.pycaffe SCRIPT.py [ARGUMENTS...], or -m MODULE [ARGUMENTS...], or -c CODE [ARGUMENTS...]"


def main() -> None:
    """Run what the command line names, with `import caffe` answered."""
    given = sys.argv[1:]
    if not given or given[0] in ("-h", "--help") or (given[0] in ("-m", "-c") and len(given) < 2):
        print(USAGE)
        sys.exit(0 if given[:1] in (["-h"], ["--help"]) else 2)
    imports.answer()
    old_numpy.answer()
    if given[0] == "-m":
        sys.argv = given[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(given[1], run_name="__main__", alter_sys=True)
    elif given[0] == "-c":
        sys.argv = ["-c", *given[2:]]
        sys.path[0] = ""
        exec(compile(given[1], "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        if not os.path.exists(given[0]):
            print(f"python -m nktc.pycaffe: there is no script {given[0]}", file=sys.stderr)
            sys.exit(2)
        sys.argv = given
        sys.path[0] = os.path.dirname(os.path.abspath(given[0]))
        runpy.run_path(given[0], run_name="__main__")


if __name__ == "__main__":
    main()
