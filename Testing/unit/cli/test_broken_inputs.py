"""Inputs that were broken on purpose: each ends in an error, or in a check that stops or warns; none passes in silence."""

import numpy as np
import pytest
import SimpleITK as sitk
from scans_for_checks import altered, brain, good_pair, points_mm, raw_pair

from InfantBrainSegLib.checks.input_checks import check_images
from InfantBrainSegLib.core.check import PASS, STOP, WARN
from InfantBrainSegLib.core.errors import InputError

T1, T2 = good_pair()
BRAIN = brain(T1)
X_MM, Y_MM, Z_MM = np.moveaxis(points_mm(T1), -1, 0)
MASK = T1 > 0
ERROR = "error"


def header(image, **tags):
    image = sitk.Image(image)
    for name, value in tags.items():
        getattr(image, f"Set{name}")(value)
    return image


def both(change):
    return altered(T1, change), altered(T2, change)


def set_one(image, value):
    image = sitk.Image(image)
    image[30, 30, 30] = value
    return image


def kept(place):
    """Both scans with nothing outside a place."""
    return both(lambda values: np.where(place, values, 0))


def turned(image, degrees):
    """The image with its header turned about the head's long axis."""
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return header(image, Direction=rotation.ravel().tolist(), Origin=(rotation @ image.GetOrigin()).tolist())


def moved(image, *offset_mm):
    return header(image, Origin=tuple(np.add(image.GetOrigin(), offset_mm)))


def mask_of(place):
    return sitk.Cast(altered(T1, lambda values: place), sitk.sitkUInt8)


SWAPPED_AXES = (1, 0, 0, 0, 0, -1, 0, 1, 0)
RNG = np.random.default_rng(7)
BROKEN = {
    "no scan at all": (lambda: (None, None), ERROR),
    "T1 empty": (lambda: (T1 * 0, T2), ERROR),
    "T1 constant": (lambda: (T1 * 0 + 7, T2), ERROR),
    "T1 with a NaN": (lambda: (set_one(T1, float("nan")), T2), ERROR),
    "T2 with an infinite voxel": (lambda: (T1, set_one(T2, float("inf"))), ERROR),
    "T1 of one slice": (lambda: (T1[:, :, 30], T2), ERROR),
    "T1 of two frames": (lambda: (sitk.JoinSeries([T1, T1]), T2), ERROR),
    "T1 in colour": (lambda: (sitk.Compose(T1, T1, T1), T2), ERROR),
    "spacing in cm": (lambda: (header(T1, Spacing=(0.18,) * 3), header(T2, Spacing=(0.18,) * 3)), ERROR),
    "spacing in micrometers": (lambda: (header(T1, Spacing=(1800.0,) * 3), T2), ERROR),
    "axes that nearly coincide": (lambda: (header(T1, Direction=(1, 0.995, 0, 0, 0.1, 0, 0, 0, 1)), T2), ERROR),
    "T2 of another place": (lambda: (T1, moved(T2, 500, 0, 0)), ERROR),
    "mask empty": (lambda: (T1, T2, MASK * 0), ERROR),
    "mask of another place": (lambda: (T1, T2, moved(MASK, 500, 0, 0)), ERROR),
    "mask of a speck": (lambda: (T1, T2, mask_of(X_MM**2 + Y_MM**2 + Z_MM**2 < 20**2)), ERROR),
    "mask turned inside out": (lambda: (T1, T2, MASK == 0), ERROR),
    "one hemisphere": (lambda: kept(X_MM > 0), STOP),
    "front half": (lambda: kept(Y_MM > 0), STOP),
    "a quarter lost": (lambda: kept((X_MM > 0) | (Y_MM < 0)), WARN),
    "top cut off by the field of view": (lambda: (T1[:, :, :35], T2[:, :, :35]), STOP),
    "T2 ends inside the brain": (lambda: (T1, T2[:, :, :35]), STOP),
    "transfer of T1 broken off": (lambda: (altered(T1, lambda values: np.where(Z_MM < 8, values, 0)), T2), STOP),
    "T1 given twice": (lambda: (T1, T1), STOP),
    "T2 is T1 turned over": (lambda: (T1, altered(T1, lambda values: np.where(BRAIN, 300 - values, 0))), STOP),
    "T1 and T2 swapped": (lambda: (T2, T1), STOP),
    "label map as T1": (lambda: (altered(T1, lambda values: np.ceil(values / 50)), T2), STOP),
    "T2 of eight grays": (lambda: (T1, altered(T2, lambda values: np.ceil(values / 60) * 60)), STOP),
    "T2 of noise": (lambda: (T1, altered(T2, lambda values: np.where(BRAIN, RNG.normal(200, 40, values.shape), 0))), STOP),
    "T2 mirrored": (lambda: (T1, altered(T2, lambda values: values[:, :, ::-1])), STOP),
    "T2 upside down": (lambda: (T1, altered(T2, lambda values: values[::-1])), STOP),
    "T2 3 mm off": (lambda: (T1, moved(T2, 0, 3, 0), MASK), WARN),
    "T2 8 mm off": (lambda: (T1, moved(T2, 5, 5, 4), MASK), STOP),
    "T2 turned by 12 degrees": (lambda: (T1, turned(T2, 12), MASK), WARN),
    "T1 saturated": (lambda: (altered(T1, lambda values: np.minimum(values, 115)), T2), WARN),
    "T2 with stripes of motion": (lambda: (T1, altered(T2, lambda v: np.where(BRAIN, v + 15 * np.sin(2 * np.pi * Y_MM / 6), 0))), WARN),
    "skull and scalp": (raw_pair, STOP),
    "mask with air": (lambda: (*raw_pair(), mask_of(X_MM**2 + Y_MM**2 + Z_MM**2 < 59**2)), WARN),
    "two axes exchanged in the header": (lambda: (header(T1, Direction=SWAPPED_AXES), header(T2, Direction=SWAPPED_AXES)), WARN),
    "slices too thick in the header": (lambda: (header(T1, Spacing=(1.8, 1.8, 2.9)), header(T2, Spacing=(1.8, 1.8, 2.9))), WARN),
    "age of two years": (lambda: (T1, T2, None, 24), WARN),
    "T1 without T2": (lambda: (T1, None), WARN),
}


def outcome(given):
    try:
        checks = check_images(*given)
    except InputError as error:
        return (ERROR if "wanted" in str(error) else "error without a remedy"), str(error)
    statuses = {check.status for check in checks}
    found = STOP if STOP in statuses else WARN if WARN in statuses else PASS
    return found, [check.sentence() for check in checks if check.status != PASS]


def test_there_are_thirty_broken_inputs_or_more():
    assert len(BROKEN) >= 30


def test_the_scans_that_are_broken_here_were_whole():
    assert outcome((T1, T2))[0] == PASS


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_input_is_not_passed_in_silence(kind):
    make, wanted = BROKEN[kind]
    found, said = outcome(make())
    assert found == wanted or (found, wanted) == (STOP, WARN), said
