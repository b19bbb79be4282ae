"""Pairs of two breasts: never two women, never two views, each file once, in any order."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_files import make_header
from disasym.dicom import Header, Pairing, pair
from disasym.dicom.pairing import FAMILIES
from disasym.spec import Laterality, View


def names(pairing: Pairing) -> list[tuple[str, str, str]]:
    return [(str(made.right.path), str(made.left.path), made.paired_by) for made in pairing.pairs]


def reasons(pairing: Pairing) -> dict[str, str]:
    return {str(path): reason for path, reason in pairing.skipped}


def four_films(patient: str) -> list[Header]:
    """As in CBIS-DDSM: each view is its own study and its own PatientID; the StudyDate is that of the scanning."""
    films: list[tuple[Laterality, str, View]] = [
        ("R", "RIGHT", "CC"),
        ("L", "LEFT", "CC"),
        ("R", "RIGHT", "MLO"),
        ("L", "LEFT", "MLO"),
    ]
    return [
        make_header(
            f"{patient}-{s}-{view}", s, view, patient=f"{patient}_{side}_{view}", study_uid=f"1.{s}.{view}.{patient}"
        )
        for s, side, view in films
    ]


def test_two_breasts_of_one_study_and_view_are_a_pair() -> None:
    headers = [make_header(f"{s}-{view}", s, view) for s in ("R", "L") for view in ("CC", "MLO")]
    pairing = pair(headers)
    assert names(pairing) == [("R-CC", "L-CC", "study"), ("R-MLO", "L-MLO", "study")]
    assert not pairing.skipped


def test_two_studies_of_one_woman_on_one_day_make_a_pair() -> None:
    pairing = pair([make_header("r", "R", study_uid="1"), make_header("l", "L", study_uid="2")])
    assert names(pairing) == [("r", "l", "patient-date")]


def test_cbis_ddsm_films_pair_by_their_stem_whatever_the_date() -> None:
    headers = four_films("Mass-Test_P_00173") + four_films("Mass-Test_P_00820") + four_films("Calc-Test_P_00173")
    pairing = pair(headers)
    assert {rule for *_, rule in names(pairing)} == {"cbis-ddsm-stem"}
    assert len(pairing.pairs) == 6
    for made in pairing.pairs:
        assert made.right.patient_key == made.left.patient_key


@pytest.mark.parametrize(
    "changes",
    [
        {"patient": "other"},
        {"study_date": "20210102"},
        {"study_date": ""},
        {"birth_date": "19600101"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_two_studies_that_differ_in_woman_or_day_are_no_pair(changes: dict[str, Any]) -> None:
    left = make_header("l", "L", study_uid="2", **changes)
    pairing = pair([make_header("r", "R", study_uid="1"), left])
    assert reasons(pairing) == {
        "r": "no partner: no left CC of the same examination",
        "l": "no partner: no right CC of the same examination",
    }


@pytest.mark.parametrize("patient", ["", "0", "000000", "ANONYMOUS", "Anonymized12", "XXXX", "unknown", "N/A"])
def test_an_identifier_that_anonymisers_give_to_everybody_joins_no_studies(patient: str) -> None:
    headers = [make_header(s, s, study_uid=s, patient=patient) for s in ("R", "L")]
    assert not pair(headers).pairs
    same_study = [make_header(s, s, patient=patient) for s in ("R", "L")]
    assert names(pair(same_study)) == [("R", "L", "study")]


def test_one_study_that_holds_two_women_makes_no_pair() -> None:
    assert not pair([make_header("r", "R", patient="1"), make_header("l", "L", patient="2")]).pairs
    assert not pair([make_header("r", "R"), make_header("l", "L", birth_date="19600101")]).pairs


def test_two_candidates_for_one_breast_skip_the_whole_group() -> None:
    pairing = pair([make_header("r1", "R"), make_header("r2", "R"), make_header("l", "L")])
    reason = "ambiguous: 2 right and 1 left CC images match by study"
    assert reasons(pairing) == {"r1": reason, "r2": reason, "l": reason}


def test_an_ambiguous_study_is_not_rescued_by_a_weaker_rule() -> None:
    headers = [make_header("r1", "R"), make_header("r2", "R"), make_header("l", "L")]
    pairing = pair([*headers, make_header("l2", "L", study_uid="9")])
    assert not pairing.pairs


def test_the_same_picture_under_another_instance_uid_does_not_cost_the_pair() -> None:
    headers = [make_header("b-copy", "R"), make_header("a", "R"), make_header("l", "L")]
    pairing = pair(headers, picture=lambda header: header.laterality)
    assert names(pairing) == [("a", "l", "study")]
    assert reasons(pairing) == {"b-copy": "duplicate of a (the same picture under another SOPInstanceUID)"}


def test_pictures_are_compared_only_where_two_compete() -> None:
    def never(header: Header) -> str:
        raise AssertionError(f"{header.path} was decoded for nothing")

    assert pair([make_header("r", "R"), make_header("l", "L"), make_header("x", "R", "MLO")], picture=never).pairs


def test_one_instance_twice_is_used_once() -> None:
    twice = [make_header(name, "R", sop_uid="1.2.9") for name in ("b", "a", "c")]
    pairing = pair([*twice, make_header("l", "L")])
    assert names(pairing) == [("a", "l", "study")]
    assert reasons(pairing) == dict.fromkeys(("b", "c"), "duplicate of a (same SOPInstanceUID)")


def test_one_instance_uid_on_contradicting_files_uses_none() -> None:
    liars = [make_header("a", "R", sop_uid="1.2.9"), make_header("b", "L", sop_uid="1.2.9")]
    pairing = pair([*liars, make_header("l", "L")])
    assert not pairing.pairs
    assert reasons(pairing)["a"] == "2 files share this SOPInstanceUID and contradict each other"


def test_ten_thousand_duplicates_are_one_instance() -> None:
    headers = [make_header(f"{number:05}", "R", sop_uid="1.2.9") for number in range(10_000)]
    pairing = pair([*headers, make_header("l", "L")])
    assert names(pairing) == [("00000", "l", "study")]
    assert len(pairing.skipped) == 9_999


def test_a_standard_view_is_preferred_to_an_implant_displaced_one() -> None:
    displaced: dict[str, Any] = {"kind": "implant displaced"}
    headers = [make_header("r", "R"), make_header("rid", "R", **displaced), make_header("lid", "L", **displaced)]
    pairing = pair(headers)
    assert names(pairing) == [("r", "lid", "study")]
    assert (
        reasons(pairing)["rid"]
        == "passed over (implant displaced): the pair is made of images that are preferred to it"
    )


def test_a_synthetic_image_is_not_compared_with_an_exposure() -> None:
    synthetic: dict[str, Any] = {"kind": "synthetic"}
    assert not pair([make_header("r", "R"), make_header("l", "L", **synthetic)]).pairs
    both = [make_header(f"{s}{kind}", s, kind=kind) for s in ("R", "L") for kind in ("standard", "synthetic")]
    pairing = pair(both)
    assert names(pairing) == [("Rstandard", "Lstandard", "study")]
    assert set(reasons(pairing)) == {"Rsynthetic", "Lsynthetic"}


headers_of_an_archive = st.lists(
    st.fixed_dictionaries(
        {
            "laterality": st.sampled_from(["R", "L"]),
            "view": st.sampled_from(["CC", "MLO"]),
            "patient": st.sampled_from(["1", "2", "", "ANON", "Mass-Test_P_1", "Mass-Test_P_2", "Calc-Test_P_1"]),
            "birth_date": st.sampled_from(["", "19500101"]),
            "study_uid": st.sampled_from(["1.1", "1.2", "1.3"]),
            "study_date": st.sampled_from(["", "20200101", "20200102"]),
            "kind": st.sampled_from([kind for family in FAMILIES for kind in family]),
            "sop_uid": st.sampled_from([None, None, None, "1.9"]),
        }
    ),
    max_size=14,
)


def build(values: list[dict[str, Any]]) -> list[Header]:
    headers = []
    for number, value in enumerate(values):
        changes = {key: item for key, item in value.items() if item is not None}
        if changes["patient"].startswith(("Mass", "Calc")):
            side = "RIGHT" if changes["laterality"] == "R" else "LEFT"
            changes["patient"] += f"_{side}_{changes['view']}"
        headers.append(make_header(f"{number:02}", **changes))
    return headers


@settings(max_examples=150)
@given(values=headers_of_an_archive, data=st.data())
def test_a_pair_is_two_breasts_of_one_woman_and_every_file_has_one_fate(
    values: list[dict[str, Any]], data: st.DataObject
) -> None:
    headers = build(values)
    pairing = pair(headers)
    for made in pairing.pairs:
        right, left = made.right, made.left
        assert (right.laterality, left.laterality) == ("R", "L")
        assert right.view == left.view == made.view
        assert right.patient.identity == left.patient.identity
        assert right.patient.birth_date == left.patient.birth_date or right.patient.stem
        assert right.study_uid == left.study_uid or right.study_date == left.study_date or right.patient.stem
        assert any(right.kind in family and left.kind in family for family in FAMILIES)
        if made.paired_by == "patient-date":
            assert right.patient.identifying
            assert right.study_date
    used = [header.path for made in pairing.pairs for header in (made.right, made.left)]
    assert sorted(used + [path for path, _ in pairing.skipped]) == [header.path for header in headers]
    assert all(reason for _, reason in pairing.skipped)
    assert pair(data.draw(st.permutations(headers))) == pairing


def test_a_header_given_twice_is_one_file() -> None:
    header = make_header("r", "R")
    assert pair([header, header, make_header("l", "L")]).pairs[0].right.path == Path("r")
