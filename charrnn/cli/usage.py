"""Wrong usage as one line on standard error: what is wrong, and what would be right."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from charrnn.cli.completion import offer_words_of_bash
from charrnn.cli.shell import failed
from charrnn.likely import did_you_mean, likely, or_list

# the base of all errors of usage, which Typer does not export
_UsageError: Any = typer.BadParameter.__bases__[0]
_REMEDIES = {"int": ": write a whole number", "float": ": write a number, such as 0.5"}
LONGEST = 300  # characters of a line; the middle of a longer one is left out


class Commands(TyperGroup):
    """The commands of the app; wrong usage of them is one line, with exit code 2."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> Any:
        """Reads the options before the command."""
        # for the errors that do not have them
        self._typed: list[str] = list(args)
        self._command: Any = self
        if args in ([], ["--"]):  # shows the help
            return super().make_context(info_name, [], *more, **extra)
        with self._one_line():
            return super().make_context(info_name, args, *more, **extra)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            names = list(self.commands)
            remedy = did_you_mean(likely(args[0], names), f"name {or_list(names)}")
            raise typer.BadParameter(f"{args[0]}: no such command: {remedy}")
        name, self._command, args = super().resolve_command(ctx, args)
        return name, self._command, args

    def invoke(self, ctx: Any) -> Any:
        """Reads the options of the command, and runs it."""
        with self._one_line():
            return super().invoke(ctx)

    def _main_shell_completion(self, *args: Any, **more: Any) -> None:
        offer_words_of_bash()  # here: Typer registers its own until now
        super()._main_shell_completion(*args, **more)

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except _UsageError as error:
            line = " ".join(_problem(error, self._typed, self._command).split())
            if len(line) > LONGEST:
                line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
            raise failed(line, error.exit_code) from None


def _problem(error: Any, typed: Sequence[str], command: Any) -> str:
    """Returns what is wrong, and a remedy.

    Args:
        error: of usage, as Typer raised it.
        typed: all that the user typed.
        command: whose options were read, a command or all of them.
    """
    is_command = not isinstance(command, TyperGroup)
    program = f"charrnn {command.name}" if is_command else "charrnn"
    if hasattr(error, "possibilities"):  # there is no such option
        return _no_such_option(error.option_name, typed, command, program)
    if (option := getattr(error, "option_name", None)) is not None:
        param = next(param for param in command.params if option in param.opts)
        if param.is_flag:
            return f"{option}: it takes no value: leave = and what follows out"
        return f"{option}: no value: write {option} {param.make_metavar(typer.Context(command))}"
    message = error.message.rstrip(".")
    if (param := getattr(error, "param", None)) is not None:
        name = param.opts[-1] if param.param_type_name == "option" else param.human_readable_name
        return f"{name}: {message}{_REMEDIES.get(param.type.name, '')}"
    return f"{command.name}: {message}: see {program} --help" if is_command else message


def _no_such_option(start: str, typed: Sequence[str], command: Any, program: str) -> str:
    """Names what is likely meant; of an option with one dash, ``start`` is its first letter."""
    options = (word.partition("=")[0] for word in typed)
    option = next((word for word in options if word.startswith(start)), start)
    name = option.lstrip("-").replace("_", "-").lower()
    params = command.get_params(typer.Context(command))
    known = [opt[2:] for param in params for opt in param.opts if opt.startswith("--")]
    meant = [other for other in known if other.startswith(name)][:3] or likely(name, known, 0.7)
    remedy = f"{program} --help lists them"
    if not option.startswith("--"):
        remedy += "; before a name or text that starts with a dash, put --"
    remedy = did_you_mean([f"--{other}" for other in meant], remedy)
    return f"{option}: {program} has no such option: {remedy}"
