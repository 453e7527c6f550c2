"""nngraph's rules, one test for each number of docs/language.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
import graphspec.build
import graphspec.open
from graphspec import SpecError

LANGUAGE = Path(__file__).parent.parent / "docs" / "language.md"
A = "local a = nn.Identity{'B', 3}()\n"
AB = A + "local b = nn.Identity{'B', 3}()\n"


def model(text: str, **settings: Any) -> graphspec.Model:
    return graphspec.compile(text, dtype="float64", **settings)


def code(text: str, **settings: Any) -> str:
    with pytest.raises(SpecError) as caught:
        model(text, **settings)
    assert all(d.span is not None for d in caught.value.diagnostics)
    return str(caught.value.code)


def test_n1_empty_parentheses_make_a_source() -> None:
    m = model(A + "local y = nn.Linear(3, 2)(a)\nreturn nn.gModule({a}, {y})")
    assert m(np.ones((4, 3))).shape == (4, 2)
    assert code("local x = nn.Identity()\nreturn nn.gModule({x}, {nn.Tanh()(x)})") == "E0403"


def test_n2_a_module_connects_to_a_node_or_a_table_of_nodes() -> None:
    m = model(AB + "return nn.gModule({a, b}, {nn.CAddTable()({a, b}), nn.CAddTable(){b, a}})")
    first, second = m(np.ones((2, 3)), 2 * np.ones((2, 3)))
    np.testing.assert_array_equal(first, second)
    assert code(A + "return nn.gModule({a}, {nn.Tanh()(nil)})") == "E0402"
    assert code(A + "return nn.gModule({a}, {nn.CAddTable()({a, nil, a})})") == "E0402"
    assert code(A + "return nn.gModule({a}, {nn.Tanh()(a, a)})") == "E0415"
    assert code(A + "return nn.gModule({a}, {nn.Tanh()(3)})") == "E0402"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("local hidden = nn.Tanh()(a)\nreturn nn.gModule({a}, {nn.CAddTable()({a, hiden})})", ["input 2 is nil", "did you mean `hidden`?"]),
        ("return nn.gModule({a}, {nn.Tanh()(a), bb})", ["nn.gModule: input 2 is nil", "nothing is called bb here"]),
        ("return nn.gModule({a}, {nn.CAddTable()({zz, a})})", ["input 1 is nil", "nothing is called zz here"]),
        ("return nn.gModule({a}, {nn.Tanh()({zz})})", ["nn.Tanh: input 1 is nil"]),
    ],
)
def test_a_name_that_stands_for_nothing_is_told_where_lua_would_end_the_table(text: str, said: list[str]) -> None:
    """The last output of a gModule was left out without a word."""
    with pytest.raises(SpecError) as caught:
        model(A + text)
    assert caught.value.code == "E0402" and all(words in str(caught.value) for words in said)


def test_a_node_that_a_flag_leaves_out_is_left_out_as_in_lua() -> None:
    text = "if false then more = nn.Tanh()(a) end\nlocal none\nreturn nn.gModule({a}, {nn.Identity()({%s, none}), %s})"
    assert model(A + text % ("a", "more"))(np.ones((2, 3))).shape == (2, 3)


def test_n3_a_table_of_one_is_its_element() -> None:
    m = model(A + "return nn.gModule({a}, {nn.Tanh()({a})})")
    assert m(np.ones((2, 3))).shape == (2, 3)


def test_n4_split_gives_the_elements_of_a_table() -> None:
    m = model("local t = nn.Identity()()\nlocal a, b = t:split(2)\nreturn nn.gModule({t}, {nn.CSubTable()({a, b})})")
    np.testing.assert_array_equal(m([3 * np.ones((2, 2)), np.ones((2, 2))]), 2 * np.ones((2, 2)))
    assert (
        code(AB + "local t = nn.Identity()({a, b})\nlocal p, q, r = t:split(3)\nreturn nn.gModule({a, b}, {nn.CAddTable()({p, q, r})})")
        == "E0303"
    )
    assert code(A + "local p = a:split(0)") == "E0405"
    one = model(A + "local p = a:split(1)\nreturn nn.gModule({a}, {nn.Tanh()(p)})")  # a tensor passes through
    assert one(np.ones((1, 3))).shape == (1, 3)


def test_n5_minus_makes_and_chains() -> None:
    chain = "local y = a - nn.Linear(3, 4) - nn.Tanh()\nlocal z = {y, -nn.Identity() and y - nn.Sigmoid()} - nn.CAddTable()\n"
    assert model(A + chain + "return nn.gModule({a}, {z})")(np.ones((2, 3))).shape == (2, 4)
    source = "local x = -nn.Identity{'B', 3}\nreturn nn.gModule({x}, {x - nn.Tanh()})"
    assert model(source)(np.ones((2, 3))).shape == (2, 3)
    assert code(A + "local y = a - 1") == "E0201"


def test_n6_one_input_is_bare_several_are_a_table_and_a_graph_is_a_module() -> None:
    inner = "local function twice()\n  local x = nn.Identity()()\n  return nn.gModule({x}, {nn.MulConstant(2)(x), nn.Tanh()(x)})\nend\n"
    m = model(inner + A + "local double, squashed = twice()(a):split(2)\nreturn nn.gModule({a}, {nn.CSubTable()({double, squashed})})")
    np.testing.assert_allclose(m(np.ones((1, 3))), 2 - np.tanh(np.ones((1, 3))))


def test_n7_no_node_twice() -> None:
    assert code(A + "return nn.gModule({a}, {nn.CMulTable()({a, a})})") == "E0404"
    with pytest.raises(SpecError, match=r"nn\.Square"):
        model(A + "return nn.gModule({a}, {nn.CMulTable()({a, a})})")
    twice = A + "local y = nn.JoinTable(2)({a, %s})\nreturn nn.gModule({a}, {y})"
    with pytest.raises(SpecError, match=re.escape("a second node of the same value is `nn.Identity()(a)`")):
        model(twice % "a")
    assert model(twice % "nn.Identity()(a)")(np.ones((1, 3))).shape == (1, 6)
    cell = "local x, s = nn.Identity()(), nn.Identity()()\nlocal cell = nn.gModule({x, s}, {nn.Tanh()(x), nn.Tanh()(s)})\n"
    named = cell + "local f = nn.Identity{'B', 4}()\nnn.Scan(cell){s0 = {f, nn.Tanh()(f), f}, xs = nn.Tanh()(f)}"
    with pytest.raises(SpecError, match=re.escape("nn.Scan: s0[1] and s0[3] are the same node")):
        model(named)
    assert code(A + "return nn.gModule({a, a}, {nn.Tanh()(a)})") == "E0404"
    lenient = model(A + "return nn.gModule({a, a}, {nn.Tanh()(a)})", lenient=True)
    assert [w.code for w in lenient.warnings] == ["W0404"]


def test_n8_inputs_are_sources() -> None:
    assert code(A + "local y = nn.Tanh()(a)\nreturn nn.gModule({y}, {nn.Tanh()(y)})") == "E0407"


def test_n9_every_source_that_is_used_is_listed() -> None:
    assert code(AB + "return nn.gModule({a}, {nn.CAddTable()({a, b})})") == "E0408"


def test_n10_nothing_dangles() -> None:
    text = A + "local unused = nn.Tanh()(a)\nreturn nn.gModule({a}, {nn.Sigmoid()(a)})"
    assert code(text) == "E0409"
    (warning,) = model(text, lenient=True).warnings
    assert (warning.code, warning.span is not None) == ("W0409", True)
    twice = A + "local y = nn.Tanh()(a)\nlocal unused = nn.CAddTable()({a, y})\nreturn nn.gModule({a}, {y})"
    with pytest.raises(SpecError) as caught:  # told once, though it reads two nodes of the graph
        model(twice)
    assert [(d.code, d.message) for d in caught.value.diagnostics] == [("E0409", "'unused' is fed by this graph but reaches no output")]
    unconnected = A + "local loose = nn.Identity()()\nreturn nn.gModule({a}, {nn.Tanh()(a)})"
    assert model(unconnected)(np.ones((1, 3))).shape == (1, 3)


def test_n11_no_piece_unused() -> None:
    text = "local t = nn.Identity()()\nlocal a, {} = t:split(2)\nreturn nn.gModule({{t}}, {{nn.Tanh()(a)}})"
    assert code(text.format("b")) == "E0410"
    discarded = model(text.format("_"))
    assert discarded([np.ones((1, 2)), np.ones((1, 2))]).shape == (1, 2)
    assert [w.code for w in model(text.format("b"), lenient=True).warnings][:1] == ["W0410"]


def test_n12_a_module_called_twice_is_tied() -> None:
    m = model(AB + "local linear = nn.Linear(3, 2)\nreturn nn.gModule({a, b}, {linear(a), linear(b)})")
    assert list(m.parameters) == ["linear.weight", "linear.bias"]
    x, y = np.ones((1, 3)), 2 * np.ones((1, 3))
    m.backward([x, y], [np.ones((1, 2)), np.ones((1, 2))])
    np.testing.assert_array_equal(m.gradients["linear.weight"], 3 * np.ones((2, 3)))


def test_n13_clone_copies_and_share_ties() -> None:
    text = AB + "local p = nn.Linear(3, 2)\nlocal q = p:clone(NAMES)\nreturn nn.gModule({a, b}, {p(a), q(b)})"
    copied = model(text.replace("NAMES", ""))
    assert len(copied.parameters) == 4
    np.testing.assert_array_equal(copied.parameters["p.weight"], copied.parameters["q.weight"])
    assert len(model(text.replace("NAMES", "'weight'")).parameters) == 3
    assert len(model(text.replace("NAMES", "'weight', 'bias'")).parameters) == 2
    shared = AB + "local p, q = nn.Linear(3, 2), nn.Linear(3, 2)\nq:share(p, 'weight')\nreturn nn.gModule({a, b}, {p(a), q(b)})"
    assert len(model(shared).parameters) == 3
    assert code(AB + "nn.Linear(3, 2):share(nn.Linear(3, 4), 'weight')") == "E0425"


def test_n14_names_come_from_locals_and_annotations() -> None:
    text = (
        A + "local hidden = nn.Linear(3, 2)(a):annotate{name = 'h', description = 'a layer'}\nreturn nn.gModule({a}, {nn.Tanh()(hidden)})"
    )
    m = model(text)
    _, h = m.node("h")(np.ones((2, 3)))
    assert h.shape == (2, 2)
    plain = model(text.replace(":annotate{name = 'h', description = 'a layer'}", ""))
    assert plain.node("hidden")(np.ones((2, 3)))[1].shape == (2, 2)
    with pytest.raises(SpecError, match="did you mean `hidden`"):
        plain.node("hiden")


def test_n15_get_parameters_initialises_all_of_them() -> None:
    text = (
        A
        + "local m = nn.gModule({a}, {nn.Linear(3, 500)(a)})\nlocal flat, gradients = m:getParameters()\n"
        "flat:uniform(-0.08, 0.08)\ngradients:zero()\nreturn m"
    )
    values = model(text).flat_parameters
    assert 0.07 < values.max() < 0.08
    assert -0.08 < values.min() < -0.07
    for step, low, high in ((":fill(2)", 2, 2), (":zero()", 0, 0), (":normal(5, 0.1)", 4, 6)):
        values = model(text.replace(":uniform(-0.08, 0.08)", step)).flat_parameters
        assert low <= values.min() <= values.max() <= high


def test_n16_weights_are_reached_through_modules_and_annotations() -> None:
    text = (
        A
        + "local linear = nn.Linear(3, 4)\nlinear.weight:fill(2)\nlinear.bias:zero()\n"
        "linear.bias:narrow(1, 2, 2):fill(1)\nlinear.bias[{{4}}] = 5\n"
        "local y = linear(a):annotate{name = 'gates'}\nlocal g = nn.gModule({a}, {y})\n"
        "for _, node in ipairs(g.forwardnodes) do if node.data.annotations.name == 'gates' then "
        "node.data.module.bias[{{1, 1}}] = 7 end end\nreturn g"
    )
    m = model(text)
    np.testing.assert_array_equal(m.parameters["linear.bias"], [7, 1, 1, 5])
    assert m.parameters["linear.weight"].min() == 2


def test_n17_criterions_are_nodes() -> None:
    m = model(AB + "return nn.gModule({a, b}, {nn.MSECriterion()({a, b})})")
    assert m(np.ones((2, 3)), np.zeros((2, 3))) == 1


def test_n18_a_node_cannot_be_called() -> None:
    assert code(A + "local y = nn.Tanh()(a)(a)") == "E0416"


def test_n19_nest_makes_one_node_of_a_nested_table() -> None:
    text = AB + "local c = nn.Identity()()\nlocal t = nngraph.nest{a, {b, c}}\nlocal first, rest = t:split(2)\n"
    m = model(text + "return nn.gModule({a, b, c}, {nn.CAddTable()({first, nn.CMulTable()(rest)})})")
    np.testing.assert_array_equal(m(np.ones((2, 3)), 2 * np.ones((2, 3)), 3 * np.ones((2, 3))), 7 * np.ones((2, 3)))
    assert model(A + "return nn.gModule({a}, {nn.Tanh()(nngraph.nest(a))})")(np.ones((2, 3))).shape == (2, 3)


def test_n20_modules_inside_are_seen_and_replaced() -> None:
    net = A + "local net = nn.gModule({a}, {nn.Sequential():add(nn.Linear(3, 4)):add(nn.Tanh()):add(nn.Linear(4, 2))(a)})\n"
    ask = net + "print(#net:findModules('nn.Linear'), #net:listModules(), net:get(2):size(), torch.type(net:get(2):get(2)))\nreturn net"
    assert graphspec.open.open_spec(ask).evaluation.log == ["2\t6\t3\tnn.Tanh"]
    squash = "net:replace(function(m) return torch.type(m) == 'nn.Tanh' and nn.MulConstant(0) or m end)\nreturn net"
    m = model(net + squash)
    np.testing.assert_array_equal(m(np.ones((1, 3)))[0], m.parameters[[*m.parameters][-1]])
    counted = "local n = 0\nnet:apply(function(m) n = n + 1 end)\nprint(n)\nreturn net"
    assert graphspec.open.open_spec(net + counted).evaluation.log == ["6"]
    seq = A + "local s = nn.Sequential():add(nn.Tanh()):insert(nn.Linear(3, 4), 1):add(nn.Exp())\ns:remove()\n"
    seq += "return nn.gModule({a}, {s(a)})"
    assert model(seq)(1e6 * np.ones((1, 3))).shape == (1, 4)
    assert code(net + "net:replace(function(m) return 3 end)") == "E0207"


def test_n21_parameters_are_tied_and_given_values_by_assignment() -> None:
    two = AB + "local p, q = nn.Linear(3, 2), nn.Linear(3, 2)\nq.weight = p.weight\np.bias = torch.Tensor{5, 6}\n"
    m = model(two + "return nn.gModule({a, b}, {p(a), q(b)})")
    assert [*m.parameters] == ["p.weight", "p.bias", "q.bias"]
    np.testing.assert_array_equal(m.parameters["p.bias"], [5, 6])
    assert code(AB + "nn.Linear(3, 2).weight = nn.Linear(2, 3).weight") == "E0425"


def test_n22_classes_compose_modules() -> None:
    text = (
        "local Tower, parent = torch.class('nn.Tower', 'nn.Module')\n"
        "function Tower:__init(n) parent.__init(self) self.net = nn.Linear(3, n) end\n"
        "function Tower:updateOutput(input) return nn.Tanh()(self.net:forward(input)) end\n"
    )
    assert model(text + A + "return nn.gModule({a}, {nn.Tower(4)(a)})")(np.ones((2, 3))).shape == (2, 4)
    assert code(text + A + "return nn.gModule({a}, {nn.Tower(4)(a, a)})") == "E0415"


def test_n23_what_draws_is_accepted() -> None:
    text = A + "nngraph.setDebug(true)\nnngraph.annotateNodes()\nlocal g = nn.gModule({a}, {nn.Tanh()(a)})\n"
    text += "graph.dot(g.fg, 'forward', 'forward')\nnngraph.display(g)\nnngraph.simple_print.todot(g.fg, 'x')\nreturn g"
    opened = graphspec.open.open_spec(text)
    assert opened.evaluation.log[0] == "graph.dot: forward is drawn by `graphspec draw`"


def test_every_numbered_rule_has_a_line_and_a_test() -> None:
    written = set(re.findall(r"^\| (N\d+) \|", LANGUAGE.read_text(), re.M))
    tested = {name.split("_")[1].upper() for name in globals() if re.match(r"test_n\d+_", name)}
    assert written == tested


@pytest.mark.parametrize("number", range(8))
def test_the_examples_of_the_page_compile_without_a_warning(number: int) -> None:
    blocks = re.findall(r"^```lua\n(.*?)^```", LANGUAGE.read_text(), re.M | re.S)
    assert len(blocks) == 8
    found = graphspec.open.open_spec(blocks[number])
    assert found.warnings == []
    if isinstance(found.result, graphspec.build.ExperimentSpec):
        assert np.isfinite(graphspec.experiment(blocks[number], **{"data.batch": 4}).train_step())
    else:
        assert graphspec.compile(blocks[number]).flat_parameters.size >= 0


def test_the_attention_of_the_page_sees_what_is_before() -> None:
    (text,) = (block for block in re.findall(r"^```lua\n(.*?)^```", LANGUAGE.read_text(), re.M | re.S) if "MaskedSoftMax" in block)
    attention, x = model(text), np.random.default_rng(1).standard_normal((2, 6, 16))
    before = attention(x)
    x[:, 4] += 1
    moved = np.abs(attention(x) - before).max((0, 2))
    assert (moved[:4] == 0).all() and (moved[4:] > 1e-3).all()
