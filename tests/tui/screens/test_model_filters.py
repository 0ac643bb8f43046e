"""Filters of the Model place."""

from finetune_tui.core.models.catalog import CatalogEntry, catalog
from finetune_tui.tui.screens.model_filters import SIZES, Filters, licence_family

ENTRIES = list(catalog().values())


def kept(filters: Filters, fits: bool | None = None) -> list[CatalogEntry]:
    return [entry for entry in ENTRIES if filters.keep(entry, lambda _entry: fits)]


def test_each_filter_goes_through_its_values_and_back_to_all() -> None:
    for name, least in (("fits", 2), ("kind", 3), ("size", len(SIZES) + 1), ("licence", 3)):
        filters, seen = Filters(), []
        for _ in range(10):
            filters = filters.cycled(name, ENTRIES)
            if filters in seen:
                break
            seen.append(filters)
        assert Filters() in seen
        assert len(seen) >= least


def test_every_size_is_in_one_range() -> None:
    for entry in ENTRIES:
        assert sum(entry.parameters in sizes for sizes in SIZES.values()) == 1


def test_filters_are_joined() -> None:
    found = kept(Filters(kind="base", licence="MIT"))
    assert [entry.id for entry in found] == ["microsoft/phi-1_5", "microsoft/phi-2"]
    assert all(licence_family(entry) == "MIT" for entry in found)
    assert [entry.id for entry in kept(Filters(words="PHI-2 MICRO"))] == ["microsoft/phi-2"]


def test_only_a_plain_no_is_put_out_by_what_fits() -> None:
    assert kept(Filters(fits=True), fits=None) == ENTRIES
    assert kept(Filters(fits=True), fits=False) == []
