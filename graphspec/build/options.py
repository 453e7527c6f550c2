"""``options{...}``, ``data.*`` and ``optim.*``, with what the command line or the API overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphspec.build.describe import Description, Library, Schema, Stream
from graphspec.build.values import Host, LuaTable, NativeFunction, Value, to_text, type_name
from graphspec.errors import Diagnostic, SpecError, error
from graphspec.lang import Comment
from graphspec.suggest import one_of

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter


OPTIMIZER = "which optimizer it is stands in the spec, `optimizer = optim.sgd { learningRate = 0.1 }`; its fields: `optim.learningRate=0.1`"


class Overrides:
    """``name=value`` from outside: for ``options`` (plain names) and for fields (``data.path``)."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = dict(given)
        self.used: set[str] = set()
        self.known: list[str] = []

    def take(self, name: str, default: Any) -> tuple[Any, bool]:
        """The value for a name and whether it came from outside; E0601 when its type does not fit the default's."""
        self.known.append(name)
        if name not in self.given:
            return default, False
        self.used.add(name)
        return convert(name, self.given[name], default), True

    def unknown(self) -> list[Diagnostic]:
        """E0602 for what nothing in the spec asked for."""
        return [
            error("E0602", f"the spec has no option {name}", helps=self._meant(name)) for name in self.given if name not in self.used
        ]

    def _meant(self, name: str) -> list[str]:
        trains = any(known.startswith("experiment.") for known in self.known)
        if not self.known:
            return ["it has none at all"]
        return [OPTIMIZER] if trains and name.rpartition(".")[2] == "optimizer" else one_of(name, sorted(set(self.known)))


def convert(name: str, value: Any, default: Any) -> Any:
    """A value from outside (text from the command line, anything from Python) in the type of the default."""
    wanted = type_name(default) if default is not None else "any"
    if getattr(value, "ndim", None) == 0:
        value = value.item()  # a number of NumPy's
    if isinstance(value, bool):
        found: Any = value
    elif isinstance(value, (int, float)):
        found = float(value)
    elif isinstance(value, str):
        found = _from_text(value, wanted)
    elif value is None:
        found = None
    else:
        found = str(value)  # a pathlib.Path
    if default is not None and found is not None and type_name(found) != wanted:
        raise SpecError(error("E0601", f"{name} is a {wanted} (its default is {_show(default)}), got {value!r}"))
    return found


def _from_text(text: str, wanted: str) -> Any:
    if wanted == "boolean" and text in ("true", "false"):
        return text == "true"
    if wanted in ("number", "any"):
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _show(value: Any) -> str:
    return repr(value) if isinstance(value, str) else to_text(value)


