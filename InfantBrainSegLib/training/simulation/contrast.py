"""Random T1 and T2 contrasts from birth to about a year, in units where cortex is 1.

White matter is a mixture of unmyelinated and myelinated tissue. Where it is which is decided by a smooth field that T1 and
T2 share, T1 leading (by two to four months).
"""

from dataclasses import dataclass, replace

import numpy as np

PHASES = NEWBORN, ISOINTENSE, LATE = ("newborn", "isointense", "late")
PHASE_SHARES = (0.25, 0.5, 0.25)


@dataclass(frozen=True)
class ContrastConfig:
    """How often each phase is drawn, and how wide the isointense contrasts are.

    Attributes
    ----------
    phase_shares : tuple of float
        Newborn (contrast inverted), isointense (about 6 months), late (9 months and more). The two outer ones teach
        contrast: a network that sees only isointense ones learns depth below the surface instead.
    isointense_t1, isointense_t2 : tuple of float
        Largest contrast to cortex of unmyelinated and of myelinated white matter, which lie on either side of it; found by measuring
        histogram overlaps (see Testing/unit/training/test_synthesis.py).
    isointense_lag : tuple of float
        Of T2 behind T1, in the myelination field's logit: where one scan shows no contrast the other then does.
    isointense_csf_t2 : tuple of float
        CSF on T2; brighter fluid would spread cortex's histogram by partial volume beyond the measured overlap.
    depth_free_share : float
        Share of subjects whose myelination does not depend on depth at all.
    field_weight : float
        Scales every term of the myelination field that varies in space; with 0 each subject's white matter is even.
    wide_share : float
        Share of isointense and late subjects drawn from `WIDE`: real images overlap because contrast changes over the brain, not because it
        is faint everywhere. 0 leaves the narrow ranges alone.
    gain_variation : float
        Largest SD of the logarithm of a smooth change of white matter's contrast over the brain.
    clusters : float
        Largest difference of patches inside cortex and inside white matter, in half of the subjects.
    gradual : float
        Largest share that cortex and white matter take on of each other at their border, in 60 % of the subjects.
    """

    phase_shares: tuple[float, ...] = PHASE_SHARES
    isointense_t1: tuple[float, float] = (0.09, 0.26)
    isointense_t2: tuple[float, float] = (0.035, 0.035)
    isointense_lag: tuple[float, float] = (0.5, 3.0)
    isointense_csf_t2: tuple[float, float] = (1.3, 2.0)
    depth_free_share: float = 0.4
    field_weight: float = 1.0
    wide_share: float = 0.0
    gain_variation: float = 0.0
    clusters: float = 0.0
    gradual: float = 0.0


@dataclass(frozen=True)
class WideRanges:
    """Contrasts of real images: white matter minus cortex, fluid, and how much cortex and white matter change over 15 mm.

    Attributes
    ----------
    t1_unmyelinated, t1_myelinated, t2_unmyelinated, t2_myelinated : tuple of float
        Isointense.
    late_t2 : tuple of float
    csf_t2, late_csf_t2 : tuple of float
    gm_variation, wm_variation : float
    """

    t1_unmyelinated: tuple[float, float] = (-0.15, 0.04)
    t1_myelinated: tuple[float, float] = (0.03, 0.34)
    t2_unmyelinated: tuple[float, float] = (-0.02, 0.13)
    t2_myelinated: tuple[float, float] = (-0.12, 0.02)
    late_t2: tuple[float, float] = (-0.48, 0.0)
    csf_t2: tuple[float, float] = (1.1, 3.2)
    late_csf_t2: tuple[float, float] = (1.0, 3.2)
    gm_variation: float = 0.08
    wm_variation: float = 0.05


WIDE = WideRanges()


@dataclass(frozen=True)
class Channel:
    """Intensities of one image; cortex is 1.

    Attributes
    ----------
    csf, unmyelinated, myelinated, early_deep_gm, late_deep_gm : float
    gm_variation, wm_variation : float
        Amplitude of a smooth change along the cortex, and through white matter.
    lag : float
        Subtracted from the myelination field's logit.
    gain_variation, clusters, gradual : float
        See `ContrastConfig`; of this image.
    """

    csf: float
    unmyelinated: float
    myelinated: float
    early_deep_gm: float
    late_deep_gm: float
    gm_variation: float
    wm_variation: float
    lag: float
    gain_variation: float = 0.0
    clusters: float = 0.0
    gradual: float = 0.0


@dataclass(frozen=True)
class Contrast:
    """A pair of channels and the weights of the field they share.

    Attributes
    ----------
    phase : str
    t1, t2 : Channel
    depth_weight, central_weight, posterior_weight, noise_weight, offset, steepness : float
        Logit of myelination = steepness (Σ weight·term + offset): depth in white matter, nearness to the thalami,
        posterior position, smooth noise.
    """

    phase: str
    t1: Channel
    t2: Channel
    depth_weight: float
    central_weight: float
    posterior_weight: float
    noise_weight: float
    offset: float
    steepness: float


