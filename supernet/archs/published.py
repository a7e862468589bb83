"""The architectures that the LitePose authors published, and the accuracies to compare with.

Source: Wang et al., Lite Pose (arXiv:2205.01271); the architectures are the files of mit-han-lab/litepose.
"""

from functools import cache

from litepose_ofa.supernet.archs.arch import STAGE_STRIDES, Arch, BlockArch, StageArch

FULL_DEPTHS = (6, 8, 10, 10)
"""Blocks of the stages of every published network."""

PUBLISHED_AP = {
    "crowdpose": {"search-XS": 0.495, "search-S": 0.583, "search-M": 0.599, "search-L": 0.619},
    "coco": {"search-XS": 0.406, "search-S": 0.568, "search-M": 0.598, "search-L": 0.625},
}
"""OKS AP in [0, 1] on CrowdPose and on COCO val, by dataset and architecture."""

KERNEL_ABLATION_AP = {3: 0.417, 5: 0.507, 7: 0.547, 9: 0.533}
"""OKS AP in [0, 1] on CrowdPose by depthwise kernel size, each trained on its own."""

_BLOCK = BlockArch(expansion=6, kernel=7)

_WIDTHS = {
    "search-XS": (256, 16, (16, 32, 48, 80), (16, 24, 24)),
    "search-S": (448, 16, (16, 32, 48, 120), (32, 24, 32)),
    "search-M": (448, 16, (24, 48, 72, 120), (64, 40, 32)),
    "search-L": (512, 24, (24, 64, 96, 160), (64, 40, 32)),
    "prune-S": (512, 16, (16, 32, 48, 80), (32, 24, 16)),
    "prune-M": (512, 24, (24, 48, 72, 120), (48, 40, 24)),
    "prune-L": (512, 24, (32, 64, 96, 160), (64, 48, 32)),
}
"""Input size in pixels, C0, C1..C4, D0..D2; every network has the full depths, expansion 6 and 7x7 kernels."""


def published_archs() -> dict[str, Arch]:
    """Return the published architectures by name: what the authors searched, small to large, then what they pruned.

    Example:
        >>> published_archs()["search-XS"].image_size
        256
    """
    return {name: _published_arch(name) for name in _WIDTHS}


@cache
def _published_arch(name: str) -> Arch:
    image_size, stem, widths, deconvs = _WIDTHS[name]
    stages = tuple(
        StageArch(width, stride, (_BLOCK,) * depth)
        for width, stride, depth in zip(widths, STAGE_STRIDES, FULL_DEPTHS, strict=True)
    )
    return Arch(image_size, stem, stages, deconvs)
