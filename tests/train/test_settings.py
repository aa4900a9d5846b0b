"""Reading a solver: what it says, what overrides it, what is refused where."""

from __future__ import annotations

import pytest

from nktc import train
from nktc.errors import Errors, NktcError

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
    assert (settings.name, settings.max_iter, settings.iter_size, settings.momentum) == ("s", 5, 1, 0)
    assert settings.gpu
    assert settings.snapshot_after_train
    assert settings.seed is None
    assert settings.test_nets == ()


def test_overrides_win(write):
    settings = train.read(write(SOLVER), ["base_lr=0.5", "lr_policy=multistep", "gamma=0.1", "stepvalue=3,7"])
    assert (settings.base_lr, settings.lr_policy, settings.stepvalue) == (0.5, "multistep", (3, 7))


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


def test_an_override_of_the_wrong_kind_is_refused_in_its_place(write):
    assert refusal(write(SOLVER), "max_iter=many").startswith("--set:1:10: error: ")


def test_a_value_of_an_override_is_blamed_on_it(write):
    text = refusal(write(SOLVER), "type=Adam")
    assert text.startswith('--set:1:1: error: solver type "Adam" is not one of SGD  [solver]\n    1 | type=Adam\n')
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
    assert 's.prototxt:3:1: error: solver type "Magic"' in text
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
