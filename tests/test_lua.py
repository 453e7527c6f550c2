"""Lua 5.1, as a spec sees it: expression by expression, statement by statement, limit by limit."""

from __future__ import annotations

import time
from typing import Any

import pytest

import graphspec.nn  # noqa: F401  (fills the table of records)
from graphspec.build import Limits, evaluate
from graphspec.errors import Source, SpecError


def run(text: str, **settings: Any) -> list[str]:
    """What the program prints."""
    return evaluate(Source("test.spec", text + "\nreturn {}"), **settings).log


def value(expression: str) -> str:
    return "\n".join(run(f"print({expression})"))


EXPRESSIONS = {
    # numbers are doubles, printed with %.14g
    "1": "1",
    "-0.5": "-0.5",
    "1e3": "1000",
    "2^53": "9.007199254741e+15",
    "0x10": "16",
    ".5 + 3.": "3.5",
    "1/3": "0.33333333333333",
    "7 % 3": "1",
    "-7 % 3": "2",
    "7 % -3": "-2",
    "5.5 % 2": "1.5",
    "1/0": "inf",
    "-1/0": "-inf",
    "0/0 ~= 0/0": "true",
    "2^0.5 == math.sqrt(2)": "true",
    "'10' + 5": "15",
    "'0x10' * 1": "16",
    "10 .. 20": "1020",
    "-2^2": "-4",
    "2^3^2": "512",
    "-'2'": "-2",
    "1e15": "1e+15",
    "123456789012": "123456789012",
    # precedence and associativity
    "1 .. 2 .. 3": "123",
    "1 + 2 * 3 - 4 / 2": "5",
    "not nil == true": "true",
    "not (1 == 2)": "true",
    "1 < 2 == true": "true",
    "2 * 3 % 4": "2",
    # and, or, not
    "nil or 'x'": "x",
    "false and error('never')": "false",
    "nil and 1": "nil",
    "0 and 'zero is true'": "zero is true",
    "1 or error('never')": "1",
    # comparison
    "'a' < 'b'": "true",
    "1 == '1'": "false",
    "{} == {}": "false",
    "1 <= 1": "true",
    "'10' < '9'": "true",
    "nil == false": "false",
    # strings
    "#'abc'": "3",
    "'a\\tb\\65\\\\'": "a\tbA\\",
    "[[\nlong]]": "long",
    "[==[a]]b]==]": "a]]b",
    '"q\\"q"': 'q"q',
    "('x'):rep(3)": "xxx",
    "('abc'):sub(2)": "bc",
    "('abc'):sub(-2, -2)": "b",
    "('abc'):upper()": "ABC",
    "string.len('abcd')": "4",
    "('abc'):byte(2)": "98",
    "string.char(72, 105)": "Hi",
    "('abc'):reverse()": "cba",
    "('hello'):find('l')": "3\t3",
    "('a.b'):find('.', 1, true)": "2\t2",
    "('hello world'):match('(%w+) (%w+)')": "hello\tworld",
    "('key = val'):match('^(%w+)%s*=%s*(%w+)$')": "key\tval",
    "('abc'):match('b()')": "3",
    "('hello'):gsub('l', 'L')": "heLLo\t2",
    "('hello'):gsub('l', 'L', 1)": "heLlo\t1",
    "('abc'):gsub('%w', '%0%0')": "aabbcc\t3",
    "('abc'):gsub('', '-')": "-a-b-c-\t4",
    "('$x $y'):gsub('%$(%w+)', {x = 1})": "1 $y\t2",
    "('f(a(b)c)d'):match('%b()')": "(a(b)c)",
    "('THE (quick) fox'):find('%((%a+)%)')": "5\t11\tquick",
    "('  trim '):match('^%s*(.-)%s*$') .. '|'": "trim|",
    "('a,b,c'):gsub(',', '%%')": "a%b%c\t2",
    "('x^y'):match('[%^]')": "^",
    "('abc'):match('[^a-b]')": "c",
    "('a-b'):match('[a%-]+')": "a-",
    "('THE'):match('%f[%a]%a+')": "THE",
    "string.format('%d %5.2f %s %q', 3, 2.5, nil, 'a')": '3  2.50 nil "a"',
    "string.format('%x %5s|%-5s|%%', 255, 'a', 'b')": "ff     a|b    |%",
    "string.format('%g %i', 0.1, 7)": "0.1 7",
    "tostring(12) .. tostring(true)": "12true",
    "tonumber('0x1p')": "nil",
    "tonumber('  12  ')": "12",
    "tonumber('ff', 16)": "255",
    "tonumber('z')": "nil",
    "tonumber('1_000')": "nil",
    # tables
    "#{1, 2, 3}": "3",
    "#{[0] = 'x'}": "0",
    "({10, 20, x = 5}).x": "5",
    "({f = function() return 7 end}).f()": "7",
    "#{n = 1, 2}": "1",
    "table.concat({1, 2, 3}, '-')": "1-2-3",
    "table.concat({}, 'x')": "",
    "unpack({1, 2, 3})": "1\t2\t3",
    "select('#', nil, nil)": "2",
    "select(2, 'a', 'b', 'c')": "b\tc",
    "select(-1, 'a', 'b')": "b",
    "next({})": "nil",
    "type(next)": "function",
    "table.unpack({1, 2}, 2)": "2",
    "({[true] = 'yes', [1] = 'one'})[true]": "yes",
    "({[1.0] = 'one'})[1]": "one",
    # functions
    "(function(...) return select('#', ...) end)(1, nil)": "2",
    "(function(a, b) return b end)(1)": "nil",
    "((function() return 1, 2 end)())": "1",
    "math.max(1, 5, 3)": "5",
    "math.floor(-1.5)": "-2",
    "math.huge": "inf",
    "math.fmod(-7, 3)": "-1",
    "math.pi > 3.14": "true",
    "math.abs(-3)": "3",
    "pcall(error, 'x', 0)": "false\tx",
    "(pcall(error))": "false",
    "select(2, pcall(error, {code = 7})).code": "7",
    "type(nil)": "nil",
    "type(2)": "number",
    "type({})": "table",
    "type('')": "string",
    "type(print)": "function",
    "rawequal('a', 'a')": "true",
}


