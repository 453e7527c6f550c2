"""Old files as they are: what Torch's training scripts lean on, beside their model functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec import SpecError
from graphspec.open import Opened, open_spec

NET = """
local function net(n)
  local x = nn.Identity()()
  return nn.gModule({x}, {nn.Linear(n, 2)(x)})
end
"""


def opened(text: str, entry: str | None = None, **settings: Any) -> Opened:
    return open_spec(text, entry, **settings)


def codes(found: Opened) -> list[str]:
    return [w.code for w in found.warnings]


def parameters(found: Opened) -> list[tuple[int, ...]]:
    return [p.shape for p in found.result.all_parameters()]


def test_a_script_that_trains_gives_its_model_to_an_entry() -> None:
    script = NET + "local data = torch.load('train.t7')\nfor i = 1, #data do net(3):forward(data[i]) end"
    found = opened(script, "net(3)", lenient=True)
    assert parameters(found) == [(2, 3), (2,)]
    assert codes(found) == ["W0217", "W0217"]  # the loop needs what torch.load would have given
    assert found.warnings[0].message == "this statement is left out: torch has no 'load' in a spec"
    assert found.warnings[0].span is not None and found.warnings[0].span.line == 6
    with pytest.raises(SpecError, match="torch has no 'load'"):
        opened(script, "net(3)")


def test_what_stands_below_a_statement_that_cannot_run_is_there() -> None:
    found = opened("local n = torch.load('n.t7')\nos.exit()\n" + NET, "net(3)", lenient=True)
    assert codes(found) == ["W0217", "W0217"]


def test_what_was_left_out_is_told_when_the_entry_fails() -> None:
    with pytest.raises(SpecError) as caught:
        opened("local n = torch.load('n.t7')\n" + NET, "net(n)", lenient=True)
    assert [d.code for d in caught.value.diagnostics] == ["E0420", "W0217"]


def test_limits_and_syntax_errors_are_not_forgiven() -> None:
    for text, code in ((NET + "while true do end", "E0501"), (NET + "local 3", "E0101")):
        with pytest.raises(SpecError) as caught:
            opened(text, "net(3)", lenient=True)
        assert caught.value.code == code


def test_an_entry_may_be_statements() -> None:
    found = opened(NET.replace("local function net(n)", "function net(n)\n n = size"), "size = 5 return net()", lenient=True)
    assert parameters(found) == [(2, 5), (2,)]
    for entry in ("1 2", "net(3), net(4)", "local a = 3"):
        with pytest.raises(SpecError) as caught:
            opened(NET + "return {net = net}", entry)
        assert caught.value.code.startswith("E01")


CMDLINE = """
local cmd = torch.CmdLine()
cmd:text('Train'); cmd:text()
cmd:option('-rnn_size', 3, 'units in each layer')
cmd:option('-model', 'lstm', 'lstm, gru or rnn')
cmd:option('-bias', false)
local opt = cmd:parse(arg)
"""


def test_options_of_a_command_line_are_options() -> None:
    text = CMDLINE + NET + "return net(opt.rnn_size)"
    assert parameters(opened(text)) == [(2, 3), (2,)]
    found = opened(text, options={"rnn_size": 7})
    assert parameters(found) == [(2, 7), (2,)]
    assert found.evaluation.options == {"rnn_size": 7, "model": "lstm", "bias": False}
    assert found.evaluation.option_help["rnn_size"] == "units in each layer"
    with pytest.raises(SpecError, match="no option rnn_sise") as caught:
        opened(text, options={"rnn_sise": 7})
    assert caught.value.diagnostics[0].helps == ("did you mean `rnn_size`?",)


@pytest.mark.parametrize("name", ["opt", "params"])
def test_a_table_of_parameters_takes_options(name: str) -> None:
    assert parameters(opened(f"{NET}\nreturn net({name}.size)", options={"size": 4})) == [(2, 4), (2,)]
    own = f"{name} = {{size = 3, other = 'x'}}\n{NET}\nreturn net({name}.size)"
    assert parameters(opened(own)) == [(2, 3), (2,)]
    assert parameters(opened(own, options={"size": 4})) == [(2, 4), (2,)]


def test_packages_may_be_required_and_not_used(tmp_path: Path) -> None:
    needed = "require 'nn' require 'env' local hdf5 = require 'hdf5' local stringx = require('pl.stringx') pcall(require, 'cutorch')\n"
    assert parameters(opened(needed + "collectgarbage()\n" + NET + "return net(3)"))
    with pytest.raises(SpecError) as caught:
        opened(needed + "hdf5.open('x')")
    assert caught.value.code == "E0209"
    (tmp_path / "paths.lua").write_text("return {n = 3}")  # a file of that name goes before the package
    (tmp_path / "main.spec").write_text(NET + "return net(require('./paths').n)")
    assert parameters(opened(str(tmp_path / "main.spec"))) == [(2, 3), (2,)]


HAND_WRITTEN = """
local OneHot, parent = torch.class('OneHot', 'nn.Module')
function OneHot:__init(outputSize)
  parent.__init(self)
  self.outputSize = outputSize
  self._eye = torch.eye(outputSize)
