"""Writes yolov7.json: YOLOv7's losses and their gradients by PyTorch's autograd, in float64.

usage: python3 yolov7.py > yolov7.json     (PyTorch 1.13)

The losses are written here from their description: every truth against every slot, in loops. Values have passed a logistic
(new_coords), gradients are by those values. yolov7_test.go builds the same inputs and compares.
"""
import json, math
import numpy as np
import torch, torch.nn.functional as F

torch.set_default_dtype(torch.float64)
NET, BATCH, NC = 64, 3, 3
ANCHORS = [[(6, 8), (10, 7), (12, 14)], [(16, 12), (20, 30), (28, 22)], [(36, 40), (50, 34), (44, 60)]]
STRIDES = [8, 16, 32]
TRUTHS = [  # class, x, y, w, h
    [(0, .30, .33, .20, .24), (2, .31, .35, .22, .20), (1, .72, .61, .45, .50), (1, .99, .04, .10, .12), (2, .55, .80, .6, .3)],
    [(0, .52, .47, .70, .80), (1, .20, .82, .30, .25), (1, .21, .81, .33, .22), (0, .9, .9, 1 / 64, 1 / 64)],
    [],
]
BOX, OBJ, CLS, BALANCE = .05, .7 * (NET / 640) ** 2, .3 * NC / 80, [4, 1, .4]


def values(stride):
    n = NET // stride
    k = np.arange(BATCH * n * n * 3 * (5 + NC))
    logits = 1.3 * np.sin(1.7 * k + .3 * stride)
    return torch.tensor((1 / (1 + np.exp(-logits))).astype(np.float32).astype(np.float64).reshape(BATCH, n, n, 3, 5 + NC), requires_grad=True)


def neighbours(x, y, n):
    out = [(int(y), int(x))]
    if x % 1 < .5 and x > 1: out.append((int(y), int(x - .5)))
    if y % 1 < .5 and y > 1: out.append((int(y - .5), int(x)))
    if (n - x) % 1 < .5 and n - x > 1: out.append((int(y), int(x + .5)))
    if (n - y) % 1 < .5 and n - y > 1: out.append((int(y + .5), int(x)))
    return [(min(r, n - 1), min(c, n - 1)) for r, c in out]


def plain():
    """For every level, (image, row, col, anchor, truth)."""
    levels = [[], [], []]
    for level, stride in enumerate(STRIDES):
        n = NET // stride
        for image, truths in enumerate(TRUTHS):
            for t, (_, x, y, w, h) in enumerate(truths):
                for a, (aw, ah) in enumerate(ANCHORS[level]):
                    if max(w * NET / aw, aw / (w * NET), h * NET / ah, ah / (h * NET)) < 4:
                        levels[level] += [(image, r, c, a, t) for r, c in neighbours(x * n, y * n, n)]
    return levels


def decode(v, level, image, row, col, a):
    """A box in cells: x, y, w, h."""
    s = v[level][image, row, col, a]
    aw, ah = ANCHORS[level][a]
    return 2 * s[0] - .5 + col, 2 * s[1] - .5 + row, (2 * s[2]) ** 2 * aw / STRIDES[level], (2 * s[3]) ** 2 * ah / STRIDES[level]


def corners(x, y, w, h): return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def lengths(p, g):
    (l, t, r, b), (L, T, R, B) = corners(*p), corners(*g)
    small, large = torch.minimum, torch.maximum
    L, T, R, B = (torch.tensor(float(e), dtype=torch.float64) for e in (L, T, R, B))
    return (small(r, R) - large(l, L)).clamp(0), (small(b, B) - large(t, T)).clamp(0), large(r, R) - small(l, L), large(b, B) - small(t, T)


