"""Hostile specs: each ends at once with a coded error at a place, whatever it asks for.

They run in a process of their own whose memory is limited, so that a spec that ate the machine would fail here and not take the tests
with it.  The limit on processor time is far above what any of them needs: it is there to end a hang.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from typing import Any

import pytest

MEMORY, SECONDS = 1_500_000_000, 300
RETURN = "\nlocal x = nn.Identity{'B', 2}()\nreturn nn.gModule({x}, {nn.Tanh()(x)})"

DRIVER = """
import os, sys
from graphspec.cli.main import main
for folder in sys.argv[1:]:
    os.chdir(folder)
    code = main(["compile", "main.spec", "--json"])
    print(f"exit {code}", flush=True)
"""


def limits() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


SPECS = {
    # nesting
    "braces": ("return " + "{" * 200_000, "E0502"),
    "parentheses": ("return " + "(" * 200_000, "E0502"),
    "functions": ("return " + "function() return " * 100_000, "E0502"),
    "blocks": ("do " * 200_000, "E0502"),
    "not": ("return " + "not " * 200_000 + "x", "E050"),
    "minus": ("return " + "- " * 200_000 + "x", "E050"),
    "powers": ("return " + "2^" * 200_000 + "2", "E050"),
    "concatenations": ("return " + "'a'.." * 200_000 + "'a'", "E050"),
    "a sum": ("local n = " + "1+" * 200_000 + "1\nprint(m.x)", "E050"),
    "a chain of calls": ("local f = function() end\nreturn f" + "()" * 100_000, "E050"),
    "a chain of fields": ("return x" + ".y" * 100_000, "E050"),
    "elseif": ("if a then " + "elseif b then " * 100_000 + "end error('x')", "E050"),
    # loops and recursion
    "endless while": ("while true do end", "E0501"),
    "endless repeat": ("repeat until false", "E0501"),
    "a long for": ("for i = 1, 1e300 do end", "E0501"),
    "a for that stands still": ("for i = 1e300, 1e301 do end", "E0501"),
    "nested for": ("for i = 1, 1e5 do for j = 1, 1e5 do end end", "E0501"),
    "recursion": ("local function f() return f() + 1 end f()", "E0502"),
    "mutual recursion by pcall": ("local function f() return pcall(f) end while true do f() end", "E0502"),
    "an endless loop in pcall": ("while true do pcall(function() while true do end end) end", "E0501"),
    "recursion by metatable": (
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(s, k) return s[k] end return t.x",
        "E0502",
    ),
    "a circle of __index": ("local t = {} setmetatable(t, {__index = t}) return t.x.y", "E0203"),
    "recursion by tostring": ("local t = setmetatable({}, {__tostring = function(s) return tostring(s) end}) print(t)", "E0502"),
    "a sort that never agrees": (
        "local t = {} for i = 1, 1e5 do t[i] = i end while true do table.sort(t, function(a, b) return true end) end",
        "E0501",
    ),
    # strings
    "rep": ("local s = ('x'):rep(1e12)", "E0503"),
    "rep of nothing": ("local s = (''):rep(1e300) print(#s) error('x')", "E0208"),
    "doubling": ("local s = 'x' while true do s = s .. s end", "E050"),
    "format": ("local s = string.format('%99999999999d', 1)", "E0207"),
    "wide format": ("local s = string.format('%99d', 1) while true do s = s .. s end", "E0503"),
    "table.concat": ("local s, t = ('x'):rep(1e6), {} for i = 1, 1000 do t[i] = s end s = table.concat(t)", "E050"),
    "gsub": ("local s = ('x'):rep(1e6):gsub('x', ('y'):rep(1e4))", "E050"),
    "gsub of nothing": ("local s = ('x'):rep(1e6):gsub('', ('y'):rep(1e4))", "E050"),
    "pattern": ("local s = ('a'):rep(1e5) return s:find(('a*'):rep(40) .. 'b')", "E0501"),
    "pattern with captures": ("local s = ('a'):rep(1e4) return s:match(('(a*)'):rep(30) .. 'b')", "E0501"),
    "balance": ("local s = ('('):rep(1e5) while true do s:find('%b()') end", "E0501"),
    "printing": ("local s = ('x'):rep(1e6) while true do print(s) end", "E05"),
    "a long error": ("error(('x'):rep(9e6))", "E0208"),
    "a long name": ("local " + "x" * 1_000_000 + " = 3\nreturn y.z", "E0203"),
    # tables and tensors
    "a growing table": ("local t = {} while true do t[#t + 1] = {} end", "E0501"),
    "unpack": ("return unpack({}, 1, 1e9)", "E0207"),
    "unpack of much": ("local t = {} while true do t[#t + 1] = {unpack({}, 1, 1e6)} end", "E0501"),
    "select": ("return select(-1e300, 1)", "E0207"),
    "a tensor": ("torch.zeros(1e5, 1e5)", "E0508"),
    "many tensors": ("local t = {} while true do t[#t + 1] = torch.zeros(1000, 1000) end", "E0508"),
    "a product of tensors": ("local a = torch.ones(3000, 3000) while true do a = a * a end", "E050"),
    "numbers": ("return 1e999 .. nil", "E0201"),
    "a not-a-number as a key": ("local t = {} t[0/0] = 1", "E0205"),
    # models
    "a huge Linear": ("local x = nn.Identity()()\nreturn nn.gModule({x}, {nn.Linear(2^40, 2^40)(x)})", "E0504"),
    "a huge size": ("local x = nn.Identity{2^63, 2^63}()\nreturn nn.gModule({x}, {nn.Tanh()(x)})", "E0"),
    "a size that is no number": ("nn.Linear(0/0, 3)", "E042"),
    "a negative size": ("nn.Linear(-3, 3)", "E042"),
    "many Linears": ("local m = {} for i = 1, 1e7 do m[i] = nn.Linear(2^19, 2^19) end", "E050"),
    "many nodes": ("local x = nn.Identity()() for i = 1, 1e7 do x = nn.Tanh()(x) end" + RETURN, "E0506"),
    "split": ("local x = nn.Identity()() x:split(1e9)", "E0506"),
    "nested tables of nodes": ("local x = nn.Identity()() local t = x for i = 1, 1e5 do t = {t} end nn.Identity()(t)", "E050"),
    "a table that holds itself": ("local t = {} t[1] = t nn.Identity()(t)", "E0502"),
    "an argument that holds itself": ("local t = {} t[1] = t nn.Identity(t)()", "E0502"),
    "a container in itself": ("local s = nn.Sequential() s:add(s)", "E0424"),
    "a chain of sizes": (
        "local x = nn.Identity{'B'}() for i = 1, 200 do x = nn.JoinTable(1){x, nn.Identity()(x)} end "
        "return nn.gModule({nn.Identity()()}, {x})",
        "E0408",
    ),
    "clones of clones": (
        "local s = nn.Sequential():add(nn.Linear(2, 2)) while true do "
        "s = nn.Sequential():add(s:clone()):add(s:clone()) end",
        "E0506",
    ),
    # files
    "require that climbs": ("require '../../etc/passwd'", "E0804"),
    "require by a full path": ("require '/etc/passwd'", "E0804"),
    "require of a circle": ("require 'main'", "E0214"),
    "require through a link": ("require 'link'", "E0804"),
    "require through a linked folder": ("require 'folder.secret'", "E0804"),
    "require of a hard link": ("require 'hard'", "E0804"),
    "require of a device": ("require 'zero'", "E080"),
    "data through a link": ("local t = data.text { path = 'link.lua' } print(t.vocab_size)", "E0"),
    "the system": ("os.execute('true')", "E0209"),
    "other code": ("loadstring('x')", "E0209"),
    # bytes
    "no text": (b"\xff\xfe\x00\x01", "E0102"),
    "a NUL": (b"return 1\x00", "E0102"),
    "nothing": (b"", "E0431"),
    "only a comment": (b"-- nothing", "E0431"),
    "control characters": (b"\x01\x02\x03", "E0109"),
    "too large": (b"-- " + b"x" * 5_000_000, "E0507"),
    "a long line": (b"return " + b"x," * 500_000 + b"$", "E050"),
    "a lone surrogate": ("return '\\237\\160\\128' .. nil", "E0201"),
}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The first error of each."""
    folders = []
    for number, (text, _) in enumerate(SPECS.values()):
        outside = tmp_path_factory.mktemp(f"spec{number}")
        root = outside / "root"
        root.mkdir()
        (root / "main.spec").write_bytes(text if isinstance(text, bytes) else text.encode())
        (outside / "secret.lua").write_text("return 'hidden words'")
        (root / "link.lua").symlink_to(outside / "secret.lua")
        (root / "folder").symlink_to(outside)
        (root / "hard.lua").hardlink_to(outside / "secret.lua")
        (root / "zero.lua").symlink_to("/dev/zero")
        folders.append(str(root))
    done = subprocess.run([sys.executable, "-c", DRIVER, *folders], capture_output=True, text=True, preexec_fn=limits, check=False)
    answers = re.split(r"^exit (\d+)\n", done.stdout, flags=re.M)
    found = {}
    for name, answer, code in zip(SPECS, answers[::2], answers[1::2], strict=False):
        assert code == "1", (name, answer)
        found[name] = json.loads(answer)["errors"][0]
    assert done.returncode == 0, (len(found), done.stderr[-2000:])
    return found


@pytest.mark.parametrize("name", SPECS)
def test_a_hostile_spec_is_told(name: str, told: dict[str, dict[str, Any]]) -> None:
    problem = told[name]
    assert problem["code"].startswith(SPECS[name][1]), problem
    assert "hidden words" not in json.dumps(problem)
    if not problem["code"].startswith(("E08", "E0431", "E0507", "E0102", "E06")):
        assert problem["line"] >= 1
