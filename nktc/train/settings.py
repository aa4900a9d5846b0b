"""A solver prototxt as settings: read, overridden, checked, its nets found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nktc import reader, text
from nktc.errors import NktcError, Source, Span, coded, near, raise_all
from nktc.reader import NetFile
from nktc.schema import NetState, SolverParameter, has_label
from nktc.text import Field, Tree

POLICIES = {
    "fixed": (),
    "step": ("gamma", "stepsize"),
    "exp": ("gamma",),
    "inv": ("gamma", "power"),
    "multistep": ("gamma", "stepvalue"),
    "poly": ("power", "max_iter"),
    "sigmoid": ("gamma", "stepsize"),
}
"""Each lr policy with the solver fields it needs."""

SOLVERS = ("SGD",)


@dataclass(frozen=True)
class TestNet:
    """A net to evaluate: how many batches of it, and the state it is built in."""

    net: NetFile
    iterations: int
    level: int | None = None
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """Everything a training run is told; the fields are SolverParameter's, with its units and defaults."""

    name: str  # of the solver file, without its ending
    train_net: NetFile
    level: int | None  # None: the net's own
    stages: tuple[str, ...]
    test_nets: tuple[TestNet, ...]
    message: SolverParameter
    max_iter: int
    iter_size: int
    base_lr: float
    lr_policy: str
    gamma: float
    power: float
    stepsize: int
    stepvalue: tuple[int, ...]
    momentum: float
    weight_decay: float
    regularization: str  # L2 or L1
    clip_gradients: float  # largest global L2 norm of the gradient; below 0: no clipping
    test_interval: int  # 0: never
    test_initialization: bool
    test_compute_loss: bool
    display: int  # 0: never
    average_loss: int
    snapshot: int  # 0: none on the way
    snapshot_prefix: str  # "" for the run's folder
    snapshot_after_train: bool
    hdf5: bool
    gpu: bool
    device_id: int
    seed: int | None
    weights: tuple[str, ...]


