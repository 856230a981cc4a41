"""The page of a cohort: its content, and how it behaves in a browser."""

import html.parser
import json
import re
import subprocess

import numpy as np
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.batch import page as page_module
from InfantBrainSegLib.batch.page import make_page
from InfantBrainSegLib.batch.run import run_batch, write_group

COUNT = 400
VERDICTS = ("accept", "look", "do not use")


def synthetic_rows(count=COUNT):
    """Rows as a cohort's table has them; one brain is far too large, one scan failed, one is to do."""
    rng, rows = np.random.default_rng(5), []
    for number in range(count):
        name, age = f"sub-{number:04d}", rng.uniform(0, 24)
        size = 2.5 if number == 17 else rng.normal(1, 0.05)
        volumes = {"csf_ml": 60 + 4 * age, "gm_ml": 200 + 15 * age, "wm_ml": 120 + 12 * age}
        rows.append(
            {
                "scan": name,
                "status": "ok",
                "verdict": VERDICTS[number % 7 % 3],
                "checks_warn": "motion ringing | spacing" if number % 5 == 0 else "",
                "checks_stop": "skull" if number % 50 == 1 else "",
                "age_months": f"{age:.4g}",
                "mean_confidence": f"{rng.uniform(0.7, 0.95):.4f}",
                "warnings": "Spacing: 1×1×3 mm; wanted 1 mm: scan again." if number % 5 == 0 else "",
                "segmentation": f"{name}/anat/{name}_space-T1w_dseg.nii.gz",
                "version": "1",
                **{column: f"{volume * size * rng.normal(1, 0.03):.3f}" for column, volume in volumes.items()},
            }
        )
    rows[3] = {"scan": "sub-0003", "status": "failed", "reason": "T1 is </script> no image."}
    rows[4] = {"scan": "sub-0004", "status": "pending"}
    return rows


def write_overviews(rows, folder):
    """One picture of an overview's size and a content that is hard to pack, linked for all scans."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 255, (63, 59, 3)).astype(np.float32)
    picture = np.kron(coarse, np.ones((16, 16, 1), np.float32))[:1006, :932] + rng.normal(0, 12, (1006, 932, 3))
    sitk.WriteImage(sitk.GetImageFromArray(np.clip(picture, 0, 255).astype(np.uint8), isVector=True), str(folder / "picture.png"))
    for row in rows:
        if "segmentation" in row:
            path = folder / row["segmentation"].replace("_dseg.nii.gz", "_overview.png")
            path.parent.mkdir(parents=True)
            path.hardlink_to(folder / "picture.png")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The page of 400 scans, beside their pictures."""
    folder = tmp_path_factory.mktemp("large")
    rows = synthetic_rows()
    write_overviews(rows, folder)
    path = folder / "cohort.html"
    path.write_text(make_page(rows, folder), encoding="utf-8")
    return path


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_a_batch_and_group_write_the_page_with_every_scan_and_its_picture(bids, tmp_path, options, stand_in):
    out = tmp_path / "out"
    (bids / "sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz").write_bytes(b"not an image")
    run_batch(bids, out, options, segmenter=stand_in)
    data = data_of((out / "cohort.html").read_text(encoding="utf-8"))
    assert [(row["scan"], row["status"]) for row in data["rows"]] == [("sub-01", "ok"), ("sub-02_ses-1", "ok"), ("sub-02_ses-2", "failed")]
    assert (out / data["rows"][0]["overview"]).is_file()
    assert set(data["thumbs"]) == {"sub-01", "sub-02_ses-1"}
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in data["thumbs"].values())
    (out / "cohort.html").unlink()
    write_group(bids, out, options)
    assert str(tmp_path) not in (out / "cohort.html").read_text(encoding="utf-8")


def test_the_page_asks_no_other_place_for_anything(tmp_path):
    page = make_page(synthetic_rows(30), tmp_path)
    places = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            places.extend(value for name, value in attributes if name in ("src", "href", "action", "srcset"))

    Parser().feed(page)
    assert places == []
    assert re.findall(r"https?://", page) == []
    assert "default-src 'none'" in page


