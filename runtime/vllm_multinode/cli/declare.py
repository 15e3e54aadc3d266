"""Commands from annotated functions: each parameter's type and default make a click option or argument.

Click itself, because it loads in a third of the time of what is built on it.
"""

import difflib
import inspect
import itertools
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import click

from vllm_multinode.cli.help_text import Texts, texts_of, write_options
from vllm_multinode.contract import numbers

Complete = Callable[[click.Context, click.Parameter, str], list[Any]]
"""What may follow what was typed; see cli.completions."""

SETTINGS: Final = {"help_option_names": ["-h", "--help"], "show_default": True}
COMPLETE: Final = "_MULTINODE_COMPLETE"
"""The variable by which a shell asks for what may follow."""
_CHOICES_WIDTH: Final = 24
QUIET: Final = "quiet"
"""In a root context's meta: notes and progress are left out."""
JSON: Final = "json"
"""In a root context's meta: -o json was given, so that errors are for programs too."""


class _AsWritten:
    """Before click reads a number: it is one as `contract.numbers` has it."""

    read: Callable[[str], float]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click does; a default is a number already."""
        if isinstance(value, str):
            try:
                value = self.read(value)
            except ValueError as error:
                raise click.BadParameter(f"{error}.", ctx, param) from error
        return super().convert(value, param, ctx)  # type: ignore[misc]


class _Whole(_AsWritten, click.types.IntParamType):
    read = staticmethod(numbers.whole)


class _WholeRange(_AsWritten, click.IntRange):
    read = staticmethod(numbers.whole)


class _Decimal(_AsWritten, click.types.FloatParamType):
    read = staticmethod(numbers.decimal)


class _DecimalRange(_AsWritten, click.FloatRange):
    read = staticmethod(numbers.decimal)


@dataclass(frozen=True, init=False)
class Option:
    """How a parameter is an option; as an annotation.

    Attributes:
        names: as they are typed; the parameter's own by default.
        help: its line.
        min: least number.
        max: greatest number.
        metavar: what stands for its value in the help.
        show_default: the default stands in the help.
        panel: heading in the help that it stands below.
        complete: its values, for the shell.
    """

    names: tuple[str, ...]
    help: str = ""
    min: float | None = None
    max: float | None = None
    metavar: str | None = None
    show_default: bool = True
    panel: str = ""
    complete: Complete | None = field(default=None, compare=False)

    def __init__(self, *names: str, **given: Any) -> None:
        object.__setattr__(self, "names", names)
        for name, value in given.items():
            if name not in self.__dataclass_fields__:
                raise TypeError(f"an option has no {name}")
            object.__setattr__(self, name, value)


@dataclass(frozen=True, kw_only=True)
class Argument:
    """How a parameter is an argument; as an annotation. Its attributes are an option's."""

    help: str = ""
    metavar: str | None = None
    show_default: bool = True
    complete: Complete | None = None