class Options:
    """The ``options`` function; remembers names, values and help of all it was given."""

    def __init__(self, overrides: Overrides, comments: Sequence[Comment]) -> None:
        self.overrides = overrides
        self.comments = list(comments)
        self.values: dict[str, Any] = {}
        self.help: dict[str, str] = {}

    def __call__(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        table = args[0] if args else None
        if not isinstance(table, LuaTable):
            raise lua.error("E0603", "options takes a table: `options { rnn_size = 128 }`")
        span = lua.span
        for name, default in table.fields().items():
            table.set(name, self.declare(lua, name, default, self._help(span.source, span.start, span.end, name) if span else ""))
        return [table]

    def declare(self, lua: Interpreter, name: str, default: Value, help_text: str) -> Value:
        """One option; its value.  E0603 for a default that is no plain value."""
        if not isinstance(default, (bool, float, str)):
            raise lua.error("E0603", f"option {name}: a default is a number, a string or a boolean, not a {type_name(default)}")
        value, _ = self.overrides.take(name, default)
        self.values[name] = value
        self.help[name] = help_text
        return value

    def _help(self, source: Any, start: int, end: int, name: str) -> str:
        """The comment behind ``name =`` on its line."""
        for comment in self.comments:
            if comment.span.source is source and start <= comment.span.start <= end + 200:
                line = source.line(comment.span.line)
                before = line[: comment.span.column - 1]
                if name in before.replace("=", " ").replace(",", " ").split():
                    return comment.text.strip()
        return ""


class Pasted(Host):
    """``opt`` and ``params`` in pasted code: whatever options were given from outside; the rest is nil."""

    title = "opt"

    def __init__(self, overrides: Overrides) -> None:
        self.overrides = overrides
        self.own = LuaTable()

    def index(self, lua: Interpreter, key: Value) -> Value:
        found = self.own.get(key)
        if found is None and isinstance(key, str) and key in self.overrides.given:
            found, _ = self.overrides.take(key, None)
        return found

    def set_index(self, lua: Interpreter, key: Value, value: Value) -> None:
        self.own.set(key, value)

    def adopt(self, table: LuaTable) -> None:
        """The file makes the table itself (``params = {rnn_size = 200}``): its fields are options."""
        for name, default in table.fields().items():
            if name in self.overrides.given and isinstance(default, (bool, float, str)):
                table.set(name, self.overrides.take(name, default)[0])


class Group(Host):
    """``data`` or ``optim``: makes descriptions."""

    def __init__(self, name: str, library: Library, overrides: Overrides, made: list[Description]) -> None:
        self.title = self.name = name
        self.library = library
        self.overrides = overrides
        self.made = made

    def index(self, lua: Interpreter, key: Value) -> Value:
        kind = f"{self.name}.{key}"
        schema = self.library.schemas.get(kind)
        if schema is None:
            known = [name for name in self.library.schemas if name.startswith(f"{self.name}.")]
            raise lua.error("E0604", f"there is no {kind}", helps=one_of(kind, known))
        return NativeFunction(kind, lambda inner, args: [self._describe(inner, kind, schema, args)])

    def _describe(self, lua: Interpreter, kind: str, schema: Schema, args: list[Value]) -> Value:
        table = args[0] if args else LuaTable()
        if not isinstance(table, LuaTable):
            raise lua.error("E0605", f"{kind} takes a table of fields, got {type_name(table)}")
        given = table.fields()
        fields, trusted = {}, set()
        for name in given:
            if name not in schema.fields:
                raise lua.error("E0605", f"{kind} has no field {name}", helps=one_of(name, schema.fields))
        for name, default in schema.fields.items():
            value = given.get(name, default)
            if name in given and default is not None and type_name(value) != type_name(lua_number(default)):
                raise lua.error("E0605", f"{kind}: {name} is a {type_name(lua_number(default))}, got {type_name(value)}")
            value, outside = self.overrides.take(f"{self.name}.{name}", lua_number(value))
            fields[name] = value
            if outside:
                trusted.add(name)
        description = Description(kind, fields, lua.origin(), frozenset(trusted))
        self.made.append(description)
        return DescriptionHost(description, schema, self.library)


def lua_number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


class DescriptionHost(Host):
    def __init__(self, description: Description, schema: Schema, library: Library) -> None:
        self.description = description
        self.schema = schema
        self.library = library
        self.title = description.kind

    def index(self, lua: Interpreter, key: Value) -> Value:
        if key in self.schema.fields:
            return self.description.fields[str(key)]
        attributes, streams = self.schema.attributes, self.schema.streams
        if attributes is None or streams is None:
            attributes, streams = self.library.names(self.description)
        if key in attributes:
            return lua_number(self.library.attribute(self.description, str(key)))
        if key in streams:
            return StreamHost(Stream(self.description, str(key)))
        known = [*attributes, *streams, *self.schema.fields]
        helps = one_of(str(key), known)
        stream, ending, _ = str(key).rpartition("_classes")
        if ending and stream in streams:
            helps = [f"{stream} holds no whole numbers, and classes are whole numbers from 1: save `{stream}.astype('int32')`", *helps]
        raise lua.error("E0605", f"{self.title} has no {key}", helps=helps)


class StreamHost(Host):
    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.title = f"the stream {stream.description.kind}.{stream.name}"
