"""`python -m benchmarks.arithmetic`: sequence models, from training to a cascade.

A small and a large recurrent language model learn to add numbers written as text. Their
answers are generated symbol by symbol, each with a mean logit and log-likelihoods kept
while they are decoded, and judged by an exact match. Platt scaling turns the scores
into confidences, and the small model passes on the problems that it is not sure of.

`problems` makes and judges the task, `models` trains and decodes, `calibration`
compares the scores, `pipeline` puts them together; `printing` and `saving` come after.
"""

from .calibration import CalibratedScore as CalibratedScore
from .calibration import calibrate as calibrate
from .calibration import named as named
from .models import Decoded as Decoded
from .models import SequenceModel as SequenceModel
from .models import decode as decode
from .models import train as train
from .problems import Problems as Problems
from .problems import Settings as Settings
from .problems import draw as draw
from .problems import exact_match as exact_match
from .problems import share_of_digits as share_of_digits
from .problems import sums as sums
from .problems import to_texts as to_texts
from .problems import write as write