@pytest.mark.parametrize(("expression", "printed"), EXPRESSIONS.items())
def test_expressions(expression: str, printed: str) -> None:
    assert value(expression) == printed


PROGRAMS = {
    "closures keep their own loop variable": (
        "local f = {} for i = 1, 3 do f[i] = function() return i end end print(f[1](), f[2](), f[3]())",
        ["1\t2\t3"],
    ),
    "loops": ("for i = 3, 1, -1 do print(i) end for i = 1, 0 do print('never') end", ["3", "2", "1"]),
    "fractional steps": ("for x = 0, 1, 0.25 do print(x) end", ["0", "0.25", "0.5", "0.75", "1"]),
    "while and break": ("local i = 0 while true do i = i + 1 if i > 2 then break end end print(i)", ["3"]),
    "repeat sees its locals": ("local n = 0 repeat local done = n >= 2 n = n + 1 until done print(n)", ["3"]),
    "ipairs stops at nil": ("for i, v in ipairs({1, 2, nil, 4}) do print(i, v) end", ["1\t1", "2\t2"]),
    "pairs in order of insertion": ("for k, v in pairs({a = 1, b = 2}) do print(k, v) end", ["a\t1", "b\t2"]),
    "multiple assignment": ("local a, b = 1, 2 a, b = b, a print(a, b)", ["2\t1"]),
    "evaluation before assignment": ("local i, t = 1, {} i, t[i] = i + 1, 20 print(i, t[1], t[2])", ["2\t20\tnil"]),
    "calls in the middle give one value": ("local function f() return 1, 2 end print(f(), f())", ["1\t1\t2"]),
    "table of a call": ("local function f() return 1, 2, 3 end print(#{f()}, #{f(), 1})", ["3\t2"]),
    "methods": ("local T = {} function T:add(n) self.n = (self.n or 0) + n return self end print(T:add(2):add(3).n)", ["5"]),
    "recursion": ("local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end print(fib(15))", ["610"]),
    "metatables": (
        "local V = {} V.__index = V V.__add = function(a, b) return a.x + b.x end V.__tostring = function(v) return 'V' .. v.x end "
        "V.__eq = function() return true end V.__lt = function(a, b) return a.x < b.x end "
        "V.__call = function(self, k) return self.x * k end "
        "V.__concat = function(a, b) return 'cat' end V.__unm = function(a) return -a.x end "
        "function V.new(x) return setmetatable({x = x}, V) end "
        "local a, b = V.new(1), V.new(2) print(a + b, tostring(a), a == b, a < b, b(10), a .. b, -b, a.missing)",
        ["3\tV1\ttrue\ttrue\t20\tcat\t-2\tnil"],
    ),
    "__index function and __newindex": (
        "local log = {} local t = setmetatable({}, {__index = function(_, k) return k .. '!' end, "
        "__newindex = function(t, k, v) rawset(t, k, v * 2) end}) "
        "t.a = 4 print(t.a, t.b)",
        ["8\tb!"],
    ),
    "inheritance": (
        "local A = {} A.__index = A function A.f() return 'A' end local B = setmetatable({}, {__index = A}) B.__index = B "
        "print(setmetatable({}, B).f())",
        ["A"],
    ),
    "sort": ("local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end) print(unpack(t))", ["3\t2\t1"]),
    "insert and remove": ("local t = {1, 3} table.insert(t, 2, 2) print(table.remove(t, 1), table.remove(t), #t)", ["1\t3\t1"]),
    "gmatch": ("for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do print(k, v) end", ["a\t1", "b\t2"]),
    "gsub with a function": ("print((('abc'):gsub('%w', function(c) if c == 'b' then return '[b]' end end)))", ["a[b]c"]),
    "varargs": ("local function f(...) local a, b = ... return {...}, a, b end local t, a, b = f(1, 2, 3) print(#t, a, b)", ["3\t1\t2"]),
    "pcall gives back the message": ("print(pcall(function() error('boom', 0) end))", ["false\tboom"]),
    "assert": ("print(pcall(assert, false, 'why'), pcall(assert, nil))", ["false\tfalse\tassertion failed!"]),
    "error with a table": ("local ok, e = pcall(error, {code = 3}) print(ok, e.code)", ["false\t3"]),
    "a call on the next line": ("local f = function(x) return x end\nlocal y = f\n(3)\nprint(y)", ["3"]),
    "semicolons and comments": ("local a = 1; --[[ x\ny ]] local b = 2 -- c\nprint(a + b)", ["3"]),
    "goto-free nesting": ("do local x = 1 do local x = 2 print(x) end print(x) end", ["2", "1"]),
    "string keys and fields are one": ("local t = {} t.x = 1 t['x'] = t['x'] + 1 print(t.x)", ["2"]),
    "numbers as keys": ("local t = {} t[1] = 'a' t[1.0] = 'b' t['1'] = 'c' print(t[1], t['1'], #t)", ["b\tc\t1"]),
    "xpcall": ("print(xpcall(function() error('x', 0) end, function(m) return 'handled ' .. m end))", ["false\thandled x"]),
    "globals": ("x = 5 print(_G.x, x)", ["5\t5"]),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str) -> None:
    text, printed = PROGRAMS[name]
    assert run(text) == printed