def ciou(p, g, eps=1e-7):
    iw, ih, cw, ch = lengths(p, g)
    h1, h2 = p[3] + eps, g[3] + eps
    iou = iw * ih / (p[2] * h1 + g[2] * h2 - iw * ih + eps)
    v = 4 / math.pi ** 2 * (math.atan(g[2] / h2) - torch.atan(p[2] / h1)) ** 2
    alpha = (v / (v - iou + 1 + eps)).detach()
    return iou - ((p[0] - g[0]) ** 2 + (p[1] - g[1]) ** 2) / (cw ** 2 + ch ** 2 + eps) - alpha * v


def ota(v, levels):
    matched = [[], [], []]
    for image, truths in enumerate(TRUTHS):
        slots = sorted({(level, r, c, a) for level in range(3) for i, r, c, a, _ in levels[level] if i == image})
        if not truths or not slots: continue
        iou, cost = torch.zeros(len(truths), len(slots)), torch.zeros(len(truths), len(slots))
        for g, (cls, x, y, w, h) in enumerate(truths):
            for n, (level, r, c, a) in enumerate(slots):
                k = NET / STRIDES[level]
                p, q = decode(v, level, image, r, c, a), (x * k, y * k, w * k, h * k)
                iw, ih, _, _ = lengths(p, q)
                iou[g, n] = iw * ih / (p[2] * p[3] + q[2] * q[3] - iw * ih)
                s = v[level][image, r, c, a].detach()
                y1 = torch.sqrt(s[5:] * s[4])
                cost[g, n] = F.binary_cross_entropy(y1, F.one_hot(torch.tensor(cls), NC).double(), reduction='sum') - 3 * math.log(iou[g, n] + 1e-8)
        claims = [[] for _ in slots]
        for g in range(len(truths)):
            k = max(1, int(iou[g].sort(descending=True)[0][:10].sum()))
            for n in cost[g].argsort()[:k].tolist(): claims[n].append(g)
        for n, (level, r, c, a) in enumerate(slots):
            if claims[n]:
                matched[level].append((image, r, c, a, claims[n][0] if len(claims[n]) == 1 else int(cost[:, n].argmin())))
    return matched


def entropy(p, y, gamma):
    bce = F.binary_cross_entropy(p, y, reduction='none')
    if gamma == 0: return bce
    pt = y * p + (1 - y) * (1 - p)
    return bce * (y * .25 + (1 - y) * .75) * (1 - pt) ** gamma


def loss(use_ota, smooth=0., gamma=0.):
    v = [values(s) for s in STRIDES]
    levels = plain()
    if use_ota: levels = ota(v, levels)
    lbox = lobj = lcls = torch.zeros((), dtype=torch.float64)
    for level, stride in enumerate(STRIDES):
        n = NET // stride
        target = torch.zeros_like(v[level][..., 4])
        fits, classes = [], []
        for image, r, c, a, t in levels[level]:
            cls, x, y, w, h = TRUTHS[image][t]
            fits.append(ciou(decode(v, level, image, r, c, a), (x * n, y * n, w * n, h * n)))
            target[image, r, c, a] = max(target[image, r, c, a], fits[-1].detach())
            hot = torch.full((NC,), .5 * smooth, dtype=torch.float64)
            hot[cls] = 1 - .5 * smooth
            classes.append(entropy(v[level][image, r, c, a, 5:], hot, gamma))
        if fits:
            lbox = lbox + (1 - torch.stack(fits)).mean()
            lcls = lcls + torch.stack(classes).mean()
        lobj = lobj + BALANCE[level] * entropy(v[level][..., 4], target, gamma).mean()
    parts = [BATCH * BOX * lbox, BATCH * OBJ * lobj, BATCH * CLS * lcls]
    sum(parts).backward()
    return dict(parts=[float(p) for p in parts], slots=levels, grads=[[float('%.6g' % g) for g in t.grad.flatten().tolist()] for t in v])


json.dump(dict(plain=loss(False), ota=loss(True), smooth=loss(True, smooth=.1), focal=loss(False, gamma=1.5)), __import__('sys').stdout)
