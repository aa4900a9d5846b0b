"""A solver prototxt as settings: read, overridden, checked, its nets found."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nktc import reader, text
from nktc.errors import NktcError, NktcWarning, Source, Span, coded, near, raise_all
from nktc.reader import NetFile
from nktc.schema import NetState, SolverParameter, has_label
from nktc.text import Field, Tree

SOLVERS = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam", "AdamW", "LAMB", "Muon")

POLICIES: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "step": ("gamma", "stepsize"),
    "exp": ("gamma",),
    "inv": ("gamma", "power"),
    "multistep": ("gamma", "stepvalue"),
    "poly": ("power", "max_iter"),
    "sigmoid": ("gamma", "stepsize"),
    "cosine": ("max_iter",),
    "onecycle": ("max_iter",),
    "plateau": ("gamma", "test_interval"),
}
"""Each lr policy with the solver fields it needs."""

EPOCHS = {
    "max_iter": "max_epoch",
    "test_interval": "test_epoch",
    "snapshot": "snapshot_epoch",
    "stepsize": "stepsize_epoch",
    "stepvalue": "stepvalue_epoch",
    "warmup_iter": "warmup_epoch",
}
"""Fields that count iterations, with the fields that say the same in epochs."""

SPEEDS = ("channels_last", "compile", "cuda_graph")
"""What `speed` may list beside auto and exact."""

LEAST = {
    **dict.fromkeys(("iter_size", "average_loss", "plateau_tests"), 1),
    **dict.fromkeys(("test_interval", "display", "snapshot", "warmup_iter", "early_stop_tests", "snapshot_keep"), 0),
    **dict.fromkeys(("rampup_interval", "rampup_lr"), 0),
    **dict.fromkeys(("base_lr", "gamma", "momentum", "momentum2", "weight_decay", "delta", "rms_decay"), 0),
    **dict.fromkeys(("warmup_lr", "min_lr", "rise", "ema_decay", "max_seconds", "loss_scale", "max_loss"), 0),
    **dict.fromkeys(("max_epoch", "test_epoch", "snapshot_epoch", "stepsize_epoch", "warmup_epoch"), 0),
    **dict.fromkeys(("metric_gain", "larc_eta", "device_id"), 0),
}
"""Where numbers start."""

BELOW_1 = {"rise": "a share", "ema_decay": "a share that is kept", "rms_decay": "a share that is kept"}
DECAYS = {
    "AdaDelta": ("momentum",),
    **dict.fromkeys(("Adam", "AdamW", "LAMB", "Muon"), ("momentum", "momentum2")),
}
"""Fields that are a share of a running mean, from 0 to below 1, for these solver types."""

NO_MOMENTUM = ("AdaGrad", "RMSProp")


@dataclass(frozen=True)
class TestNet:
    """A net to evaluate: how many batches of it (0: every record once), and the state it is built in."""

    net: NetFile
    iterations: int
    level: int | None = None
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """Everything a training run is told.

    `message` is the solver: every field with its units and default is described there; what counts epochs has been
    brought to iterations once `in_iterations` was called. The nets are read, not built; `level` None is the net's own.
    """

    name: str  # of the solver file, without its ending
    train_net: NetFile
    level: int | None
    stages: tuple[str, ...]
    test_nets: tuple[TestNet, ...]
    message: SolverParameter
    places: Mapping[str, Span] = dataclasses.field(default_factory=dict, compare=False)
    warnings: tuple[NktcWarning, ...] = ()  # of what forks of Caffe wrote in vain

    @property
    def hdf5(self) -> bool:
        return self.message.snapshot_format == SolverParameter.HDF5

    @property
    def seed(self) -> int | None:
        """random_seed, None where a fresh one is wanted."""
        return self.message.random_seed if self.message.random_seed >= 0 else None

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(name for entry in self.message.weights for name in entry.split(",") if name)

    @property
    def counts_epochs(self) -> bool:
        return any(_given(self.message, name) for name in EPOCHS.values())

    def refusal(self, message: str, field: str, help: str = "") -> NktcError:
        """An error that blames a field of the solver."""
        return NktcError(message, at=self.places.get(field), help=help, code="solver")

    def in_iterations(self, an_epoch: float) -> Settings:
        """With every field that counts epochs brought to iterations, `an_epoch` of them in one, at least 1."""
        message = SolverParameter()
        message.CopyFrom(self.message)
        for name, epochs in EPOCHS.items():
            if name == "stepvalue" and message.stepvalue_epoch:
                message.stepvalue.extend(max(1, round(value * an_epoch)) for value in message.stepvalue_epoch)
            elif name != "stepvalue" and message.HasField(epochs):  # type: ignore[arg-type]
                value = getattr(message, epochs)
                setattr(message, name, max(1, round(value * an_epoch)) if value else 0)
            message.ClearField(epochs)  # type: ignore[arg-type]
        return replace(self, message=message)


@coded("solver")
def read(
    path: str | Path, overrides: Sequence[str] = (), level: int | None = None, stages: Sequence[str] = ()
) -> Settings:
    """The settings of a solver file, after `overrides` ("base_lr=0.01"); its train_state gets `level`, and
    `stages` beside its own. Raises located NktcErrors."""
    try:
        tree = text.read(path)
    except NktcError as refused:
        raise reader.stranger(path, refused, "solver") from None
    reader.refuse_stranger(tree, path, "solver")
    if reader.is_net(tree):
        help = 'write a solver that names it: net: "FILE"'
        raise NktcError(f"{path} is a net, not a solver", help=help, code="wrong-file")
    devices = [*tree.all("device_id")]
    if len(devices) > 1:  # as temporal segment networks were trained
        said, help = f"device_id names {len(devices)} devices", "keep one; nktc train --gpu 0,1 trains on several"
        raise NktcError(said, at=devices[0].extent(), help=help, code="given-twice")
    tree = _today(tree)
    message = text.bind(tree, SolverParameter)
    raise_all(reader.refusals(tree, SolverParameter.DESCRIPTOR))
    places = {field.name: field.extent() for field in tree.fields}
    for override in overrides:
        _override(message, override, places)
    if level is not None:
        message.train_state.level = level
    if stages:
        message.train_state.stage.extend(stages)
    settings = _Reading(message, tree, Path(path), places).settings()
    warnings = reader.in_vain(tree, SolverParameter.DESCRIPTOR)
    if settings.train_net.tree:
        warnings += reader.in_vain(settings.train_net.tree)
    return replace(settings, warnings=tuple({str(one): one for one in warnings}.values()))


def _today(solver: Tree) -> Tree:
    """A solver in today's spelling, with the blocks of its nets in place."""
    return reader.upgrade_solver(replace(solver, fields=tuple(map(_plain, solver.fields))))


