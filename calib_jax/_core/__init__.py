"""What every room stands on.

- `checks`: static checks and conversions of arguments
- `dispatch`: `core`, the decorator of the jitted function behind a public one
- `masking`: masks over rows, tokens and classes
- `reduce`: reductions over rows, in blocks
- `class_axis`: reductions over classes
- `exact`: exact sums of float32 numbers
- `bisection`: bisection of an interval
"""
