"""The page of one result: what it says, that text stays text, that it needs nothing else, and how a browser shows and prints it."""

import re
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.checks.result_checks import ACCEPT, DO_NOT_USE, LOOK, Place, Verdict
from InfantBrainSegLib.core.check import PASS, STOP, WARN, Check, CheckCode, Reason, SignCode
from InfantBrainSegLib.core.errors import ErrorCode, InputError
from InfantBrainSegLib.core.labels import GM
from InfantBrainSegLib.outputs.html_report import KNOWN_BIAS, NOTICE, Picture, page_of, to_html
from InfantBrainSegLib.outputs.overview import draw_overview, without_legend, write_overview
from InfantBrainSegLib.pipeline.volumes import TissueVolume, measure

ROOT = Path(__file__).parents[3]
VOID = {"meta", "img", "br"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=\"a\"> & 'q' </td></style>"
ONE_PIXEL = b"not a picture, but some bytes"


class Parsed(HTMLParser):
    """The elements of a page with their attributes and text, if each is closed in its turn."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self._open = [], [], []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return "|".join(self.texts)


def volumes(csf=180.0, gray=330.0, white=220.0, confidence=0.9):
    total = csf + gray + white
    return [
        TissueVolume(name, round(1000 * ml), 1000 * ml, ml, ml / total, confidence)
        for name, ml in (("CSF", csf), ("GM", gray), ("WM", white))
    ]


def checks(status=PASS, text="0.97", count=None):
    remedy = "" if status == PASS else "look whether the scan fits and choose another series where it does not"
    return [Check(code, status, text, "0.8 or more", remedy) for code in list(CheckCode)[:count]]


def report(**changes):
    """A run's report as JSON gives it back."""
    parts = {
        "volumes": volumes(),
        "checks": checks(),
        "decision": ACCEPT,
        "reasons": (),
        "places": (),
        "age_months": 6.0,
        "warnings": [],
        "system": "Linux",
        **changes,
    }
    verdict = Verdict(parts["decision"], "", tuple(parts["reasons"]), tuple(parts["places"]), {}, {}, 0.9, 0)
    return {
        "inputs": {"t1": {"kind": "image file", "sha256": "a" * 64}, "mask": {"kind": "image file", "sha256": "b" * 64}},
        "versions": {"InfantBrainSeg": "0.9.0", "system": parts["system"], "torch": "2.13.0"},
        "weights": {"fcn1": {"sha256": "c" * 64}, "fcn2": {"sha256": "d" * 64}},
        "extraction": {"weights": {"locate": "e" * 64}},
        "device": {"asked": "auto", "used": "cpu", "precision": "bfloat16", "threads": 2},
        "options": {"age_months": parts["age_months"]},
        "volumes": [asdict(volume) for volume in parts["volumes"]],
        "checks": [check.as_dict() for check in parts["checks"]],
        "verdict": verdict.as_dict(),
        "warnings": [check.sentence() for check in parts["checks"] if not check.passes] + parts["warnings"],
    }


def parsed(edited=(), pictures=(), made="", review="", **changes):
    return Parsed(to_html(page_of(report(**changes), pictures, edited, made, review)))


def test_a_page_is_whole_and_says_what_screen_readers_need():
    page = parsed(pictures=[Picture(ONE_PIXEL, "what is seen", "a caption")])
    counts = Counter(tag for tag, _ in page.elements)
    assert (counts["html"], counts["title"], counts["h1"], counts["main"], page.all("html")[0]["lang"]) == (1, 1, 1, 1, "en")
    assert {attributes["scope"] for attributes in page.all("th")} == {"col", "row"}
    assert [image["alt"] for image in page.all("img")] == ["what is seen"]
    named = {attributes["id"] for attributes in page.all("h2")}
    assert {attributes["aria-labelledby"] for attributes in page.all("section")} == named
    assert NOTICE in page.text
    assert KNOWN_BIAS in page.text


def test_the_page_shows_volumes_shares_confidence_versions_weights_and_device():
    page = parsed(made="2026-11-27 17:00 UTC", warnings=["The mask was cut."])
    for text in ("330.0", "45.2", "0.90", "730.0", "1.50", "InfantBrainSeg 0.9.0 · age 6 months from birth at term · 2026-11-27 17:00 UTC"):
        assert text in page.texts
    assert f"fcn1 {'c' * 16}; fcn2 {'d' * 16}; locate {'e' * 16}" in page.texts
    assert f"T1 image file, {'a' * 16}; mask image file, {'b' * 16}" in page.texts
    assert "cpu, bfloat16, 2 CPU threads" in page.texts
    assert "The mask was cut." in page.texts


@pytest.mark.parametrize(
    ("age_months", "gray", "shown", "outside"),
    [
        (6.0, 330.0, "1.39 to 1.68", False),
        (6.0, 480.0, "1.39 to 1.68", True),
        (12.0, 480.0, "no norm", False),
        (None, 330.0, "no norm", False),
    ],
)
def test_the_ratio_has_a_range_from_five_to_eight_months_alone(age_months, gray, shown, outside):
    page = parsed(age_months=age_months, volumes=volumes(gray=gray))
    row = page.texts[page.texts.index("GM/WM ratio") :]
    assert row[:3] == ["GM/WM ratio", f"{gray / 220:.2f}", shown]
    assert ("outside: look" in page.text) == outside
    assert page.texts.count("no norm") == (4 if shown != "no norm" else 5)


def test_edited_volumes_stand_below_the_automatic_ones_with_their_change():
    page = parsed(edited=volumes(gray=340.0, white=212.3, confidence=None), decision=LOOK)
    first, second = page.texts.index("Automatic"), page.texts.index("Edited")
    assert page.texts[first:second].count("330.0") == 1
    assert page.texts[second : second + 40].count("340.0") == 1
    assert [text for text in page.texts if re.match(r"[+−]\d", text)] == ["+10.0", "−7.7", "+2.3"]
    assert "Edited since: the verdict is of the automatic result." in page.texts
    assert {attributes["scope"] for attributes in page.all("th")} == {"col", "row", "rowgroup"}
    assert "Edited" not in parsed().texts


def test_who_looked_stands_below_the_verdict():
    page = parsed(review="Reviewed by A. Reader.")
    assert page.texts.index("Reviewed by A. Reader.") == page.texts.index("Volumes") - 1


def test_without_a_voxel_there_is_neither_a_ratio_nor_a_confidence():
    page = parsed(volumes=[TissueVolume(volume.tissue, 0, 0.0, 0.0, 0.0, None) for volume in volumes()])
    assert page.texts.count("–") == 5


def test_the_confidence_of_all_tissues_is_that_of_their_voxels():
    csf, gray, white = volumes(csf=100.0, gray=300.0, white=0.0)
    page = parsed(volumes=[replace(csf, mean_confidence=0.5), gray, replace(white, mean_confidence=None)])
    row = page.texts[page.texts.index("Together") :]
    assert row[:4] == ["Together", "400.0", "100.0", "0.80"]


def test_the_verdict_says_why_and_where():
    reasons = [
        Reason(CheckCode.POSE, "pose: turned by 60 degrees", "see below"),
        Reason(SignCode.DOUBTFUL_PLACES, "1 place is in doubt", "look there"),
    ]
    places = [Place(55, (12.4, -30.6, 0.2), 0.38)]
    page = parsed(decision=DO_NOT_USE, reasons=reasons, places=places)
    assert "Do not use" in page.texts
    assert "Pose: turned by 60 degrees." in page.texts
    assert "1 place is in doubt: look there." in page.texts
    assert "Where to look: slice 55 at RAS 12, −31, 0 mm, 38 % in doubt." in page.texts
    assert any(attributes.get("class") == "judged do-not-use" for attributes in page.all("div"))


def test_checks_that_need_a_look_come_first_with_their_remedies():
    bad = [Check(CheckCode.SKULL, WARN, "much", "none", "strip it"), Check(CheckCode.OVERLAP, STOP, "little", "all", "choose another")]
    page = parsed(checks=[*checks(count=2), *bad])
    order = [page.texts.index(name) for name in ("Overlap", "Skull", "Cerebrum", "Pose")]
    assert order == sorted(order)
    assert {"2 of 4 pass.", "Choose another.", "Strip it."} <= set(page.texts)
    assert "Notes" not in page.texts


def test_hostile_text_stays_text_wherever_it_stands():
    hostile = {
        "checks": checks(WARN, HOSTILE, 1),
        "reasons": [Reason(SignCode.CONFIDENCE, HOSTILE)],
        "warnings": [HOSTILE],
        "system": HOSTILE,
        "volumes": [replace(volume, tissue=HOSTILE) for volume in volumes()],
    }
    page = parsed(pictures=[Picture(ONE_PIXEL, HOSTILE, HOSTILE)], made=HOSTILE, review=HOSTILE, decision=LOOK, **hostile)
    plain = {**hostile, "checks": checks(WARN, count=1), "reasons": [Reason(SignCode.CONFIDENCE, "low")], "warnings": ["x"], "system": "x"}
    plain["volumes"] = [replace(volume, tissue="x") for volume in volumes()]
    harmless = parsed(pictures=[Picture(ONE_PIXEL, "x", "x")], made="x", review="x", decision=LOOK, **plain)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in harmless.elements]
    assert [sorted(attributes) for _, attributes in page.elements] == [sorted(attributes) for _, attributes in harmless.elements]
    assert page.all("img")[0]["alt"] == HOSTILE
    assert page.text.count(HOSTILE) >= 8
    assert page.all("script") == []


