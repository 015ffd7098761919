#!/usr/bin/python3
"""Times a training step of YOLOv4-tiny in PyTorch: forward, loss, backward.

The loss stands in for YOLO's: the mean square of each head's raw output,
summed over the two heads. The optimiser's step is not part of the time.
Prints one JSON object.
"""
import argparse
import json
import time

import torch
from torch import nn


def conv(cin, cout, size, stride=1):
    """Convolution, batch norm, leaky: what Darknet calls convolutional."""
    return nn.Sequential(
        nn.Conv2d(cin, cout, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(cout, momentum=0.03),
        nn.LeakyReLU(0.1, inplace=True),
    )


class CSP(nn.Module):
    """The cross-stage block of YOLOv4-tiny; doubles the channels, halves the size."""

    def __init__(self, c):
        super().__init__()
        self.half = c // 2
        self.a = conv(c, c, 3)
        self.b = conv(c // 2, c // 2, 3)
        self.c = conv(c // 2, c // 2, 3)
        self.d = conv(c, c, 1)
        self.pool = nn.MaxPool2d(2, 2)

    def forward(self, x):
        a = self.a(x)
        b = self.b(a[:, self.half:])
        d = self.d(torch.cat([self.c(b), b], 1))
        return self.pool(torch.cat([a, d], 1)), d


class YOLOv4Tiny(nn.Module):
    def __init__(self, classes):
        super().__init__()
        out = 3 * (5 + classes)
        self.stem = nn.Sequential(conv(3, 32, 3, 2), conv(32, 64, 3, 2))
        self.csp = nn.ModuleList([CSP(64), CSP(128), CSP(256)])
        self.deep = nn.Sequential(conv(512, 512, 3), conv(512, 256, 1))
        self.coarse = nn.Sequential(conv(256, 512, 3), nn.Conv2d(512, out, 1))
        self.up = nn.Sequential(conv(256, 128, 1), nn.Upsample(scale_factor=2))
        self.fine = nn.Sequential(conv(384, 256, 3), nn.Conv2d(256, out, 1))

    def forward(self, x):
        x = self.stem(x)
        for block in self.csp:
            x, skip = block(x)
        x = self.deep(x)
        return self.coarse(x), self.fine(torch.cat([self.up(x), skip], 1))


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--format", choices=["nchw", "nhwc"], default="nchw")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--size", type=int, default=416)
    p.add_argument("--classes", type=int, default=80)
    p.add_argument("--steps", type=int, default=8)
    p.add_argument("--warmup", type=int, default=2)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    layout = torch.channels_last if a.format == "nhwc" else torch.contiguous_format
    net = YOLOv4Tiny(a.classes).to(memory_format=layout)
    images = torch.rand(a.batch, 3, a.size, a.size).to(memory_format=layout)
    times = []
    for i in range(a.warmup + a.steps):
        start = time.perf_counter()
        net.zero_grad(set_to_none=True)
        sum(y.square().mean() for y in net(images)).backward()
        if i >= a.warmup:
            times.append(1e3 * (time.perf_counter() - start))
    times.sort()
    print(json.dumps({
        "name": "torch " + a.format, "version": torch.__version__,
        "batch": a.batch, "size": a.size, "threads": a.threads, "steps": a.steps,
        "params": sum(q.numel() for q in net.parameters()),
        "min_ms": round(times[0], 1), "median_ms": round(times[len(times) // 2], 1),
    }))


if __name__ == "__main__":
    main()