def _override(message: SolverParameter, override: str, places: dict[str, Span]) -> None:
    """Set one field from `key=value`; several values of a repeated field are separated by commas. What says the same
    in epochs, or in iterations, is forgotten. `places` learns where the field was set."""
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
    repeated = has_label(field, "repeated") and field.type != field.TYPE_MESSAGE
    if field.type == field.TYPE_STRING and not value.startswith(('"', "'")):
        parts = value.split(",") if repeated else [value]
        value = ",".join(json.dumps(part, ensure_ascii=False) for part in parts)
    # The text up to the value is as long as the key and one character, so columns are those the user typed.
    if field.type == field.TYPE_MESSAGE:
        written = f"{key} {value}"
    else:
        written = f"{key}:[{value}]" if repeated and "," in value else f"{key}:{value}"
    tree = _today(text.parse(Source("--set", written)))
    for name in dict.fromkeys(field.name for field in tree.fields):
        for other in (name, *(b if name == a else a for a, b in EPOCHS.items() if name in (a, b))):
            message.ClearField(other)  # type: ignore[arg-type]
        places[name] = Span(source, 1, 1, len(override))
    message.MergeFrom(text.bind(tree, SolverParameter))


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
        return Settings(self.path.stem, train, _level(s.train_state), tuple(s.train_state.stage), tests, s, self.places)

    def _refuse(self, message: str, field: str, help: str = "") -> None:
        at = self.places.get(field) or Span(self.tree.span.source, 1, 1)
        self.errors.append(NktcError(message, at=at, help=help))

    def _check(self) -> None:
        s = self.message
        if s.type not in SOLVERS:
            help = near(s.type, SOLVERS) or f"the types are {', '.join(SOLVERS)}"
            self._refuse(f'unknown solver type "{s.type}"', "type", help)
        self._check_policy()
        if not s.HasField("base_lr"):
            self._refuse("the solver has no base_lr", "base_lr", "add base_lr: 0.01")
        if s.max_iter < 1 and not s.max_epoch > 0:
            name = "max_epoch" if s.HasField("max_epoch") else "max_iter"
            problem = f"{name} is {getattr(s, name):g}" if _given(s, name) else "the solver has no max_iter"
            self._refuse(problem, name, "add max_iter: 4000, or give --max-iter")
        if s.regularization_type not in ("L1", "L2"):
            help = "the regularizations are L1 and L2"
            self._refuse(f'unknown regularization_type "{s.regularization_type}"', "regularization_type", help)
        if s.larc_policy not in ("clip", "scale"):
            self._refuse(f'unknown larc_policy "{s.larc_policy}"', "larc_policy", "clip or scale")
        self._check_ranges()
        if s.type in NO_MOMENTUM and s.momentum:
            self._refuse(f"{s.type} has no momentum, and momentum is {s.momentum:g}", "momentum", "remove momentum")
        for one, other in EPOCHS.items():
            if _given(s, one) and _given(s, other):
                self._refuse(f"{one} and {other} are both given", other, "keep one of them")
        if s.speed not in ("auto", "exact"):
            for name in s.speed.split(","):
                if name not in SPEEDS:
                    help = near(name, (*SPEEDS, "auto", "exact")) or f"auto, exact, or a list of {', '.join(SPEEDS)}"
                    self._refuse(f'unknown speed "{name}"', "speed", help)

    def _check_policy(self) -> None:
        s = self.message
        if s.lr_policy not in POLICIES:
            help = near(s.lr_policy, POLICIES) or f"the policies are {', '.join(POLICIES)}"
            problem = f'unknown lr_policy "{s.lr_policy}"' if s.lr_policy else "the solver has no lr_policy"
            self._refuse(problem, "lr_policy", help)
        for name in POLICIES.get(s.lr_policy, ()):
            if s.plateau_winsize and name == "test_interval":
                continue  # SSD's plateau watches the training
            if not _given(s, name) and not _given(s, EPOCHS.get(name, name)):
                self._refuse(f'lr_policy "{s.lr_policy}" needs {name}', "lr_policy", f"add {name}")

    def _check_ranges(self) -> None:
        s = self.message
        for number in (f for f in SolverParameter.DESCRIPTOR.fields if f.type == f.TYPE_FLOAT):
            given = getattr(s, number.name)
            for value in given if has_label(number, "repeated") else [given]:
                if not math.isfinite(value):
                    self._refuse(f"{number.name} is {value}", number.name, "give a number")
        least = LEAST | ({"stepsize": 1} if s.lr_policy == "step" and s.HasField("stepsize") else {})
        for window in s.plateau_winsize:
            if window < 1:
                self._refuse(f"plateau_winsize is {window}", "plateau_winsize", "it starts at 1")
        for name, minimum in least.items():
            if getattr(s, name) < minimum:
                self._refuse(f"{name} is {getattr(s, name):g}", name, f"it starts at {minimum}")
        shares = BELOW_1 | dict.fromkeys(DECAYS.get(s.type, ()), f"a share that {s.type} keeps")
        for name, what in shares.items():
            if getattr(s, name) >= 1:
                self._refuse(f"{name} is {getattr(s, name):g}", name, f"it is {what}: from 0 to below 1")
        if list(s.stepvalue) != sorted(s.stepvalue) or list(s.stepvalue_epoch) != sorted(s.stepvalue_epoch):
            name = "stepvalue_epoch" if s.stepvalue_epoch else "stepvalue"
            self._refuse(f"{name} falls", name, "write the values in rising order")

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
        # Without test_iter a whole-set test has one net: its own, or the one that is trained.
        counts = list(s.test_iter) or [1] * (max(1, len(named)) if s.test_all else 0)
        rest = len(counts) - len(named)
        generic = "net_param" if s.HasField("net_param") else "net"
        if s.HasField("net_param") or s.net:
            named += [(generic, 0)] * max(0, rest)
            rest = len(counts) - len(named)
        if rest:
            problem = f"the solver has {len(s.test_iter)} test_iter for {len(named)} test nets"
            self._refuse(problem, "test_iter" if s.test_iter else "test_net", "give one test_iter a test net")
            return ()
        if len(s.test_state) not in (0, len(named)):
            self._refuse(f"the solver has {len(s.test_state)} test_state for {len(named)} test nets", "test_state")
            return ()
        if named and s.test_interval == 0 and not s.test_epoch:
            self._refuse("the solver has a test net and no test_interval", "test_iter", "add test_interval: 500")
        for wanted in ("early_stop_tests", "snapshot_best", "metric"):
            if getattr(s, wanted) and not named:
                self._refuse(f"{wanted} needs a test net", wanted, "add test_iter and test_interval")
        if s.lr_policy == "plateau" and not named and not s.plateau_winsize:
            self._refuse("plateau needs a test net", "lr_policy", "add test_iter and test_interval")
        found = []
        for i, (field, index) in enumerate(named):
            state = s.test_state[i] if s.test_state else NetState()
            net = self._net(field, index)
            if counts[i] < 1:
                self._refuse(f"test_iter is {counts[i]}", "test_iter", "it starts at 1")
            if net:
                found.append(TestNet(net, 0 if s.test_all else counts[i], _level(state), tuple(state.stage)))
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


def _given(s: SolverParameter, name: str) -> bool:
    """Whether the solver says a field, repeated ones too."""
    if name.startswith("stepvalue"):
        return len(getattr(s, name)) > 0
    return s.HasField(name)  # type: ignore[arg-type]


def _level(state: NetState) -> int | None:
    """The level a state asks for, None where it asks for none."""
    return state.level if state.HasField("level") else None


def _plain(field: Field) -> Field:
    """A field of the solver; where it is a net, with its blocks in place."""
    if field.name.endswith("net_param") and isinstance(field.value, Tree):
        return replace(field, value=reader.expand(field.value).tree)
    return field
