"""The command `calib-jax demo languages`: which language is this string?

Three pretrained models and real text, all from ordinary packages. `strings` reads what
Django shows in its languages, `models` asks the models, `pipeline` calibrates, routes
and cleans with the stages of the demo on digits, and `running` prints and saves. It
needs the extra `calib-jax[languages]`.
"""
