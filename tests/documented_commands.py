"""Commands that the pages of docs/ name, parsed as their tools parse them, without running them."""

import copy
import shlex
from collections.abc import Collection, Mapping

import click


def parse(command: str, tools: Mapping[str, click.Command], ends_at: Collection[str] = ()) -> str:
    """The name of the command that would run. ``ends_at``: groups that take anything as their arguments.

    Raises ``click.UsageError`` for a command, an option or a number of arguments that the tool does not have.
    """
    tool, *rest = shlex.split(command)
    current: click.Command = tools[tool]
    context = click.Context(current, info_name=tool)
    while isinstance(current, click.Group) and current.name not in ends_at:
        context = click.Context(current, parent=context, info_name=rest[0])
        found = current.get_command(context, rest[0])
        if found is None:
            raise click.UsageError(f"{tool} has no command {rest[0]}")
        current, rest = found, rest[1:]
    # Files are not checked: those of the examples do not exist here.
    current = copy.copy(current)
    current.params = [copy.copy(parameter) for parameter in current.params]
    for parameter in current.params:
        if isinstance(parameter.type, click.Path):
            parameter.type = click.STRING
    current.make_context(current.name, rest, parent=context)
    return f"{tool} {current.name}"