@coded("solver")
def read(path: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """The settings of a solver file, after `overrides` ("base_lr=0.01"). Raises located NktcErrors."""
    tree = text.read(path)
    if reader.is_net(tree):
        help = 'write a solver that names it: net: "FILE"'
        raise NktcError(f"{path} is a net, not a solver", help=help, code="wrong-file")
    tree = reader.upgrade_solver(replace(tree, fields=tuple(map(_plain, tree.fields))))
    message = text.bind(tree, SolverParameter)
    places = {field.name: field.extent() for field in tree.fields}
    for override in overrides:
        key, at = _override(message, override)
        places[key] = at
    return _Reading(message, tree, Path(path), places).settings()


def _override(message: SolverParameter, override: str) -> tuple[str, Span]:
    """Set one field from `key=value`; several values of a repeated field are separated by commas. Gives the field, and
    its place for what is found out later."""
    key, equals, value = override.partition("=")
    source = Source("--set", override)
    fields = SolverParameter.DESCRIPTOR.fields_by_name
    if not equals:
        raise NktcError(f'"{override}" sets nothing', at=Span(source, 1, 1, len(override)), help="write key=value")
    if key not in fields:
        at = Span(source, 1, 1, len(key))
        help = near(key, fields)
        raise NktcError(f'unknown solver field "{key}"', at=at, help=help, code="unknown-field")
    field = fields[key]
    if field.type == field.TYPE_STRING and not value.startswith(('"', "'")):
        value = f'"{value}"'
    # The text up to the value is as long as the key and one character, so columns are those the user typed.
    if field.type == field.TYPE_MESSAGE:
        written = f"{key} {value}"
    else:
        written = f"{key}:[{value}]" if "," in value and has_label(field, "repeated") else f"{key}:{value}"
    new = text.bind(text.parse(Source("--set", written)), SolverParameter)
    message.ClearField(key)  # type: ignore[arg-type]
    message.MergeFrom(new)
    return key, Span(source, 1, 1, len(override))


@dataclass
class _Reading:
    """One reading of a solver: collects what is wrong with it."""

    message: SolverParameter
    tree: text.Tree
    path: Path
    places: dict[str, Span]

    def settings(self) -> Settings:
        s = self.message
        self.errors: list[NktcError] = []
        self._check()
        train = self._train_net()
        tests = self._test_nets()
        raise_all(self.errors)
        assert train is not None
        return Settings(
            name=self.path.stem,
            train_net=train,
            level=_level(s.train_state),
            stages=tuple(s.train_state.stage),
            test_nets=tests,
            message=s,
            max_iter=s.max_iter,
            iter_size=s.iter_size,
            base_lr=s.base_lr,
            lr_policy=s.lr_policy,
            gamma=s.gamma,
            power=s.power,
            stepsize=s.stepsize,
            stepvalue=tuple(s.stepvalue),
            momentum=s.momentum,
            weight_decay=s.weight_decay,
            regularization=s.regularization_type,
            clip_gradients=s.clip_gradients,
            test_interval=s.test_interval if tests else 0,
            test_initialization=s.test_initialization,
            test_compute_loss=s.test_compute_loss,
            display=s.display,
            average_loss=s.average_loss,
            snapshot=s.snapshot,
            snapshot_prefix=s.snapshot_prefix,
            snapshot_after_train=s.snapshot_after_train,
            hdf5=s.snapshot_format == SolverParameter.HDF5,
            gpu=s.solver_mode == SolverParameter.GPU,
            device_id=s.device_id,
            seed=s.random_seed if s.random_seed >= 0 else None,
            weights=tuple(name for entry in s.weights for name in entry.split(",") if name),
        )

    def _refuse(self, message: str, field: str, help: str = "") -> None:
        at = self.places.get(field) or Span(self.tree.span.source, 1, 1)
        self.errors.append(NktcError(message, at=at, help=help))

    def _check(self) -> None:
        s = self.message
        if s.type not in SOLVERS:
            help = 'set type: "SGD"; of Caffe\'s other solvers this version has none'
            self._refuse(f'solver type "{s.type}" is not one of {", ".join(SOLVERS)}', "type", help)
        if s.lr_policy not in POLICIES:
            help = near(s.lr_policy, POLICIES) or f"the policies are {', '.join(POLICIES)}"
            problem = f'unknown lr_policy "{s.lr_policy}"' if s.lr_policy else "the solver has no lr_policy"
            self._refuse(problem, "lr_policy", help)
        for field in POLICIES.get(s.lr_policy, ()):
            given = len(s.stepvalue) > 0 if field == "stepvalue" else s.HasField(field)  # type: ignore[arg-type]
            if not given:
                self._refuse(f'lr_policy "{s.lr_policy}" needs {field}', "lr_policy", f"add {field}")
        if not s.HasField("base_lr"):
            self._refuse("the solver has no base_lr", "base_lr", "add base_lr: 0.01")
        if s.max_iter < 1:
            self._refuse("the solver has no max_iter", "max_iter", "add max_iter: 4000, or give --max-iter")
        if s.regularization_type not in ("L1", "L2"):
            help = "the regularizations are L1 and L2"
            self._refuse(f'unknown regularization_type "{s.regularization_type}"', "regularization_type", help)
        for field in ("base_lr", "gamma", "power", "momentum", "weight_decay", "clip_gradients"):
            if not math.isfinite(getattr(s, field)):
                self._refuse(f"{field} is {getattr(s, field)}", field, "give a number")
        for field in ("momentum", "weight_decay", "gamma", "base_lr"):
            if getattr(s, field) < 0:
                self._refuse(f"{field} is {getattr(s, field):g}", field, "it starts at 0")
        least = {"iter_size": 1, "average_loss": 1, "test_interval": 0, "display": 0, "snapshot": 0}
        least |= {"stepsize": 1} if s.lr_policy in ("step", "sigmoid") and s.HasField("stepsize") else {}
        for field, minimum in least.items():
            if getattr(s, field) < minimum:
                self._refuse(f"{field} is {getattr(s, field)}", field, f"it starts at {minimum}")
        for field in ("debug_info", "snapshot_diff"):
            if getattr(s, field):
                self._refuse(f"{field} is not available in this version", field, f"remove {field}")

    def _train_net(self) -> NetFile | None:
        s = self.message
        fields = ("train_net_param", "train_net", "net_param", "net")
        given = [f for f in fields if (f in ("train_net", "net") and getattr(s, f)) or s.HasField(f)]  # type: ignore[arg-type]
        if len(given) != 1:
            problem = f"the solver names its training net {len(given)} times" if given else "the solver names no net"
            self._refuse(
                problem,
                given[-1] if given else "net",
                'give one of net: "FILE", train_net, net_param, train_net_param',
            )
            return None
        return self._net(given[0], 0)

    def _test_nets(self) -> tuple[TestNet, ...]:
        s = self.message
        named = [("test_net_param", i) for i in range(len(s.test_net_param))]
        named += [("test_net", i) for i in range(len(s.test_net))]
        rest = len(s.test_iter) - len(named)
        generic = "net_param" if s.HasField("net_param") else "net"
        if s.HasField("net_param") or s.net:
            named += [(generic, 0)] * max(0, rest)
            rest = len(s.test_iter) - len(named)
        if rest:
            problem = f"the solver has {len(s.test_iter)} test_iter for {len(named)} test nets"
            self._refuse(problem, "test_iter" if s.test_iter else "test_net", "give one test_iter a test net")
            return ()
        if len(s.test_state) not in (0, len(named)):
            self._refuse(f"the solver has {len(s.test_state)} test_state for {len(named)} test nets", "test_state")
            return ()
        if named and s.test_interval == 0:
            self._refuse("the solver has a test net and no test_interval", "test_iter", "add test_interval: 500")
        found = []
        for i, (field, index) in enumerate(named):
            state = s.test_state[i] if s.test_state else NetState()
            net = self._net(field, index)
            if s.test_iter[i] < 1:
                self._refuse(f"test_iter is {s.test_iter[i]}", "test_iter", "it starts at 1")
            if net:
                found.append(TestNet(net, s.test_iter[i], _level(state), tuple(state.stage)))
        return tuple(found)

    def _net(self, field: str, index: int) -> NetFile | None:
        """The net in or named by a field; what is wrong with it is collected."""
        place = dict(enumerate(self.tree.all(field))).get(index)
        try:
            if field.endswith("param"):
                if place is None or not isinstance(place.value, text.Tree):
                    value = getattr(self.message, field)
                    return reader.from_message(value[index] if field == "test_net_param" else value, str(self.path))
                return reader.from_tree(place.value, str(self.path))
            value = getattr(self.message, field)
            name = value if isinstance(value, str) else value[index]
            if not name:
                raise NktcError(f"{field} names no file")
            found = reader.must_exist(name, self.path.parent, "net")
            if not found.is_file():
                raise NktcError(f'net "{name}" is no file')
            return reader.read_net(found, strict=False)
        except NktcError as error:
            error.located(self.places.get(field))
            if not any(str(error) == str(other) for other in self.errors):
                self.errors.append(error)
            return None


def _level(state: NetState) -> int | None:
    """The level a state asks for, None where it asks for none."""
    return state.level if state.HasField("level") else None


def _plain(field: Field) -> Field:
    """A field of the solver; where it is a net, with its blocks in place."""
    if field.name.endswith("net_param") and isinstance(field.value, Tree):
        return replace(field, value=reader.expand(field.value).tree)
    return field
