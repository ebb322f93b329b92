"Image operators on a GPU: the same as on the CPU, on 8-bit and on float images."
import pytest
import torch

from paper_repro.ops.image import OPS, apply_ops

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
NAMES = [n for n in OPS if n != 'Elastic' for _ in range(8)]
PIXELS = torch.randint(0, 256, (len(NAMES), 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PIXELS[::2] = torch.nn.functional.avg_pool2d(PIXELS[::2].float(), 5, 1, 2).byte()
OWN = dict(Posterize=3, Solarize=128, SolarizeAdd=60, Cutout=7)
VALUES = torch.tensor([OWN.get(n, (OPS[n].identity or 0) + .3) if OPS[n].unit else 0. for n in NAMES]).double()
FLOATS = torch.rand(PIXELS.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))    # no two alike
CENTRE = torch.randint(0, 32, (len(NAMES), 2), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('like', ['torchvision', 'pillow'])
def test_uint8_on_the_gpu_is_that_of_the_cpu(like):
    ours = apply_ops(PIXELS.cuda(), NAMES, VALUES, centre=CENTRE, like=like)
    assert ours.device.type == 'cuda' and ours.dtype == torch.uint8
    off = (ours.cpu().int() - apply_ops(PIXELS, NAMES, VALUES, centre=CENTRE, like=like).int()).abs()
    for name in OPS:
        part = off[[i for i, n in enumerate(NAMES) if n == name]]
        if not len(part): continue
        if OPS[name].kind in ('affine', 'swirl'): assert (part > 0).float().mean() < 1e-3, name     # ties
        else: assert part.max() <= 1, name


def test_float_values_and_gradients_on_the_gpu_are_those_of_the_cpu():
    results = []
    for device in ('cpu', 'cuda'):
        x, v = FLOATS.to(device).clone().requires_grad_(), VALUES.to(device).clone().requires_grad_()
        y = apply_ops(x, NAMES, v, centre=CENTRE.to(device))
        y.square().sum().backward()
        results.append([t.detach().cpu().clone() for t in (y, x.grad, v.grad)])
    for a, b in zip(*results): torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_numbers_and_values_may_lie_on_either_device():
    number = torch.tensor([list(OPS).index(n) for n in NAMES])
    x = PIXELS.cuda()
    want = apply_ops(x, NAMES, VALUES, centre=CENTRE)
    for index in (number, number.cuda()):
        for v in (VALUES, VALUES.cuda()): assert apply_ops(x, index, v, centre=CENTRE.cuda()).equal(want)