def test_outliers_are_named_and_the_ratio_is_told(tmp_path):
    page = make_page(synthetic_rows(), tmp_path)
    rows = {row["scan"]: row for row in data_of(page)["rows"]}
    assert {"CSF (ml)", "GM (ml)", "WM (ml)"} <= set(rows["sub-0017"]["far"])
    assert sum(bool(row["far"]) for row in rows.values()) < 12
    assert rows["sub-0010"]["ratio"] == pytest.approx(float(synthetic_rows()[10]["gm_ml"]) / float(synthetic_rows()[10]["wm_ml"]), abs=1e-3)
    assert page.count('<svg class="plot"') == 5
    assert "</script> no image" not in page


@pytest.mark.slow
def test_400_subjects_stay_under_20_mb_and_each_has_a_picture_in_the_page(large):
    assert large.stat().st_size < 20_000_000
    assert len(data_of(large.read_text(encoding="utf-8"))["thumbs"]) == COUNT - 2


def test_a_cohort_too_large_for_pictures_links_to_them(tmp_path, monkeypatch):
    rows = synthetic_rows(6)
    write_overviews(rows, tmp_path)
    monkeypatch.setattr(page_module, "THUMBNAILS_BYTES", 1000)
    data = data_of(make_page(rows, tmp_path))
    assert data["thumbs"] == {}
    assert (tmp_path / data["rows"][0]["overview"]).is_file()


PROBE = """
<script>
"use strict";
const seen = {errors: []};
addEventListener("error", event => seen.errors.push(event.message));
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const set = (id, value) => { at(id).value = value; at(id).dispatchEvent(new Event("input")); };
const names = () => [...document.querySelectorAll("#body tr")].map(line => line.dataset.scan);
const chosenNow = () => document.querySelector("#body tr.chosen").dataset.scan;
const click = title => [...document.querySelectorAll("#head button")].find(button => button.textContent === title).click();
addEventListener("load", () => setTimeout(() => {
  seen.load_ms = performance.now();
  seen.rows = names().length;
  seen.visible_pictures = [...document.querySelectorAll("#body img")].filter(image => image.src).length;
  press("j"); press("ArrowDown"); seen.next = chosenNow();
  press("k"); seen.previous = chosenNow();
  press("a"); press("r");
  seen.after = chosenNow();
  seen.reviews = rows.filter(row => row.review).map(row => [row.scan, row.review]);
  set("review", "reject"); seen.rejected = names(); set("review", "");
  set("verdict", "look"); seen.look = names().length;
  seen.points = document.querySelector("#plots svg").querySelectorAll(".point:not(.out)").length; set("verdict", "");
  set("check", "skull"); seen.skull = names().length; set("check", "");
  set("outlier", "yes"); seen.outliers = names(); set("outlier", "");
  set("search", "0123"); seen.search = names(); set("search", "");
  click("GM ml"); click("GM ml"); seen.largest = names()[0];
  click("GM ml"); seen.smallest = names()[0]; seen.last = names().slice(-2).sort();
  document.querySelector('.point[data-scan="sub-0200"]').dispatchEvent(new MouseEvent("click", {bubbles: true}));
  seen.from_plot = chosenNow();
  at("note").value = "ask Ann"; at("note").dispatchEvent(new Event("input"));
  URL.createObjectURL = blob => {
    blob.text().then(words => {
      seen.saved = JSON.parse(words);
      document.body.append(Object.assign(document.createElement("pre"), {id: "seen", textContent: JSON.stringify(seen)}));
    });
    return "about:blank";
  };
  HTMLAnchorElement.prototype.click = () => {};
  at("save").click();
}, 50));
</script>
"""


def browse(browser, *words):
    # no sandbox: the tests may run as root, and the page is ours
    command = [
        browser,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        *map(str, words),
    ]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=180, check=True).stdout