ERRORS = {
    "return x.y": ("E0203", "attempt to index 'x' (a nil value)"),
    "local t = {} t.a.b = 1": ("E0203", None),
    "return 1 + nil": ("E0201", None),
    "local count = 3 return cuont + 1": ("E0201", "attempt to perform arithmetic on 'cuont' (a nil value)"),
    "return {} .. 'x'": ("E0201", "attempt to concatenate a table value"),
    "return {} < 1": ("E0206", "attempt to compare table with number"),
    "return nil < nil": ("E0206", "attempt to compare two nil values"),
    "local function f(n, m) return n > m end f(3)": ("E0206", "attempt to compare 'n' (a number value) with 'm' (a nil value)"),
    "local opt = {layers = 2} return 1 >= opt.layer": ("E0206", "attempt to compare number with field 'layer' (a nil value)"),
    "return #5": ("E0201", "attempt to get the length of a number value"),
    "foo()": ("E0202", "attempt to call 'foo' (a nil value)"),
    "local t = {} t.x()": ("E0202", "attempt to call field 'x' (a nil value)"),
    "local t = {} t:x()": ("E0202", "attempt to call method 'x' (a nil value)"),
    "for i = 1, 10, 0 do end": ("E0204", "the step of this loop is 0"),
    "for i = 'a', 2 do end": ("E0204", None),
    "local t = {[nil] = 1}": ("E0205", "a table's key is nil"),
    "local t = {} t[0/0] = 1": ("E0205", "a table's key is NaN"),
    "string.rep()": ("E0207", "bad argument #1 to 'rep' (string expected, got no value)"),
    "('x'):rep({})": ("E0207", "bad argument #2 to 'rep' (number expected, got table)"),
    "ipairs(nil)": ("E0207", "bad argument #1 to 'ipairs' (table expected, got nil)"),
    "error('stop')": ("E0208", "error: stop"),
    "assert(false, 'no')": ("E0208", "assertion failed: no"),
    "io.open('x')": ("E0209", "io does not exist in a spec"),
    "os.execute('x')": ("E0209", "os does not exist in a spec"),
    "loadstring('x')": ("E0209", "loadstring does not exist in a spec"),
    "('x'):find('[a')": ("E0210", None),
    "('x'):match('%')": ("E0210", None),
    "require 'nowhere'": ("E0803", None),
    "require '../up'": ("E0804", "require '../up': a name is words with dots between, under the roots"),
    "include 'nowhere'": ("E0803", "include 'nowhere': no such file"),
    "paths.dofile '../up'": ("E0804", "dofile '../up': a name is words with dots between, under the roots"),
    "include(nil)": ("E0207", "bad argument #1 to 'include' (string expected, got nil)"),
    "options(3)": ("E0603", None),
    "options {a = {}}": ("E0603", None),
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors_have_a_code_and_a_place(text: str) -> None:
    code, message = ERRORS[text]
    with pytest.raises(SpecError) as caught:
        evaluate(Source("test.spec", text))
    problem = caught.value.diagnostics[0]
    assert problem.code == code
    assert problem.span is not None
    assert message is None or problem.message == message


def test_a_misspelled_name_is_suggested() -> None:
    with pytest.raises(SpecError, match="did you mean `count`"):
        evaluate(Source("test.spec", "local count = 3 return cuont + 1"))


HOSTILE = {
    "endless loop": ("while true do end", "E0501"),
    "endless recursion": ("local function f() return f() + 1 end f()", "E0502"),
    "mutual recursion through pcall": ("local function f() return pcall(f) end f() while true do end", "E0502"),
    "pcall does not catch it": ("pcall(function() while true do end end) print('survived')", "E0501"),
    "rep": ("('x'):rep(1e12)", "E0503"),
    "doubling": ("local s = 'x' while true do s = s .. s end", "E0501 E0503"),
    "format": ("string.format('%99999d', 1)", "E0207"),
    "pattern": ("(('a'):rep(5000)):find(('a*'):rep(30) .. 'b')", "E0501"),
    "gsub": ("(('a'):rep(100000)):gsub('', ('b'):rep(10000))", "E0501 E0503"),
    "concat": ("local t = {} for i = 1, 10000 do t[i] = ('x'):rep(10000) end table.concat(t)", "E0501 E0503"),
    "sort with a comparison that lies": (
        "local t = {} for i = 1, 50000 do t[i] = i end while true do table.sort(t, function() return true end) end",
        "E0501",
    ),
    "deep parentheses": ("return " + "(" * 100_000 + "1" + ")" * 100_000, "E0502"),
    "deep tables": ("return " + "{" * 200_000, "E0502"),
    "long chains": ("return " + "1 + " * 5_000 + "1", None),
    "long concatenations": ("return " + "'a' .. " * 2_000 + "'a'", None),
    "many blocks": ("do " * 5_000 + "end " * 5_000, "E0502"),
    "unpack": ("unpack({}, 1, 1e9)", "E0207"),
    "a chain of __index": ("local t = {} setmetatable(t, {__index = t}) return t.x", "E0203"),
    "modules without end": ("local t = {} while true do t[#t + 1] = nn.Identity() end", "E0506"),
    "a split of a million": ("nn.Identity()():split(1e9)", "E0506"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_hangs_or_crashes(name: str) -> None:
    text, code = HOSTILE[name]
    started = time.process_time()
    try:
        evaluate(Source("test.spec", text), limits=Limits(steps=300_000, nodes=5_000))
        found = None
    except SpecError as failure:
        found = failure.code
    assert found in (code.split() if code else ("E0431", "E0502"))
    assert time.process_time() - started < 20, "far beyond what a limit allows"


def test_limits_say_how_to_raise_them() -> None:
    with pytest.raises(SpecError, match="--limit steps=") as caught:
        evaluate(Source("test.spec", "while true do end"), limits=Limits(steps=100))
    assert caught.value.code == "E0501"


@pytest.mark.parametrize(
    "text",
    [
        "local t = {1}\nprint(t[0].x)",
        "local t = {1}\nprint(t[0] + 1)",
        "local t = {nn.Identity()()}\nnn.Tanh()(t[0])",
        "local t = {nn.Identity()()}\nnn.CAddTable()({t[0], t[1]})",
        "local t = {4, 3}\nnn.Linear(t[0], t[1])",
    ],
)
def test_counting_from_zero_is_told(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        run(text)
    assert caught.value.diagnostics[0].helps == ("tables count from 1 in Lua: `[1]` is the first element",)


HABITS = {
    "for i in range(3) do end": "for i = 1, n do",
    "for v in {1, 2} do end": "ipairs(t)",
    "for i in 3 do end": "for i = 1, n do",
    "local n = len({1, 2})": "`#t`",
    "local s = 'a' + 1": "`..`",
    "local s = str(3)": "tostring(v)",
}


@pytest.mark.parametrize("text", HABITS)
def test_habits_of_python_are_told_what_does_it_here(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        run(text)
    (problem,) = caught.value.diagnostics
    assert HABITS[text] in " ".join(problem.helps)


def test_an_argument_that_is_nil_is_told_as_such() -> None:
    with pytest.raises(SpecError, match=r"nn\.Linear needs outputSize, and argument 2 is nil"):
        run("local sizes = {4}\nnn.Linear(sizes[1], sizes[2])")


def test_what_is_printed_is_seen_though_an_error_follows(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SpecError):
        run("print('width', 3)\nprint('\\27[31m')\nerror('no')")
    assert capsys.readouterr().err == "width\t3\n\\x1b[31m\n"
    run("print('again')", texts={})
    assert capsys.readouterr().err == ""


def test_a_spec_cannot_print_without_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run("for i = 1, 300 do print(('x'):rep(1000)) end")) == 300
    shown = capsys.readouterr().err
    assert len(shown) < 110_000 and shown.endswith("... and what is printed after it is not shown\n")