class Command(click.Command):
    """A command whose help stands in the parts that its function names."""

    def __init__(self, *arguments: Any, texts: Texts, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.texts = texts

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; -o json is known even where the rest cannot be parsed."""
        meta = ctx.find_root().meta
        meta[JSON] = _names_json(self, args)
        rest = super().parse_args(ctx, args)
        meta[JSON] = ctx.params.get("output") == JSON
        return rest

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: they stand with the options, as older releases of click have it."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Arguments and options, each below its heading, and the examples."""
        write_options(self.get_params(ctx), ctx, formatter)
        self.texts.write_examples(formatter)


class Group(click.Group):
    """Commands below one name."""

    def __init__(self, *arguments: Any, texts: Texts, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.texts = texts

    def declare(self, name: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorator: the function is a command of this group, under its own name by default."""

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            self.add_command(command(function, name or function.__name__.rstrip("_").replace("_", "-")))
            return function

        return decorate

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; for an unknown name with the nearest commands, loaded or not.

        Raises:
            click.UsageError: there is no such command.
        """
        name = args[0]
        if ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        close = difflib.get_close_matches(name, self.list_commands(ctx), n=2)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise click.UsageError(f"No such command '{name}'.{hint}", ctx)

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: a group has none."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options, commands and examples; no line is cut."""
        write_options(self.get_params(ctx), ctx, formatter)
        self.format_commands(ctx, formatter)
        self.texts.write_examples(formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each command with its whole line."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, " ".join((one.help or "").split("\n\n")[0].split())) for name, one in found if one]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class ShownArgument(click.Argument):
    """An argument with a line in the help."""

    def __init__(self, *arguments: Any, help: str, **more: Any) -> None:  # noqa: A002 - click's own word
        super().__init__(*arguments, **more)
        self.help = help


class PanelOption(click.Option):
    """An option below a heading of its own."""

    def __init__(self, *arguments: Any, panel: str = "", **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.panel = panel


def group(help: str, before: Callable[[str], None]) -> Group:  # noqa: A002 - click's own word
    """An empty group, which alone prints its help.

    Args:
        help: in paragraphs; those that start with "multinode" are its examples.
        before: is given the name of a command before that runs.
    """
    texts = texts_of(help)

    def run() -> None:
        context = click.get_current_context()
        if context.invoked_subcommand is None:
            click.echo(context.get_help())
        else:
            before(context.invoked_subcommand)

    return Group(
        help=texts.about, texts=texts, context_settings=SETTINGS, params=[quiet_option()],
        invoke_without_command=True, callback=run,
    )  # fmt: skip


def command(function: Callable[..., Any], name: str) -> Command:
    """The command that a function is.

    Args:
        function: each parameter annotated with its type and an Option or Argument. Its documentation is the
            help; paragraphs that start with "multinode" are its examples.
        name: what is typed.
    """
    texts = texts_of(inspect.getdoc(function) or "")
    hints = typing.get_type_hints(function, include_extras=True)
    signature = inspect.signature(function).parameters
    params = [_parameter(one, hints[one.name]) for one in signature.values()]
    defaults = {one.name: one.default for one in signature.values()}

    def run(**given: Any) -> Any:
        values = {key: _value(value, defaults[key]) for key, value in given.items()}
        return function(**values)

    return Command(
        name=name, callback=run, params=[*params, quiet_option()], help=texts.about, texts=texts,
        context_settings=SETTINGS,
    )  # fmt: skip


def quiet_option() -> click.Option:
    """`--quiet`, which every command takes."""
    return click.Option(
        ["--quiet", "-q"], is_flag=True, expose_value=False, show_default=False, callback=_be_quiet,
        help="Print only results and errors: no notes, no progress.",
    )  # fmt: skip


def _names_json(command: click.Command, words: Sequence[str]) -> bool:
    """Whether the command has an option for its output, and the words name json for it."""
    names = [
        name
        for one in command.params
        if one.name == "output" and isinstance(one.type, click.Choice) and JSON in one.type.choices
        for name in one.opts
    ]
    own = list(itertools.takewhile(lambda word: word != "--", words))
    joined = {f"{name}={JSON}" for name in names} | {f"{name}{JSON}" for name in names if len(name) == 2}
    return any(
        word in joined or (word in names and following == JSON)
        for word, following in itertools.pairwise([*own, ""])
    )


def _be_quiet(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().meta[QUIET] = True


def _value(value: Any, default: Any) -> Any:
    """What click has read as the function takes it: a list, or its default where nothing was given."""
    if not isinstance(value, tuple):
        return value
    return list(value) or (None if default is inspect.Parameter.empty else default)


def _parameter(parameter: inspect.Parameter, hint: Any) -> click.Parameter:
    kind, declared = typing.get_args(hint)
    several, kind = _taken_apart(kind)
    required = parameter.default is inspect.Parameter.empty
    common: dict[str, Any] = {"required": required, "shell_complete": declared.complete}
    if not required and not several:
        common["default"] = parameter.default
    if isinstance(declared, Argument):
        return ShownArgument(
            [parameter.name], type=_type(kind), help=declared.help, nargs=-1 if several else 1,
            metavar=declared.metavar, **common,
        )  # fmt: skip
    long = "--" + parameter.name.rstrip("_").replace("_", "-")
    names = declared.names or ((f"{long}/--no-{long[2:]}",) if kind is bool else (long,))
    # A bare default is of no use in a help: "", no list, no number.
    shown = declared.show_default and common.get("default") not in (None, "", False)
    metavar, text = _choices(kind, declared)
    return PanelOption(
        [parameter.name, *names], type=None if kind is bool else _type(kind, declared), is_flag=kind is bool,
        multiple=several, help=text, metavar=metavar, show_default=shown, panel=declared.panel, **common,
    )  # fmt: skip


def _choices(kind: Any, declared: Option) -> tuple[str | None, str]:
    """What stands for an option's value, and its help: many choices stand in the help."""
    if declared.metavar or typing.get_origin(kind) is not Literal:
        return declared.metavar, declared.help
    names = _names(typing.get_args(kind))
    if len("|".join(names)) <= _CHOICES_WIDTH:
        return None, declared.help
    return "NAME", f"{declared.help} One of {', '.join(names)}."


def _taken_apart(kind: Any) -> tuple[bool, Any]:
    """Whether several values are taken, and the type of one: `list[str] | None` is (True, str)."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        (kind,) = (one for one in typing.get_args(kind) if one is not types.NoneType)
    if typing.get_origin(kind) is list:
        return True, typing.get_args(kind)[0]
    return False, kind


def _type(kind: Any, declared: Option | None = None) -> "click.ParamType[Any]":
    if typing.get_origin(kind) is Literal:
        return click.Choice(_names(typing.get_args(kind)))
    if kind is Path:
        return click.Path(path_type=Path)
    low, high = (declared.min, declared.max) if declared else (None, None)
    if kind is int:
        return _Whole() if low is high is None else _WholeRange(_whole(low), _whole(high))
    if kind is float:
        return _Decimal() if low is high is None else _DecimalRange(low, high)
    if kind is not str:
        raise TypeError(f"{kind} is not read from a command line")
    return click.STRING


def _names(values: Sequence[Any]) -> list[str]:
    return [str(value) for value in values]


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
