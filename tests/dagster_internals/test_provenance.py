"""Tags of versions are those that Dagster's own runs set."""

import dagster as dg

from captionacc_dagster.dagster_internals.provenance import DATA_VERSION, provenance_tags


@dg.asset(code_version="1")
def first() -> None: ...


@dg.asset(code_version="2", deps=[first])
def second() -> None: ...


def last(instance: dg.DagsterInstance, name: str) -> tuple[dict[str, str], int]:
    (record,) = instance.fetch_materializations(dg.AssetKey(name), limit=1).records
    return dict(record.asset_materialization.tags or {}), record.storage_id


def test_the_tags_are_those_of_a_run():
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([first, second], instance=instance).success
        (tags_of_first, storage_id), (tags_of_second, _) = last(instance, "first"), last(instance, "second")
    assert provenance_tags("1", {}).items() <= tags_of_first.items()
    inputs = {dg.AssetKey("first"): (tags_of_first[DATA_VERSION], storage_id)}
    assert provenance_tags("2", inputs).items() <= tags_of_second.items()


def test_an_asset_without_a_code_version_has_its_data_version_only():
    assert provenance_tags(None, {}, "crop-1") == {DATA_VERSION: "crop-1"}
    assert provenance_tags(None, {}) == {}
