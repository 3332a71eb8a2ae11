"""The command `calib-jax demo`: the whole pipeline on 5,000 images of digits.

It trains a small and a large Flax model, calibrates both, routes between them and finds
flipped labels, then prints the results and saves them with figures. `pipeline` runs the
stages (`data`, `models`, `calibration`, `cascade`, `cleaning`); `printing` and `saving`
show the results. It needs the extra `calib-jax[demo]`.
"""