@pytest.mark.slow
def test_in_a_browser_it_loads_in_3_s_sorts_filters_and_takes_keys(large, tmp_path, browser):
    probe = large.with_name("probe.html")
    probe.write_text(large.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    dumped = browse(browser, f"--user-data-dir={tmp_path}", "--timeout=60000", "--virtual-time-budget=20000", "--dump-dom", probe.as_uri())
    seen = json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', dumped, re.DOTALL)[1]))
    rows = synthetic_rows()
    assert seen["errors"] == []
    assert seen["load_ms"] < 3000
    assert seen["rows"] == COUNT
    assert 0 < seen["visible_pictures"] < 60
    assert (seen["next"], seen["previous"], seen["after"]) == ("sub-0002", "sub-0001", "sub-0003")
    assert seen["reviews"] == [["sub-0001", "accept"], ["sub-0002", "reject"]]
    assert seen["rejected"] == ["sub-0002"]
    assert seen["look"] == seen["points"] == sum(row.get("verdict") == "look" for row in rows)
    assert seen["skull"] == sum(row.get("checks_stop") == "skull" for row in rows)
    assert "sub-0017" in seen["outliers"]
    assert seen["search"] == ["sub-0123"]
    assert seen["largest"] == "sub-0017"
    assert float(rows[int(seen["smallest"][-4:])]["gm_ml"]) == min(float(row["gm_ml"]) for row in rows if "gm_ml" in row)
    assert seen["last"] == ["sub-0003", "sub-0004"]
    assert seen["from_plot"] == "sub-0200"
    assert [(scan, given["decision"]) for scan, given in seen["saved"]["scans"].items()] == [
        ("sub-0001", "accept"),
        ("sub-0002", "reject"),
        ("sub-0200", ""),
    ]
    assert seen["saved"]["scans"]["sub-0200"]["note"] == "ask Ann"


LAYOUT_PROBE = """
<script>
"use strict";
addEventListener("load", () => setTimeout(() => {
  document.dispatchEvent(new KeyboardEvent("keydown", {key: "j", bubbles: true, cancelable: true}));
  setTimeout(() => {
    const box = element => { const {left, top, right, bottom} = element.getBoundingClientRect(); return [left, top, right, bottom]; };
    const image = document.querySelector("#body img");
    const seen = {table: box(document.querySelector(".scroll")), detail: box(at("detail")), cut: box(image.parentElement),
      thumb: box(image), overview: box(at("detail").querySelector("img")),
      width: innerWidth, height: innerHeight, page_width: document.documentElement.scrollWidth};
    document.body.append(Object.assign(document.createElement("pre"), {id: "seen", textContent: JSON.stringify(seen)}));
  }, 500);
}, 50));
</script>
"""


@pytest.mark.slow
@pytest.mark.parametrize(("width", "beside"), [(1500, True), (900, True), (600, False)])
def test_the_chosen_scan_and_the_table_are_in_sight_at_once_in_windows_of_any_width(large, tmp_path, browser, width, beside):
    probe = large.with_name(f"layout{width}.html")
    probe.write_text(large.read_text(encoding="utf-8").replace("</body>", f"{LAYOUT_PROBE}</body>"), encoding="utf-8")
    words = (f"--user-data-dir={tmp_path}", f"--window-size={width},1400", "--virtual-time-budget=20000", "--dump-dom")
    dumped = browse(browser, *words, probe.as_uri())
    seen = json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', dumped, re.DOTALL)[1]))
    table, detail, cut, thumb = (seen[name] for name in ("table", "detail", "cut", "thumb"))
    assert seen["page_width"] <= seen["width"]
    assert (table[2] <= detail[0]) if beside else (detail[3] <= table[1])
    assert table[1] + 100 < seen["height"], "some rows"
    assert detail[1] < seen["height"]
    assert seen["overview"][3] - seen["overview"][1] > 200
    # the small picture shows the last of the overview's three columns, the labels
    assert (cut[0] - thumb[0]) / (thumb[2] - thumb[0]) == pytest.approx(2 / 3, abs=0.02)
    assert thumb[3] - thumb[1] > 200
