"""VGG as a PyTorch user writes it. PyTorch and ONNX Runtime run this network."""
import torch
from torch import nn

# Table 1 of the paper: channels of the 3×3 convolutions, M for 2×2 max-pooling.
CONFIGS = {
    "A": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "B": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "D": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "E": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}
CLASSES, FC, CROP = 1000, 4096, 224


def vgg(config, dense=False):
    """Configuration with random He weights; dense: fc6 to fc8 as convolutions.

    There is dropout only where fc6 to fc8 are linear; eval() switches it off.
    """
    torch.manual_seed(1)
    layers, channels = [], 3
    for word in CONFIGS[config].split():
        if word == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers += [nn.Conv2d(channels, int(word), 3, padding=1), nn.ReLU(inplace=True)]
        channels = int(word)
    side = CROP >> 5
    if dense:
        layers += [
            nn.Conv2d(channels, FC, side), nn.ReLU(inplace=True),
            nn.Conv2d(FC, FC, 1), nn.ReLU(inplace=True),
            nn.Conv2d(FC, CLASSES, 1),
        ]
    else:
        layers += [
            nn.Flatten(),
            nn.Linear(channels * side * side, FC), nn.ReLU(inplace=True), nn.Dropout(0.5),
            nn.Linear(FC, FC), nn.ReLU(inplace=True), nn.Dropout(0.5),
            nn.Linear(FC, CLASSES),
        ]
    network = nn.Sequential(*layers)
    for layer in network:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0, (2 / layer.weight[0].numel()) ** 0.5)
            nn.init.zeros_(layer.bias)
    return network
