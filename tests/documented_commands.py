"""Commands that the pages of docs/ name, parsed as their tools parse them, without running them."""

import copy
import re
import shlex
from collections.abc import Collection, Iterable, Mapping

import click


def without_blocks(text: str) -> str:
    """Return a page's text without its fenced blocks."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def commands(text: str, tools: Iterable[str]) -> list[str]:
    """Return commands of these tools, from blocks and from sentences."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    found = [re.sub(r"^([A-Z_]+=\S+ )+", "", line.partition(" #")[0].strip()) for line in lines]
    found += re.findall(r"`([^`\n]+)`", without_blocks(text))
    return list(dict.fromkeys(c for c in found if re.match(rf"({'|'.join(tools)}) \S", c)))


def queries(text: str) -> list[str]:
    """Return the statements of the blocks, and queries from sentences."""
    blocks = "".join(re.findall(r"```sql\n(.*?)```", text, re.DOTALL))
    found = [statement.strip() for statement in blocks.split(";")]
    found += re.findall(r"`(select [^`]+)`", without_blocks(text))
    return [statement for statement in found if statement]


def parse(command: str, tools: Mapping[str, click.Command], ends_at: Collection[str] = ()) -> str:
    """The name of the command that would run. ``ends_at``: groups that take anything as their arguments.

    Raises ``click.UsageError`` for a command, an option or a number of arguments that the tool does not have.
    """
    tool, *rest = shlex.split(command)
    current: click.Command = tools[tool]
    context = click.Context(current, info_name=tool)
    while isinstance(current, click.Group) and current.name not in ends_at:
        if not rest and current.invoke_without_command:
            break
        context = click.Context(current, parent=context, info_name=rest[0])
        found = current.get_command(context, rest[0])
        if found is None:
            raise click.UsageError(f"{tool} has no command {rest[0]}")
        current, rest = found, rest[1:]
    if not rest:
        # A sentence that names the command.
        return f"{tool} {current.name}"
    # Files are not checked: those of the examples do not exist here.
    current = copy.copy(current)
    current.params = [copy.copy(parameter) for parameter in current.params]
    for parameter in current.params:
        if isinstance(parameter.type, click.Path):
            parameter.type = click.STRING
    current.make_context(current.name, rest, parent=context)
    return f"{tool} {current.name}"
