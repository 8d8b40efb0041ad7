"""Tags of a materialization's versions, as Dagster's own runs set them.

The UI calls a materialization stale if its code version is not the asset's, or if an input has another data
version than it was made from. A materialization that no run made needs these tags to be compared so.
"""

from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    compute_logical_data_version,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

DATA_VERSION = DATA_VERSION_TAG


def provenance_tags(
    code_version: str | None, inputs: Mapping[dg.AssetKey, tuple[str, int]], data_version: str | None = None
) -> dict[str, str]:
    """Return the tags of a materialization made by ``code_version`` from ``inputs``.

    An input is the data version and the storage id of its materialization. Without ``data_version`` it
    is computed from the others, as for an asset that gives none. Without a code version the tags have the
    data version only.
    """
    if code_version is None:
        return {DATA_VERSION_TAG: data_version} if data_version else {}
    versions = {key: dg.DataVersion(version) for key, (version, _) in inputs.items()}
    own = data_version or compute_logical_data_version(code_version, versions).value
    tags = {CODE_VERSION_TAG: code_version, DATA_VERSION_TAG: own}
    for key, (version, storage_id) in inputs.items():
        tags[get_input_data_version_tag(key)] = version
        tags[get_input_event_pointer_tag(key)] = str(storage_id)
    return tags
