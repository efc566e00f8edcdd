"""Prints the calibration of made-up scores: the temperature by scipy's minimiser, and Platt's
sigmoid by scikit-learn. teach/calibrate_test.go has the scores and these numbers.

    /usr/bin/python3 tools/oracle/calibration.py
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.calibration import _sigmoid_calibration


def scores(n, k, seed):
    """A score is a whole number of 1/256, from a linear congruence that Go computes too."""
    out, state = [], seed
    for _ in range(n * k):
        state = (state * 1103515245 + 12345) % 2**31
        out.append(((state >> 16) % 1024 - 512) / 256)
    return np.array(out).reshape(n, k)


n, k = 40, 4
s = scores(n, k, 1)
classes = np.arange(n) % k
s[np.arange(n), classes] += 1
right = (n + 1) / (n + 2)
targets = np.full((n, k), (1 - right) / (k - 1))
targets[np.arange(n), classes] = right
best = minimize_scalar(lambda b: -(targets * log_softmax(np.exp(b) * s, axis=1)).sum(), bounds=(-5, 8), method="bounded", options={"xatol": 1e-10})
print("temperature", np.exp(best.x))

certain = np.where(np.eye(k)[classes] > 0, 1.0, -1.0)
best = minimize_scalar(lambda b: -(targets * log_softmax(np.exp(b) * certain, axis=1)).sum(), bounds=(-5, 8), method="bounded", options={"xatol": 1e-10})
print("temperature of scores that are all right", np.exp(best.x))

s = scores(60, 1, 2)[:, 0]
shown = np.arange(60) % 3 == 0
s[shown] += 0.75
a, b = _sigmoid_calibration(s, shown.astype(float))
print("sigmoid", -a, -b)
