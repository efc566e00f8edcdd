"""Has the tiny networks of the fixtures in other tools' formats.

They have a 64th of the paper's channels, 8 units in fc6 and fc7, and 5 in fc8. The side of
the crop is 64 pixels, so that fc6 sees 2×2 of them and their order matters.
"""
import numpy as np
import torch
import torch.nn.functional as F

from network import Net, EPS
from nn import ROOT, save

WIDTH, SIDE = 64, 64


def image(n=2, h=SIDE, w=SIDE):
    """Images (n,3,h,w) of whole numbers in −128 … 127: element i is (40503·i mod 2¹⁶)/2⁸ − 128, rounded down."""
    i = np.arange(n * 3 * h * w, dtype=np.int64)
    return torch.from_numpy((i * 40503 % 65536 // 256 - 128).astype("f8").reshape(n, 3, h, w))


class Tiny(Net):
    def __init__(self, config, seed):
        super().__init__(config, WIDTH, SIDE)
        torch.manual_seed(seed)
        self.params = self.init()

    def features(self, p, x):
        """Like Net's, with the running statistics."""
        for kind, name, _, r in self.layers:
            if kind == "conv":
                x = F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=r // 2)
                if self.bn:
                    x = F.batch_norm(x, p[f"{name}.bn.running_mean"], p[f"{name}.bn.running_var"],
                                     p[f"{name}.bn.weight"], p[f"{name}.bn.bias"], False, 0, EPS)
                x = F.relu(x)
            elif kind == "lrn":
                x = F.local_response_norm(x, 5, alpha=5 * 1e-4, beta=0.75, k=2.0)
            else:
                x = F.max_pool2d(x, 2)
        return x

    def forward(self, p, x):
        x = self.features(p, x).flatten(1)
        for name in ("fc6", "fc7", "fc8"):
            x = F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])
            x = F.relu(x) if name != "fc8" else x
        return x

    def golden(self, folder, name, config, tensors, **meta):
        """Writes folder/name.safetensors: the logits of image() and the tensors that a reader must find."""
        logits = self.forward(self.params, image())
        assert logits.abs().max() > 0.1 and (logits[0] - logits[1]).abs().max() > 1e-3, logits
        save(folder, name, {"logits": logits, **tensors}, {"config": config, "input": SIDE, **meta})
