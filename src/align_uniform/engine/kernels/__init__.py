"""The Triton kernels of the pair engine.

A program takes a block of ROWS rows of one batch entry and walks over a range of columns, COLUMNS at a time.
`exponents` makes the tile of exponents for all kernels; the kernels differ in what they sum:

* `log_sums`: the log-sum-exp of each row, and the mean column under it; `total_log_sum` makes one value and
  its gradient of them;
* `logit_gradient`: the columns, weighted by their shares of log-sums;
* `potential_sums`: Gaussian potentials and their squares, for several widths at once.

Axis 0 of the grid holds the blocks of all batch entries, axis 1 the ranges of columns ("splits"), axis 2 the
parts of the features whose weighted sums a program accumulates. With several splits a kernel stores partial
results, [splits, ...], which a `combine_...` kernel adds up in a fixed order.

Exponents are natural; `exp` is computed as 2 to the power of (exponent * LOG2_E - base), one fused
multiplication and `ex2`.

`survey` and `split` turn float32 rows into two terms of float16 each; half-precision rows are taken as they
are. Rows begin at multiples of 16 numbers, and have a multiple of 16 features, of which the results have
`width`. They are at most 2^24 numbers apart, so that offsets within a block fit in 32 bits; the offset of a
block itself has 64 bits.
"""

from align_uniform.engine.kernels.gradients import combine_gradients, logit_gradient
from align_uniform.engine.kernels.potentials import combine_potential_sums, potential_sums
from align_uniform.engine.kernels.preparation import split, squared_norms, survey
from align_uniform.engine.kernels.sums import combine_log_sums, log_sums, total_log_sum

__all__ = [
    "combine_gradients",
    "combine_log_sums",
    "combine_potential_sums",
    "log_sums",
    "logit_gradient",
    "potential_sums",
    "split",
    "squared_norms",
    "survey",
    "total_log_sum",
]
