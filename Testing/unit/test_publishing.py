"""What Slicer's Extensions Index asks of the repository."""

import json
import re
import subprocess
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENTRY = ROOT / "docs" / "extensions-index" / "InfantBrainSeg.json"
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
PLACEHOLDER = "OWNER"  # in every address, until one is known; docs/publishing.md says how to replace it
MAX_MB = 90  # the index takes 100
PICTURES = (b"\x89PNG", b"\xff\xd8\xff")


def setting(name):
    """A text of CMakeLists.txt, which the index reads as it stands: a variable in it would not be resolved."""
    return re.search(rf'set\({name} "([^"$]*)"\)', CMAKE)[1]


def entry():
    return json.loads(ENTRY.read_text(encoding="utf-8"))


def addresses():
    several = setting("EXTENSION_SCREENSHOTURLS").split()
    return [entry()["scm_url"], setting("EXTENSION_HOMEPAGE"), setting("EXTENSION_ICONURL"), *several]


def test_the_entry_has_the_schemas_keys_and_the_projects_name():
    assert {"$schema", "category", "scm_url"} <= entry().keys()
    allowed = {"$schema", "build_dependencies", "build_subdirectory", "category", "dicom_support_rule", "enabled", "scm_revision"}
    assert entry().keys() <= allowed | {"scm_type", "scm_url", "tier"}
    assert ENTRY.stem == re.search(r"project\((\w+)\)", CMAKE)[1]
    assert not ENTRY.stem.startswith("Slicer")
    assert entry()["build_dependencies"] == setting("EXTENSION_DEPENDS").split()
    assert entry()["scm_url"].rpartition("/")[2] == f"Slicer{ENTRY.stem}"


def test_all_addresses_are_of_one_repository_and_branch_and_name_pictures_that_exist():
    repositories = {re.match(r"https://(?:raw\.githubusercontent|github)\.com/([\w.-]+/[\w.-]+)", address)[1] for address in addresses()}
    assert repositories == {entry()["scm_url"].partition("github.com/")[2]}
    pictures = [address.partition(f"/{entry()['scm_revision']}/")[2] for address in addresses() if "raw." in address]
    assert len(pictures) >= 2
    for path in pictures:
        assert (ROOT / path).read_bytes().startswith(PICTURES), path
    assert (ROOT / "LICENSE").is_file()


def test_the_owner_of_the_addresses_is_known():
    if any(PLACEHOLDER in address for address in addresses()):
        pytest.skip(f"the public address is not known yet: docs/publishing.md says how to replace {PLACEHOLDER}")
    assert all(address.startswith("https://") for address in addresses())


def test_the_homepage_has_what_a_reviewer_looks_for():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## (.+)$", page, re.MULTILINE))
    assert {"In 3D Slicer", "Cite", "Licence"} <= sections
    assert re.search(r"!\[.+\]\(Resources/\S+\)", page)
    assert "(docs/tutorial.md)" in page
    assert "**Infant Brain Segmentation**" in page
    cite = page.partition("## Cite")[2].partition("\n## ")[0]
    assert re.search(r"\(https://arxiv\.org/abs/\d{4}\.\d{5}\)", cite), "the publication is a link"


def test_one_commit_of_the_tree_and_its_packed_copy_fit_the_index():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so what would be published is not known")
    contents = [(ROOT / name).read_bytes() for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    tree, packed = sum(map(len, contents)), sum(len(zlib.compress(content, 1)) for content in contents)
    assert tree + packed <= MAX_MB * 2**20, f"{tree / 2**20:.0f} MB in the tree and {packed / 2**20:.0f} MB packed"
