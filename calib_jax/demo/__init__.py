"""The command `calib-jax demo`: the whole pipeline on 5,000 images of digits.

It trains a small and a large Flax model, calibrates both, routes between them and finds
flipped labels, then prints the numbers and saves them with the figures. The parts are
`data`, `models`, `calibration`, `cascade` and `cleaning`, which `pipeline` puts
together; `printing` and `saving` come after. It needs the extra `calib-jax[demo]`.
"""
