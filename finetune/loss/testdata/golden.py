"""Writes golden.json: parts and gradients of the PyTorch recipe's own loss_fn.

usage: python3 golden.py path/to/torch_slim_bccd.py > golden.json     (PyTorch 1.13)

golden_test.go builds the same inputs and compares.
"""
import json, math, sys, types
import torch, torch.nn.functional as F

source = open(sys.argv[1]).read()
source = source[source.index('def decode('):source.index('# ------------------------------------------------------------------ evaluation')]
recipe = dict(torch=torch, F=F, math=math, NC=3, a=types.SimpleNamespace(gr=0., pos=1., box=3., obj=1., cls=1.))
exec(source, recipe)

SIDE, BATCH = 64, 5
anchors = torch.tensor([[8, 9], [14, 12], [16, 22], [26, 24], [30, 44], [52, 50]], dtype=torch.float32)


def raw(stride, n):
    """N x H x W x 24 values that a sine makes, and a few wild ones."""
    k = torch.arange(BATCH*n*n*24, dtype=torch.float64)
    amplitude = torch.where(k % 8 < 2, 2.4, torch.where(k % 8 < 4, .1, .4)).double()
    v = (amplitude*torch.sin(1.7*k+.3*stride)).float().view(BATCH, n, n, 24)
    v[0, 0, 0, 2] = 7.          # width over its limit
    v[1, 1, 1, 8+3] = -9.       # height under its limit
    v[2, 0, 1, 4] = 30.         # sure and wrong
    v[3, 1, 0, 16+4] = -25.     # sure
    v[2, 0, 1, 16], v[2, 0, 1, 17] = -3.2, .4            # reaches into the next cell: ignored in head 0
    v[2, n-1, n//2, 8], v[2, n-1, n//2, 9] = -3.5, -3.5  # ignored in head 1
    return v.permute(0, 3, 1, 2).contiguous().requires_grad_(True)


# image, class, x, y, w, h; image 4 is empty
truths = torch.tensor([
    (0, 0, .25, .25, .40, .38), (0, 2, .27, .23, .42, .40), (0, 1, .80, .75, .24, .20), (0, 1, 1.0, .5, .12, .13),
    (0, 1, .5, .5, .47, .66), (1, 2, .75, .72, .80, .79), (1, 0, .625, .625, .25, .33), (1, 1, .625, .62, .24, .34),
    (1, 0, .49, .51, .42, .38), (1, 2, .26, .51, .41, .37), (2, 0, .49, .3, .8, .78), (2, 1, .49, .74, .2, .19),
    (3, 1, .505, .25, .25, .34), (3, 1, .25, .505, .23, .20), (3, 0, .5, .999, .5, .201), (3, 2, .1, .1, .03, .9)], dtype=torch.float64)
truths[:, 2:] *= SIDE

outs = [raw(32, 2), raw(16, 4)]
parts = recipe['loss_fn'](outs, truths.float(), anchors)
sum(parts).backward()
print(json.dumps({'parts': [float('%.8g' % p) for p in parts],
                  'grads': [[float('%.7g' % g) for g in o.grad.permute(0, 2, 3, 1).flatten().tolist()] for o in outs]}))