def test_the_page_loads_nothing_and_names_no_path():
    text = to_html(page_of(report(), [Picture(ONE_PIXEL, "a", "b")]))
    page = Parsed(text)
    assert [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href") and value[:5] != "data:"
    ] == []
    assert {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "form", "a", "base"} == set()
    assert not re.search(r"https?:|file:|url\(|@import", text)
    assert page.all("meta")[1]["content"].startswith("default-src 'none'")
    assert not re.search(r"[A-Za-z]:\\|/(tmp|home|Users|mnt)/", text)


@pytest.mark.parametrize("lost", ["volumes", "verdict", "checks", "weights", "options", "device"])
def test_a_report_that_is_laid_out_otherwise_is_refused(lost):
    rest = report()
    del rest[lost]
    with pytest.raises(InputError, match="laid out otherwise") as caught:
        page_of(rest)
    assert caught.value.code is ErrorCode.REPORT_VERSION


def test_the_known_bias_is_that_of_the_model_card():
    card = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
    figures = re.findall(r"\d+ to \d+ %", KNOWN_BIAS)
    assert len(figures) == 2
    assert [figure for figure in figures if figure not in card] == []
    assert "**Thin WM blades** end early in real infants, above all with T1 alone" in card


def test_building_the_page_and_importing_the_picture_needs_neither_torch_nor_vtk():
    script = (
        "import InfantBrainSegLib.outputs.html_report, InfantBrainSegLib.outputs.overview, sys\n"
        "print([name for name in ('torch', 'vtk', 'vtkmodules') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert said.strip() == "[]"


def browse(browser, tmp_path, *words):
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--hide-scrollbars",
        *words,
    ]
    subprocess.run([*command, (tmp_path / "page.html").as_uri()], check=True, capture_output=True, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("edited", [False, True])
def test_a_browser_shows_the_page_and_prints_it_on_two_sides(edited, tmp_path, browser):
    labels = phantoms.draw(phantoms.grid(shift_mm=(0, 0, 0)))
    t1 = phantoms.draw(labels, phantoms.T1_LEVELS)
    write_overview(without_legend(draw_overview(t1, t1, labels, measure(labels))), tmp_path / "overview.png")
    picture = Picture((tmp_path / "overview.png").read_bytes(), "slices", "T1, T2 and the labels.")
    some = [*checks()[:-2], *checks(WARN)[-2:]]
    reasons = [Reason(check.code, f"{check.name}: {check.found}", check.remedy) for check in some if not check.passes]
    places = [Place(40 + index, (1.0, 2.0, 3.0), 0.5) for index in range(5)]
    finished = report(checks=some, decision=LOOK, reasons=reasons, places=places)
    page = page_of(finished, [picture], volumes(gray=320.0, confidence=None) if edited else [], "2026-11-27 17:00 UTC", "Nobody looked.")
    (tmp_path / "page.html").write_text(to_html(page), encoding="utf-8")
    browse(browser, tmp_path, "--window-size=1000,2600", f"--screenshot={tmp_path / 'page.png'}")
    shown = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "page.png")))[..., :3]  # (H, W, 3)
    assert (shown == np.array(GM.color)).all(-1).sum() > 50  # the square beside its name
    assert 0.05 < (shown.max(-1) < 60).mean() < 0.6  # the picture, on a white page
    browse(browser, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes())) in (1, 2)
