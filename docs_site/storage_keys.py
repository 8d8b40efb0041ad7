"""The keys of a video's objects, from the class that builds them."""

import inspect
import re
import uuid
from collections.abc import Iterable
from functools import cached_property

from docs_site.markdown import cell, code, first_paragraph, table
from modal_gpu.frame_index import ChunkRef
from modal_gpu.keys import VideoKeys

_TENANT, _VIDEO, _RUN = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
#: An example of each argument.
_EXAMPLES = {
    "index": 1200,
    "version": 3,
    "zone": 1,
    "chunk": ChunkRef(16, 512),
    "start": 6144,
    "end": 7168,
    "run_id": _RUN,
    "name": "poster-0123456789ab.jpg",
}
#: They read keys instead of building them.
READERS = {"full_frame_index", "chunk_of"}


def key_reference() -> str:
    """Return a table of the keys that clients read, and one of the platform's, with example numbers."""
    keys, found = VideoKeys(_TENANT, _VIDEO), _keys()
    clients = _section("Read by clients", "client_prefix", keys.client_prefix, found)
    return f"{clients}\n\n{_section('Read by the platform only', 'server_prefix', keys.server_prefix, found)}"


def _section(title: str, name: str, prefix: str, keys: Iterable[tuple[str, str, str]]) -> str:
    lines = table(
        ["key", "content", "`VideoKeys`"],
        (
            (code(_shown(key.removeprefix(prefix))), cell(content), code(member))
            for member, key, content in keys
            if key.startswith(prefix) and key != prefix
        ),
    )
    return f"## {title}\n\nBelow `{_shown(prefix)}` (`{name}`):\n\n{lines}"


def _keys() -> list[tuple[str, str, str]]:
    """Return the name, the key and the docstring of each member that builds a key."""
    keys = VideoKeys(_TENANT, _VIDEO)
    found = []
    for name, member in vars(VideoKeys).items():
        if name.startswith("_") or name in READERS | {"tenant_id", "video_id"}:
            continue
        if isinstance(member, property | cached_property):
            found.append((name, getattr(keys, name), _content(member)))
        elif inspect.isfunction(member):
            parameters = [p for p in inspect.signature(member).parameters if p != "self"]
            key = member(keys, *(_EXAMPLES[parameter] for parameter in parameters))
            found.append((f"{name}({', '.join(parameters)})", key, _content(member)))
    return sorted(found, key=lambda one: one[1])


def _content(member: object) -> str:
    """Return the docstring of a member without its first words, which are the same in all."""
    text = re.sub(r"^(Return the|The) (key of )?", "", first_paragraph(member.__doc__))
    return text[:1].upper() + text[1:]


def _shown(key: str) -> str:
    names = {_TENANT: "{tenant_id}", _VIDEO: "{video_id}", _RUN: "{run_id}"}
    for value, name in names.items():
        key = key.replace(value, name)
    return key
