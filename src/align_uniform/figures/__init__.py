"""Figures of alignment and uniformity: arrays in, a matplotlib Figure out, one look for all.

No figure shows the features themselves beyond two dimensions: it would show a projection.
"""

from align_uniform._extras import needs

with needs("report"):
    from align_uniform.figures._inline import inline_svg
    from align_uniform.figures._style import Array, paths, save
    from align_uniform.figures.circle import CircleFeatures, circle_figure
    from align_uniform.figures.curves import Curve, curves_figure
    from align_uniform.figures.histograms import cosine_figure, crowding_figure, pair_distance_figure
    from align_uniform.figures.plane import PlanePoint, plane_figure, plane_of_measurements
    from align_uniform.figures.prefixes import PrefixCurve, prefix_figure
    from align_uniform.figures.spectrum import spectrum_figure
    from align_uniform.figures.trajectory import Trajectory, trajectory_figure

__all__ = [
    "Array",
    "CircleFeatures",
    "Curve",
    "PlanePoint",
    "PrefixCurve",
    "Trajectory",
    "circle_figure",
    "cosine_figure",
    "crowding_figure",
    "curves_figure",
    "inline_svg",
    "pair_distance_figure",
    "paths",
    "plane_figure",
    "plane_of_measurements",
    "prefix_figure",
    "save",
    "spectrum_figure",
    "trajectory_figure",
]
