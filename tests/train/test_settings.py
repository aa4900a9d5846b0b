"""Reading a solver: what it says, what overrides it, what is refused where."""

from __future__ import annotations

import pytest

from nktc import train
from nktc.errors import Errors, NktcError
from nktc.schema import SolverParameter
from nktc.train.settings import EPOCHS, POLICIES

NET = """
name: "tiny"
layer { name: "d" type: "Dataset" top: "data" top: "label" dataset_param { name: "digits" batch_size: 10 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 10 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = 'net: "net.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 5\n'


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a solver beside its net; the working directory is theirs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)

    def solver(text: str) -> str:
        (tmp_path / "s.prototxt").write_text(text)
        return "s.prototxt"

    return solver


def refusal(path: str, *overrides: str) -> str:
    with pytest.raises(NktcError) as caught:
        train.read(path, overrides)
    return str(caught.value)


def test_a_solver_is_read_with_caffes_defaults(write):
    settings = train.read(write(SOLVER))
    s = settings.message
    assert (settings.name, s.max_iter, s.iter_size, s.momentum, s.average_loss) == ("s", 5, 1, 0, 1)
    assert s.solver_mode == SolverParameter.GPU
    assert s.snapshot_after_train
    assert s.test_initialization
    assert (settings.seed, settings.weights, settings.hdf5) == (None, (), False)
    assert settings.test_nets == ()


def test_overrides_win(write):
    s = train.read(write(SOLVER), ["base_lr=0.5", "lr_policy=multistep", "gamma=0.1", "stepvalue=3,7"]).message
    assert (s.base_lr, s.lr_policy, list(s.stepvalue)) == (0.5, "multistep", [3, 7])


def test_the_later_of_two_overrides_wins(write):
    assert train.read(write(SOLVER), ["max_iter=7", "max_iter=9"]).message.max_iter == 9


def test_several_texts_are_separated_by_commas_and_need_no_quotes(write):
    s = train.read(write(SOLVER), ["freeze=conv*,ip1.bias", r"snapshot_prefix=C:\runs\new", "metric_goal=MIN"]).message
    assert list(s.freeze) == ["conv*", "ip1.bias"]
    assert s.snapshot_prefix == r"C:\runs\new"
    assert list(train.read(write(SOLVER), ['freeze="a,b","c"']).message.freeze) == ["a,b", "c"]


@pytest.mark.parametrize(("old", "today"), [("ADAM", "Adam"), ("1", "Nesterov"), ("RMSPROP", "RMSProp")])
def test_an_override_may_use_an_old_spelling(write, old, today):
    assert train.read(write(SOLVER), [f"solver_type={old}"]).message.type == today
    assert train.read(write(SOLVER + "solver_type: ADAGRAD\n"), [f"solver_type={old}"]).message.type == today
    assert train.read(write(SOLVER + "solver_type: ADAGRAD\n"), [f"type={today}"]).message.type == today
    assert refusal(write(SOLVER), "solver_type=ADAMM").startswith("--set:1:13: error: ")


def test_an_unknown_override_is_refused_with_a_near_name(write, golden):
    golden(
        refusal(write(SOLVER), "base_lrr=1"),
        """
        --set:1:1: error: unknown solver field "base_lrr"  [unknown-field]
            1 | base_lrr=1
              | ^~~~~~~~
        help: did you mean "base_lr"?
        """,
    )


def test_a_list_of_devices_is_refused_once_with_the_option_for_several(write, golden):
    golden(
        refusal(write(SOLVER + "device_id: [0,1,2,3]\nrichness: 200\n")),
        """
        s.prototxt:5:1: error: device_id names 4 devices  [given-twice]
            5 | device_id: [0,1,2,3]
              | ^~~~~~~~~~~~~
        help: keep one; nktc train --gpu 0,1 trains on several
        """,
    )
    (warning,) = train.read(write(SOLVER + "device_id: 0\nrichness: 200\n")).warnings
    assert warning.message == "richness has no effect here"


def test_an_override_of_the_wrong_kind_is_refused_in_its_place(write):
    assert refusal(write(SOLVER), "max_iter=many").startswith("--set:1:10: error: ")


def test_a_value_of_an_override_is_blamed_on_it(write):
    text = refusal(write(SOLVER), "type=Adm")
    assert text.startswith('--set:1:1: error: unknown solver type "Adm"  [solver]\n    1 | type=Adm\n')
    assert text.endswith('help: did you mean "Adam"?')
    assert refusal(write(SOLVER), "net=other.prototxt").startswith('--set:1:1: error: net "other.prototxt" does not')


@pytest.mark.parametrize(
    ("field", "value"), [("base_lr", "nan"), ("base_lr", "inf"), ("momentum", "-1"), ("snapshot", "-1")]
)
def test_numbers_out_of_range_are_refused(write, field, value):
    assert refusal(write(SOLVER), f"{field}={value}").startswith(f"--set:1:1: error: {field} is ")


def test_a_net_given_as_a_solver_is_refused_in_one_sentence(write):
    write(SOLVER)
    assert refusal("net.prototxt").startswith("error: net.prototxt is a net, not a solver  [wrong-file]\n")


@pytest.mark.parametrize("name", ["folder", "junk"])
def test_a_net_that_is_no_net_is_refused_where_it_is_named(write, tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "junk").write_bytes(bytes(range(256)))
    assert refusal(write(SOLVER.replace("net.prototxt", name))).startswith("s.prototxt:1:1: error: ")


def test_everything_wrong_is_reported_in_one_run(write):
    with pytest.raises(Errors) as caught:
        train.read(write('net: "net.prototxt"\nlr_policy: "stepp"\ntype: "Magic"\n'))
    text = str(caught.value)
    assert 's.prototxt:2:1: error: unknown lr_policy "stepp"' in text
    assert 'did you mean "step"?' in text
    assert 's.prototxt:3:1: error: unknown solver type "Magic"' in text
    assert "the solver has no base_lr" in text
    assert "the solver has no max_iter" in text


def test_a_policy_without_its_fields_is_refused(write):
    assert 'lr_policy "inv" needs gamma' in refusal(write(SOLVER.replace("fixed", "inv") + "power: 1\n"))


def test_a_missing_net_is_refused_where_it_is_named(write):
    text = refusal(write(SOLVER.replace("net.prototxt", "nett.prototxt")))
    assert text.startswith('s.prototxt:1:1: error: net "nett.prototxt" does not exist')


def test_test_nets_need_test_iter_and_test_interval(write):
    assert "needs" not in refusal(write(SOLVER + "test_iter: 3\n"))
    assert "has a test net and no test_interval" in refusal(write(SOLVER + "test_iter: 3\n"))
    settings = train.read(write(SOLVER + 'test_iter: 3 test_iter: 4 test_interval: 10 test_net: "net.prototxt"\n'))
    assert [test.iterations for test in settings.test_nets] == [3, 4]


def test_a_net_is_found_beside_its_solver_too(write, tmp_path, monkeypatch):
    path = tmp_path / write(SOLVER)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert train.read(path).train_net.message.name == "tiny"


def test_a_net_inside_the_solver_is_read_with_its_places(write):
    inside = SOLVER.replace(
        'net: "net.prototxt"', 'net_param { name: "in" layer { type: "ReLU" bottom: "x" topp: "y" } }'
    )
    assert "s.prototxt:1:57: error: unknown field" in refusal(write(inside))


def test_a_net_inside_a_solver_may_have_blocks(write):
    net = """net_param {
      block { name: "act" bottom: "x" top: "y" layer { name: "relu" type: "ReLU" bottom: "x" top: "y" } }
      layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 1 } } }
      layer { name: "a" type: "act" bottom: "in" top: "a" }
    }"""
    settings = train.read(write(SOLVER.replace('net: "net.prototxt"', net)))
    assert [layer.name for layer in settings.train_net.message.layer] == ["in", "a/relu"]


BAD = {
    "warmup_iter": "-1",
    "warmup_lr": "-0.5",
    "min_lr": "-0.5",
    "rise": "1",
    "plateau_tests": "0",
    "plateau_winsize": "0",
    "rampup_interval": "-1",
    "rampup_lr": "-0.5",
    "metric": "3",
    "metric_goal": "BEST",
    "metric_gain": "-1",
    "early_stop_tests": "-1",
    "snapshot_best": "3",
    "snapshot_keep": "-1",
    "ema_decay": "1",
    "max_epoch": "0",
    "test_epoch": "-1",
    "snapshot_epoch": "-1",
    "stepsize_epoch": "-1",
    "stepvalue_epoch": "[2, 1]",
    "warmup_epoch": "-1",
    "test_all": "3",
    "max_seconds": "-1",
    "freeze": "3",
    "deterministic": "3",
    "precision": "FP8",
    "loss_scale": "-1",
    "speed": '"fast"',
    "larc": "3",
    "larc_policy": '"cut"',
    "larc_eta": "-1",
    "sync_batch_norm": "3",
    "max_loss": "-1",
}
"""What each field of ours does not take."""


@pytest.mark.parametrize("field", [f.name for f in SolverParameter.DESCRIPTOR.fields if f.number > 20000])
def test_a_value_that_a_field_of_ours_does_not_take_is_refused_in_its_place(write, field):
    solver = SOLVER.replace("max_iter: 5\n", "") if field == "max_epoch" else SOLVER
    line = solver.count("\n") + 1
    text = refusal(write(solver + f"{field}: {BAD[field]}\n"))
    assert text.startswith(f"s.prototxt:{line}:"), text
    assert field in text
    if field != "freeze":  # --set puts the quotes around a text
        assert refusal(write(solver), f"{field}={BAD[field].strip('[]')}").startswith("--set:1:")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("field", ["momentum", "power", "clip_gradients", "stepvalue_epoch", "max_loss"])
def test_numbers_are_finite(write, field, number):
    assert f"error: {field} is {number}" in refusal(write(SOLVER + f"{field}: {number}\n"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('type: "Adam" momentum: 1', "momentum is 1"),
        ('type: "AdaGrad" momentum: 0.9', "AdaGrad has no momentum, and momentum is 0.9"),
        ('type: "RMSProp" rms_decay: 1', "rms_decay is 1"),
        ("iter_size: 0", "iter_size is 0"),
        ("device_id: -1", "device_id is -1"),
        ("test_iter: 0 test_interval: 3", "test_iter is 0"),
        ("test_interval: -1", "test_interval is -1"),
        ("test_state { level: 1 }", "the solver has 1 test_state for 0 test nets"),
        ('metric: "loss"', "metric needs a test net"),
        ("early_stop_tests: 3", "early_stop_tests needs a test net"),
        ("snapshot_best: true", "snapshot_best needs a test net"),
        ('train_net: "net.prototxt"', "the solver names its training net 2 times"),
        ("max_epoch: 3", "max_iter and max_epoch are both given"),
        ("snapshot: 3 snapshot_epoch: 1", "snapshot and snapshot_epoch are both given"),
        ('speed: "channels_last,compil"', 'unknown speed "compil"'),
    ],
)
def test_what_a_solver_cannot_mean_is_refused(write, more, said):
    text = refusal(write(SOLVER + more + "\n"))
    assert f"error: {said}" in text
    assert text.startswith("s.prototxt:1:1: " if "train_net" in more else "s.prototxt:5:")


@pytest.mark.parametrize("policy", list(POLICIES))
def test_a_policy_needs_its_fields(write, policy):
    for field in POLICIES[policy]:
        if field != "max_iter":
            said = "".join(f"{one}: 1\n" for one in POLICIES[policy] if one not in (field, "max_iter"))
            assert f'lr_policy "{policy}" needs {field}' in refusal(write(SOLVER.replace("fixed", policy) + said))


def test_epochs_come_to_iterations(write):
    epochs = "max_epoch: 3 test_epoch: 0.5 snapshot_epoch: 0.01 warmup_epoch: 0 stepsize_epoch: 1.25\n"
    text = SOLVER.replace("max_iter: 5\n", epochs) + "stepvalue_epoch: 1 stepvalue_epoch: 2.5\n"
    settings = train.read(write(text))
    assert settings.counts_epochs
    s = settings.in_iterations(7.4).message  # 3.7, 9.25 and 18.5 are rounded, and a part of an iteration is one
    assert (s.max_iter, s.test_interval, s.snapshot, s.warmup_iter, s.stepsize) == (22, 4, 1, 0, 9)
    assert list(s.stepvalue) == [7, 18]
    assert settings.message.max_epoch == 3
    assert not settings.in_iterations(7.4).counts_epochs


@pytest.mark.parametrize(("one", "other"), EPOCHS.items())
def test_an_override_beats_the_file_in_either_unit(write, one, other):
    rest = SOLVER if one == "max_iter" else SOLVER + f"{one}: 4\n"
    assert getattr(train.read(write(rest), [f"{other}=3"]).in_iterations(10).message, one) in (30, [30])
    epochs = SOLVER.replace("max_iter: 5", "max_epoch: 2") if one == "max_iter" else SOLVER + f"{other}: 2\n"
    assert getattr(train.read(write(epochs), [f"{one}=7"]).in_iterations(10).message, one) in (7, [7])


def test_test_all_needs_no_test_iter(write):
    settings = train.read(write(SOLVER + "test_all: true test_interval: 2\n"))
    assert [test.iterations for test in settings.test_nets] == [0]
    two = train.read(write(SOLVER + 'test_all: true test_interval: 2 test_net: ["net.prototxt", "net.prototxt"]\n'))
    assert [test.iterations for test in two.test_nets] == [0, 0]


def test_nets_are_tested_in_caffes_order_each_in_its_state(write, tmp_path):
    (tmp_path / "other.prototxt").write_text(NET.replace("tiny", "other"))
    inside = NET.replace("tiny", "inside")
    states = 'test_state { level: 1 } test_state { stage: "a" stage: "b" } test_state { }'
    settings = train.read(
        write(
            SOLVER + f'test_net: "other.prototxt" test_net_param {{ {inside} }} test_iter: [1, 2, 3] test_interval: 5'
            f' train_state {{ stage: "t" level: 4 }} {states}\n'
        )
    )
    assert [test.net.message.name for test in settings.test_nets] == ["inside", "other", "tiny"]
    assert [test.iterations for test in settings.test_nets] == [1, 2, 3]
    assert [(test.level, test.stages) for test in settings.test_nets] == [(1, ()), (None, ("a", "b")), (None, ())]
    assert (settings.level, settings.stages) == (4, ("t",))
    settings = train.read("s.prototxt", level=2, stages=["u", "v"])
    assert (settings.level, settings.stages) == (2, ("t", "u", "v"))