end
function OneHot:updateOutput(input)
  self.output:resize(input:size(1), self.outputSize):zero()
  self.output:copy(self._eye:index(1, input:long()))
  return self.output
end
"""


@pytest.mark.parametrize("own", ["", HAND_WRITTEN])
def test_layers_that_repositories_carry_along(own: str) -> None:
    found = opened(own + "local x = nn.Identity()()\nreturn nn.gModule({x}, {OneHot(4)(x)})")
    assert codes(found) == (["W0218"] if own else [])
    model = graphspec.compile(own + "local x = nn.Identity()()\nreturn nn.gModule({x}, {OneHot(4)(x)})")
    np.testing.assert_array_equal(model(np.array([2, 4])), np.eye(4)[[1, 3]])


def test_embedding_is_a_lookup_table() -> None:
    model = graphspec.compile("local x = nn.Identity()()\nreturn nn.gModule({x}, {Embedding(5, 2)(x)})")
    assert model(np.array([1, 5, 5])).shape == (3, 2)


@pytest.mark.parametrize("base", [0, 1])
def test_masked_loss(base: int) -> None:
    text = "local p, t = nn.Identity()(), nn.Identity()()\nreturn nn.gModule({p, t}, {MaskedLoss()({p, t})})"
    model = graphspec.compile(text, dtype="float64", index_base=base)
    log_p = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.3, 0.3, 0.4]]))
    target = np.array([1, 3, 0, 3]) + base - 1
    loss, correct, counted = model(log_p, target)
    assert loss == pytest.approx(-(np.log(0.5) + np.log(0.1) + np.log(0.4)) / 4)
    assert (correct, counted) == (2, 3)
    dp, _ = model.backward([log_p, target], [1.0, 1.0, 1.0])
    wanted = np.zeros((4, 3))
    wanted[[0, 1, 3], [0, 2, 2]] = -1 / 4
    np.testing.assert_allclose(dp, wanted)
    for bad in (-1, 4):
        with pytest.raises(SpecError) as caught:
            model(log_p, np.array([1, 3, bad, 3]) + base - 1)
        assert caught.value.code == "E0310"


def test_an_index_input_that_nobody_types_gets_a_shape() -> None:
    """The dtype was known (a LookupTable reads it), the rank was not: assuming one failed with a traceback."""
    model = graphspec.compile("local x = nn.Identity()()\nreturn nn.gModule({x}, {nn.LookupTable(5, 2)(x)})")
    assert str(model.inputs) == "int32[B]"


def test_a_file_goes_before_a_name_of_ours(tmp_path: Path) -> None:
    (tmp_path / "data.lua").write_text("vocab_size = 7")
    (tmp_path / "main.lua").write_text("include 'data.lua'\nrequire 'nn'\n" + NET + "return net(vocab_size)")
    assert parameters(opened(str(tmp_path / "main.lua"))) == [(2, 7), (2,)]


def test_files_are_run_by_other_names_too(tmp_path: Path) -> None:
    (tmp_path / "size.lua").write_text("size = (size or 0) + 3")
    (tmp_path / "main.lua").write_text("paths.dofile('size.lua')\n" + NET + "return net(size)")
    assert parameters(opened(str(tmp_path / "main.lua"))) == [(2, 3), (2,)]
    assert opened("print(paths.concat('a', 'b.lua'), paths.basename('a/b.lua'), paths.dirname('a/b.lua'))\nreturn {}").evaluation.log == [
        "a/b.lua\tb.lua\ta"
    ]
    with pytest.raises(SpecError) as caught:
        opened("paths.mkdir('x')\nreturn {}")
    assert caught.value.code == "E0209"


def test_questions_to_a_gpu_have_harmless_answers() -> None:
    asked = "local p = cutorch.getDeviceProperties(1)\nassert(p.major >= 3)\ncutorch.setDevice(2) cutorch.manualSeed(1)\n"
    assert parameters(opened(asked + NET + "return net(cutorch.getDeviceCount() + 2)")) == [(2, 3), (2,)]


def test_methods_added_to_a_class_are_seen_by_its_modules() -> None:
    added = """
    function nn.Module:tag(s) self.tagged = s return self end
    function nn.Linear:wider() return nn.Linear(self.weight:size(2), 2 * self.weight:size(1)) end
    nn.Container.first = function(self) return self:get(1) end
    local seq = nn.Sequential():add(nn.Linear(3, 2):tag('h'))
    print(seq:first().tagged, seq:tag('t').tagged, nn.Tanh().wider)
    """
    text = added + "local x = nn.Identity()()\nreturn nn.gModule({x}, {seq:first():wider():usePrealloc('a')(x)})"
    found = opened(text)
    assert found.evaluation.log == ["h\tt\tnil"]
    assert parameters(found) == [(4, 3), (4,)]
    with pytest.raises(SpecError, match="an abstract class"):
        opened("nn.Module()\nreturn {}")


def test_a_file_that_returns_a_function_gives_it_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "LSTM.lua").write_text(NET + "return net")
    assert parameters(opened(str(tmp_path / "LSTM.lua"), "LSTM(3)")) == [(2, 3), (2,)]
    assert parameters(opened(str(tmp_path / "LSTM.lua"), "net(4)", lenient=True)) == [(2, 4), (2,)]


def test_a_module_may_be_asked_for_before_it_is_used() -> None:
    text = "nn.OwnLayer = nn.OwnLayer or function(n) return nn.Linear(n, 2) end\nif nn.SpatialDream then error('no') end\n"
    assert parameters(opened(text + "local x = nn.Identity()()\nreturn nn.gModule({x}, {nn.OwnLayer(3)(x)})")) == [(2, 3), (2,)]
    with pytest.raises(SpecError, match=r"there is no module nn\.Lineer") as caught:
        opened("nn.Lineer(3, 2)\nreturn {}")
    assert caught.value.diagnostics[0].helps == ("did you mean `nn.Linear`?",)


def test_a_tensor_of_weights_is_a_list_of_numbers() -> None:
    text = "local p, t = nn.Identity{2, 3}(), nn.Identity{2, dtype = 'int32'}()\nlocal w = torch.ones(3)\nw[3] = 0\n"
    model = graphspec.compile(text + "return nn.gModule({p, t}, {nn.ClassNLLCriterion(w)({p, t})})")
    assert model(-np.ones((2, 3)), np.array([1, 3])) == 1
    with pytest.raises(SpecError) as caught:
        opened("nn.ClassNLLCriterion(torch.ones(3, 3))\nreturn {}")
    assert caught.value.code == "E0422"


def test_a_required_file_that_cannot_run_whole_leaves_the_one_that_requires_it_whole(tmp_path: Path) -> None:
    (tmp_path / "layers.lua").write_text("local d = torch.load('x')\n" + NET.replace("local function", "function"))
    (tmp_path / "main.lua").write_text("local function go() require 'layers' end\ngo()\nsize = 3")
    found = opened(str(tmp_path / "main.lua"), "net(size)", lenient=True)
    assert parameters(found) == [(2, 3), (2,)]
    assert codes(found) == ["W0217"]


def test_a_module_without_a_graph_is_a_model() -> None:
    model = graphspec.compile("return nn.Sequential():add(nn.Linear(3, 4)):add(nn.Tanh()):add(nn.Linear(4, 2))")
    assert model(np.ones((5, 3))).shape == (5, 2)
    assert model.backward(np.ones((5, 3)), np.ones((5, 2))).shape == (5, 3)
    assert graphspec.compile("return nn.MSECriterion()")(np.ones((2, 2)), np.zeros((2, 2))) == 1


SCRIPT = NET.replace("local function net", "function make") + "net = make(3)\n%s\nlocal function feval(x) return x end\n"


@pytest.mark.parametrize("statement", ["net:forward(torch.ones(2, 3))", "include 'utils.lua'", "local n = missing.size"])
@pytest.mark.parametrize("lenient", [False, True])
def test_a_script_is_told_of_the_entry_that_compiles_it(tmp_path: Path, statement: str, lenient: bool) -> None:
    """Of a file in Lua that cannot run whole; ``--lenient`` alone leaves nothing out, and must say so."""
    path = tmp_path / "train.lua"
    for text, entry in ((SCRIPT % statement, "'net'"), (statement + "\n" + NET, "LUA")):
        path.write_text(text)
        with pytest.raises(SpecError) as caught:
            open_spec(path, lenient=lenient)
        assert f"`--lenient --entry {entry}`" in caught.value.diagnostics[0].helps[-1]
    assert parameters(open_spec(path, "net(3)", lenient=True)) == [(2, 3), (2,)]


def test_the_entry_is_what_the_script_runs(tmp_path: Path) -> None:
    path = tmp_path / "train.lua"
    path.write_text("local model, criterion = nn.Linear(3, 2), nn.MSECriterion()\nlocal y = model:forward(torch.ones(2, 3))")
    with pytest.raises(SpecError) as caught:
        open_spec(path)
    assert "`--lenient --entry 'model'`" in caught.value.diagnostics[0].helps[-1]
    assert parameters(open_spec(path, "model", lenient=True)) == [(2, 3), (2,)]


def test_an_entry_that_no_old_script_needs_is_not_told_of(tmp_path: Path) -> None:
    nodes = "local a, b = nn.Identity()(), nn.Identity()()\nreturn a + b"
    for name, text in (("a.lua", nodes), ("a.spec", "return missing.size"), ("a.lua", "return nn.Linear(2)"), ("a.lua", "local 3")):
        (tmp_path / name).write_text(text)
        with pytest.raises(SpecError) as caught:
            open_spec(tmp_path / name)
        assert not any("--entry" in line for line in caught.value.diagnostics[0].helps)


def test_a_file_that_returns_nothing_is_told_of_its_functions(tmp_path: Path) -> None:
    path = tmp_path / "models.lua"
    path.write_text(NET + "function feval(x) return x end")
    with pytest.raises(SpecError, match="this one returns nothing") as caught:
        open_spec(path)
    assert "`--lenient --entry 'net(n)'`" in caught.value.diagnostics[0].helps[-1]


def test_an_entry_that_gives_nothing_is_told_what_was_left_out() -> None:
    with pytest.raises(SpecError, match=r"an entry gives .* this one gives nothing") as caught:
        opened("protos = {}\nprotos.rnn = torch.load('net.t7')\n" + NET, "protos.rnn", lenient=True)
    assert [d.code for d in caught.value.diagnostics] == ["E0431", "W0217"]
    assert caught.value.diagnostics[0].helps == ()  # the file needs no return
    with pytest.raises(SpecError, match="this one gives a function") as caught:
        opened(NET + "return {net = net}", "net")
    assert caught.value.diagnostics[0].helps == ("call it: `--entry 'net(n)'`",)
    assert caught.value.diagnostics[0].span is not None and caught.value.diagnostics[0].span.text == "return net"


def test_a_local_without_a_value_is_not_taken_for_another_name() -> None:
    with pytest.raises(SpecError, match="attempt to index 'loader'") as caught:
        opened("local loader\nreturn loader.vocab_size")
    assert caught.value.diagnostics[0].helps == ()


def test_a_library_is_told_how_its_functions_are_called(tmp_path: Path) -> None:
    path = tmp_path / "library.spec"
    path.write_text(NET + "return {net = net, size = 3}")
    with pytest.raises(SpecError) as caught:
        graphspec.compile(path)
    assert "`--entry 'net(n)'`" in caught.value.diagnostics[0].helps[-1]