def draw_contrast(rng: np.random.Generator, config: ContrastConfig | None = None, phase: str | None = None) -> Contrast:
    """Draw a contrast.

    Parameters
    ----------
    rng : numpy.random.Generator
    config : ContrastConfig, optional
    phase : str, optional
        One of `PHASES`; drawn by the config's shares if absent.
    """
    config = config or ContrastConfig()
    phase = phase or PHASES[int(rng.choice(3, p=np.asarray(config.phase_shares)))]
    newborn, isointense = phase == NEWBORN, phase == ISOINTENSE
    wide = bool(config.wide_share) and not newborn and rng.random() < config.wide_share
    draw = {NEWBORN: _newborn, ISOINTENSE: _wide_isointense if wide else _isointense, LATE: _wide_late if wide else _late}[phase]
    t1_wm, t2_wm, offset = draw(rng, config)
    depth_free = rng.random() < config.depth_free_share
    csf_t1 = (0.4, 0.92) if newborn else (0.2, 0.72)
    csf_t2 = config.isointense_csf_t2 if isointense else (1.35, 3.2)
    if wide:
        csf_t2 = WIDE.csf_t2 if isointense else WIDE.late_csf_t2
    lag = config.isointense_lag if isointense else (0.0, 1.0)
    contrast = Contrast(
        phase=phase,
        t1=_channel(rng, rng.uniform(*csf_t1), t1_wm, rng.uniform(0, 0.04 * newborn), lag=0.0),
        t2=_channel(rng, rng.uniform(*csf_t2), t2_wm, rng.uniform(0, 0.12 * newborn), lag=rng.uniform(*lag)),
        depth_weight=0.0 if depth_free else config.field_weight * rng.uniform(0.0, 1.0),
        central_weight=config.field_weight * rng.uniform(0.3, 2.0),
        posterior_weight=config.field_weight * rng.uniform(-0.2, 1.0),
        noise_weight=config.field_weight * rng.uniform(0.2, 1.2),
        offset=offset,
        steepness=rng.uniform(0.8, 3.0),
    )
    if config.gain_variation or config.clusters or config.gradual:
        contrast = replace(contrast, t1=_uneven(rng, contrast.t1, config, wide), t2=_uneven(rng, contrast.t2, config, wide))
    return contrast


def _uneven(rng, channel: Channel, config: ContrastConfig, wide: bool) -> Channel:
    """Let a channel change over the brain."""
    return replace(
        channel,
        gm_variation=rng.uniform(0, WIDE.gm_variation) if wide else channel.gm_variation,
        wm_variation=rng.uniform(0, WIDE.wm_variation) if wide else channel.wm_variation,
        gain_variation=rng.uniform(0, config.gain_variation),
        clusters=rng.uniform(0, config.clusters) * (rng.random() < 0.5),
        gradual=rng.uniform(0, config.gradual) * (rng.random() < 0.6),
    )


def _wide_isointense(rng, _config):
    t1 = rng.uniform(*WIDE.t1_unmyelinated), rng.uniform(*WIDE.t1_myelinated)
    return t1, (rng.uniform(*WIDE.t2_unmyelinated), rng.uniform(*WIDE.t2_myelinated)), rng.uniform(-1.5, 1.2)


def _wide_late(rng, config):
    t1, _, offset = _late(rng, config)
    t2 = rng.uniform(*WIDE.late_t2)
    return t1, (t2 * rng.uniform(-0.4, 1.0), t2), offset


def _isointense(rng, config):
    """Unmyelinated and myelinated white matter lie on either side of cortex, near it; mixed, they cross it somewhere."""
    (t1_below, t1_above), (t2_above, t2_below) = config.isointense_t1, config.isointense_t2
    t1 = -rng.uniform(-0.02, t1_below), rng.uniform(0.03, t1_above)
    t2 = rng.uniform(-0.01, t2_above), -rng.uniform(0.0, t2_below)
    return t1, t2, rng.uniform(-1.5, 1.2)


def _newborn(rng, _config):
    """Unmyelinated white matter is a little darker than cortex on T1 and plainly brighter on T2; little is myelinated."""
    return (-rng.uniform(0.02, 0.2), rng.uniform(-0.05, 0.25)), (rng.uniform(0.1, 0.6), -rng.uniform(-0.1, 0.2)), rng.uniform(-4.0, -1.5)


def _late(rng, _config):
    """Most white matter is brighter than cortex on T1, and darker or equal on T2."""
    t1 = rng.uniform(0.1, 0.5)
    t2 = -rng.uniform(0.0, 0.35)
    return (t1 * rng.uniform(0.1, 0.9), t1), (t2 * rng.uniform(-0.4, 1.0), t2), rng.uniform(-0.5, 2.5)


def _channel(rng, csf: float, wm: tuple[float, float], wm_variation: float, lag: float) -> Channel:
    unmyelinated, myelinated = 1 + wm[0], 1 + wm[1]
    toward_wm = max(abs(wm[1]), 0.05) * np.sign(wm[1] or 1)
    return Channel(
        csf=csf,
        unmyelinated=unmyelinated,
        myelinated=myelinated,
        early_deep_gm=1 + toward_wm * rng.uniform(0.1, 0.9),
        late_deep_gm=1 + toward_wm * rng.uniform(-0.4, 0.5),
        gm_variation=rng.uniform(0.0, 0.05),
        wm_variation=wm_variation,
        lag=lag,
    )
